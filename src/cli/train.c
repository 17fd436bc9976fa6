/* SPDX-License-Identifier: Apache-2.0 */
#include "builtin_corpus.h"
#include "commands.h"
#include "text_file.h"
#include "training_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    {.name = "init",
     .type = CLI_INIT,
     .offset = FIELD(init),
     .fallback = "uniform",
     .help = "initial weights, uniform as PyTorch's"},
    {.name = "forget-bias",
     .type = CLI_NUMBER,
     .offset = FIELD(forget_bias),
     .fallback = "0",
     .minimum = -100,
     .maximum = 100,
     .value = "B",
     .help = "added to the bias of the LSTM's forget gate at the start"},

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
     .help = "a character is a byte (the default): any file will do"},
    {.name = "utf8", .type = CLI_FLAG, .offset = FIELD(utf8), .help = "a character is a Unicode code point"},
    {.name = "validation",
     .type = CLI_NUMBER,
     .offset = FIELD(validation),
     .fallback = "0.05",
     .minimum = 0,
     .maximum = 0.9,
     .value = "SHARE",
     .help = "share of FILE, its end, that is never trained on and measures progress"},
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
     .help = "or: as many steps as fit, by the speed measured at the start"},
    {.name = "batch",
     .type = CLI_INTEGER,
     .offset = FIELD(batch),
     .fallback = "32",
     .minimum = 1,
     .maximum = 1 << 20,
     .value = "N",
     .help = "streams that the text is cut into, read side by side"},
    {.name = "time",
     .type = CLI_INTEGER,
     .offset = FIELD(time),
     .fallback = "64",
     .minimum = 1,
     .maximum = 1 << 20,
     .value = "T",
     .help = "characters of each stream in a step, k1 of truncated BPTT"},
    {.name = "backward-time",
     .type = CLI_INTEGER,
     .offset = FIELD(backward_time),
     .fallback = "0",
     .minimum = 0,
     .maximum = 1 << 20,
     .value = "T",
     .help = "characters that a gradient goes back, k2 of truncated BPTT: at least --time, and read again in "
             "each step; 0: --time"},
    {.name = "label-smoothing",
     .type = CLI_NUMBER,
     .offset = FIELD(label_smoothing),
     .fallback = "0",
     .minimum = 0,
     .maximum = 1,
     .value = "SHARE",
     .help = "share of the wanted probability that all symbols have alike"},
    {.name = "optimizer",
     .type = CLI_OPTIMIZER,
     .offset = FIELD(optimizer),
     .fallback = "adam",
     .help = "how gradients change weights"},
    {.name = "lr",
     .type = CLI_NUMBER,
     .offset = FIELD(learning_rate),
     .fallback = "0.004",
     .minimum = 1e-12,
     .maximum = 1e6,
     .value = "RATE",
     .help = "learning rate"},
    {.name = "lr-schedule",
     .type = CLI_DECAY,
     .offset = FIELD(decay),
     .fallback = "cosine",
     .help = "the learning rate over the steps: cosine falls to --lr-min at the last, step falls by "
             "--lr-factor every --lr-every steps, plateau by --lr-factor where the validation loss no longer "
             "falls"},
    {.name = "lr-warmup",
     .type = CLI_INTEGER,
     .offset = FIELD(warmup),
     .fallback = "0",
     .minimum = 0,
     .maximum = 1e12,
     .value = "STEPS",
     .help = "steps over which the rate first rises from 0 to --lr; the schedule starts after them"},
    {.name = "lr-every",
     .type = CLI_INTEGER,
     .offset = FIELD(decay_period),
     .fallback = "1000",
     .minimum = 1,
     .maximum = 1e9,
     .value = "STEPS",
     .help = "of --lr-schedule step"},
    {.name = "lr-factor",
     .type = CLI_NUMBER,
     .offset = FIELD(decay_factor),
     .fallback = "0.1",
     .minimum = 1e-12,
     .maximum = 1,
     .value = "F",
     .help = "of step and plateau"},
    {.name = "lr-patience",
     .type = CLI_INTEGER,
     .offset = FIELD(decay_patience),
     .fallback = "10",
     .minimum = 0,
     .maximum = 1e9,
     .value = "N",
     .help = "of plateau: validations without a lower loss that are waited for"},
    {.name = "lr-min",
     .type = CLI_NUMBER,
     .offset = FIELD(minimum_learning_rate),
     .fallback = "0",
     .minimum = 0,
     .maximum = 1e6,
     .value = "RATE",
     .help = "where cosine ends, and below which step and plateau do not go"},
    {.name = "momentum",
     .type = CLI_NUMBER,
     .offset = FIELD(momentum),
     .fallback = "0",
     .minimum = 0,
     .maximum = 1,
     .help = "of the optimizer sgd"},
    {.name = "nesterov",
     .type = CLI_FLAG,
     .offset = FIELD(nesterov),
     .help = "look ahead by the momentum, of the optimizer sgd"},
    {.name = "weight-decay",
     .type = CLI_NUMBER,
     .offset = FIELD(weight_decay),
     .fallback = "0",
     .minimum = 0,
     .maximum = 1e6,
     .value = "W",
     .help =
         "pulls weights towards 0: joins the gradient, with adamw it shrinks them (there 0.01 unless given)"},
    {.name = "seed",
     .type = CLI_SEED,
     .offset = FIELD(seed),
     .fallback = "0",
     .help = "of initial weights and dropout: the same seed gives the same weights on every machine"},
    {.name = "clip-norm",
     .type = CLI_NUMBER,
     .offset = FIELD(clip_norm),
     .fallback = "5",
     .minimum = 0,
     .maximum = 1e12,
     .value = "NORM",
     .group = "Gradients that are too large",
     .help = "bound of the gradient's norm over all weights; 0: none"},
    {.name = "clip-tensor-norm",
     .type = CLI_NUMBER,
     .offset = FIELD(clip_tensor_norm),
     .fallback = "0",
     .minimum = 0,
     .maximum = 1e12,
     .value = "NORM",
     .help = "bound of the norm of each tensor's gradient, before that; 0: none"},
    {.name = "clip-value",
     .type = CLI_NUMBER,
     .offset = FIELD(clip_value),
     .fallback = "0",
     .minimum = 0,
     .maximum = 1e12,
     .help = "bound of each single value of the gradient, before both; 0: none"},

    {.name = "out",
     .type = CLI_TEXT,
     .offset = FIELD(out),
     .fallback = "model.safetensors",
     .value = "FILE",
     .group = "Files",
     .help = "the model with the lowest validation loss; FILE.state keeps what --resume needs"},
    {.name = "resume",
     .type = CLI_FLAG,
     .offset = FIELD(resume),
     .help = "go on where FILE.state ends, with the options of that run; --steps, --epochs, --minutes, "
             "--lr and --lr-... can be changed"},
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
    .examples = "  gatekern train lm                                  the built-in text, about a minute\n"
                "  gatekern train lm book.txt --minutes 10 --out book.safetensors\n"
                "  gatekern train lm book.txt --cell gru --hidden 512 --layers 2 --dropout 0.2 --epochs 20\n"
                "  gatekern train lm book.txt --hidden 512,256 --zoneout-h 0.05 --zoneout-c 0.3\n"
                "  gatekern train lm book.txt --resume --out book.safetensors --steps 20000\n"
                "  gatekern sample book.safetensors --prompt 'Once '  what it has learned\n",
    .settings_size = sizeof(struct train_settings)};

