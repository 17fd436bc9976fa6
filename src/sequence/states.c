/* SPDX-License-Identifier: Apache-2.0
 * Trained initial states: one row for all samples, so its gradient is the sum of the samples' gradients of
 * their initial states, in the order of the backward sweep. */
#include <string.h>

#include "src/sequence/rows.h"

/* Columns [begin, end) of the sum over the rows of all samples. */
static void sum_carries(const struct gk_run *run, const float *rows, size_t width, size_t begin, size_t end,
                        float *gradient) {
  enum { COLUMNS = 256 };
  const struct gk_kernels *kernels = run->rnn->kernels;
  const float *source[GK_SUM_BLOCK];
  float sum[COLUMNS];
  for (size_t column = begin; column < end; column += COLUMNS) {
    const size_t count = end - column < COLUMNS ? end - column : COLUMNS;
    for (int64_t first = 0; first < run->batch; first += GK_SUM_BLOCK) {
      const int64_t samples = run->batch - first < GK_SUM_BLOCK ? run->batch - first : GK_SUM_BLOCK;
      for (int64_t i = 0; i < samples; i++)
        source[i] = rows + (size_t)(first + i) * width + column;
      kernels->column_sum((size_t)samples, count, source, sum, first == 0);
    }
    if (run->accumulate)
      kernels->add(count, sum, gradient + column);
    else
      memcpy(gradient + column, sum, count * sizeof *sum);
  }
}

void gk_state_gradients(const struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  for (int k = 0; k < run->rnn->layer_count; k++) {
    const struct gk_rnn_layer *layer = &run->rnn->layers[k];
    const struct {
      const float *given, *carries;
      size_t row, width;
      int64_t tensor;
    } state[2] = {{run->h0, run->dh, gk_run_h_row(run, layer, 0), layer->output, layer->h0},
                  {run->c0, run->dc, gk_run_c_row(run, layer, 0), layer->hidden, layer->c0}};
    for (int j = 0; j < (run->rnn->cell->memory ? 2 : 1); j++) {
      float *gradient = run->gradients + state[j].tensor;
      size_t begin, end;
      gk_split(state[j].width, GK_LINE_FLOATS, worker->thread, worker->threads, &begin, &end);
      if (!state[j].given)
        sum_carries(run, state[j].carries + state[j].row, state[j].width, begin, end, gradient);
      else if (!run->accumulate && begin < end)
        memset(gradient + begin, 0, (end - begin) * sizeof *gradient);
    }
  }
}
