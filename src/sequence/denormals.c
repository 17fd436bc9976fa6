/* SPDX-License-Identifier: Apache-2.0 */
#include "src/sequence/denormals.h"

bool gk_rows_need_flush(const struct gk_kernels *kernels, size_t rows, size_t width,
                        const float *const *list) {
  for (size_t j = 0, end; j < rows; j = end) {
    for (end = j + 1; end < rows && list[end] == list[end - 1] + width;)
      end++; /* rows that follow one another are looked through at once */
    if (kernels->needs_flush((end - j) * width, list[j]))
      return true;
  }
  return false;
}

void gk_flush_operands(const struct gk_worker *worker, int64_t count, size_t width, const float **list,
                       struct gk_buffer_rows copies) {
  const struct gk_kernels *kernels = worker->run->rnn->kernels;
  const int64_t own = gk_worker_row_begin(worker), step = gk_worker_row_step(worker);
  for (int64_t j = 0; j < count; j++) {
    float *copy = gk_row_at(worker->run, copies, gk_worker_position(worker, j));
    if (!kernels->needs_flush(width, list[j]))
      continue;
    if (j % step == own)
      kernels->flush(width, list[j], copy);
    list[j] = copy;
  }
  gk_worker_meet(worker);
}
