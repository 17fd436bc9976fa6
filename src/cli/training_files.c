/* SPDX-License-Identifier: Apache-2.0 */
#include "training_files.h"
#include "text_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int training_check_outputs(const struct training_run *run) {
  const struct train_settings *settings = run->settings;
  const char *const inputs[] = {settings->file, settings->validation_file};
  const char *const outputs[] = {settings->out, run->state_path, settings->log};
  const char *const names[] = {"--out", "--out", "--log"};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 2; ++j)
      if (cli_same_file(outputs[i], inputs[j]))
        return cli_error(run->command, "%s %s: is the text itself", names[i], outputs[i]);
  if (cli_same_file(settings->log, settings->out) || cli_same_file(settings->log, run->state_path))
    return cli_error(run->command, "--log %s: is the model's file", settings->log);
  for (int i = 0; i < 2; ++i)
    if (gk_safetensors_can_save(outputs[i]) != GK_OK)
      return cli_error(run->command, "--out %s", gk_last_error());
  return CLI_SUCCESS;
}

/* ---- Saving ---- */

int training_save_state(const struct training_run *run) {
  return cli_status(run->command, gk_language_trainer_save(run->trainer, run->state_path));
}

static int save_model(struct training_run *run, const char *path) {
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
