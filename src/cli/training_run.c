/* SPDX-License-Identifier: Apache-2.0 */
#include "training_run.h"
#include "runner_clock.h"
#include "text_file.h"
#include "training_files.h"
#include "training_resume.h"
#include "training_start.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEFAULT_STEPS = 2000, FEWEST_VALIDATIONS = 10, MOST_VALIDATIONS = 25 };
enum { UNPROFILED = 3 };                     /* first steps, which pay for pages and threads */
static const double peak_seconds = 0.1;      /* for the measurement of the machine's limit */
static const double validations_share = 0.2; /* of --minutes, at most, but one for the last step */
static const double steps_share = 0.5;       /* of --minutes, at least: it is training that was asked for */

/* ---- Signals ---- */

static volatile sig_atomic_t stop_signal, setting_up;
static bool at_terminal;
#define NOTHING_SAVED "before the first step: nothing saved"

/* A network may need long before its first step, and there is nothing that could be lost. */
static void leave_setup(int signal_number) {
  static const char erase[] = "\r\033[K", interrupted[] = "interrupted " NOTHING_SAVED "\n";
  if (at_terminal && write(STDOUT_FILENO, erase, sizeof erase - 1) < 0)
    _exit(128 + signal_number);
  const ssize_t written = write(STDOUT_FILENO, interrupted, sizeof interrupted - 1);
  (void)written; /* nobody is left to tell */
  _exit(128 + signal_number);
}

static void handle_stop(int signal_number) {
  if (setting_up)
    leave_setup(signal_number);
  if (stop_signal && signal_number != SIGPIPE)
    _exit(128 + signal_number); /* asked twice: at once */
  stop_signal = signal_number;
}

static void catch_signals(void) {
  setting_up = true;
  at_terminal = isatty(STDOUT_FILENO);
  struct sigaction action = {.sa_handler = handle_stop, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGPIPE, &action, NULL); /* nobody reads the progress any more */
  struct sigaction hangup;
  if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* not under nohup */
    sigaction(SIGHUP, &action, NULL);
  signal(SIGXFSZ, SIG_IGN); /* a write beyond the limit of file sizes fails instead of killing */
}

/* ---- Opening ---- */

static int64_t embedding_size(const struct train_settings *settings) {
  const gk_rnn_desc *network = &settings->network;
  if (settings->embed)
    return settings->embed;
  if (settings->tied && network->projection_size)
    return network->projection_size;
  return settings->hidden.sizes[settings->tied ? settings->hidden.count - 1 : 0];
}

static gk_language_model_desc describe_model(const struct train_settings *settings) {
  gk_language_model_desc desc = GK_LANGUAGE_MODEL_DESC_INIT;
  desc.network = settings->network;
  desc.network.cell = (gk_cell)settings->cell;
  desc.network.input_size = embedding_size(settings);
  desc.network.isa = (gk_isa)settings->isa;
  desc.network.threads = (int)settings->threads;
  desc.tied = settings->tied;
  desc.utf8 = settings->utf8;
  return desc;
}

static gk_training_desc describe_training(const struct train_settings *settings) {
  gk_training_desc desc = settings->training;
  gk_optimizer_desc usual;
  if (!cli_given("weight-decay") && gk_optimizer_defaults(desc.optimizer, &usual) == GK_OK)
    desc.weight_decay = usual.weight_decay;
  return desc;
}

static int resume(struct training_run *run) {
  const gk_language_model_desc plan = describe_model(run->settings);
  progress_line_draw(&run->progress.line, "reading the state of the run ...");
  const gk_status status =
      gk_language_trainer_resume(run->state_path, &plan, &run->text, run->validation, &run->trainer);
  progress_line_clear(&run->progress.line);
  if (status != GK_OK && status != GK_ERROR_MEMORY) {
    cli_text_status(run->command, status, run->text_name, run->validation_name);
    return CLI_BAD_INPUT;
  }
  if (status != GK_OK)
    return cli_status(run->command, status);
  /* A loss that is no longer the lowest must not keep a model from being saved where there is none. */
  run->best_missing = access(run->settings->out, F_OK) != 0 && errno == ENOENT;
  if (run->best_missing)
    gk_language_trainer_set_best(run->trainer, INFINITY, 0);
  const gk_training_desc training = describe_training(run->settings);
  return training_check_resumed(run, &plan, &training);
}

