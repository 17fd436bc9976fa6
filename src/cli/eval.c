/* SPDX-License-Identifier: Apache-2.0 */
#include "builtin_corpus.h"
#include "commands.h"
#include "json_number.h"
#include "progress_line.h"
#include "text_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct settings {
  const char *model, *file;
  int isa;
  int64_t threads, free_running;
  double temperature;
  uint64_t seed;
  bool skip_unknown, json;
};

static const cli_option options[] = {
    {.name = "free-running",
     .type = CLI_INTEGER,
     .offset = offsetof(struct settings, free_running),
     .fallback = "16",
     .minimum = 0,
     .maximum = 1 << 20,
     .value = "N",
     .help =
         "also measure the loss of runs of N characters in which the model reads its own choices instead of "
         "the text; 0: do not"},
    {.name = "temperature",
     .type = CLI_NUMBER,
     .offset = offsetof(struct settings, temperature),
     .fallback = "1",
     .minimum = 0,
     .maximum = 1000,
     .value = "T",
     .help = "of these choices; 0: always the likeliest character"},
    {.name = "seed",
     .type = CLI_SEED,
     .offset = offsetof(struct settings, seed),
     .fallback = "0",
     .help = "of these choices"},
    {.name = "skip-unknown",
     .type = CLI_FLAG,
     .offset = offsetof(struct settings, skip_unknown),
     .help =
         "leave out the characters of the text that the model does not know, which are those that are not "
         "in the texts of its training, and say how many"},
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
    .summary =
        "Measures how well a language model predicts a text: the mean cross-entropy of each character "
        "given those before it. The text is read as streams of at least 2048 characters. In training and "
        "here "
        "the characters before are those of the text (teacher forcing); when a model generates they are "
        "its own. What that costs is measured too: free-running, it reads its own choices for a few "
        "characters and is scored on the text's.",
    .options = options,
    .positionals = positionals,
    .examples = "  gatekern eval model.safetensors book.txt\n"
                "  gatekern eval model.safetensors --json\n",
    .settings_size = sizeof(struct settings)};

/* Characters of the longest run, which no stream of the text may have been long enough for: NAN beyond it. */
static int64_t longest_run(const struct settings *settings, const double *nats_at) {
  int64_t length = 0;
  while (length < settings->free_running && !isnan(nats_at[length]))
    ++length;
  return length;
}

static void print_json(const struct settings *settings, const gk_known_text *known,
                       const gk_language_loss *loss, const gk_free_running_loss *free_loss,
                       const double *nats_at) {
  printf("{\"characters\": %" PRId64 ", ", loss->characters);
  if (settings->skip_unknown)
    printf("\"skipped_characters\": %" PRId64 ", \"text_characters\": %" PRId64 ", ", known->unknown,
           known->characters);
  print_json_number(stdout, "nats_per_character", loss->nats);
  printf(", ");
  print_json_number(stdout, "bits_per_character", loss->nats / M_LN2);
  printf(", ");
  print_json_number(stdout, "perplexity", exp(loss->nats));
  if (free_loss) {
    const int64_t length = longest_run(settings, nats_at);
    printf(", \"free_running\": {\"length\": %" PRId64 ", ", length);
    print_json_number(stdout, "nats_per_character", free_loss->free_nats);
    printf(", \"nats_at\": [");
    for (int64_t t = 0; t < length; ++t)
      printf("%s%.9g", t ? ", " : "", nats_at[t]);
    printf("]}");
  }
  printf("}\n");
}

static void print_forced(const struct settings *settings, const gk_known_text *known,
                         const gk_language_loss *loss) {
  printf("%.4f nats/char  %.4f bits/char  perplexity %.3f  (%" PRId64 " characters of %s)\n", loss->nats,
         loss->nats / M_LN2, exp(loss->nats), loss->characters,
         settings->file ? settings->file : "the built-in text");
  if (settings->skip_unknown)
    printf("skipped %" PRId64 " of %" PRId64 " characters, which the model does not know\n", known->unknown,
           known->characters);
}

static void print_free(const struct settings *settings, const gk_free_running_loss *free_loss,
                       const double *nats_at) {
  const int64_t length = longest_run(settings, nats_at);
  printf("%.4f nats/char free-running, %+.4f: fed with its own choices in runs of %" PRId64 " characters",
         free_loss->free_nats, free_loss->free_nats - free_loss->forced_nats, length);
  if (length < settings->free_running)
    printf(", all that a stream of the text has (--free-running %" PRId64 ")", settings->free_running);
  printf("\nby distance from the text:");
  for (int64_t t = 1; t <= length; t *= 2)
    printf("  %" PRId64 ": %.4f", t, nats_at[t - 1]);
  printf("\n");
}

