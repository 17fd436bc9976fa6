/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAXIMUM_OPTIONS = 96, HELP_COLUMN = 28 };
#define EXACT_WHOLE_NUMBERS 9007199254740992.0 /* 2^53 */

/* Options of the last cli_parse or cli_print_help, and the text that was given for each: "" for a flag; NULL:
 * it was not. */
static cli_option parsed_options[MAXIMUM_OPTIONS + 1];
static const char *given[MAXIMUM_OPTIONS];

static bool of_other_directions(const char *name) {
  return strcmp(name, "direction") == 0 || strcmp(name, "merge") == 0 || strncmp(name, "reverse-", 8) == 0;
}

/* Options of a network in the place of CLI_NETWORK; returns the end. */
static cli_option *expand_network(const cli_option *from, cli_option *to, const cli_option *end) {
  for (int i = 0; i < gk_rnn_option_count() && to < end; i++) {
    if (from->forward_only && of_other_directions(gk_rnn_option_name(i)))
      continue;
    *to = *from;
    to->name = gk_rnn_option_name(i);
    to->help = gk_rnn_option_help(i);
    to->value = gk_rnn_option_value(i);
    to->type = to->value ? CLI_NETWORK_VALUE : CLI_NETWORK_FLAG;
    to->group = gk_rnn_option_group(i);
    to++->minimum = i; /* its number, for choice_name */
  }
  return to;
}

/* The same of a training. */
static cli_option *expand_training(const cli_option *from, cli_option *to, const cli_option *end) {
  static const cli_type types[] = {
      [GK_OPTION_FLAG] = CLI_FLAG,   [GK_OPTION_INTEGER] = CLI_INTEGER, [GK_OPTION_SEED] = CLI_SEED,
      [GK_OPTION_FLOAT] = CLI_FLOAT, [GK_OPTION_DOUBLE] = CLI_NUMBER,   [GK_OPTION_CHOICE] = CLI_CHOICE};
  for (const gk_training_option *option = gk_training_option_after(NULL); option && to < end;
       option = gk_training_option_after(option))
    if (option->name && strcmp(option->group, from->group) == 0)
      *to++ = (cli_option){.name = option->name,
                           .type = types[option->type],
                           .offset = from->offset + option->offset,
                           .minimum = option->minimum,
                           .maximum = option->maximum,
                           .name_of = option->choice,
                           .value = option->value,
                           .help = option->help,
                           .group = option->group,
                           .initial_fallback = option->type != GK_OPTION_FLAG};
  return to;
}

/* The command's table with the library's options in the place of CLI_NETWORK and CLI_TRAINING; returns their
 * number. */
static int expand_options(const cli_command *command) {
  cli_option *to = parsed_options;
  const cli_option *end = parsed_options + MAXIMUM_OPTIONS;
  for (const cli_option *from = command->options; from && (from->name || from->type) && to < end; from++)
    if (from->type == CLI_NETWORK)
      to = expand_network(from, to, end);
    else if (from->type == CLI_TRAINING)
      to = expand_training(from, to, end);
    else
      *to++ = *from;
  *to = (cli_option){0};
  return (int)(to - parsed_options);
}

static int positional_count(const cli_command *command) {
  int count = 0;
  while (command->positionals && command->positionals[count].name)
    ++count;
  return count;
}

static int find_option(const char *name) {
  for (int i = 0; parsed_options[i].name; ++i)
    if (strcmp(parsed_options[i].name, name) == 0)
      return i;
  return -1;
}

bool cli_takes(const char *name) {
  return find_option(name) >= 0;
}

const char *cli_given_text(const char *name) {
  const int index = find_option(name);
  return index < 0 ? NULL : given[index];
}

bool cli_given(const char *name) {
  return cli_given_text(name) != NULL;
}

const char *cli_given_of_network(void) {
  for (int i = 0; i < gk_rnn_option_count(); ++i)
    if (cli_given(gk_rnn_option_name(i)))
      return gk_rnn_option_name(i);
  return NULL;
}

