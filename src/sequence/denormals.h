/* SPDX-License-Identifier: Apache-2.0
 *
 * What a caller gives may be denormal, and an assist for each instruction with such an operand makes a
 * training step take 36 times as long on Intel's Emerald Rapids. So what is given below 2^-95 counts as 0,
 * as all that is computed is stored: x here and when weight gradients pack it, the rows of an embedding where
 * they are folded, the initial states where a run is opened, the gradients of the last ones where backward
 * begins or, of h, in the cells with dy. Whether a row is copied depends on that row alone: flushing makes +0
 * of -0. */
#ifndef GK_SEQUENCE_DENORMALS_H
#define GK_SEQUENCE_DENORMALS_H

#include "src/sequence/run.h"

/* Flushed copies instead of those inputs of a chunk, the rows [first, last) as the worker has listed them,
 * that hold such values. */
void gk_flush_inputs(const struct gk_worker *worker, int64_t begin, int64_t end, size_t first, size_t last);

#endif
