/* SPDX-License-Identifier: Apache-2.0 */
#include "training_files.h"
#include "replacement.h"
#include "runner_clock.h"
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

static const char old_suffix[] = ".old"; /* of what a new run replaces */

/* After a failed lstat or realpath. Any other error hides what may be there. */
static bool nothing_there(void) {
  return errno == ENOENT || errno == ENOTDIR;
}

/* Returns CLI_SUCCESS or the exit code. */
static int find_replaced(const struct training_run *run, const char *path, struct replaced_file *file) {
  struct stat status;
  const bool there = lstat(path, &status) == 0;
  if (there)
    file->path = S_ISLNK(status.st_mode) ? realpath(path, NULL) : strdup(path);
  if (!file->path && nothing_there())
    return CLI_SUCCESS;
  if (!file->path && errno != ENOMEM)
    return cli_error(run->command, "--out %s: %s cannot be kept: %s", run->settings->out, path,
                     strerror(errno));
  const size_t size = file->path ? strlen(file->path) + sizeof old_suffix : 0;
  file->old = file->path ? malloc(size) : NULL;
  if (!file->old)
    return cli_error(run->command, "out of memory"), CLI_FAILURE;
  snprintf(file->old, size, "%s%s", file->path, old_suffix);
  return CLI_SUCCESS;
}

static void remove_left_overs(const char *out) {
  char *resolved = realpath(out, NULL);
  replacement_clean(resolved ? resolved : out);
  free(resolved);
}

void training_free_replaced(struct training_run *run) {
  struct replaced_file *const files[] = {&run->replaced_model, &run->replaced_state};
  for (int i = 0; i < 2; ++i) {
    free(files[i]->path);
    free(files[i]->old);
  }
}

/* Nothing else has such a name. */
static bool state_is_damaged(const struct training_run *run) {
  gk_safetensors *state;
  const gk_status status = gk_safetensors_open(run->state_path, &state);
  if (status == GK_OK)
    gk_safetensors_close(state);
  return status == GK_ERROR_FORMAT;
}

static const char kept_suffix[] = ".step-"; /* of --keep-all: OUT.step-N */

static bool names_kept_model(const struct train_settings *settings, const char *path) {
  const size_t length = strlen(settings->out);
  return settings->keep_all && path && strncmp(path, settings->out, length) == 0 &&
         strncmp(path + length, kept_suffix, sizeof kept_suffix - 1) == 0;
}

/* Is it the name that a later run would give to what stands at `path`? */
static bool is_old_name(const char *name, const char *path) {
  const size_t length = strlen(path);
  return name && strncmp(name, path, length) == 0 && strcmp(name + length, old_suffix) == 0;
}

int training_check_outputs(struct training_run *run) {
  const struct train_settings *settings = run->settings;
  int exit_code = CLI_SUCCESS;
  if (!settings->resume)
    exit_code = find_replaced(run, settings->out, &run->replaced_model);
  if (exit_code == CLI_SUCCESS && !settings->resume)
    exit_code = find_replaced(run, run->state_path, &run->replaced_state);
  if (exit_code != CLI_SUCCESS)
    return exit_code;
  run->old_stands = run->replaced_model.path || run->replaced_state.path;
  const char *const inputs[] = {settings->file, settings->validation_file};
  const char *const outputs[] = {settings->out, run->state_path, run->replaced_model.old,
                                 run->replaced_state.old, settings->log};
  enum { OUTPUTS = sizeof outputs / sizeof *outputs, LOG = OUTPUTS - 1 };
  for (int i = 0; i < OUTPUTS; ++i)
    for (int j = 0; j < 2; ++j)
      if (cli_same_file(outputs[i], inputs[j]))
        return cli_error(run->command, "--%s %s: is the text itself", i == LOG ? "log" : "out", outputs[i]);
  for (int i = 0; i < LOG; ++i)
    if (cli_same_file(settings->log, outputs[i]) || (i < 2 && is_old_name(settings->log, outputs[i])))
      return cli_error(run->command, "--log %s: is the model's file", settings->log);
  const char *const others[] = {settings->file, settings->validation_file, settings->log};
  for (int i = 0; i < 3; ++i)
    if (names_kept_model(settings, others[i]))
      return cli_error(run->command, "--keep-all: %s has the name of a model that it writes", others[i]);
  if (!progress_check_log(&run->progress, settings->log, settings->resume))
    return CLI_BAD_INPUT;
  if (state_is_damaged(run))
    return cli_error(
        run->command,
        "--out %s: the state of an earlier run there is damaged (%s): remove it, or give another "
        "--out",
        settings->out, gk_last_error());
  for (int i = 0; i < 2; ++i)
    if (gk_safetensors_can_save(outputs[i]) != GK_OK)
      return cli_error(run->command, "--out %s", gk_last_error());
  for (int i = 2; i < LOG; ++i)
    if (outputs[i] && gk_safetensors_can_save(outputs[i]) != GK_OK)
      return cli_error(run->command, "--out %s: what stands there cannot be kept: %s", settings->out,
                       gk_last_error());
  remove_left_overs(settings->out);
  return CLI_SUCCESS;
}

