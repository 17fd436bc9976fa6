/* SPDX-License-Identifier: Apache-2.0
 * The options of a description as text: the list that command lines, files and tests read. */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "include/gatekern.h"
#include "src/cells/cell.h"
#include "src/core/arguments.h"
#include "src/core/names.h"
#include "src/core/text_environment.h"
#include "src/sequence/rnn.h"

enum kind { FLAG, NUMBER, SHARE, SIZE, FUNCTION, CHOICE };
/* What is added to the place of a function of the reverse direction of two. */
enum { REVERSE = GK_ACTIVATION_PLACES };

static const char *direction(int index) {
  return gk_direction_name((gk_direction)index);
}
static const char *merge(int index) {
  return gk_merge_name((gk_merge)index);
}
static const char *recurrence(int index) {
  return gk_recurrence_name((gk_recurrence)index);
}
static const char *dropout_masks(int index) {
  return gk_dropout_masks_name((gk_dropout_masks)index);
}

static const char cell[] = "Cell", layers[] = "Layers", regularisation[] = "Regularisation, while training";

#define FIELD(field) .offset = offsetof(gk_rnn_desc, field)
#define NAMES(what)  .choice = what, .choices = gk_##what##_count
static const struct option {
  const char *name; /* that of the field, with '-' */
  enum kind kind;
  size_t offset; /* in gk_rnn_desc */
  const char *group, *help;
  int place;                         /* FUNCTION */
  const char *(*choice)(int choice); /* CHOICE: names of 0..choices()-1; the first is the default */
  int (*choices)(void);
} options[] = {
    {"activation", FUNCTION, FIELD(activation), cell, .place = GK_CANDIDATE,
     .help = "function of the candidate (rnn: of h) instead of tanh, as relu or elu(0.5)"},
    {"gate-activation", FUNCTION, FIELD(options.gate_activation), cell, .place = GK_GATE,
     .help = "function of the gates instead of sigmoid, as hard-sigmoid(0.2,0.5)"},
    {"output-activation", FUNCTION, FIELD(options.output_activation), cell, .place = GK_OUTPUT,
     .help = "lstm: function of c on its way to h instead of tanh"},
    {"reverse-activation", FUNCTION, FIELD(options.reverse_activation[GK_CANDIDATE]), cell,
     .place = REVERSE + GK_CANDIDATE,
     .help = "bidirectional: that of the candidate in the reverse direction, where it differs"},
    {"reverse-gate-activation", FUNCTION, FIELD(options.reverse_activation[GK_GATE]), cell,
     .place = REVERSE + GK_GATE, .help = "bidirectional: that of the gates in the reverse direction"},
    {"reverse-output-activation", FUNCTION, FIELD(options.reverse_activation[GK_OUTPUT]), cell,
     .place = REVERSE + GK_OUTPUT, .help = "bidirectional lstm: that of c in the reverse direction"},
    {"preactivation-clip", NUMBER, FIELD(options.preactivation_clip), cell,
     "bound of what the cell's functions are applied to (ONNX's clip); not of gradients"},
    {"cell-clip", NUMBER, FIELD(options.cell_clip), cell,
     "lstm: bound of the cell state's magnitude; not of gradients"},
    {"peephole", FLAG, FIELD(options.peephole), cell, "lstm: the gates see the cell state"},
    {"coupled", FLAG, FIELD(options.coupled), cell, "lstm: the forget gate is 1 - the input gate"},
    {"layer-norm", FLAG, FIELD(options.layer_norm), cell,
     "lstm: layer normalisation of both products and of the cell state"},
    {"recurrence", CHOICE, FIELD(recurrence), cell,
     "what a step reads of the one before, besides the cell state", NAMES(recurrence)},
    {"projection-size", SIZE, FIELD(projection_size), layers,
     "lstm: h is a product of so many values, in every layer"},
    {"trained-states", FLAG, FIELD(trained_states), layers, "initial states are parameters instead of zeros"},
    {"direction", CHOICE, FIELD(direction), layers, "how layers walk through time", NAMES(direction)},
    {"merge", CHOICE, FIELD(merge), layers, "bidirectional: what a layer makes of its directions' h",
     NAMES(merge)},
    {"dropout", SHARE, FIELD(dropout), regularisation,
     "share of each layer's outputs but the last's that is zeroed"},
    {"input-dropout", SHARE, FIELD(input_dropout), regularisation,
     "share of the first layer's inputs that is zeroed"},
    {"recurrent-dropout", SHARE, FIELD(recurrent_dropout), regularisation,
     "share of the h that recurrent products read that is zeroed"},
    {"dropout-masks", CHOICE, FIELD(dropout_masks), regularisation,
     "when these three draw their masks: each step, or once a sequence (variational dropout)",
     NAMES(dropout_masks)},
    {"weight-dropout", SHARE, FIELD(weight_dropout), regularisation,
     "share of the recurrent weights that is zeroed, drawn once a training step"},
    {"zoneout-h", SHARE, FIELD(zoneout_h), regularisation,
     "probability of a unit's h to keep the value of the step before"},
    {"zoneout-c", SHARE, FIELD(zoneout_c), regularisation, "lstm: the same of c"},
};
enum { OPTIONS = sizeof options / sizeof *options };