static int open_trainer(struct training_run *run) {
  gk_language_trainer_destroy(run->trainer);
  run->trainer = NULL;
  if (run->settings->resume)
    return resume(run);
  const gk_language_model_desc model = describe_model(run->settings);
  const gk_training_desc training = describe_training(run->settings);
  progress_line_draw(&run->progress.line, "setting up the network ...");
  const gk_status status =
      gk_language_trainer_create(&model, &training, &run->text, run->validation, &run->trainer);
  progress_line_clear(&run->progress.line);
  return status == GK_OK ? CLI_SUCCESS
                         : cli_text_status(run->command, status, run->text_name, run->validation_name);
}

/* ---- How many steps ---- */

/* Between validations where nobody says how many steps. */
static int64_t usual_interval(int64_t steps, int64_t epoch, int64_t most_validations) {
  const int64_t fewest = most_validations < FEWEST_VALIDATIONS ? most_validations : FEWEST_VALIDATIONS;
  const int64_t shortest = (steps + most_validations - 1) / most_validations, longest = steps / fewest;
  const int64_t every = epoch < longest ? epoch : longest;
  return every > shortest ? every : shortest > 0 ? shortest : 1;
}

/* A resumed run goes on with its own. One that is to become longer does so too where that is not the usual
 * one (the user asked for it, or --minutes for fewer), and where a plateau has measured by it. 0: the usual
 * one. `rate` is as the run was saved. */
static int64_t given_interval(const struct training_run *run, const gk_learning_rate_desc *rate,
                              int64_t epoch) {
  const struct train_settings *settings = run->settings;
  if (settings->eval_every || !settings->resume)
    return settings->eval_every;
  const bool usual = rate->interval == usual_interval(rate->steps, epoch, MOST_VALIDATIONS);
  const bool longer = settings->steps || settings->epochs || settings->minutes > 0;
  return longer && usual && rate->decay != GK_DECAY_PLATEAU ? 0 : rate->interval;
}

/* Of a step and of a validation, in seconds; the steps are to be thrown away. */
static gk_status measure_speed(struct training_run *run, double *a_step, double *validation) {
  const double trial = fmin(1.5, 0.05 * run->settings->minutes * 60), start = clock_seconds();
  double first = start, now = start;
  int64_t steps = 0;
  gk_status status = GK_OK;
  gk_training_step report;
  gk_language_progress progress;
  while (status == GK_OK && (steps < 3 || now - start < trial)) {
    status = gk_language_trainer_step(run->trainer, &report);
    now = clock_seconds();
    if (steps++ == 0)
      first = now; /* the first step pays for pages and threads */
  }
  *a_step = (now - first) / (double)(steps - 1);
  *validation = 0;
  gk_language_trainer_progress(run->trainer, &progress);
  if (status == GK_OK && progress.validation_characters) {
    gk_language_loss loss;
    status = gk_language_trainer_validate(run->trainer, &loss, NULL);
    *validation = clock_seconds() - now;
  }
  return status;
}

/* As many as fit into --minutes, validations included, which take no more than their share of it. */
static int64_t fit_steps(struct training_run *run, const gk_language_progress *progress, int *exit_code) {
  const double start = clock_seconds();
  double a_step, validation;
  progress_line_draw(&run->progress.line, "measuring the time of a step ...");
  const gk_status status = measure_speed(run, &a_step, &validation);
  run->progress.validation_seconds = validation;
  progress_line_clear(&run->progress.line);
  *exit_code = status == GK_OK ? open_trainer(run) : cli_status(run->command, status);
  if (*exit_code != CLI_SUCCESS)
    return 0;
  const double budget = 60 * run->settings->minutes, left = fmax(0, budget - (clock_seconds() - start));
  double fitting;
  if (run->eval_every) {
    fitting = left / (a_step + validation / (double)run->eval_every);
  } else {
    const double epochs = left / a_step / (double)progress->steps_per_epoch;
    const double usual = fmin(fmax(FEWEST_VALIDATIONS, epochs), MOST_VALIDATIONS);
    const double affordable = fmax(1, validations_share * left / fmax(validation, 1e-9));
    run->most_validations = (int64_t)fmin(affordable, MOST_VALIDATIONS);
    fitting = (left - validation * fmin(usual, (double)run->most_validations)) / a_step;
  }
  return progress->step + (int64_t)fmax(1, fmax(fitting, steps_share * budget / a_step));
}

