/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_DISPATCH_DISPATCH_H
#define GK_DISPATCH_DISPATCH_H

#include "gatekern.h"

struct gk_kernels;

/* The kernels of a tier, never of another one. Both arguments come from gk_isa_resolve and
 * gk_math_resolve; NULL if the tier does not run here. */
const struct gk_kernels *gk_dispatch(gk_isa isa, gk_math math);

/* AUTO becomes GATEKERN_MATH, or own without it; GK_ERROR_ARGUMENT for an unknown name or value. */
gk_status gk_math_resolve(gk_math request, gk_math *math);

/* What both requests come to on this machine; kernels->isa and ->math say what that is. Fails as
 * gk_isa_resolve and then gk_math_resolve do. */
gk_status gk_kernels_for(gk_isa isa, gk_math math, const struct gk_kernels **kernels);

/* Whether weight gradients had better read the gates' gradients across, as they stand, than transposed. It
 * costs a line of cache for each k beside those of B. Where a k of a tile takes 24 cycles (Zen 4), that is
 * hidden; where it takes 12, backward took 1.03 to 1.1 times as long (Emerald Rapids, two threads: LSTM, GRU
 * and RNN of 128 to 1760 units). */
bool gk_reads_across(const struct gk_kernels *kernels);

/* Whether threads meet at small cost. Told from the CPU, not measured: plans must be the same in every call.
 * Two were tried: Zen 4 (near: 45 ns from core to core, as gk_measure_core_to_core says, where they share an
 * L3) and Emerald Rapids (far: 150 ns). Others than AMD's family 19h are taken for far. */
bool gk_cores_are_near(void);

#endif