int gk_rnn_option_count(void) {
  return OPTIONS;
}

const char *gk_rnn_option_name(int index) {
  return index >= 0 && index < OPTIONS ? options[index].name : "unknown";
}

const char *gk_rnn_option_help(int index) {
  return index >= 0 && index < OPTIONS ? options[index].help : "";
}

const char *gk_rnn_option_group(int index) {
  return index >= 0 && index < OPTIONS ? options[index].group : "";
}

const char *gk_rnn_option_value(int index) {
  static const char *const values[] = {
      [FLAG] = NULL, [NUMBER] = "X", [SHARE] = "P", [SIZE] = "N", [FUNCTION] = "FUNCTION", [CHOICE] = "NAME"};
  return index >= 0 && index < OPTIONS ? values[options[index].kind] : NULL;
}

const char *gk_rnn_option_choice(int index, int choice) {
  if (index < 0 || index >= OPTIONS || options[index].kind != CHOICE || choice < 0 ||
      choice >= options[index].choices())
    return NULL;
  return options[index].choice(choice);
}

static gk_status find(const char *name, const struct option **option) {
  char names[640] = "";
  size_t used = 0;
  for (int i = 0; i < OPTIONS; i++) {
    if (strcmp(name, options[i].name) == 0) {
      *option = &options[i];
      return GK_OK;
    }
    if (used < sizeof names)
      used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", options[i].name);
  }
  return gk_fail(GK_ERROR_ARGUMENT, "option is '%.40s', must be one of %s", name, names);
}

static float *alpha_of(gk_rnn_desc *desc, const struct option *option) {
  return option->place < REVERSE ? &desc->options.alpha[option->place]
                                 : &desc->options.reverse_alpha[option->place - REVERSE];
}
static float *beta_of(gk_rnn_desc *desc, const struct option *option) {
  return option->place < REVERSE ? &desc->options.beta[option->place]
                                 : &desc->options.reverse_beta[option->place - REVERSE];
}

/* "name" or "name(alpha)", whose beta is the default, or "name(alpha,beta)". */
static gk_status set_function(gk_rnn_desc *desc, const struct option *option, const char *value) {
  char name[32] = "";
  const size_t length = strcspn(value, "(");
  float number[2] = {0, 0}, defaults[2];
  if (length < sizeof name)
    memcpy(name, value, length);
  gk_activation kind;
  gk_status status = gk_activation_from_name(length < sizeof name ? name : value, &kind);
  if (status)
    return status;
  const int parameters = gk_activation_parameters(kind, &defaults[0], &defaults[1]);
  const char *at = value + length;
  number[1] = *at == '(' ? defaults[1] : 0;
  for (int i = 0; i < 2 && (i == 0 ? *at == '(' : *at == ','); i++) {
    char *end;
    number[i] = strtof(at + 1, &end);
    if (end == at + 1)
      break;
    at = end;
  }
  char example[64] = "";
  if (parameters)
    snprintf(example, sizeof example, parameters == 1 ? "%s(%g)" : "%s(%g,%g)", name, (double)defaults[0],
             (double)defaults[1]);
  if (value[length] == '(' && (strcmp(at, ")") != 0 || !isfinite(number[0]) || !isfinite(number[1])))
    return gk_fail(GK_ERROR_ARGUMENT, "%s is '%.40s', must be %s%s%s", option->name, value, name,
                   parameters ? " or with numbers as " : "", example);
  if (value[length] == '(' && number[0] == 0 && number[1] == 0 && defaults[0] != 0)
    return gk_fail(GK_ERROR_ARGUMENT,
                   "%s is '%.40s': alpha and beta 0 stand for the defaults of %s, %g and %g", option->name,
                   value, name, (double)defaults[0], (double)defaults[1]);
  memcpy((char *)desc + option->offset, &kind, sizeof kind);
  *alpha_of(desc, option) = number[0];
  *beta_of(desc, option) = number[1];
  return GK_OK;
}

