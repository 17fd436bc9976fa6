/* SPDX-License-Identifier: Apache-2.0 */
#include "builtin_corpus.h"
#include "commands.h"
#include "text_file.h"
#include "training_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* With steps that are planned the rate had better fall. */
static const struct train_settings initial = {.training = GK_TRAINING_DESC_INIT,
                                              .training.decay = GK_DECAY_COSINE};

#define FIELD(name) offsetof(struct train_settings, name)
static const cli_option options[] = {
    {.name = "cell",
     .type = CLI_CELL,
     .offset = FIELD(cell),
     .fallback = "lstm",
     .group = "Model",
     .help = "recurrent cell"},
    {.name = "hidden",
     .type = CLI_HIDDEN,
     .offset = FIELD(hidden),
     .fallback = "256",
     .minimum = 1,
     .maximum = 65536,
     .help = "hidden units of a layer, or of each layer, the first one first, as 512,256"},
    {.name = "layers",
     .type = CLI_INTEGER,
     .offset = FIELD(layers),
     .fallback = "1",
     .minimum = 1,
     .maximum = CLI_MOST_HIDDEN,
     .value = "L",
     .help = "recurrent layers, one on the other"},
    {.name = "embed",
     .type = CLI_INTEGER,
     .offset = FIELD(embed),
     .fallback = "0",
     .minimum = 0,
     .maximum = 65536,
     .value = "E",
     .help = "size of a character's embedding; 0: that of the first layer, or what --tie needs"},
    {.type = CLI_TRAINING, .offset = FIELD(training), .group = "Model"},

    {.name = "tie",
     .type = CLI_FLAG,
     .offset = FIELD(tied),
     .help = "tied weights: the output layer reads the embedding's, so that --embed must be the size of the "
             "last layer's h"},
    {.type = CLI_NETWORK, .offset = FIELD(network), .forward_only = true},

    {.name = "bytes",
     .type = CLI_FLAG,
     .offset = FIELD(bytes),
     .group = "Text",
     .help = "a character is a byte (the default): any file will do, but the model then knows only the bytes "
             "that are in its texts"},
    {.name = "utf8", .type = CLI_FLAG, .offset = FIELD(utf8), .help = "a character is a Unicode code point"},
    {.type = CLI_TRAINING, .offset = FIELD(training), .group = "Text"},
    {.name = "validation-file",
     .type = CLI_TEXT,
     .offset = FIELD(validation_file),
     .value = "FILE",
     .help = "a text of its own for that"},

    {.name = "steps",
     .type = CLI_INTEGER,
     .offset = FIELD(steps),
     .minimum = 1,
     .maximum = 1e12,
     .group = "Training",
     .help = "how long: this many steps (default 2000)"},
    {.name = "epochs",
     .type = CLI_INTEGER,
     .offset = FIELD(epochs),
     .minimum = 1,
     .maximum = 1e9,
     .help = "or: this many times through the text"},
    {.name = "minutes",
     .type = CLI_NUMBER,
     .offset = FIELD(minutes),
     .minimum = 0.05,
     .maximum = 1e6,
     .value = "M",
     .help = "or: as many steps as fit, by the speed measured at the start; with --resume: as many more"},
    {.type = CLI_TRAINING, .offset = FIELD(training), .group = "Training"},
    {.type = CLI_TRAINING, .offset = FIELD(training), .group = "Gradients that are too large"},

    {.name = "out",
     .type = CLI_TEXT,
     .offset = FIELD(out),
     .fallback = "model.safetensors",
     .value = "FILE",
     .group = "Files",
     .help =
         "the model with the lowest validation loss; FILE.state keeps what --resume needs; a new run keeps "
         "those of the one before as FILE.old and FILE.state.old"},
    {.name = "resume",
     .type = CLI_FLAG,
     .offset = FIELD(resume),
     .help = "go on where FILE.state ends, with the options of that run; --steps, --epochs, --minutes, "
             "--lr, --lr-... and --eval-every can be changed"},
    {.name = "eval-every",
     .type = CLI_INTEGER,
     .offset = FIELD(eval_every),
     .fallback = "0",
     .minimum = 0,
     .maximum = 1e12,
     .help = "steps from one validation, and save, to the next; 0: each epoch, but 10 to 25 "
             "times in all"},
    {.name = "save-minutes",
     .type = CLI_NUMBER,
     .offset = FIELD(save_minutes),
     .fallback = "5",
     .minimum = 0,
     .maximum = 1e6,
     .value = "M",
     .help = "save FILE.state at least this often, 0: at validations only"},
    {.name = "keep-all",
     .type = CLI_FLAG,
     .offset = FIELD(keep_all),
     .help = "keep the weights of every validation, as FILE.step-STEP"},
    {.name = "log",
     .type = CLI_TEXT,
     .offset = FIELD(log),
     .value = "FILE",
     .help = "write a JSON object for each step, one a line"},
    {.name = "profile",
     .type = CLI_FLAG,
     .offset = FIELD(profile),
     .help = "print at the end what the time of a step went to"},

    {.name = "threads",
     .type = CLI_INTEGER,
     .offset = FIELD(threads),
     .fallback = "0",
     .minimum = 0,
     .maximum = CLI_MOST_THREADS,
     .group = "Machine (never changes a result)",
     .help = "0: all that this process may use"},
    {.name = "isa", .type = CLI_ISA, .offset = FIELD(isa), .fallback = "auto", .help = "instruction set"},
    {0}};

