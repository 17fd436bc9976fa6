/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernels.h"

#include "kernels/scalar/vector.h"
#include "kernels/scalar/tile.h"

#if GK_SCALAR_FMA
#define GK_TIER scalar_fma
#else
#define GK_TIER scalar
#endif
#define GK_TIER_ISA GK_ISA_SCALAR
#include "kernels/math/table.h"