/* ---- Names of enumerations ---- */

/* The index-th name that an option accepts, NULL after the last. */
static const char *choice_name(const cli_option *option, int index) {
  switch (option->type) {
  case CLI_CHOICE:
    return option->choice ? option->choice[index] : option->name_of(index);
  case CLI_CELL:
    return index < gk_cell_count() ? gk_cell_name((gk_cell)index) : NULL;
  case CLI_ISA:
    if (index == 0)
      return "auto";
    return index <= gk_isa_count() ? gk_isa_name((gk_isa)index) : NULL;
  case CLI_SCHEDULE:
    return index < gk_schedule_count() ? gk_schedule_name((gk_schedule)index) : NULL;
  case CLI_INIT:
    return index < gk_init_count() ? gk_init_name((gk_init)index) : NULL;
  case CLI_NETWORK_VALUE:
    return gk_rnn_option_choice((int)option->minimum, index);
  default:
    return NULL;
  }
}

static void list_choices(const cli_option *option, const char *separator, char *text, size_t size) {
  size_t used = 0;
  text[0] = '\0';
  for (int i = 0; choice_name(option, i) && used < size; ++i)
    used += (size_t)snprintf(text + used, size - used, "%s%s", i ? separator : "", choice_name(option, i));
}

/* ---- Values ---- */

static bool parse_choice(const cli_command *command, const cli_option *option, const char *text, int *value) {
  char names[256];
  for (int i = 0; choice_name(option, i); ++i) {
    if (strcmp(choice_name(option, i), text) != 0)
      continue;
    gk_isa resolved;
    if (option->type == CLI_ISA && gk_isa_resolve((gk_isa)i, &resolved) != GK_OK) {
      static const char name[] = "isa: "; /* the option says it already */
      const char *message = gk_last_error();
      if (i == GK_ISA_AUTO) /* what the environment says, not the option */
        cli_error(command, "%s", message);
      else
        cli_error(command, "--%s %s: %s", option->name, text,
                  message + (strncmp(message, name, sizeof name - 1) == 0 ? sizeof name - 1 : 0));
      return false;
    }
    *value = i;
    return true;
  }
  list_choices(option, ", ", names, sizeof names);
  cli_error(command, "--%s %s: must be one of %s", option->name, text, names);
  return false;
}

static void limits(const cli_option *option, double *minimum, double *maximum) {
  const bool limited = option->minimum != 0 || option->maximum != 0;
  const double widest = option->type == CLI_INTEGER ? EXACT_WHOLE_NUMBERS : HUGE_VAL;
  *minimum = limited ? option->minimum : -widest;
  *maximum = limited ? option->maximum : widest;
}

static bool parse_integer(const cli_command *command, const cli_option *option, const char *text,
                          int64_t *value) {
  double minimum, maximum;
  char *end;
  limits(option, &minimum, &maximum);
  errno = 0;
  const long long parsed = strtoll(text, &end, 10);
  if (end == text || *end || errno || (double)parsed < minimum || (double)parsed > maximum) {
    cli_error(command, "--%s %s: must be a whole number from %.0f to %.0f", option->name, text, minimum,
              maximum);
    return false;
  }
  *value = (int64_t)parsed;
  return true;
}

static bool parse_hidden(const cli_command *command, const cli_option *option, const char *text,
                         struct cli_hidden *hidden) {
  const char *at = text;
  char *end;
  for (hidden->count = 0;; at = end + 1) {
    errno = 0;
    const long long size = strtoll(at, &end, 10);
    if (end == at || (*end && *end != ',') || errno || (double)size < option->minimum ||
        (double)size > option->maximum) {
      cli_error(command,
                "--%s %s: must be a whole number from %.0f to %.0f, or one for each layer with commas "
                "between them",
                option->name, text, option->minimum, option->maximum);
      return false;
    }
    if (hidden->count == CLI_MOST_HIDDEN) {
      cli_error(command, "--%s %s: more than %d sizes", option->name, text, CLI_MOST_HIDDEN);
      return false;
    }
    hidden->sizes[hidden->count++] = size;
    if (!*end)
      return true;
  }
}

