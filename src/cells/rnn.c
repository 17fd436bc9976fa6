/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cells/cell.h"

/* One gate, the pre-activation. */
const struct gk_cell_info gk_cell_rnn = {
    .gates = 1,
    .gate_name = {"h"},
    .blocks = 1,
    .memory = false,
    .phases = 1,
    .gates_in_h = true,
    .phase = {{.gate_count = 1, .gate = {0}, .operand_block = GK_OPERAND_H}},
};