static const cli_positional positionals[] = {
    {"FILE", FIELD(file), false,
     "text to learn from, - for standard input; without it, the built-in text: C sources"},
    {0}};

static const cli_command command = {
    .name = "train lm",
    .summary = "Trains a language model: a recurrent network that reads a text character by character and "
               "learns to predict the next one. Interrupt it at any time (Ctrl-C): it saves and ends, and "
               "--resume goes on with the same bits as if it had never stopped.",
    .options = options,
    .positionals = positionals,
    .examples = "  gatekern train lm                                  built-in text, a minute\n"
                "  gatekern train lm book.txt --minutes 10 --out book.safetensors\n"
                "  gatekern train lm book.txt --cell gru --layers 2 --dropout 0.2 --epochs 20\n"
                "  gatekern train lm book.txt --hidden 512,256 --zoneout-h 0.05 --zoneout-c 0.3\n"
                "  gatekern train lm book.txt --resume --out book.safetensors --steps 20000\n"
                "  gatekern sample book.safetensors --prompt 'Once '  what it has learned\n",
    .settings_size = sizeof(struct train_settings),
    .initial = &initial};

/* ---- What neither the table nor the library checks ---- */

static int check_settings(const struct train_settings *settings) {
  if ((settings->steps != 0) + (settings->epochs != 0) + (settings->minutes != 0) > 1)
    return cli_error(&command, "--steps, --epochs and --minutes: give only one of them");
  if (settings->bytes && settings->utf8)
    return cli_error(&command, "--bytes and --utf8: give only one of them");
  if (settings->training.momentum > 0 && settings->training.optimizer != GK_OPTIMIZER_SGD &&
      !settings->resume)
    return cli_error(&command, "--momentum %g: only for --optimizer sgd, not %s", settings->training.momentum,
                     gk_optimizer_name((gk_optimizer_kind)settings->training.optimizer));
  if (cli_given("forget-bias") && settings->cell != GK_CELL_LSTM && !settings->resume)
    return cli_error(&command, "--forget-bias %g: only for --cell lstm, not %s",
                     settings->training.forget_bias, gk_cell_name((gk_cell)settings->cell));
  if (cli_given("validation") && (settings->validation_file || !settings->file))
    return cli_error(&command, "--validation %g: only without --validation-file, and with a FILE",
                     settings->training.validation);
  if (settings->validation_file && !settings->file)
    return cli_error(&command, "--validation-file %s: only with a FILE", settings->validation_file);
  return CLI_SUCCESS;
}

