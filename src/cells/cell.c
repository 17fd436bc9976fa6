/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cells/cell.h"

#include "src/core/names.h"

static const struct gk_cell_info *const cells[GK_CELL_COUNT] = {
#define GK_CELL(constant, identifier, name) [GK_CELL_##constant] = &gk_cell_##identifier,
#include "kernels/cells.def"
#undef GK_CELL
};

#define GK_CELL(constant, identifier, name)                                                                  \
  _Static_assert((int)GK_CELL_##constant == (int)GK_KERNEL_CELL_##constant,                                  \
                 "enum gk_cell must have the order of kernels/cells.def: " name);
#include "kernels/cells.def"
#undef GK_CELL

const struct gk_cell_info *gk_cell_find(gk_cell cell) {
  return (unsigned)cell < GK_CELL_COUNT ? cells[cell] : NULL;
}

const struct gk_cell_info *gk_cell_of(const gk_rnn_desc *desc) {
  const bool coupled = desc->options.coupled;
  if (desc->cell != GK_CELL_LSTM)
    return gk_cell_find(desc->cell);
  if (desc->options.layer_norm)
    return coupled ? &gk_cell_lstm_coupled_normalised : &gk_cell_lstm_normalised;
  return coupled ? &gk_cell_lstm_coupled : &gk_cell_lstm;
}

struct gk_cell_arithmetic gk_cell_arithmetic_of(const gk_rnn_desc *desc, const struct gk_kernels *kernels,
                                                bool general) {
  if (gk_cell_of(desc)->normalised)
    return (struct gk_cell_arithmetic){&kernels->lstm_normalised_forward, &kernels->lstm_normalised_backward};
  if (general)
    return (struct gk_cell_arithmetic){kernels->cell_forward_general[desc->cell],
                                       kernels->cell_backward_general[desc->cell]};
  return (struct gk_cell_arithmetic){kernels->cell_forward[desc->cell], kernels->cell_backward[desc->cell]};
}

static const char *const cell_names[] = {
#define GK_CELL(constant, identifier, text) text,
#include "kernels/cells.def"
#undef GK_CELL
};
GK_NAMES_OF(cell, gk_cell, cell)

int gk_cell_gates(gk_cell cell) {
  const struct gk_cell_info *info = gk_cell_find(cell);
  return info ? info->gates : 0;
}

const char *gk_rnn_gate_name(const gk_rnn_desc *desc, int gate) {
  const struct gk_cell_info *info = desc ? gk_cell_of(desc) : NULL;
  return info && gate >= 0 && gate < info->gates ? info->gate_name[gate] : "unknown";
}

bool gk_cell_has_memory(gk_cell cell) {
  const struct gk_cell_info *info = gk_cell_find(cell);
  return info && info->memory;
}
