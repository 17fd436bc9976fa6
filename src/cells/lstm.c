/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cells/cell.h"

/* Gates i f g o, one block each; one product. */
const struct gk_cell_info gk_cell_lstm = {
    .gates = 4,
    .gate_name = {"i", "f", "g", "o"},
    .blocks = 4,
    .memory = true,
    .phases = 1,
    .input_block = {0, 1, 2, 3},
    .recurrent_block = {0, 1, 2, 3},
    .input_order = {0, 1, 2, 3},
    .phase = {{.gate_count = 4, .gate = {0, 1, 2, 3}, .operand_block = GK_OPERAND_H}},
    .forget_gate = 1,
    .forget_sign = 1,
};

/* f = 1 - i has no gate of its own: gates i g o. */
const struct gk_cell_info gk_cell_lstm_coupled = {
    .gates = 3,
    .gate_name = {"i", "g", "o"},
    .blocks = 3,
    .memory = true,
    .phases = 1,
    .input_block = {0, 1, 2},
    .recurrent_block = {0, 1, 2},
    .input_order = {0, 1, 2},
    .phase = {{.gate_count = 3, .gate = {0, 1, 2}, .operand_block = GK_OPERAND_H}},
    .forget_gate = 0,
    .forget_sign = -1,
};

/* The halves of the pre-activations, their sum, and c's argument (kernels/math/lstm_normalised.h). */
const struct gk_cell_info gk_cell_lstm_normalised = {
    .gates = 4,
    .gate_name = {"i", "f", "g", "o"},
    .blocks = 13,
    .memory = true,
    .phases = 1,
    .input_block = {0, 1, 2, 3},
    .recurrent_block = {4, 5, 6, 7},
    .input_order = {0, 1, 2, 3},
    .phase = {{.gate_count = 4, .gate = {0, 1, 2, 3}, .operand_block = GK_OPERAND_H}},
    .normalised = true,
    .bias_block = 8,
    .forget_gate = 1,
    .forget_sign = 1,
};

const struct gk_cell_info gk_cell_lstm_coupled_normalised = {
    .gates = 3,
    .gate_name = {"i", "g", "o"},
    .blocks = 10,
    .memory = true,
    .phases = 1,
    .input_block = {0, 1, 2},
    .recurrent_block = {3, 4, 5},
    .input_order = {0, 1, 2},
    .phase = {{.gate_count = 3, .gate = {0, 1, 2}, .operand_block = GK_OPERAND_H}},
    .normalised = true,
    .bias_block = 6,
    .forget_gate = 0,
    .forget_sign = -1,
};
