/* SPDX-License-Identifier: Apache-2.0 */
#include "training_start.h"

#include <inttypes.h>
#include <math.h>
#include <unistd.h>

static void print_memory(size_t bytes) {
  const bool giga = bytes >= (size_t)1 << 30;
  printf("memory   %.1f %s\n", (double)bytes / (giga ? 1 << 30 : 1 << 20), giga ? "GiB" : "MiB");
}

/* ": lstm, 2 x 512, 4000 steps, 1.2345 nats/char", as far as the files say it. */
static void print_about(const struct training_run *run) {
  const char *const paths[] = {run->replaced_state.path, run->replaced_model.path};
  gk_language_file about;
  for (int i = 0; i < 2; ++i) {
    if (!paths[i] || gk_language_file_describe(paths[i], &about) != GK_OK)
      continue;
    char network[CLI_NETWORK_TEXT];
    cli_network_text(&about.model.network, network);
    printf(": %s", network);
    if (about.trainer)
      printf(", %" PRId64 " step%s", about.step, about.step == 1 ? "" : "s");
    if (about.trainer && isfinite(about.best_loss))
      printf(", %.4f nats/char", about.best_loss);
    gk_free(about.hidden_sizes);
    return;
  }
}

static void print_replaced(const struct training_run *run) {
  const struct replaced_file *model = &run->replaced_model, *state = &run->replaced_state;
  const struct replaced_file *first = model->path ? model : state;
  if (!first->path)
    return;
  printf("replaces %s", first == model ? run->settings->out : run->state_path);
  print_about(run);
  printf("; to be kept as %s%s%s%s\n", first->old, first == model && state->path ? " and " : "",
         first == model && state->path ? state->old : "",
         access(first->old, F_OK) == 0 ? ", in place of what was kept before" : "");
}

void training_print_model(const struct training_run *run, const gk_language_model_desc *model,
                          const gk_training_size *size) {
  char options[CLI_NETWORK_TEXT];
  printf("text     %s: %" PRId64 " characters for training, %" PRId64 " for validation, %" PRId64
         " different %s\n",
         run->text_name, size->training_characters, size->validation_characters, size->symbols,
         model->utf8 ? "code points" : "bytes");
  cli_network_text(&model->network, options);
  printf("model    %s, embedding %" PRId64 ": %" PRId64 " weights\n", options, model->network.input_size,
         size->parameters);
  if (size->bytes)
    print_memory(size->bytes);
  print_replaced(run);
  if (run->progress.log_replaces)
    printf("replaces %s: the log of an earlier run\n", run->settings->log);
}

void training_print_resumed_model(const struct training_run *run) {
  const gk_language_model *model = gk_language_trainer_model(run->trainer);
  gk_language_progress progress;
  gk_language_trainer_progress(run->trainer, &progress);
  gk_training_size size = {.training_characters = progress.training_characters,
                           .validation_characters = progress.validation_characters,
                           .parameters = gk_language_model_parameter_count(model)};
  gk_language_model_symbols(model, &size.symbols);
  training_print_model(run, gk_language_model_description(model), &size);
  if (run->best_missing)
    printf("missing  %s: the model with the lowest loss from here on gets this name\n", run->settings->out);
}

void training_print_plan(const struct training_run *run) {
  const gk_training_desc *training = gk_language_trainer_description(run->trainer);
  const gk_rnn_desc *network =
      &gk_language_model_description(gk_language_trainer_model(run->trainer))->network;
  const struct training_progress *progress = &run->progress;
  char validated[64] = "";
  gk_language_progress done;
  gk_language_trainer_progress(run->trainer, &done);
  if (progress->validation_characters)
    snprintf(validated, sizeof validated, ", validated every %" PRId64, run->eval_every);
  printf("plan     %" PRId64 " step%s of %" PRId64 " x %" PRId64 " characters (%.2f epochs)%s, seed %" PRIu64
         "\n",
         progress->steps, progress->steps == 1 ? "" : "s", training->batch, training->time,
         (double)progress->steps / (double)progress->steps_per_epoch, validated, training->seed);
  if (run->settings->resume)
    printf("resumes  after step %" PRId64 ", learning rate %g\n", done.step, done.learning_rate);
  printf("machine  %s on %d thread%s, at most %.0f GFLOP/s\n", gk_isa_name(network->isa), network->threads,
         network->threads == 1 ? "" : "s", progress->peak_gflops);
}