/* Refuses what the schedule does not read. */
static int check_schedule(const struct training_run *run, gk_decay decay, int64_t validation_characters) {
  const struct {
    const char *name;
    bool read;
    const char *readers;
  } options[] = {{"lr-min", decay != GK_DECAY_CONSTANT, "cosine, step or plateau"},
                 {"lr-every", decay == GK_DECAY_STEP, "step"},
                 {"lr-factor", decay == GK_DECAY_STEP || decay == GK_DECAY_PLATEAU, "step or plateau"},
                 {"lr-patience", decay == GK_DECAY_PLATEAU, "plateau"}};
  for (size_t i = 0; i < sizeof options / sizeof *options; ++i)
    if (cli_given(options[i].name) && !options[i].read)
      return cli_error(run->command, "--%s: only for --lr-schedule %s, not %s", options[i].name,
                       options[i].readers, gk_decay_name(decay));
  if (decay == GK_DECAY_PLATEAU && !validation_characters)
    return cli_error(run->command, "--lr-schedule plateau: follows the validation loss, and there is no text "
                                   "for validation");
  return CLI_SUCCESS;
}

/* What a new run will be is checked and said before memory is taken for it, which can take long. */
static int announce(struct training_run *run) {
  const gk_language_model_desc model = describe_model(run->settings);
  const gk_training_desc training = describe_training(run->settings);
  gk_training_size size;
  const gk_status status = gk_language_trainer_size(&model, &training, &run->text, run->validation, &size);
  if (status != GK_OK)
    return cli_text_status(run->command, status, run->text_name, run->validation_name);
  const int exit_code = check_schedule(run, training.decay, size.validation_characters);
  if (exit_code != CLI_SUCCESS)
    return exit_code;
  if (!progress_open_log(&run->progress, run->settings->log))
    return CLI_BAD_INPUT;
  training_print_model(run, &model, &size);
  return CLI_SUCCESS;
}

int training_begin(struct training_run *run) {
  catch_signals();
  progress_begin(&run->progress);
  const int exit_code = run->settings->resume ? CLI_SUCCESS : announce(run);
  return exit_code == CLI_SUCCESS ? open_trainer(run) : exit_code;
}

/* Sets the number of steps and the learning rate's course. */
static int plan_steps(struct training_run *run, int64_t *steps) {
  const struct train_settings *settings = run->settings;
  const gk_training_desc *desc = gk_language_trainer_description(run->trainer);
  gk_language_progress progress;
  gk_learning_rate_desc rate;
  gk_language_trainer_learning_rate(run->trainer, &rate);
  gk_language_trainer_progress(run->trainer, &progress);
  run->eval_every = given_interval(run, &rate, progress.steps_per_epoch);
  for (const gk_training_option *option = gk_training_option_after(NULL); option;
       option = gk_training_option_after(option))
    if (option->rate_offset && option->name && cli_given(option->name))
      memcpy((char *)&rate + option->rate_offset, (const char *)&settings->training + option->offset,
             option->bytes);
  int exit_code = check_schedule(run, rate.decay, progress.validation_characters);
  if (exit_code != CLI_SUCCESS)
    return exit_code;
  if (settings->steps)
    *steps = settings->steps;
  else if (settings->epochs)
    *steps = settings->epochs * progress.steps_per_epoch;
  else if (settings->minutes > 0)
    *steps = fit_steps(run, &progress, &exit_code);
  else
    *steps = desc->steps ? desc->steps : DEFAULT_STEPS;
  if (exit_code != CLI_SUCCESS)
    return exit_code;
  rate.steps = *steps;
  return cli_status(run->command, gk_language_trainer_set_learning_rate(run->trainer, &rate));
}

/* ---- The run ---- */

/* On the other stream if standard output is what failed. */
static void say_last(struct training_progress *progress, const char *text) {
  if (ferror(stdout))
    cli_error(progress->command, "%s", text);
  else
    progress_note(progress, "%s", text);
}

/* By a signal, or since nobody can read what the run says. */
static int stopped(struct training_run *run, struct training_progress *progress) {
  gk_language_progress state;
  const int exit_code = stop_signal ? 128 + (int)stop_signal : CLI_FAILURE;
  if (run->steps == 0) {
    say_last(progress, stop_signal ? "interrupted " NOTHING_SAVED : "stopped " NOTHING_SAVED);
    return exit_code;
  }
  gk_language_trainer_progress(run->trainer, &state);
  if (training_check_weights(run, state.step) != CLI_SUCCESS || !training_save(run, SAVE_LAST))
    return CLI_FAILURE;
  char text[128];
  snprintf(text, sizeof text, "%s after step %" PRId64 ": saved; the same command with --resume goes on",
           stop_signal ? "interrupted" : "stopped", state.step);
  say_last(progress, text);
  return exit_code;
}

