/* SPDX-License-Identifier: Apache-2.0
 *
 * What a caller gives may be denormal, and an assist for each FMA with such an operand makes a training step
 * take 36 times as long on Intel's Emerald Rapids. So products take what is below 2^-95 for 0, as all that is
 * computed is stored: weight gradients when they pack their rows, forward here. */
#ifndef GK_SEQUENCE_DENORMALS_H
#define GK_SEQUENCE_DENORMALS_H

#include "src/sequence/rows.h"

/* Does any of the rows, `width` floats each, hold such a value? */
bool gk_rows_need_flush(const struct gk_kernels *kernels, size_t rows, size_t width,
                        const float *const *list);
/* Lists flushed copies instead of those of the worker's first `count` rows of a step that hold such values.
 * The threads of a team, which list the same rows, share the copying. */
void gk_flush_operands(const struct gk_worker *worker, int64_t count, size_t width, const float **list,
                       struct gk_buffer_rows copies);

#endif