bool cli_take_layers(const cli_command *command, const struct cli_hidden *hidden, int64_t layers,
                     gk_rnn_desc *network) {
  const bool unlike = hidden->count > 1;
  if (unlike && cli_given("layers") && layers != hidden->count) {
    cli_error(command, "--hidden has %lld sizes, and --layers is %lld: both must be the number of layers",
              (long long)hidden->count, (long long)layers);
    return false;
  }
  network->hidden_size = hidden->sizes[0];
  network->layers = unlike ? hidden->count : layers;
  network->hidden_sizes = unlike ? hidden->sizes : NULL;
  return true;
}

bool cli_check_masks(const cli_command *command, const gk_rnn_desc *network, int64_t layers, bool trains) {
  const struct {
    const char *name;
    float share;
  } drawn[] = {{"dropout", network->dropout},
               {"input-dropout", network->input_dropout},
               {"recurrent-dropout", network->recurrent_dropout},
               {"weight-dropout", network->weight_dropout}};
  for (size_t i = 0; i < sizeof drawn / sizeof *drawn; ++i)
    if (drawn[i].share > 0 && !trains) {
      cli_error(command, "--%s is %g, and only passes of training drop anything", drawn[i].name,
                (double)drawn[i].share);
      return false;
    }
  gk_rnn_desc desc = *network;
  desc.layers = layers;
  return cli_status(command, gk_rnn_dropout_check(&desc)) == CLI_SUCCESS;
}

void cli_hidden_text(const gk_rnn_desc *network, char text[CLI_HIDDEN_TEXT]) {
  size_t used = 0;
  const int64_t sizes = network->hidden_sizes ? network->layers : 1;
  for (int64_t l = 0; l < sizes && used < CLI_HIDDEN_TEXT; ++l)
    used += (size_t)snprintf(
        text + used, CLI_HIDDEN_TEXT - used, "%s%lld", l ? "," : "",
        (long long)(network->hidden_sizes ? network->hidden_sizes[l] : network->hidden_size));
}

void cli_network_text(const gk_rnn_desc *network, char text[CLI_NETWORK_TEXT]) {
  char hidden[CLI_HIDDEN_TEXT], value[96];
  cli_hidden_text(network, hidden);
  size_t used = network->hidden_sizes
                    ? (size_t)snprintf(text, CLI_NETWORK_TEXT, "%s, %s", gk_cell_name(network->cell), hidden)
                    : (size_t)snprintf(text, CLI_NETWORK_TEXT, "%s, %lld x %s", gk_cell_name(network->cell),
                                       (long long)network->layers, hidden);
  for (int i = 0; i < gk_rnn_option_count() && used < CLI_NETWORK_TEXT; ++i)
    if (gk_rnn_option_get(network, gk_rnn_option_name(i), value, sizeof value) == GK_OK && *value)
      used += (size_t)snprintf(text + used, CLI_NETWORK_TEXT - used, ", %s%s%s", gk_rnn_option_name(i),
                               strcmp(value, "on") == 0 ? "" : " ", strcmp(value, "on") == 0 ? "" : value);
}

static bool parse_number(const cli_command *command, const cli_option *option, const char *text,
                         double *value) {
  double minimum, maximum;
  char *end;
  limits(option, &minimum, &maximum);
  const double parsed = strtod(text, &end);
  if (end == text || *end || !isfinite(parsed) || parsed < minimum || parsed > maximum) {
    if (isfinite(maximum))
      cli_error(command, "--%s %s: must be a number from %g to %g", option->name, text, minimum, maximum);
    else
      cli_error(command, "--%s %s: must be a number", option->name, text);
    return false;
  }
  *value = parsed + 0.0; /* -0 is 0 */
  return true;
}