/* Who guesses every symbol alike has log(symbols); a network that has only begun is near it. */
static void warn_of_guessing(const struct training_run *run, double loss) {
  int64_t symbols = 0;
  gk_language_model_symbols(gk_language_trainer_model(run->trainer), &symbols);
  const double guess = log((double)symbols);
  if (isfinite(loss) && loss > guess + 1)
    cli_error(run->command,
              "warning: worse than guessing, which has %.4f nats/char: a lower --lr or --clip-norm may help",
              guess);
}

static int finished(struct training_run *run, struct training_progress *progress, double seconds) {
  gk_language_progress state;
  gk_language_trainer_progress(run->trainer, &state);
  const int total = (int)(seconds + 0.5);
  if (isfinite(state.best_loss))
    progress_note(progress,
                  "done in %d:%02d: %.4f nats/char (%.4f bits/char) on the validation text at step %" PRId64
                  ", %s",
                  total / 60, total % 60, state.best_loss, state.best_loss / M_LN2, state.best_step,
                  run->settings->out);
  else
    progress_note(progress, "done in %d:%02d%s%s", total / 60, total % 60, run->best_saved ? ": " : "",
                  run->best_saved ? run->settings->out : "");
  warn_of_guessing(run, state.best_loss);
  if (run->save_failed)
    return training_unsaved(run);
  printf("try      gatekern sample %s\n", run->settings->out);
  return CLI_SUCCESS;
}

/* Medians over the newest steps. */
static void print_profile(struct training_run *run) {
  const int64_t profiled = run->steps - UNPROFILED;
  const int64_t count = profiled < PROFILED_STEPS ? profiled : PROFILED_STEPS;
  double seconds[GK_TRAINING_PARTS], total = 0;
  if (profiled < 1)
    return;
  for (int part = 0; part < GK_TRAINING_PARTS; part++)
    total += seconds[part] = clock_median(run->seconds[part], count);
  printf("profile  medians of %" PRId64 " steps\n", count);
  for (int part = 0; part < GK_TRAINING_PARTS; part++)
    printf("  %-22s %10.3f ms %6.2f %%\n", gk_training_part_name((gk_training_part)part), 1e3 * seconds[part],
           100 * seconds[part] / total);
  const double beside = total - seconds[GK_PART_FORWARD] - seconds[GK_PART_BACKWARD] - seconds[GK_PART_PACK];
  printf("  %-22s %10.3f ms %6.2f %%\n", "beside layers and pack", 1e3 * beside, 100 * beside / total);
}

/* A validation may have lowered the rate. */
static void note_plateau(struct training_run *run, const gk_training_step *step) {
  gk_learning_rate_desc rate;
  gk_language_progress next;
  gk_language_trainer_learning_rate(run->trainer, &rate);
  gk_language_trainer_progress(run->trainer, &next);
  if (rate.decay == GK_DECAY_PLATEAU && next.learning_rate < step->learning_rate)
    progress_note(&run->progress, "step %" PRId64 "  the learning rate is %g from here on", step->step,
                  next.learning_rate);
}

/* One step, and what is due after it. */
static int advance(struct training_run *run, struct training_progress *progress, double *next_save) {
  gk_training_step step;
  const double start = clock_seconds();
  const gk_status status = gk_language_trainer_step(run->trainer, &step);
  const double seconds = clock_seconds() - start;
  if (status != GK_OK) {
    progress_note(progress, "stopped before step %" PRId64, step.step);
    cli_status(run->command, status);
    return isfinite(step.loss) && isfinite(step.gradient_norm) ? CLI_FAILURE : training_diverged(run);
  }
  for (int part = 0; part < GK_TRAINING_PARTS && run->steps >= UNPROFILED; part++)
    run->seconds[part][(run->steps - UNPROFILED) % PROFILED_STEPS] = step.seconds[part];
  run->steps++;
  int exit_code = CLI_SUCCESS;
  const bool due = step.step % run->eval_every == 0 || step.step == progress->steps;
  const bool save = run->settings->save_minutes > 0 && clock_seconds() >= *next_save;
  if (due || save)
    exit_code = training_check_weights(run, step.step);
  if (exit_code == CLI_SUCCESS && due) {
    progress->validations_left = (progress->steps - step.step) / run->eval_every;
    exit_code = training_checkpoint(run, &step, seconds);
    note_plateau(run, &step);
  } else {
    progress_log(progress, &step, seconds, NULL);
    if (exit_code == CLI_SUCCESS && save)
      training_save(run, SAVE_NOW);
  }
  if (due || clock_seconds() >= *next_save)
    *next_save = clock_seconds() + 60 * run->settings->save_minutes;
  progress_step(progress, &step, seconds);
  return exit_code;
}

