/* SPDX-License-Identifier: Apache-2.0
 * The options of a description as text: the list that command lines, files and tests read. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "include/gatekern.h"
#include "src/core/status.h"

enum kind { FLAG, NUMBER, FUNCTION };
/* What is added to the place of a function of the reverse direction of two. */
enum { REVERSE = GK_ACTIVATION_PLACES };

static const struct option {
  const char *name;
  enum kind kind;
  size_t offset; /* in gk_rnn_desc */
  int place;     /* of a function */
  const char *help;
} options[] = {
    {"activation", FUNCTION, offsetof(gk_rnn_desc, activation), GK_CANDIDATE,
     "function of the candidate (rnn: of h) instead of tanh, as relu or elu(0.5)"},
    {"gate-activation", FUNCTION, offsetof(gk_rnn_desc, options.gate_activation), GK_GATE,
     "function of the gates instead of sigmoid, as hard-sigmoid(0.2,0.5)"},
    {"output-activation", FUNCTION, offsetof(gk_rnn_desc, options.output_activation), GK_OUTPUT,
     "lstm: function of c on its way to h instead of tanh"},
    {"reverse-activation", FUNCTION, offsetof(gk_rnn_desc, options.reverse_activation[GK_CANDIDATE]),
     REVERSE + GK_CANDIDATE,
     "bidirectional: that of the candidate in the reverse direction, where it differs"},
    {"reverse-gate-activation", FUNCTION, offsetof(gk_rnn_desc, options.reverse_activation[GK_GATE]),
     REVERSE + GK_GATE, "bidirectional: that of the gates in the reverse direction"},
    {"reverse-output-activation", FUNCTION, offsetof(gk_rnn_desc, options.reverse_activation[GK_OUTPUT]),
     REVERSE + GK_OUTPUT, "bidirectional lstm: that of c in the reverse direction"},
    {"clip", NUMBER, offsetof(gk_rnn_desc, options.clip), 0, "bound of the pre-activations' magnitude"},
    {"peephole", FLAG, offsetof(gk_rnn_desc, options.peephole), 0, "lstm: the gates see the cell state"},
    {"coupled", FLAG, offsetof(gk_rnn_desc, options.coupled), 0,
     "lstm: the forget gate is 1 - the input gate"},
    {"layer-norm", FLAG, offsetof(gk_rnn_desc, options.layer_norm), 0,
     "lstm: layer normalisation of both products and of the cell state"},
    {"cell-clip", NUMBER, offsetof(gk_rnn_desc, options.cell_clip), 0,
     "lstm: bound of the cell state's magnitude"},
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

const char *gk_rnn_option_value(int index) {
  static const char *const values[] = {[FLAG] = NULL, [NUMBER] = "X", [FUNCTION] = "FUNCTION"};
  return index >= 0 && index < OPTIONS ? values[options[index].kind] : NULL;
}

static gk_status find(const char *name, const struct option **option) {
  char names[256] = "";
  size_t used = 0;
  for (int i = 0; i < OPTIONS; i++) {
    if (strcmp(name, options[i].name) == 0) {
      *option = &options[i];
      return GK_OK;
    }
    if (used < sizeof names)
      used += (size_t)snprintf(names + used, sizeof names - used, " %s", options[i].name);
  }
  return gk_fail(GK_ERROR_ARGUMENT, "option is '%s', must be one of:%s", name, names);
}

static float *alpha_of(gk_rnn_desc *desc, const struct option *option) {
  return option->place < REVERSE ? &desc->options.alpha[option->place]
                                 : &desc->options.reverse_alpha[option->place - REVERSE];
}
static float *beta_of(gk_rnn_desc *desc, const struct option *option) {
  return option->place < REVERSE ? &desc->options.beta[option->place]
                                 : &desc->options.reverse_beta[option->place - REVERSE];
}

/* "name" or "name(alpha)" or "name(alpha,beta)". */
static gk_status set_function(gk_rnn_desc *desc, const struct option *option, const char *value) {
  char name[32] = "";
  const size_t length = strcspn(value, "(");
  double number[2] = {0, 0};
  if (length < sizeof name)
    memcpy(name, value, length);
  gk_activation kind;
  gk_status status = gk_activation_from_name(length < sizeof name ? name : value, &kind);
  if (status)
    return status;
  const char *at = value + length;
  for (int i = 0; i < 2 && (i == 0 ? *at == '(' : *at == ','); i++) {
    char *end;
    number[i] = strtod(at + 1, &end);
    if (end == at + 1)
      break;
    at = end;
  }
  if (value[length] == '(' && (strcmp(at, ")") != 0 || !isfinite(number[0]) || !isfinite(number[1])))
    return gk_fail(GK_ERROR_ARGUMENT, "%s is '%s', must be a function as %s(0.2,0.5)", option->name, value,
                   name);
  memcpy((char *)desc + option->offset, &kind, sizeof kind);
  *alpha_of(desc, option) = (float)number[0];
  *beta_of(desc, option) = (float)number[1];
  return GK_OK;
}

static gk_status set_number(gk_rnn_desc *desc, const struct option *option, const char *value) {
  char *end;
  const double number = strtod(value, &end);
  const float rounded = (float)number;
  if (end == value || *end || !(number >= 0) || isinf(rounded))
    return gk_fail(GK_ERROR_ARGUMENT, "%s is '%s', must be a number that is not negative", option->name,
                   value);
  memcpy((char *)desc + option->offset, &rounded, sizeof rounded);
  return GK_OK;
}

gk_status gk_rnn_option_set(gk_rnn_desc *desc, const char *name, const char *value) {
  const struct option *option = NULL;
  if (!desc || !name || !value)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", !desc ? "desc" : !name ? "name" : "value");
  gk_status status = find(name, &option);
  if (status)
    return status;
  if (option->kind == FUNCTION)
    return set_function(desc, option, value);
  if (option->kind == NUMBER)
    return set_number(desc, option, value);
  const bool on = strcmp(value, "on") == 0;
  if (!on && strcmp(value, "off") != 0)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is '%s', must be on or off", name, value);
  memcpy((char *)desc + option->offset, &on, sizeof on);
  return GK_OK;
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

gk_status gk_rnn_option_get(const gk_rnn_desc *desc, const char *name, char *value, size_t size) {
  const struct option *option = NULL;
  if (!desc || !name || !value)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", !desc ? "desc" : !name ? "name" : "value");
  if (size == 0)
    return gk_fail(GK_ERROR_ARGUMENT, "size is 0");
  gk_status status = find(name, &option);
  if (status)
    return status;
  const char *field = (const char *)desc + option->offset;
  float number = 0;
  bool on = false;
  value[0] = '\0';
  if (option->kind == FUNCTION)
    get_function(desc, option, value, size);
  else if (option->kind == NUMBER)
    memcpy(&number, field, sizeof number);
  else
    memcpy(&on, field, sizeof on);
  if (number != 0) {
    char text[32];
    write_number(number, text);
    snprintf(value, size, "%s", text);
  }
  if (on)
    snprintf(value, size, "on");
  return GK_OK;
}