static gk_status set_number(gk_rnn_desc *desc, const struct option *option, const char *value) {
  char *end;
  errno = 0;
  const double number = strtod(value, &end);
  const float rounded = (float)number;
  if (end == value || *end || !(number >= 0) || isinf(rounded))
    return gk_fail(GK_ERROR_ARGUMENT, "%s is '%.40s', must be a number that is not negative", option->name,
                   value);
  if (rounded == 0 && (number != 0 || errno == ERANGE))
    return gk_fail(GK_ERROR_ARGUMENT, "%s is '%.40s', must be 0, which is off, or at least %g", option->name,
                   value, (double)FLT_TRUE_MIN);
  if (option->kind == SHARE && !(rounded < 1))
    return gk_fail(GK_ERROR_ARGUMENT, "%s is '%.40s', must be at least 0 and below 1", option->name, value);
  memcpy((char *)desc + option->offset, &rounded, sizeof rounded);
  return GK_OK;
}

static gk_status set_size(gk_rnn_desc *desc, const struct option *option, const char *value) {
  char *end;
  errno = 0;
  const int64_t number = strtoll(value, &end, 10);
  if (end == value || *end || errno || number < 0)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is '%.40s', must be a whole number, 0 or above", option->name,
                   value);
  memcpy((char *)desc + option->offset, &number, sizeof number);
  return GK_OK;
}

/* Enumerations are all of int's size. */
static gk_status set_choice(gk_rnn_desc *desc, const struct option *option, const char *value) {
  char names[128] = "";
  size_t used = 0;
  for (int i = 0; i < option->choices(); i++) {
    if (strcmp(option->choice(i), value) == 0) {
      memcpy((char *)desc + option->offset, &i, sizeof i);
      return GK_OK;
    }
    if (used < sizeof names)
      used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", option->choice(i));
  }
  return gk_fail(GK_ERROR_ARGUMENT, "%s is '%.40s', must be one of %s", option->name, value, names);
}

static gk_status check_desc(const gk_rnn_desc *desc) {
  return desc ? gk_check_size_field("desc", desc->size, sizeof *desc, "GK_RNN_DESC_INIT")
              : gk_fail(GK_ERROR_ARGUMENT, "desc is NULL");
}

/* What setting and getting an option need; the option, if it is GK_OK. */
static gk_status check_call(const gk_rnn_desc *desc, const char *name, const char *value,
                            const struct option **option) {
  const gk_status status = check_desc(desc);
  if (status)
    return status;
  if (!name || !value)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", name ? "value" : "name");
  return find(name, option);
}

static gk_status set_flag(gk_rnn_desc *desc, const struct option *option, const char *value) {
  const bool on = strcmp(value, "on") == 0;
  if (!on && strcmp(value, "off") != 0)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is '%.40s', must be on or off", option->name, value);
  memcpy((char *)desc + option->offset, &on, sizeof on);
  return GK_OK;
}

gk_status gk_rnn_option_set(gk_rnn_desc *desc, const char *name, const char *value) {
  static gk_status (*const set[])(gk_rnn_desc *, const struct option *, const char *) = {
      [FLAG] = set_flag, [NUMBER] = set_number,     [SHARE] = set_number,
      [SIZE] = set_size, [FUNCTION] = set_function, [CHOICE] = set_choice};
  const struct option *option = NULL;
  struct gk_text_environment callers;
  gk_status status = check_call(desc, name, value, &option);
  if (!status)
    status = gk_text_environment_pin(&callers);
  if (status)
    return status;
  status = set[option->kind](desc, option, value);
  gk_text_environment_restore(&callers);
  return status;
}

