/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernels.h"

#include "kernels/neon/vector.h"
#include "kernels/neon/tile.h"

#define GK_TIER     neon
#define GK_TIER_ISA GK_ISA_NEON
#include "kernels/math/table.h"