static bool parse_seed(const cli_command *command, const cli_option *option, const char *text,
                       uint64_t *value) {
  char *end;
  errno = 0;
  const unsigned long long parsed = strtoull(text, &end, 10);
  if (end == text || *end || errno || strchr(text, '-')) {
    cli_error(command, "--%s %s: must be a whole number from 0 to 18446744073709551615", option->name, text);
    return false;
  }
  *value = (uint64_t)parsed;
  return true;
}

static bool parse_text(const cli_command *command, const cli_option *option, const char *text,
                       const char **value) {
  if (!*text) {
    cli_error(command, "--%s: must not be empty", option->name);
    return false;
  }
  *value = text;
  return true;
}

/* What the library says of a value, without the name and the value that the line already has. */
static bool parse_network_value(const cli_command *command, const cli_option *option, const char *text,
                                gk_rnn_desc *network) {
  if (gk_rnn_option_set(network, option->name, text) == GK_OK)
    return true;
  char repeated[128];
  snprintf(repeated, sizeof repeated, " is '%s'", text);
  const char *message = gk_last_error(), *found = strstr(message, repeated);
  const char *rest = found ? found + strlen(repeated) : message;
  if (found)
    rest += strspn(rest, ",: ");
  cli_error(command, "--%s %s: %s", option->name, text, rest);
  return false;
}

static bool parse_value(const cli_command *command, const cli_option *option, const char *text,
                        void *settings) {
  void *field = (char *)settings + option->offset;
  double number;
  switch (option->type) {
  case CLI_FLAG:
    *(bool *)field = true;
    return true;
  case CLI_NETWORK_FLAG:
    return gk_rnn_option_set(field, option->name, "on") == GK_OK;
  case CLI_NETWORK_VALUE:
    return parse_network_value(command, option, text, field);
  case CLI_INTEGER:
    return parse_integer(command, option, text, field);
  case CLI_HIDDEN:
    return parse_hidden(command, option, text, field);
  case CLI_SEED:
    return parse_seed(command, option, text, field);
  case CLI_NUMBER:
    return parse_number(command, option, text, field);
  case CLI_FLOAT:
    if (!parse_number(command, option, text, &number))
      return false;
    *(float *)field = (float)number;
    return true;
  case CLI_TEXT:
    return parse_text(command, option, text, field);
  default:
    return parse_choice(command, option, text, field);
  }
}

/* What a settings struct has, as the user types it; "" for a flag. */
static void value_text(const cli_option *option, const void *settings, char text[CLI_VALUE_TEXT]) {
  const void *field = (const char *)settings + option->offset;
  switch (option->type) {
  case CLI_FLAG:
    *text = '\0';
    return;
  case CLI_INTEGER:
    snprintf(text, CLI_VALUE_TEXT, "%lld", (long long)*(const int64_t *)field);
    return;
  case CLI_SEED:
    snprintf(text, CLI_VALUE_TEXT, "%llu", (unsigned long long)*(const uint64_t *)field);
    return;
  case CLI_NUMBER:
    snprintf(text, CLI_VALUE_TEXT, "%g", *(const double *)field);
    return;
  case CLI_FLOAT:
    snprintf(text, CLI_VALUE_TEXT, "%g", (double)*(const float *)field);
    return;
  default:
    snprintf(text, CLI_VALUE_TEXT, "%s", choice_name(option, *(const int *)field));
  }
}

void cli_value_text(const char *name, const void *settings, char text[CLI_VALUE_TEXT]) {
  value_text(&parsed_options[find_option(name)], settings, text);
}

/* ---- Help ---- */

/* Characters that stay on one line: a word, or a default with its parentheses. */
static int word_length(const char *text) {
  static const char fallback[] = "(default ";
  const bool whole = strncmp(text, fallback, sizeof fallback - 1) == 0;
  return (int)strcspn(text, whole ? "\n" : " \n");
}

