/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cells/cell.h"

/* Gates z n, one block each; one product. */
const struct gk_cell_info gk_cell_gru_simplified = {
    .gates = 2,
    .gate_name = {"z", "n"},
    .blocks = 2,
    .memory = false,
    .phases = 1,
    .input_block = {0, 1},
    .recurrent_block = {0, 1},
    .input_order = {0, 1},
    .phase = {{.gate_count = 2, .gate = {0, 1}, .operand_block = GK_OPERAND_H}},
};
