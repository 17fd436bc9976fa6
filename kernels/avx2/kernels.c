/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernels.h"

#include "kernels/avx2/vector.h"
#include "kernels/avx2/tile.h"

#define GK_TIER     avx2
#define GK_TIER_ISA GK_ISA_AVX2
#include "kernels/math/table.h"
