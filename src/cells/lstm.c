/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cells/cell.h"

/* Gates i f g o, one block each; one product. */
const struct gk_cell_info gk_cell_lstm = {
    .name = "lstm",
    .gates = 4,
    .blocks = 4,
    .memory = true,
    .phases = 1,
    .input_block = {0, 1, 2, 3},
    .recurrent_block = {0, 1, 2, 3},
    .input_order = {0, 1, 2, 3},
    .phase = {{.gate_count = 4, .gate = {0, 1, 2, 3}, .operand_block = GK_OPERAND_H}},
};
