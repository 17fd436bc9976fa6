/* SPDX-License-Identifier: Apache-2.0 */
#include "src/sequence/denormals.h"
#include "src/sequence/rows.h"

/* Rows that follow one another are looked through at once. */
static bool rows_need_flush(const struct gk_kernels *kernels, size_t rows, size_t width,
                            const float *const *list) {
  for (size_t j = 0, end; j < rows; j = end) {
    for (end = j + 1; end < rows && list[end] == list[end - 1] + width;)
      end++;
    if (kernels->needs_flush((end - j) * width, list[j]))
      return true;
  }
  return false;
}

/* The threads of a team list the same rows, and share the copying. */
void gk_flush_inputs(const struct gk_worker *worker, int64_t begin, int64_t end, size_t first, size_t last) {
  const struct gk_run *run = worker->run;
  const struct gk_kernels *kernels = run->rnn->kernels;
  const size_t width = (size_t)run->rnn->desc.input_size;
  const int64_t own = gk_worker_row_begin(worker), step = gk_worker_row_step(worker);
  size_t row = 0;
  if (!rows_need_flush(kernels, last - first, width, worker->chunk_a + first))
    return;
  for (int64_t s = begin; s < end; s++) {
    const int64_t count = gk_worker_rows(worker, s);
    for (int64_t j = 0; j < count; j++, row++) {
      const float **const x = &worker->chunk_a[row];
      if (row < first || row >= last || !kernels->needs_flush(width, *x))
        continue;
      float *copy = gk_row_at(run, gk_chunk_x(run, s), gk_worker_position(worker, j));
      if (j % step == own)
        kernels->flush(width, *x, copy);
      *x = copy;
    }
  }
  gk_worker_meet(worker);
}