/* ---- What neither the table nor the library checks ---- */

static int check_settings(const struct train_settings *settings) {
  if ((settings->steps != 0) + (settings->epochs != 0) + (settings->minutes != 0) > 1)
    return cli_error(&command, "--steps, --epochs and --minutes: give only one of them");
  if (settings->bytes && settings->utf8)
    return cli_error(&command, "--bytes and --utf8: give only one of them");
  if (settings->momentum > 0 && settings->optimizer != GK_OPTIMIZER_SGD && !settings->resume)
    return cli_error(&command, "--momentum %g: only for --optimizer sgd, not %s", settings->momentum,
                     gk_optimizer_name((gk_optimizer_kind)settings->optimizer));
  if (cli_given("forget-bias") && settings->cell != GK_CELL_LSTM && !settings->resume)
    return cli_error(&command, "--forget-bias %g: only for --cell lstm, not %s", settings->forget_bias,
                     gk_cell_name((gk_cell)settings->cell));
  if (cli_given("validation") && (settings->validation_file || !settings->file))
    return cli_error(&command, "--validation %g: only without --validation-file, and with a FILE",
                     settings->validation);
  if (settings->validation_file && !settings->file)
    return cli_error(&command, "--validation-file %s: only with a FILE", settings->validation_file);
  return CLI_SUCCESS;
}

/* Refuses outputs that cannot be written, or that would replace one of the inputs. */
static int check_outputs(const struct train_settings *settings, const char *state_path) {
  const char *const inputs[] = {settings->file, settings->validation_file};
  const char *const outputs[] = {settings->out, state_path, settings->log};
  const char *const names[] = {"--out", "--out", "--log"};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 2; ++j)
      if (cli_same_file(outputs[i], inputs[j]))
        return cli_error(&command, "%s %s: is the text itself", names[i], outputs[i]);
  if (cli_same_file(settings->log, settings->out) || cli_same_file(settings->log, state_path))
    return cli_error(&command, "--log %s: is the model's file", settings->log);
  for (int i = 0; i < 2; ++i)
    if (gk_safetensors_can_save(outputs[i]) != GK_OK)
      return cli_error(&command, "--out %s", gk_last_error());
  return CLI_SUCCESS;
}

/* ---- The texts ---- */

static int train_on_texts(const struct train_settings *settings, struct training_run *run) {
  if (!settings->file) {
    run->text = (gk_text){gk_builtin_corpus_train, gk_builtin_corpus_train_size};
    run->validation_text = (gk_text){gk_builtin_corpus_valid, gk_builtin_corpus_valid_size};
    run->validation = &run->validation_text;
    run->text_name = run->validation_name = "the built-in text";
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
  if (!progress_end(&run->progress) && exit_code == CLI_SUCCESS)
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
    exit_code = check_outputs(&settings, state_path);
  if (exit_code == CLI_SUCCESS)
    exit_code = train_on_texts(&settings, &run);
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