/* A run that goes on and has no step left. */
static int nothing_to_do(struct training_run *run, int64_t done, int64_t planned) {
  const struct train_settings *settings = run->settings;
  if (done > planned && settings->steps)
    return cli_error(run->command, "--steps %" PRId64 ": the run in %s has done %" PRId64 " already", planned,
                     run->state_path, done);
  if (done > planned && settings->epochs)
    return cli_error(run->command,
                     "--epochs %" PRId64 ": are %" PRId64 " steps, and the run in %s has done %" PRId64
                     " already",
                     settings->epochs, planned, run->state_path, done);
  bool saved;
  const int exit_code = training_save_missed(run, &saved);
  if (exit_code != CLI_SUCCESS)
    return exit_code;
  printf("already at step %" PRId64 " of %" PRId64 ": %s%s; a larger --steps goes on\n", done, planned,
         saved ? "its model was missing, and is now saved: " : "nothing to do", saved ? settings->out : "");
  return CLI_SUCCESS;
}

/* All but the steps themselves, from the plan to the first line. */
static int prepare(struct training_run *run, const gk_language_progress *state) {
  struct training_progress *progress = &run->progress;
  const gk_rnn_desc *desc = &gk_language_model_description(gk_language_trainer_model(run->trainer))->network;
  const gk_status measured =
      gk_measure_peak(desc->isa, desc->threads, peak_seconds, &progress->peak_gflops, NULL);
  if (measured != GK_OK)
    return cli_status(run->command, measured);
  progress->steps_per_epoch = state->steps_per_epoch;
  progress->validation_characters = state->validation_characters;
  gk_learning_rate_desc rate;
  gk_language_trainer_learning_rate(run->trainer, &rate);
  if (run->eval_every == 0)
    run->eval_every =
        run->most_validations
            ? usual_interval(progress->steps - state->step, state->steps_per_epoch, run->most_validations)
            : usual_interval(progress->steps, state->steps_per_epoch, MOST_VALIDATIONS);
  rate.interval = run->eval_every;
  const gk_status kept = gk_language_trainer_set_learning_rate(run->trainer, &rate);
  if (kept != GK_OK)
    return cli_status(run->command, kept);
  progress->validations_left = (progress->steps - state->step) / run->eval_every;
  if (run->settings->resume) {
    if (!progress_cut_log(progress, run->settings->log, state->step) ||
        !progress_open_log(progress, run->settings->log))
      return CLI_BAD_INPUT;
    training_print_resumed_model(run);
  }
  setting_up = false;
  training_print_plan(run);
  if (rate.warmup > progress->steps)
    cli_error(run->command,
              "warning: --lr-warmup is %" PRId64 " and --steps %" PRId64 ": the rate never reaches --lr, %g",
              rate.warmup, progress->steps, rate.learning_rate);
  return CLI_SUCCESS;
}

int training_loop(struct training_run *run) {
  struct training_progress *progress = &run->progress;
  gk_language_progress state;
  int exit_code = plan_steps(run, &progress->steps);
  if (exit_code != CLI_SUCCESS)
    return exit_code;
  gk_language_trainer_progress(run->trainer, &state);
  if (run->settings->resume && state.step >= progress->steps)
    return nothing_to_do(run, state.step, progress->steps);
  run->saved_step = state.step;
  exit_code = prepare(run, &state);
  const double start = clock_seconds();
  double next_save = start + 60 * run->settings->save_minutes;
  if (exit_code == CLI_SUCCESS)
    progress_start(progress, state.step);
  while (exit_code == CLI_SUCCESS && !stop_signal && !progress_failed(progress) &&
         state.step < progress->steps) {
    exit_code = advance(run, progress, &next_save);
    gk_language_trainer_progress(run->trainer, &state);
  }
  if (exit_code == CLI_SUCCESS)
    exit_code = state.step < progress->steps ? stopped(run, progress)
                                             : finished(run, progress, clock_seconds() - start);
  progress_line_end(&progress->line);
  if (run->settings->profile)
    print_profile(run);
  return exit_code;
}
