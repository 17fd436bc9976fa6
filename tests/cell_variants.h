/* SPDX-License-Identifier: Apache-2.0
 *
 * Networks with options of their cells: every function at every place, every option alone and with others.
 * Tests walk this list. */
#ifndef GK_TESTS_CELL_VARIANTS_H
#define GK_TESTS_CELL_VARIANTS_H

#include <stdio.h>
#include <string.h>

#include "include/gatekern.h"

struct cell_variant {
  gk_cell cell;
  const char *options; /* for gk_rnn_options_set */
  bool smooth;         /* no kinks: central differences with long steps */
};

static const struct cell_variant cell_variants[] = {
    {GK_CELL_RNN, "activation=identity", true},
    {GK_CELL_RNN, "activation=leaky-relu(0.2,0)", false},
    {GK_CELL_RNN, "activation=elu(0.7)", false},
    {GK_CELL_RNN, "activation=softsign", false},
    {GK_CELL_RNN, "activation=scaled-tanh(1.5,0.6) preactivation-clip=1.25", false},
    {GK_CELL_GRU, "activation=softplus gate-activation=hard-sigmoid", false},
    {GK_CELL_GRU, "gate-activation=affine(0.25,0.5)", true},
    {GK_CELL_GRU, "preactivation-clip=0.75", false},
    {GK_CELL_GRU_RESET_BEFORE, "activation=thresholded-relu(0.1,0) gate-activation=softsign", false},
    {GK_CELL_GRU_RESET_BEFORE, "activation=sigmoid gate-activation=tanh preactivation-clip=2", false},
    {GK_CELL_GRU_SIMPLIFIED, "activation=relu gate-activation=hard-sigmoid(0.3,0.4)", false},
    {GK_CELL_MGU, "activation=softsign gate-activation=hard-sigmoid(0.25,0.5)", false},
    {GK_CELL_LSTM, "peephole=on", true},
    {GK_CELL_LSTM, "coupled=on", true},
    {GK_CELL_LSTM, "cell-clip=0.5", false},
    {GK_CELL_LSTM, "coupled=on peephole=on", true},
    {GK_CELL_LSTM, "coupled=on peephole=on cell-clip=0.6 preactivation-clip=1.1", false},
    {GK_CELL_LSTM, "activation=softsign output-activation=scaled-tanh(1.2,0.8)", false},
    {GK_CELL_LSTM, "gate-activation=hard-sigmoid activation=relu output-activation=identity peephole=on",
     false},
    {GK_CELL_LSTM,
     "activation=softplus gate-activation=affine(0.2,0.4) output-activation=elu coupled=on "
     "preactivation-clip=1 "
     "cell-clip=2",
     false},
    {GK_CELL_LSTM, "layer-norm=on", true},
    {GK_CELL_LSTM, "layer-norm=on coupled=on peephole=on", true},
    {GK_CELL_LSTM,
     "layer-norm=on peephole=on cell-clip=0.6 preactivation-clip=1.1 output-activation=scaled-tanh(1.2,0.8)",
     false},
    {GK_CELL_RNN, "reverse-activation=relu", false},
    {GK_CELL_RNN, "activation=elu(0.7,0) reverse-activation=scaled-tanh(1.5,0.6)", false},
    {GK_CELL_GRU, "reverse-activation=scaled-tanh(1.2,0.8) reverse-gate-activation=affine(0.25,0.5)", true},
    {GK_CELL_GRU_RESET_BEFORE, "gate-activation=affine(0.25,0.5) reverse-gate-activation=sigmoid", true},
    {GK_CELL_GRU_SIMPLIFIED, "reverse-activation=softsign", false},
    {GK_CELL_MGU, "reverse-gate-activation=affine(0.3,0.4)", true},
    {GK_CELL_LSTM, "reverse-gate-activation=affine(0.25,0.5) reverse-output-activation=identity peephole=on",
     true},
    {GK_CELL_LSTM,
     "activation=softsign output-activation=identity reverse-activation=elu(0.6,0) "
     "reverse-gate-activation=hard-sigmoid(0.3,0.45) reverse-output-activation=tanh coupled=on",
     false},
    {GK_CELL_LSTM, "layer-norm=on reverse-output-activation=scaled-tanh(1.2,0.8)", true},
};
/* Options of the reverse direction of two. */
static inline bool needs_two_directions(const struct cell_variant *variant) {
  return strstr(variant->options, "reverse-") != NULL;
}
enum { CELL_VARIANTS = sizeof cell_variants / sizeof *cell_variants };

/* ---- Kinds of networks ---- */

/* The index-th variant that any direction can have, or that needs two; of the LSTM's alone if `lstm`. NULL:
 * no more. */
static inline const struct cell_variant *variant_of_directions(bool two, int index, bool lstm) {
  for (int i = 0; i < CELL_VARIANTS; i++)
    if (needs_two_directions(&cell_variants[i]) == two && (!lstm || cell_variants[i].cell == GK_CELL_LSTM) &&
        index-- == 0)
      return &cell_variants[i];
  return NULL;
}

static inline const struct cell_variant *variant_of_any_direction(int index, bool lstm) {
  return variant_of_directions(false, index, lstm);
}

static inline int count_variants(bool lstm) {
  int count = 0;
  while (variant_of_any_direction(count, lstm))
    count++;
  return count;
}

/* What tests of properties walk: each cell as it is, each variant that any direction can have, and the LSTM
 * and each of its variants with a projection. */
static inline int network_kinds(void) {
  return gk_cell_count() + count_variants(false) + 1 + count_variants(true);
}

/* Then, for tests whose networks may have both directions, each variant with functions of the reverse one. */
static inline int network_kinds_of_both_directions(void) {
  int count = network_kinds();
  while (variant_of_directions(true, count - network_kinds(), false))
    count++;
  return count;
}

/* Cell, options and projection of a kind, and two directions where it needs them; hidden_size is set
 * already. */
static inline gk_status set_network_kind(gk_rnn_desc *desc, int kind) {
  static const struct cell_variant plain_lstm = {GK_CELL_LSTM, "", true};
  if (kind < gk_cell_count()) {
    desc->cell = (gk_cell)kind;
    return GK_OK;
  }
  const bool two = kind >= network_kinds();
  kind -= two ? network_kinds() : gk_cell_count();
  const struct cell_variant *variant = variant_of_directions(two, kind, false);
  if (two) {
    desc->direction = GK_BIDIRECTIONAL;
  } else if (!variant) {
    kind -= count_variants(false);
    variant = kind == 0 ? &plain_lstm : variant_of_any_direction(kind - 1, true);
    desc->projection_size = 1 + desc->hidden_size / 2;
  }
  desc->cell = variant->cell;
  return gk_rnn_options_set(desc, variant->options);
}

/* The options that are set, for messages. */
static inline void describe_options(const gk_rnn_desc *desc, char *text, size_t size) {
  size_t used = 0;
  text[0] = '\0';
  for (int i = 0; i < gk_rnn_option_count() && used < size; i++) {
    char value[96];
    if (gk_rnn_option_get(desc, gk_rnn_option_name(i), value, sizeof value) == GK_OK && *value)
      used += (size_t)snprintf(text + used, size - used, ", %s %s", gk_rnn_option_name(i), value);
  }
}

#endif
