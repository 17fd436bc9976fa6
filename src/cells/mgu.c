/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cells/cell.h"

/* Gates f n; blocks f n q (kernels/math/mgu.h). The gate needs h', then the candidate needs q = f h': two
 * products a step. */
const struct gk_cell_info gk_cell_mgu = {
    .gates = 2,
    .gate_name = {"f", "n"},
    .blocks = 3,
    .memory = false,
    .phases = 2,
    .input_block = {0, 1},
    .recurrent_block = {0, 1},
    .input_order = {0, 1},
    .phase = {{.gate_count = 1, .gate = {0}, .operand_block = GK_OPERAND_H},
              {.gate_count = 1, .gate = {1}, .operand_block = 2}},
};
