/* SPDX-License-Identifier: Apache-2.0 */
#include "builtin_corpus.h"
#include "commands.h"
#include "json_number.h"
#include "text_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct settings {
  const char *model, *file;
  int isa;
  int64_t threads;
  bool json;
};

static const cli_option options[] = {
    {.name = "json",
     .type = CLI_FLAG,
     .offset = offsetof(struct settings, json),
     .help = "print a JSON object"},
    {.name = "isa",
     .type = CLI_ISA,
     .offset = offsetof(struct settings, isa),
     .fallback = "auto",
     .help = "instruction set; never changes a result"},
    {.name = "threads",
     .type = CLI_INTEGER,
     .offset = offsetof(struct settings, threads),
     .fallback = "0",
     .maximum = CLI_MOST_THREADS,
     .help = "threads, 0: all that this process may use; never changes a result"},
    {0}};

static const cli_positional positionals[] = {
    {"MODEL", offsetof(struct settings, model), true, "a model's file, from gatekern train lm"},
    {"FILE", offsetof(struct settings, file), false,
     "the text, - for standard input; without it, the built-in validation text (C sources)"},
    {0}};

static const cli_command command = {
    .name = "eval",
    .summary = "Measures how well a language model predicts a text: the mean cross-entropy of each character "
               "given those before it. The text is read as streams of at least 2048 characters.",
    .options = options,
    .positionals = positionals,
    .examples = "  gatekern eval model.safetensors book.txt\n"
                "  gatekern eval model.safetensors --json\n",
    .settings_size = sizeof(struct settings)};

static void print_loss(const struct settings *settings, const gk_language_loss *loss) {
  const double bits = loss->nats / M_LN2;
  if (settings->json) {
    printf("{\"characters\": %" PRId64 ", ", loss->characters);
    print_json_number(stdout, "nats_per_character", loss->nats);
    printf(", ");
    print_json_number(stdout, "bits_per_character", bits);
    printf(", ");
    print_json_number(stdout, "perplexity", exp(loss->nats));
    printf("}\n");
  } else {
    printf("%.4f nats/char  %.4f bits/char  perplexity %.3f  (%" PRId64 " characters of %s)\n", loss->nats,
           bits, exp(loss->nats), loss->characters, settings->file ? settings->file : "the built-in text");
  }
}

static int evaluate(const struct settings *settings, const gk_text *text) {
  gk_language_model_desc plan = GK_LANGUAGE_MODEL_DESC_INIT;
  plan.isa = (gk_isa)settings->isa;
  plan.threads = (int)settings->threads;
  gk_language_model *model;
  gk_language_loss loss;
  gk_status status = gk_language_model_load(settings->model, &plan, &model);
  if (status != GK_OK)
    return cli_input_status(&command, status);
  status = gk_language_model_evaluate(model, text, &loss);
  gk_language_model_destroy(model);
  if (status != GK_OK)
    return cli_text_status(&command, status, settings->file ? settings->file : "the built-in text", NULL);
  print_loss(settings, &loss);
  return CLI_SUCCESS;
}

int run_eval(int argc, char **argv) {
  struct settings settings;
  int exit_code;
  if (!cli_parse(&command, argc, argv, &settings, &exit_code))
    return exit_code;
  gk_text text = {.data = gk_builtin_corpus_valid, .bytes = gk_builtin_corpus_valid_size};
  if (settings.file && !cli_read_text(&command, settings.file, &text))
    return CLI_BAD_INPUT;
  exit_code = evaluate(&settings, &text);
  if (settings.file)
    free((void *)text.data);
  return exit_code;
}
