/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cells/cell.h"

/* Gates r z n; blocks r z n q (kernels/math/gru_reset_before.h). The gates need h', then the candidate needs
 * q = r h': two products a step. */
const struct gk_cell_info gk_cell_gru_reset_before = {
    .gates = 3,
    .gate_name = {"r", "z", "n"},
    .blocks = 4,
    .memory = false,
    .phases = 2,
    .input_block = {0, 1, 2},
    .recurrent_block = {0, 1, 2},
    .input_order = {0, 1, 2},
    .phase = {{.gate_count = 2, .gate = {0, 1}, .operand_block = GK_OPERAND_H},
              {.gate_count = 1, .gate = {2}, .operand_block = 3}},
};
