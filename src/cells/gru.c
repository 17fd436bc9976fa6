/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cells/cell.h"

/* Gates r z n; blocks n r z a (kernels/math/gru.h): the candidate's two halves stay apart, because the reset
 * gate multiplies only the recurrent one. */
const struct gk_cell_info gk_cell_gru = {
    .gates = 3,
    .gate_name = {"r", "z", "n"},
    .blocks = 4,
    .memory = false,
    .phases = 1,
    .input_block = {1, 2, 0},
    .recurrent_block = {1, 2, 3},
    .input_order = {2, 0, 1},
    .phase = {{.gate_count = 3, .gate = {0, 1, 2}, .operand_block = GK_OPERAND_H}},
};