/* A state that cannot be read is said to be that, before it is refused as a file to write over. */
static int check_state(const struct train_settings *settings, const char *state_path) {
  gk_safetensors *state;
  struct stat status;
  if (!settings->resume)
    return CLI_SUCCESS;
  if (stat(state_path, &status) != 0)
    return cli_error(&command, "--resume: %s: %s; without --resume a new run begins, --out names another",
                     state_path, strerror(errno));
  if (gk_safetensors_open(state_path, &state) != GK_OK)
    return cli_error(&command, "--resume: %s", gk_last_error());
  gk_safetensors_close(state);
  return CLI_SUCCESS;
}

/* ---- The texts ---- */

static int train_on_texts(const struct train_settings *settings, struct training_run *run) {
  if (!settings->file) {
    run->text = (gk_text){gk_builtin_corpus_train, gk_builtin_corpus_train_size};
    run->validation_text = (gk_text){gk_builtin_corpus_valid, gk_builtin_corpus_valid_size};
    run->validation = &run->validation_text;
    run->text_name = run->validation_name =
        settings->resume ? "the built-in text (no FILE is given)" : "the built-in text";
  } else {
    run->text_name = settings->file;
    if (!cli_read_text(&command, settings->file, &run->text))
      return CLI_BAD_INPUT;
  }
  int exit_code = CLI_SUCCESS;
  if (settings->validation_file) {
    run->validation_name = settings->validation_file;
    run->validation = &run->validation_text;
    if (!cli_read_text(&command, settings->validation_file, &run->validation_text))
      exit_code = CLI_BAD_INPUT;
  }
  if (exit_code == CLI_SUCCESS)
    exit_code = training_begin(run);
  if (exit_code == CLI_SUCCESS)
    exit_code = training_loop(run);
  gk_language_trainer_destroy(run->trainer);
  progress_end(&run->progress);
  if (exit_code == CLI_SUCCESS && progress_failed(&run->progress))
    exit_code = CLI_FAILURE;
  if (settings->file) {
    free((void *)run->text.data);
    free((void *)run->validation_text.data);
  }
  return exit_code;
}

static int train_language_model(int argc, char **argv) {
  struct train_settings settings;
  int exit_code;
  if (!cli_parse(&command, argc, argv, &settings, &exit_code))
    return exit_code;
  const size_t size = strlen(settings.out) + sizeof ".state";
  char *state_path = malloc(size);
  if (!state_path)
    return cli_error(&command, "out of memory"), CLI_FAILURE;
  snprintf(state_path, size, "%s.state", settings.out);
  struct training_run run = {.command = &command,
                             .settings = &settings,
                             .state_path = state_path,
                             .progress = {.command = &command}};
  exit_code = check_settings(&settings);
  if (exit_code == CLI_SUCCESS &&
      !cli_take_layers(&command, &settings.hidden, settings.layers, &settings.network))
    exit_code = CLI_BAD_INPUT;
  if (exit_code == CLI_SUCCESS)
    exit_code = check_state(&settings, state_path);
  if (exit_code == CLI_SUCCESS)
    exit_code = training_check_outputs(&run);
  if (exit_code == CLI_SUCCESS)
    exit_code = train_on_texts(&settings, &run);
  training_free_replaced(&run);
  free(state_path);
  return exit_code;
}

int run_train(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "lm") == 0)
    return train_language_model(argc - 1, argv + 1);
  if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
    printf("Usage: gatekern train TASK [ARGUMENT]...\n\nTasks:\n"
           "  lm    a language model, character by character\n\n");
    cli_print_help(&command);
    return CLI_SUCCESS;
  }
  if (argc > 1)
    fprintf(stderr, "gatekern train: unknown task %s; there is lm: gatekern train lm [FILE]\n", argv[1]);
  else
    fprintf(stderr, "gatekern train: which task? There is lm: gatekern train lm [FILE]\n");
  return CLI_BAD_INPUT;
}