void cli_print_wrapped(const char *text, int column, int indent) {
  while (*text) {
    const int word = word_length(text);
    if (column > indent && column + 1 + word > CLI_WIDTH) {
      printf("\n%*s", indent, "");
      column = indent;
    } else if (column > indent) {
      putchar(' ');
      ++column;
    }
    printf("%.*s", word, text);
    column += word;
    text += word;
    while (*text == ' ')
      ++text;
    if (*text == '\n') {
      printf("\n%*s", indent, "");
      column = indent;
      ++text;
    }
  }
  putchar('\n');
}

static bool takes_value(const cli_option *option) {
  return option->type != CLI_FLAG && option->type != CLI_NETWORK_FLAG;
}

static const char *value_name(const cli_option *option) {
  static const char *const names[] = {
      [CLI_FLAG] = "",           [CLI_INTEGER] = "N",     [CLI_SEED] = "N",      [CLI_NUMBER] = "X",
      [CLI_FLOAT] = "X",         [CLI_TEXT] = "TEXT",     [CLI_CHOICE] = "NAME", [CLI_CELL] = "NAME",
      [CLI_ISA] = "NAME",        [CLI_SCHEDULE] = "NAME", [CLI_INIT] = "NAME",   [CLI_NETWORK_FLAG] = "",
      [CLI_HIDDEN] = "H[,H...]",
  };
  return option->value ? option->value : names[option->type];
}

/* What the option is if it is not given; "": nothing that could be said. */
static void fallback_text(const cli_command *command, const cli_option *option, char text[CLI_VALUE_TEXT]) {
  if (option->initial_fallback)
    value_text(option, command->initial, text);
  else
    snprintf(text, CLI_VALUE_TEXT, "%s", option->fallback ? option->fallback : "");
}

static void print_option(const cli_command *command, const cli_option *option) {
  char choices[256], fallback[CLI_VALUE_TEXT];
  int column = printf("  --%s%s%s", option->name, takes_value(option) ? " " : "", value_name(option));
  if (column >= HELP_COLUMN - 1) {
    putchar('\n');
    column = 0;
  }
  printf("%*s", HELP_COLUMN - column, "");
  list_choices(option, " | ", choices, sizeof choices);
  fallback_text(command, option, fallback);
  const size_t size =
      strlen(option->help) + sizeof ": " + sizeof choices + sizeof " (default )" + sizeof fallback;
  char *text = malloc(size);
  if (text) {
    snprintf(text, size, "%s%s%s%s%s%s", option->help, *choices ? ": " : "", choices,
             *fallback ? " (default " : "", fallback, *fallback ? ")" : "");
    cli_print_wrapped(text, HELP_COLUMN, HELP_COLUMN);
  }
  free(text);
}

void cli_print_help(const cli_command *command) {
  const int positionals = positional_count(command), options = expand_options(command);
  printf("Usage: gatekern %s", command->name);
  for (int i = 0; i < positionals; ++i)
    printf(command->positionals[i].required ? " %s" : " [%s]", command->positionals[i].name);
  printf(options ? " [OPTION]...\n\n" : "\n\n");
  cli_print_wrapped(command->summary, 0, 0);
  if (positionals)
    putchar('\n');
  for (int i = 0; i < positionals; ++i) {
    const int column = printf("  %s", command->positionals[i].name);
    printf("%*s", column < HELP_COLUMN ? HELP_COLUMN - column : 1, "");
    cli_print_wrapped(command->positionals[i].help, HELP_COLUMN, HELP_COLUMN);
  }
  if (options && !parsed_options[0].group)
    printf("\nOptions:\n");
  const char *heading = "";
  for (int i = 0; i < options; ++i) {
    const char *group = parsed_options[i].group;
    if (group && strcmp(group, heading) != 0)
      printf("\n%s:\n", heading = group);
    print_option(command, &parsed_options[i]);
  }
  printf("  --%-*s%s\n", HELP_COLUMN - 4, "help", "print this text");
  if (command->examples)
    printf("\nExamples:\n%s", command->examples);
}

/* ---- The command line ---- */

