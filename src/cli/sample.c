/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "text_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct settings {
  const char *model, *prompt;
  double temperature;
  int64_t top_k, length, threads;
  uint64_t seed;
  int isa;
};

static const cli_option options[] = {
    {.name = "prompt",
     .type = CLI_TEXT,
     .offset = offsetof(struct settings, prompt),
     .help = "text to go on from; it is printed too (default: begin as after a line feed)"},
    {.name = "length",
     .type = CLI_INTEGER,
     .offset = offsetof(struct settings, length),
     .fallback = "500",
     .minimum = 1,
     .maximum = 1e12,
     .help = "characters to generate"},
    {.name = "temperature",
     .type = CLI_NUMBER,
     .offset = offsetof(struct settings, temperature),
     .fallback = "0.8",
     .minimum = 0,
     .maximum = 100,
     .help = "below 1 safer, above 1 bolder, 0: always the likeliest character"},
    {.name = "top-k",
     .type = CLI_INTEGER,
     .offset = offsetof(struct settings, top_k),
     .fallback = "0",
     .minimum = 0,
     .maximum = 1114112,
     .help = "choose among the K likeliest characters, 0: among all",
     .value = "K"},
    {.name = "seed",
     .type = CLI_SEED,
     .offset = offsetof(struct settings, seed),
     .fallback = "0",
     .help = "of the random choices: the same seed gives the same text on every machine"},
    {.name = "isa",
     .type = CLI_ISA,
     .offset = offsetof(struct settings, isa),
     .fallback = "auto",
     .help = "instruction set; never changes a result"},
    {.name = "threads",
     .type = CLI_INTEGER,
     .offset = offsetof(struct settings, threads),
     .fallback = "1",
     .maximum = CLI_MOST_THREADS,
     .help = "threads, 0: all that this process may use; never changes a result"},
    {0}};

static const cli_positional positionals[] = {
    {"MODEL", offsetof(struct settings, model), true, "a model's file, from gatekern train lm"}, {0}};

static const cli_command command = {
    .name = "sample",
    .summary = "Lets a language model write text, character by character, to standard output.",
    .options = options,
    .positionals = positionals,
    .examples = "  gatekern sample model.safetensors\n"
                "  gatekern sample model.safetensors --prompt 'static int ' --length 2000\n"
                "  gatekern sample model.safetensors --temperature 0.5 --top-k 20 --seed 7\n",
    .settings_size = sizeof(struct settings)};

static int write_failed(void) {
  cli_error(&command, "cannot write to standard output: %s", strerror(errno));
  clearerr(stdout);
  return CLI_FAILURE;
}

static int read_prompt(const char *text, const gk_language_model *model, gk_sampler *sampler) {
  const gk_text prompt = {.data = text, .bytes = strlen(text)};
  gk_known_text known = {0};
  const bool unknown =
      gk_language_model_keep_known(model, &prompt, NULL, &known) == GK_OK && known.unknown > 0;
  const gk_status status = gk_sampler_prompt(sampler, &prompt);
  return unknown
             ? cli_unknown_status(&command, status, "--prompt",
                                  "leave it out: the model knows only what the texts of its training have")
             : cli_status(&command, status);
}

static int generate(const struct settings *settings, const gk_language_model *model, gk_sampler *sampler) {
  if (settings->prompt) {
    const int exit_code = read_prompt(settings->prompt, model, sampler);
    if (exit_code != CLI_SUCCESS)
      return exit_code;
    fputs(settings->prompt, stdout);
  }
  for (int64_t i = 0; i < settings->length; ++i) {
    char bytes[4];
    int count;
    const gk_status status = gk_sampler_next(sampler, bytes, &count);
    if (status != GK_OK)
      return cli_status(&command, status);
    if (fwrite(bytes, 1, (size_t)count, stdout) != (size_t)count || fflush(stdout) != 0)
      return write_failed();
  }
  return putchar('\n') == EOF || fflush(stdout) != 0 ? write_failed() : CLI_SUCCESS;
}

int run_sample(int argc, char **argv) {
  struct settings settings;
  int exit_code;
  if (!cli_parse(&command, argc, argv, &settings, &exit_code))
    return exit_code;
  gk_language_model_desc plan = GK_LANGUAGE_MODEL_DESC_INIT;
  plan.network.isa = (gk_isa)settings.isa;
  plan.network.threads = (int)settings.threads;
  gk_language_model *model;
  gk_status status = gk_language_model_load(settings.model, &plan, &model);
  if (status != GK_OK)
    return cli_input_status(&command, status);
  gk_sampler_desc desc = GK_SAMPLER_DESC_INIT;
  desc.temperature = (float)settings.temperature;
  desc.top_k = settings.top_k;
  desc.seed = settings.seed;
  gk_sampler *sampler = NULL;
  status = gk_sampler_create(model, &desc, &sampler);
  exit_code = status == GK_OK ? generate(&settings, model, sampler) : cli_status(&command, status);
  gk_sampler_destroy(sampler);
  gk_language_model_destroy(model);
  return exit_code;
}
