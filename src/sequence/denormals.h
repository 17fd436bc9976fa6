/* SPDX-License-Identifier: Apache-2.0
 *
 * What a caller gives may be denormal, and an assist for each instruction with such an operand makes a
 * training step take 36 times as long on Intel's Emerald Rapids. So what is given below 2^-95 counts as 0,
 * as all that is computed is stored: x here and when weight gradients pack it, the initial states here, the
 * gradients of the last ones where backward begins, dy in the cells. */
#ifndef GK_SEQUENCE_DENORMALS_H
#define GK_SEQUENCE_DENORMALS_H

#include "src/sequence/run.h"

/* Flushed copies instead of those inputs of a chunk, the rows [first, last) as the worker has listed them, that
 * hold such values. */
void gk_flush_inputs(const struct gk_worker *worker, int64_t begin, int64_t end, size_t first, size_t last);
/* The tensor itself (or NULL), or a flushed copy if it holds such values. */
const float *gk_flush_given(const struct gk_kernels *kernels, size_t count, const float *given, float *copy);

#endif