/* Where an evaluation is. */
struct watch {
  struct progress_line line;
  const char *what;
};

static void show(void *context, int64_t done, int64_t total, double nats) {
  struct watch *watch = context;
  char note[32] = "";
  if (done == 0)
    progress_line_begin(&watch->line, stderr, 0.2);
  else
    snprintf(note, sizeof note, "%.4f nats/char", nats);
  progress_line_count(&watch->line, watch->what, done, total, "characters", note);
}

/* The first result is printed before the second, which takes longer, begins. */
static gk_status measure(const struct settings *settings, gk_language_model *model, const gk_text *text,
                         const gk_known_text *known, double *nats_at) {
  gk_language_loss loss;
  gk_free_running_loss free_loss;
  gk_free_running_desc desc = GK_FREE_RUNNING_DESC_INIT;
  desc.length = settings->free_running;
  desc.temperature = (float)settings->temperature;
  desc.seed = settings->seed;
  struct watch watch = {.what = "eval"};
  gk_language_model_watch(model, show, &watch);
  gk_status status = gk_language_model_evaluate(model, text, &loss);
  progress_line_clear(&watch.line);
  if (status == GK_OK && !settings->json) {
    print_forced(settings, known, &loss);
    fflush(stdout);
  }
  watch.what = "eval free-running";
  if (status == GK_OK && nats_at)
    status = gk_language_model_evaluate_free_running(model, text, &desc, &free_loss, nats_at);
  progress_line_clear(&watch.line);
  gk_language_model_watch(model, NULL, NULL);
  if (status == GK_OK && settings->json)
    print_json(settings, known, &loss, nats_at ? &free_loss : NULL, nats_at);
  else if (status == GK_OK && nats_at)
    print_free(settings, &free_loss, nats_at);
  return status;
}

/* `kept` has room for the text, or is NULL: every character of it must be known. */
static int evaluate_text(const struct settings *settings, gk_language_model *model, const gk_text *text,
                         void *kept, double *nats_at) {
  const char *name = settings->file ? settings->file : "the built-in text (no FILE is given)";
  gk_known_text known;
  gk_status status = gk_language_model_keep_known(model, text, kept, &known);
  if (status != GK_OK)
    return cli_text_status(&command, status, name, NULL);
  const int64_t left = known.characters - known.unknown;
  if (kept && known.unknown && left < 2)
    return cli_error(&command,
                     "%s: the model knows %" PRId64 " of %" PRId64 " characters, an evaluation needs 2", name,
                     left, known.characters);
  const gk_text read = {.data = kept ? kept : text->data, .bytes = kept ? known.bytes : text->bytes};
  status = measure(settings, model, &read, &known, nats_at);
  if (status == GK_OK)
    return CLI_SUCCESS;
  return known.unknown && !kept
             ? cli_unknown_status(&command, status, name, "--skip-unknown leaves such characters out")
             : cli_text_status(&command, status, name, NULL);
}

static int evaluate(const struct settings *settings, const gk_text *text) {
  gk_language_model_desc plan = GK_LANGUAGE_MODEL_DESC_INIT;
  plan.network.isa = (gk_isa)settings->isa;
  plan.network.threads = (int)settings->threads;
  gk_language_model *model;
  const gk_status status = gk_language_model_load(settings->model, &plan, &model);
  if (status != GK_OK)
    return cli_input_status(&command, status);
  double *nats_at = settings->free_running ? malloc((size_t)settings->free_running * sizeof *nats_at) : NULL;
  void *kept = settings->skip_unknown ? malloc(text->bytes + 1) : NULL;
  int exit_code = CLI_FAILURE;
  if ((settings->free_running && !nats_at) || (settings->skip_unknown && !kept))
    cli_error(&command, "out of memory");
  else
    exit_code = evaluate_text(settings, model, text, kept, nats_at);
  free(kept);
  free(nats_at);
  gk_language_model_destroy(model);
  return exit_code;
}

int run_eval(int argc, char **argv) {
  struct settings settings;
  int exit_code;
  if (!cli_parse(&command, argc, argv, &settings, &exit_code))
    return exit_code;
  static const char *const of_choices[] = {"temperature", "seed"};
  for (int i = 0; i < 2; ++i)
    if (settings.free_running == 0 && cli_given(of_choices[i]))
      return cli_error(&command, "--%s and --free-running 0: the model makes no choices", of_choices[i]);
  gk_text text = {.data = gk_builtin_corpus_valid, .bytes = gk_builtin_corpus_valid_size};
  if (settings.file && !cli_read_text(&command, settings.file, &text))
    return CLI_BAD_INPUT;
  exit_code = evaluate(&settings, &text);
  if (settings.file)
    free((void *)text.data);
  return exit_code;
}