/* ---- Keeping what is replaced ---- */

/* Says what is wrong, apart from a line of progress. */
static bool failed(struct training_run *run, enum training_save which, const char *what) {
  progress_line_clear(&run->progress.line);
  cli_error(run->command, "%s%s", what,
            which == SAVE_LAST ? "" : "; training goes on, the next save tries again");
  run->save_failed = true;
  return false;
}

/* -1, and errno: nobody can tell. */
static int is_to_be_kept(const struct replaced_file *file) {
  struct stat status;
  if (!file->path)
    return 0;
  if (lstat(file->path, &status) != 0)
    return nothing_there() ? 0 : -1;
  return !cli_same_file(file->path, file->old);
}

/* By a second name, so that the first leads to a whole file at every moment, and so does that of an older
 * generation; a file system without second names moves it. */
static bool keep_old_model(const struct replaced_file *file, const char *second) {
  const int kept = is_to_be_kept(file);
  if (kept <= 0)
    return kept == 0;
  return rename(link(file->path, second) == 0 ? second : file->path, file->old) == 0;
}

static bool keep_old(struct training_run *run, enum training_save which, const char *second) {
  const struct replaced_file *file = &run->replaced_model;
  char reason[1024];
  bool kept = keep_old_model(file, second);
  if (kept) {
    file = &run->replaced_state;
    const int there = is_to_be_kept(file);
    kept = there == 0 || (there > 0 && rename(file->path, file->old) == 0);
  }
  if (!kept) {
    snprintf(reason, sizeof reason, "%s: cannot be kept as %s: %s", file->path, file->old, strerror(errno));
    return failed(run, which, reason);
  }
  return true;
}

/* ---- Saving ---- */

/* Whether the file is a model, or a state, of the weights as they are now. */
static bool holds_newest(const struct training_run *run, const char *path) {
  const gk_language_model *newest = gk_language_trainer_model(run->trainer);
  gk_language_model *found;
  if (gk_language_model_load(path, NULL, &found) != GK_OK)
    return false;
  const int64_t count = gk_language_model_parameter_count(newest);
  const bool same = gk_language_model_parameter_count(found) == count &&
                    memcmp(gk_language_model_parameters(found), gk_language_model_parameters(newest),
                           (size_t)count * sizeof(float)) == 0;
  gk_language_model_destroy(found);
  return same;
}

/* What a path leads to before a save: one that has got there leads to another file. */
struct before_save {
  bool there;
  struct stat file;
};

static struct before_save look_before(const char *path) {
  struct before_save before;
  before.there = stat(path, &before.file) == 0;
  return before;
}

static bool leads_elsewhere(const char *path, const struct before_save *before) {
  struct stat now;
  return stat(path, &now) == 0 &&
         !(before->there && now.st_ino == before->file.st_ino && now.st_dev == before->file.st_dev);
}

/* After a save to `path`, which is to get the place of `name`. One whose folder cannot be synced fails, and
 * the new file is there: then the run has lost nothing, and says once that a power cut could. */