gk_status gk_rnn_options_set(gk_rnn_desc *desc, const char *text) {
  char name[64], value[96];
  gk_status status = check_desc(desc);
  for (int used = 0; text && *(text += strspn(text, " ")) && !status; text += used) {
    if (sscanf(text, "%63[^= ]=%95[^ ]%n", name, value, &used) != 2 || (text[used] && text[used] != ' '))
      return gk_fail(GK_ERROR_ARGUMENT,
                     "options is '%.40s', must be name=value of at most 63 and 95 characters", text);
    status = gk_rnn_option_set(desc, name, value);
  }
  return status;
}

/* The fewest digits that read back as the same float. */
static void write_number(float number, char text[32]) {
  for (int digits = 6; digits <= 9; digits++) {
    snprintf(text, 32, "%.*g", digits, (double)number);
    if (strtof(text, NULL) == number)
      return;
  }
}

static void get_function(const gk_rnn_desc *desc, const struct option *option, char *value, size_t size) {
  gk_rnn_desc copy = *desc;
  const float alpha = *alpha_of(&copy, option), beta = *beta_of(&copy, option);
  char alpha_text[32], beta_text[32];
  gk_activation kind;
  memcpy(&kind, (const char *)desc + option->offset, sizeof kind);
  if (kind == GK_ACTIVATION_DEFAULT)
    value[0] = '\0';
  else if (alpha != 0 || beta != 0) {
    write_number(alpha, alpha_text);
    write_number(beta, beta_text);
    snprintf(value, size, "%s(%s,%s)", gk_activation_name(kind), alpha_text, beta_text);
  } else
    snprintf(value, size, "%s", gk_activation_name(kind));
}

/* "" where it is 0. */
static void get_number(const gk_rnn_desc *desc, const struct option *option, char *value, size_t size) {
  char text[32] = "";
  float number;
  memcpy(&number, (const char *)desc + option->offset, sizeof number);
  if (number != 0)
    write_number(number, text);
  snprintf(value, size, "%s", text);
}

static void get_size(const gk_rnn_desc *desc, const struct option *option, char *value, size_t size) {
  int64_t number;
  memcpy(&number, (const char *)desc + option->offset, sizeof number);
  value[0] = '\0';
  if (number != 0)
    snprintf(value, size, "%lld", (long long)number);
}

static void get_choice(const gk_rnn_desc *desc, const struct option *option, char *value, size_t size) {
  int choice;
  memcpy(&choice, (const char *)desc + option->offset, sizeof choice);
  snprintf(value, size, "%s", choice > 0 && choice < option->choices() ? option->choice(choice) : "");
}

static void get_flag(const gk_rnn_desc *desc, const struct option *option, char *value, size_t size) {
  bool on;
  memcpy(&on, (const char *)desc + option->offset, sizeof on);
  snprintf(value, size, "%s", on ? "on" : "");
}

gk_status gk_rnn_option_get(const gk_rnn_desc *desc, const char *name, char *value, size_t size) {
  static void (*const get[])(const gk_rnn_desc *, const struct option *, char *,
                             size_t) = {[FLAG] = get_flag, [NUMBER] = get_number,     [SHARE] = get_number,
                                        [SIZE] = get_size, [FUNCTION] = get_function, [CHOICE] = get_choice};
  const struct option *option = NULL;
  struct gk_text_environment callers;
  gk_status status = check_call(desc, name, value, &option);
  if (!status && size == 0)
    status = gk_fail(GK_ERROR_ARGUMENT, "size is 0");
  if (!status)
    status = gk_text_environment_pin(&callers);
  if (status)
    return status;
  get[option->kind](desc, option, value, size);
  gk_text_environment_restore(&callers);
  return GK_OK;
}

gk_status gk_rnn_dropout_check(const gk_rnn_desc *desc) {
  const gk_status status = check_desc(desc);
  if (status)
    return status;
  if (gk_probability_is_on(desc->dropout) && desc->layers == 1)
    return gk_fail(GK_ERROR_ARGUMENT, "dropout is %g and layers is 1: it acts between layers, so it needs 2",
                   (double)desc->dropout);
  if (desc->dropout_masks != GK_DROPOUT_EACH_STEP && !gk_probability_is_on(desc->dropout) &&
      !gk_probability_is_on(desc->input_dropout) && !gk_probability_is_on(desc->recurrent_dropout))
    return gk_fail(GK_ERROR_ARGUMENT,
                   "dropout_masks is %s, and recurrent_dropout, input_dropout and dropout are 0: one of them "
                   "must be more than 0",
                   gk_dropout_masks_name(desc->dropout_masks));
  return GK_OK;
}
