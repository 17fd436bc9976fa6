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

#endif