static bool is_saved(struct training_run *run, enum training_save which, gk_status status, const char *path,
                     const char *name, const struct before_save *before) {
  if (status == GK_OK)
    return true;
  char reason[1024];
  const char *message = cli_message(status);
  const size_t length = strlen(path);
  const bool named = strncmp(message, path, length) == 0;
  snprintf(reason, sizeof reason, "%s%s", named ? name : "", named ? message + length : message);
  if (status != GK_ERROR_IO || !leads_elsewhere(path, before))
    return failed(run, which, reason);
  if (!run->unsynced) {
    progress_line_clear(&run->progress.line);
    cli_error(run->command,
              "warning: %s; the file there is the newest all the same, if no power cut undoes it", reason);
  }
  run->unsynced = true;
  return true;
}

static bool write_model(struct training_run *run, enum training_save which, const char *path,
                        const char *name) {
  const struct before_save before = look_before(path);
  const gk_status status = gk_language_model_save(gk_language_trainer_model(run->trainer), path);
  return is_saved(run, which, status, path, name, &before);
}

/* With the permissions of what it replaces. */
static bool write_new(struct training_run *run, enum training_save which, const char *path,
                      const char *new_file) {
  char reason[1024];
  struct stat old;
  if (!write_model(run, which, new_file, path))
    return false;
  if (stat(path, &old) == 0 ? chmod(new_file, old.st_mode & 07777) == 0 : nothing_there())
    return true;
  snprintf(reason, sizeof reason, "%s: cannot keep the permissions: %s", path, strerror(errno));
  return failed(run, which, reason);
}

/* The new model is whole before anything moves that it replaces: a full disk leaves all as it was. The old
 * state moves before the name leads to the new model: beside a model is its own state or none. */
static bool replace_old(struct training_run *run, enum training_save which) {
  const char *path = run->replaced_model.path ? run->replaced_model.path : run->settings->out;
  struct replacement beside;
  char reason[1024];
  const bool begun = replacement_begin(&beside, path);
  const bool ready =
      begun && write_new(run, which, path, beside.new_file) && keep_old(run, which, beside.second);
  const bool replaced = ready && rename(beside.new_file, path) == 0;
  if (!begun || (ready && !replaced)) {
    snprintf(reason, sizeof reason, "%s: cannot replace: %s", path, strerror(errno));
    failed(run, which, reason);
  }
  if (begun)
    replacement_end(&beside);
  run->old_stands = !replaced;
  return replaced;
}

static bool save_model(struct training_run *run, enum training_save which) {
  const char *out = run->settings->out;
  const bool saved = run->old_stands ? replace_old(run, which) : write_model(run, which, out, out);
  run->best_saved = run->best_saved || saved;
  return saved;
}

/* Not beside the model of another run, whose replacement has failed. A link to a state that was moved leads
 * nowhere, so that it is not followed again. */
static bool save_state(struct training_run *run, enum training_save which) {
  if (run->old_stands)
    return false;
  const char *path = run->replaced_state.path ? run->replaced_state.path : run->state_path;
  gk_language_progress progress;
  gk_language_trainer_progress(run->trainer, &progress);
  const struct before_save before = look_before(path);
  const gk_status status = gk_language_trainer_save(run->trainer, path);
  if (!is_saved(run, which, status, path, path, &before))
    return false;
  run->saved_step = progress.step;
  return true;
}

int training_unsaved(const struct training_run *run) {
  gk_language_progress progress;
  gk_language_trainer_progress(run->trainer, &progress);
  if (run->saved_step == 0)
    cli_error(run->command, "%s is not saved: --resume cannot go on with this run", run->state_path);
  else if (run->saved_step < progress.step)
    cli_error(run->command, "%s is that of step %" PRId64 "; --resume goes on there", run->state_path,
              run->saved_step);
  else if (run->model_missed)
    cli_error(run->command, "the model of step %" PRId64 " is in %s only; --resume saves it as %s",
              progress.step, run->state_path, run->settings->out);
  return CLI_FAILURE;
}

int training_diverged(const struct training_run *run) {
  if (run->saved_step)
    cli_error(run->command, "%s is that of step %" PRId64 "; --resume with a lower --lr goes on there",
              run->state_path, run->saved_step);
  else
    cli_error(run->command, "nothing of this run is saved");
  return CLI_FAILURE;
}

int training_check_weights(struct training_run *run, int64_t step) {
  const gk_language_model *model = gk_language_trainer_model(run->trainer);
  const int64_t count = gk_language_model_parameter_count(model);
  const float *weights = gk_language_model_parameters(model);
  for (int64_t i = 0; i < count; ++i)
    if (!isfinite(weights[i])) {
      progress_note(&run->progress, "stopped after step %" PRId64, step);
      cli_error(run->command, "step %" PRId64 ": a weight is not finite", step);
      return training_diverged(run);
    }
  return CLI_SUCCESS;
}

