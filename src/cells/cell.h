/* SPDX-License-Identifier: Apache-2.0
 *
 * What the time loop must know of a cell: which products a step needs, and where in a row of gates their
 * results stand. Each cell's file in this folder defines one; kernels/cells.def lists them. */
#ifndef GK_CELLS_CELL_H
#define GK_CELLS_CELL_H

#include "kernels/kernels.h"
#include "src/core/matrix.h"

/* One recurrent product of a step: the pre-activations of some gates from one operand. */
struct gk_cell_phase {
  int gate_count;
  int gate[GK_MAX_GATES]; /* neighbours in the parameters, in ascending order of their recurrent blocks */
  int operand_block;      /* block of the gates row that is multiplied; GK_OPERAND_H: h of the step before */
};
enum { GK_OPERAND_H = -1 };

struct gk_cell_info {
  int gates;   /* of the parameters, in PyTorch's order */
  int blocks;  /* of H floats in a gates row */
  bool memory; /* a cell state c beside h */
  int phases;
  const char *gate_name[GK_MAX_GATES]; /* as include/gatekern.h calls them */
  /* Where gate g's share of the input product (and later its gradient) stands, and the recurrent one's.
   * Blocks of the input product are contiguous, and so are those of each phase: each is one operand of
   * the backward products. Where the two differ the halves of a gate are kept apart. */
  int input_block[GK_MAX_GATES];
  int recurrent_block[GK_MAX_GATES];
  /* Gates in ascending order of their input blocks: that of the parameters, but any may be the first. */
  int input_order[GK_MAX_GATES];
  struct gk_cell_phase phase[GK_MAX_PHASES];
  /* The arithmetic needs whole rows, and both products start from zero: biases, and gradients of biases,
   * stand in G blocks of their own. */
  bool normalised;
  int bias_block;
  bool gates_in_h; /* the plain arithmetic backward reads no saved gates: h says all of them */
  /* Where an initial forget bias goes: to this gate's bias, with this sign (f = 1 - i: -1); 0: nowhere. */
  int forget_gate, forget_sign;
};

/* The block that holds the gradient of gate g's b_ih, or b_hh. */
static inline int gk_cell_bias_block(const struct gk_cell_info *cell, int g, bool recurrent) {
  return cell->normalised ? cell->bias_block + g
         : recurrent      ? cell->recurrent_block[g]
                          : cell->input_block[g];
}

#define GK_CELL(constant, identifier, name) extern const struct gk_cell_info gk_cell_##identifier;
#include "kernels/cells.def"
#undef GK_CELL

extern const struct gk_cell_info gk_cell_lstm_coupled; /* the LSTM with three gates */
extern const struct gk_cell_info gk_cell_lstm_normalised, gk_cell_lstm_coupled_normalised;

/* NULL for a value that is no cell. */
const struct gk_cell_info *gk_cell_find(gk_cell cell);
/* The cell of a description, with its options. */
const struct gk_cell_info *gk_cell_of(const gk_rnn_desc *desc);

/* The kernels of each phase. */
struct gk_cell_arithmetic {
  gk_cell_forward_fn *const *forward;
  gk_cell_backward_fn *const *backward;
};
struct gk_cell_arithmetic gk_cell_arithmetic_of(const gk_rnn_desc *desc, const struct gk_kernels *kernels,
                                                bool general);

/* ---- Options (options.c) ---- */

/* How many of alpha and beta a function has, and their defaults; `activation` is one of the enumeration. */
int gk_activation_parameters(gk_activation activation, float *alpha, float *beta);
/* Refuses what the cell does not have, a projection included. */
gk_status gk_cell_check_options(const gk_rnn_desc *desc);
/* Replaces DEFAULT and zero alpha and beta by what they stand for. */
void gk_cell_resolve_options(gk_rnn_desc *desc);
/* What the general kernels need of a resolved description, in one direction (`reverse`: the second of two);
 * false if the plain kernels do. */
bool gk_cell_variant_of(const gk_rnn_desc *desc, bool reverse, struct gk_cell_variant *variant);

#endif
