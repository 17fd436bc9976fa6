/* SPDX-License-Identifier: Apache-2.0 */
#include "training_files.h"
#include "text_file.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Before the first step ---- */

/* false: out of memory. Nothing can be saved to a path that is wrong otherwise, which is found later. */
static bool find_replaced(const char *path, struct replaced_file *file) {
  static const char suffix[] = ".old";
  struct stat status;
  if (lstat(path, &status) != 0)
    return true;
  file->path = S_ISLNK(status.st_mode) ? realpath(path, NULL) : strdup(path);
  if (!file->path)
    return errno != ENOMEM;
  const size_t size = strlen(file->path) + sizeof suffix;
  file->old = malloc(size);
  if (file->old)
    snprintf(file->old, size, "%s%s", file->path, suffix);
  return file->old != NULL;
}

void training_free_replaced(struct training_run *run) {
  struct replaced_file *const files[] = {&run->replaced_model, &run->replaced_state};
  for (int i = 0; i < 2; ++i) {
    free(files[i]->path);
    free(files[i]->old);
  }
}

int training_check_outputs(struct training_run *run) {
  const struct train_settings *settings = run->settings;
  if (!settings->resume && (!find_replaced(settings->out, &run->replaced_model) ||
                            !find_replaced(run->state_path, &run->replaced_state)))
    return cli_error(run->command, "out of memory"), CLI_FAILURE;
  const char *const inputs[] = {settings->file, settings->validation_file};
  const char *const outputs[] = {settings->out, run->state_path, run->replaced_model.old,
                                 run->replaced_state.old, settings->log};
  enum { OUTPUTS = sizeof outputs / sizeof *outputs, LOG = OUTPUTS - 1 };
  for (int i = 0; i < OUTPUTS; ++i)
    for (int j = 0; j < 2; ++j)
      if (cli_same_file(outputs[i], inputs[j]))
        return cli_error(run->command, "--%s %s: is the text itself", i == LOG ? "log" : "out", outputs[i]);
  for (int i = 0; i < LOG; ++i)
    if (cli_same_file(settings->log, outputs[i]))
      return cli_error(run->command, "--log %s: is the model's file", settings->log);
  if (!progress_check_log(&run->progress, settings->log, settings->resume))
    return CLI_BAD_INPUT;
  for (int i = 0; i < 2; ++i)
    if (gk_safetensors_can_save(outputs[i]) != GK_OK)
      return cli_error(run->command, "--out %s", gk_last_error());
  for (int i = 2; i < LOG; ++i)
    if (outputs[i] && gk_safetensors_can_save(outputs[i]) != GK_OK)
      return cli_error(run->command, "--out %s: what stands there cannot be kept: %s", settings->out,
                       gk_last_error());
  return CLI_SUCCESS;
}

/* ---- Keeping what is replaced ---- */

/* By a second name, so that the first leads to a whole file at every moment; a file system without second
 * names moves it. */
static bool keep_file(const struct training_run *run, const struct replaced_file *file) {
  if (!file->path || access(file->path, F_OK) != 0 || cli_same_file(file->path, file->old))
    return true;
  if ((unlink(file->old) == 0 || errno == ENOENT) &&
      (link(file->path, file->old) == 0 || rename(file->path, file->old) == 0))
    return true;
  cli_error(run->command, "%s: cannot be kept as %s: %s", file->path, file->old, strerror(errno));
  return false;
}

static bool keep_replaced(struct training_run *run) {
  run->old_kept =
      run->old_kept || (keep_file(run, &run->replaced_model) && keep_file(run, &run->replaced_state));
  return run->old_kept;
}

/* ---- Saving ---- */

int training_save_state(struct training_run *run) {
  if (!keep_replaced(run))
    return CLI_FAILURE;
  return cli_status(run->command, gk_language_trainer_save(run->trainer, run->state_path));
}

static int save_model(struct training_run *run, const char *path) {
  if (!keep_replaced(run))
    return CLI_FAILURE;
  const int exit_code =
      cli_status(run->command, gk_language_model_save(gk_language_trainer_model(run->trainer), path));
  run->best_saved = run->best_saved || (exit_code == CLI_SUCCESS && path == run->settings->out);
  return exit_code;
}

int training_save_model(struct training_run *run) {
  return save_model(run, run->settings->out);
}

static int keep_model(struct training_run *run, int64_t step) {
  const size_t size = strlen(run->settings->out) + 32;
  char *path = malloc(size);
  if (!path)
    return cli_error(run->command, "out of memory"), CLI_FAILURE;
  snprintf(path, size, "%s.step-%" PRId64, run->settings->out, step);
  const int exit_code = save_model(run, path);
  free(path);
  return exit_code;
}

int training_checkpoint(struct training_run *run, int64_t step, gk_language_loss *measured,
                        const gk_language_loss **loss) {
  struct training_progress *progress = &run->progress;
  gk_language_progress state;
  gk_language_trainer_progress(run->trainer, &state);
  bool improved = true;
  *loss = NULL;
  if (state.validation_characters) {
    const double start = progress_clock();
    const gk_status status = gk_language_trainer_validate(run->trainer, measured, &improved);
    if (status != GK_OK)
      return cli_status(run->command, status);
    *loss = measured;
    progress->validation_seconds = progress_clock() - start;
  }
  int exit_code = improved ? training_save_model(run) : CLI_SUCCESS;
  if (exit_code == CLI_SUCCESS && run->settings->keep_all)
    exit_code = keep_model(run, step);
  if (exit_code == CLI_SUCCESS)
    exit_code = training_save_state(run);
  if (exit_code == CLI_SUCCESS && *loss)
    progress_note(progress, "step %" PRId64 "  validation %.4f nats/char  %.4f bits/char%s%s", step,
                  measured->nats, measured->nats / M_LN2, improved ? "  best so far: " : "",
                  improved ? run->settings->out : "");
  return exit_code;
}
