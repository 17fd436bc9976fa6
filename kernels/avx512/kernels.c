/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernels.h"

#include "kernels/avx512/vector.h"
#include "kernels/avx512/tile.h"

#define GK_TIER     avx512
#define GK_TIER_ISA GK_ISA_AVX512
#include "kernels/math/table.h"