/* A gk_rnn_desc must have its size before the library sets an option of it. */
static bool set_defaults(const cli_command *command, void *settings) {
  if (command->initial)
    memcpy(settings, command->initial, command->settings_size);
  else
    memset(settings, 0, command->settings_size);
  for (const cli_option *option = command->options; option && (option->name || option->type); option++)
    if (option->type == CLI_NETWORK)
      ((gk_rnn_desc *)((char *)settings + option->offset))->size = sizeof(gk_rnn_desc);
  for (int i = 0; parsed_options[i].name; ++i) {
    const cli_option *option = &parsed_options[i];
    if (option->fallback && !parse_value(command, option, option->fallback, settings))
      return false;
  }
  return true;
}

static bool take_positionals(const cli_command *command, int argc, char **argv, void *settings) {
  const int known = positional_count(command);
  for (int i = 0; i < known; ++i) {
    const cli_positional *positional = &command->positionals[i];
    const char *text = optind + i < argc ? argv[optind + i] : NULL;
    if (!text && positional->required) {
      cli_error(command, "%s is missing; see gatekern %s --help", positional->name, command->name);
      return false;
    }
    if (text && !*text) {
      cli_error(command, "%s: must not be empty", positional->name);
      return false;
    }
    *(const char **)((char *)settings + positional->offset) = text;
  }
  if (optind + known < argc) {
    cli_error(command, "unexpected argument %s; see gatekern %s --help", argv[optind + known], command->name);
    return false;
  }
  return true;
}

/* An option that other commands have, of a network that walks in another direction. */
static bool is_of_other_directions(const cli_command *command, const char *word) {
  const size_t length = strcspn(word, "=");
  bool forward_only = false, found = false;
  for (const cli_option *option = command->options; option && (option->name || option->type); ++option)
    forward_only = forward_only || option->forward_only;
  for (int i = 0; i < gk_rnn_option_count() && forward_only && !found && length > 2; ++i) {
    const char *name = gk_rnn_option_name(i);
    found =
        of_other_directions(name) && strlen(name) == length - 2 && strncmp(name, word + 2, length - 2) == 0;
  }
  return found;
}

/* `word` is what getopt_long stopped at. */
static void refuse_option(const cli_command *command, const char *word) {
  /* optopt is 0 for an unknown long option, and the value of a known one that was given too much. */
  const char letter[] = {'-', (char)optopt, '\0'};
  if (optopt >= 256 || optopt == 'h')
    cli_error(command, "%s: this option takes no value", word);
  else if (!optopt && is_of_other_directions(command, word))
    cli_error(command,
              "%s: a language model walks forward: any other direction has seen what it is to predict", word);
  else
    cli_error(command, "unknown option %s; see gatekern %s --help", optopt ? letter : word, command->name);
}

bool cli_parse(const cli_command *command, int argc, char **argv, void *settings, int *exit_code) {
  struct option long_options[MAXIMUM_OPTIONS + 2] = {{0}};
  const int count = expand_options(command);
  memset(given, 0, sizeof given);
  for (int i = 0; i < count; ++i)
    long_options[i] = (struct option){
        .name = parsed_options[i].name, .has_arg = takes_value(&parsed_options[i]), .val = 256 + i};
  long_options[count] = (struct option){.name = "help", .val = 'h'};
  *exit_code = CLI_BAD_INPUT;
  if (!set_defaults(command, settings))
    return false;
  opterr = 0;
  optind = 0; /* starts getopt afresh */
  int key;
  while ((key = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    if (key == 'h') {
      cli_print_help(command);
      *exit_code = CLI_SUCCESS;
      return false;
    }
    if (key == ':') {
      cli_error(command, "%s needs a value", argv[optind - 1]);
      return false;
    }
    if (key == '?') {
      refuse_option(command, argv[optind - 1]);
      return false;
    }
    given[key - 256] = optarg ? optarg : "";
    if (!parse_value(command, &parsed_options[key - 256], optarg, settings))
      return false;
  }
  return take_positionals(command, argc, argv, settings);
}