bool training_save(struct training_run *run, enum training_save which) {
  gk_language_progress progress;
  gk_language_trainer_progress(run->trainer, &progress);
  run->save_failed = false;
  if (!isfinite(progress.best_loss))
    save_model(run, which);
  save_state(run, which);
  return !run->save_failed;
}

static bool keep_model(struct training_run *run, int64_t step, enum training_save which) {
  const size_t size = strlen(run->settings->out) + 32;
  char *path = malloc(size);
  if (!path)
    return failed(run, which, "out of memory");
  snprintf(path, size, "%s%s%" PRId64, run->settings->out, kept_suffix, step);
  const bool saved = write_model(run, which, path, path);
  free(path);
  return saved;
}

int training_checkpoint(struct training_run *run, const gk_training_step *report, double seconds) {
  struct training_progress *progress = &run->progress;
  const int64_t step = report->step;
  const enum training_save which = step == progress->steps ? SAVE_LAST : SAVE_NOW;
  gk_language_loss loss;
  gk_language_progress before;
  gk_language_trainer_progress(run->trainer, &before);
  bool improved = true;
  const bool validates = before.validation_characters > 0;
  const double start = clock_seconds();
  const gk_status status = validates ? gk_language_trainer_validate(run->trainer, &loss, &improved) : GK_OK;
  /* Before the state is saved: a run that goes on from there has the line. */
  progress_log(progress, report, seconds, validates && status == GK_OK ? &loss : NULL);
  if (status != GK_OK)
    return cli_status(run->command, status);
  if (validates && !isfinite(loss.nats)) {
    progress_note(progress, "stopped after step %" PRId64, step);
    cli_error(run->command, "step %" PRId64 ": the loss on the validation text is not finite", step);
    return training_diverged(run);
  }
  if (validates)
    progress->validation_seconds = clock_seconds() - start;
  run->save_failed = false;
  const bool best_saved = improved && save_model(run, which);
  if (improved && !best_saved)
    gk_language_trainer_set_best(run->trainer, before.best_loss, before.best_step);
  run->model_missed = improved && !best_saved;
  if (run->settings->keep_all)
    keep_model(run, step, which);
  save_state(run, which);
  if (validates)
    progress_note(progress, "step %" PRId64 "  validation %.4f nats/char  %.4f bits/char%s%s", step,
                  loss.nats, loss.nats / M_LN2, best_saved ? "  best so far: " : "",
                  best_saved ? run->settings->out : "");
  return CLI_SUCCESS;
}

/* Not one more of a plateau's measurements: the state has had that of this step. */
static gk_status validate_again(struct training_run *run, bool *improved) {
  gk_learning_rate_desc rate, constant;
  gk_language_loss loss;
  gk_language_trainer_learning_rate(run->trainer, &rate);
  constant = rate;
  constant.decay = GK_DECAY_CONSTANT;
  gk_status status = gk_language_trainer_set_learning_rate(run->trainer, &constant);
  if (status == GK_OK) {
    progress_line_draw(&run->progress.line, "validating the last step ...");
    status = gk_language_trainer_validate(run->trainer, &loss, improved);
    progress_line_clear(&run->progress.line);
  }
  return status == GK_OK ? gk_language_trainer_set_learning_rate(run->trainer, &rate) : status;
}

int training_save_missed(struct training_run *run, bool *saved) {
  gk_language_progress progress;
  bool missed = false;
  *saved = false;
  gk_language_trainer_progress(run->trainer, &progress);
  if (!progress.validation_characters) {
    missed = !holds_newest(run, run->settings->out);
  } else if (progress.best_step != progress.step) {
    const gk_status status = validate_again(run, &missed);
    if (status != GK_OK)
      return cli_status(run->command, status);
  }
  if (!missed)
    return CLI_SUCCESS;
  run->save_failed = false;
  *saved = save_model(run, SAVE_LAST) && save_state(run, SAVE_LAST);
  return *saved ? CLI_SUCCESS : CLI_FAILURE;
}
