/* SPDX-License-Identifier: Apache-2.0 */
/* One table a subcommand: parsing, validation, defaults and the help text all come from it.
 *
 *   struct settings { int64_t hidden; double seconds; bool json; int isa; };
 *   static const cli_option options[] = {
 *     { .name = "hidden", .type = CLI_INTEGER, .offset = offsetof(struct settings, hidden),
 *       .fallback = "512", .minimum = 1, .maximum = 1 << 20, .value = "H", .help = "hidden size" },
 *     { .name = "json", .type = CLI_FLAG, .offset = offsetof(struct settings, json), .help = "print JSON" },
 *     { 0 }
 *   };
 *   static const cli_command command = { .name = "bench", .summary = "...", .options = options,
 *                                        .settings_size = sizeof(struct settings) };
 *   int run_bench(int argc, char **argv)
 *   {
 *     struct settings settings;
 *     int exit_code;
 *     if (!cli_parse(&command, argc, argv, &settings, &exit_code))
 *       return exit_code;
 */
#ifndef GATEKERN_CLI_OPTIONS_H
#define GATEKERN_CLI_OPTIONS_H

#include <gatekern-train.h>

enum { CLI_SUCCESS = 0, CLI_FAILURE = 1, CLI_BAD_INPUT = 2, CLI_MISSED = 3 /* a promise of bench --check */ };
enum { CLI_WIDTH = 79 };          /* of a terminal, and so of what people read */
enum { CLI_MOST_THREADS = 1024 }; /* the library takes no more */

typedef enum cli_type {
  CLI_FLAG = 0, /* bool: true if given */
  CLI_INTEGER,  /* int64_t, minimum..maximum */
  CLI_SEED,     /* uint64_t, every value */
  CLI_NUMBER,   /* double, finite, minimum..maximum */
  CLI_FLOAT,    /* the same in a float */
  CLI_TEXT,     /* const char *, not empty; stays NULL without a fallback */
  CLI_CHOICE,   /* int: the index in `choice`, or of `name_of` */
  CLI_CELL,     /* int: gk_cell */
  CLI_ISA,      /* int: gk_isa, "auto" allowed, refused unless usable on this machine */
  CLI_SCHEDULE, /* int: gk_schedule */
  CLI_INIT,     /* int: gk_init */
  CLI_HIDDEN,   /* struct cli_hidden: a size, or one for each layer with commas between them */
  CLI_NETWORK,  /* gk_rnn_desc: stands for all options of gk_rnn_option_name, which also have their groups */
  CLI_NETWORK_FLAG,
  CLI_NETWORK_VALUE, /* one of them: what CLI_NETWORK becomes */
  CLI_TRAINING       /* gk_training_desc: stands for the training options (gk_training_option) in `group` */
} cli_type;

typedef struct cli_option {
  const char *name; /* "hidden" is --hidden; NULL ends the table */
  cli_type type;
  size_t offset;             /* of the field in the settings struct */
  const char *fallback;      /* the default as the user would type it; NULL: the field is 0 or NULL */
  double minimum, maximum;   /* both inclusive; both 0: not limited (whole numbers: to +-2^53) */
  const char *const *choice; /* CLI_CHOICE: names, NULL at the end; NULL: name_of gives them */
  const char *(*name_of)(int index);
  const char *value;     /* what help calls the argument; NULL: derived from the type */
  const char *help;      /* one or more lines; wrapped by the help printer */
  const char *group;     /* heading of this and the following options in help; may be NULL */
  bool forward_only;     /* CLI_NETWORK: without the options of other directions than forward */
  bool initial_fallback; /* the default is what `initial` of the command has */
} cli_option;

enum { CLI_MOST_HIDDEN = 64 };
struct cli_hidden {
  int64_t count, sizes[CLI_MOST_HIDDEN];
};

/* A word that is not an option, in the order of the command line. */
typedef struct cli_positional {
  const char *name;
  size_t offset; /* const char * */
  bool required;
  const char *help;
} cli_positional;

typedef struct cli_command {
  const char *name;    /* "bench", "train lm" */
  const char *summary; /* first lines of the help */
  const cli_option *options;
  const cli_positional *positionals; /* NULL name ends it; NULL: none */
  const char *examples;              /* end of the help; may be NULL */
  size_t settings_size;              /* of the settings struct */
  const void *initial;               /* which starts as a copy of this; NULL: as zeros */
} cli_command;

/* Fills `settings`: first the defaults, then argv[1...]. false: nothing more to do, leave with *exit_code
 * (0 after --help, CLI_BAD_INPUT after one line on stderr). */
bool cli_parse(const cli_command *command, int argc, char **argv, void *settings, int *exit_code);
/* Was the option given on the command line of the last cli_parse? */
bool cli_given(const char *name);
/* What was given, "" for a flag; NULL: nothing. */
const char *cli_given_text(const char *name);
/* The value that `settings` of the last cli_parse's command have for the option, as the user types it; ""
 * for a flag. Not of CLI_TEXT, CLI_HIDDEN and options of a network. */
enum { CLI_VALUE_TEXT = 32 };
void cli_value_text(const char *name, const void *settings, char text[CLI_VALUE_TEXT]);
/* One of gk_rnn_option_name that was given, or NULL. */
const char *cli_given_of_network(void);
/* Does the command of the last cli_parse have that option? */
bool cli_takes(const char *name);
/* The hidden size, or one for each layer, as the user types it. */
enum { CLI_HIDDEN_TEXT = CLI_MOST_HIDDEN * 9 };
void cli_hidden_text(const gk_rnn_desc *network, char text[CLI_HIDDEN_TEXT]);
/* "lstm, 2 x 512, dropout 0.2": cell, layers, and the options that are set. */
enum { CLI_NETWORK_TEXT = CLI_HIDDEN_TEXT + 1024 };
void cli_network_text(const gk_rnn_desc *network, char text[CLI_NETWORK_TEXT]);
/* Puts --hidden and --layers into a description, whose hidden_sizes then points into `hidden`. false: they do
 * not fit; a line on stderr says so. */
bool cli_take_layers(const cli_command *command, const struct cli_hidden *hidden, int64_t layers,
                     gk_rnn_desc *network);
/* Refuses random masks that would change nothing (gk_rnn_dropout_check). `layers`: 0 where a list of networks
 * says it; `trains`: masks are drawn, which inference never does. false: a line on stderr. */
bool cli_check_masks(const cli_command *command, const gk_rnn_desc *network, int64_t layers, bool trains);
/* Prints `text`, which begins in `column`, broken at spaces; later lines start at `indent`. */
void cli_print_wrapped(const char *text, int column, int indent);
void cli_print_help(const cli_command *command);

/* One line on stderr, "gatekern NAME: ..."; returns CLI_BAD_INPUT. */
int cli_error(const cli_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* gk_last_error(), which speaks to C programmers, as this command's user knows things: --zoneout-c for
 * zoneout_c, GiB and the options behind them for many bytes. Valid until the next call. */
const char *cli_message(gk_status status);
/* CLI_FAILURE for lack of memory and for the operating system's refusals, else CLI_BAD_INPUT. */
int cli_exit_code(gk_status status);
/* A line with cli_message(); the exit code that belongs to the status. */
int cli_status(const cli_command *command, gk_status status);
/* The same for a file that the user named, whose fields are no options: it is CLI_BAD_INPUT too if the
 * operating system refuses it. */
int cli_input_status(const cli_command *command, gk_status status);

#endif
