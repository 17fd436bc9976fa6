/* SPDX-License-Identifier: Apache-2.0
 * Projection of the hidden state, h = W_hr whole_h (Sak 2014; PyTorch's proj_size): a product after the
 * cell's arithmetic, and before it in backward. W_hr's gradient is one product over all steps, as every
 * other. */
#include <string.h>

#include "src/sequence/run.h"

void gk_project(const struct gk_worker *worker, const struct gk_rnn_layer *weights, size_t rows,
                bool descending) {
  const struct gk_run *run = worker->run;
  const struct gk_kernels *kernels = run->rnn->kernels;
  struct gk_strips strips =
      gk_matrix_strips(&weights->p, rows, worker->output_begin, worker->output_end, descending);
  while (rows && gk_strips_next(&strips)) {
    const size_t begin = strips.unit_begin, end = strips.unit_end;
    gk_matrix_strip_product(&weights->p, kernels, gk_run_weights(run), &strips, rows,
                            (const float *const *)worker->whole_h, worker->h, GK_START_ZERO, NULL);
    for (size_t j = 0; j < rows; j++) {
      kernels->flush(end - begin, worker->h[j] + begin, worker->h[j] + begin);
      if (run->training)
        memcpy(worker->saved_h[j] + begin, worker->h[j] + begin, (end - begin) * sizeof(float));
    }
  }
}

void gk_projection_gather(const struct gk_worker *worker, size_t rows, const float *const *dy, size_t begin,
                          size_t end) {
  const struct gk_kernels *kernels = worker->run->rnn->kernels;
  for (size_t j = 0; j < rows && begin < end; j++) {
    float *d_h = worker->saved_h[j] + begin;
    memcpy(d_h, worker->dh[j] + begin, (end - begin) * sizeof *d_h);
    memset(worker->dh[j] + begin, 0, (end - begin) * sizeof *d_h); /* all of it goes through the products */
    if (dy)
      kernels->add(end - begin, dy[j] + begin, d_h);
    kernels->flush(end - begin, d_h, d_h);
  }
}

void gk_projection_backward(const struct gk_worker *worker, const struct gk_rnn_layer *weights, size_t rows,
                            const struct gk_strips *strip) {
  const struct gk_run *run = worker->run;
  gk_matrix_strip_product(&weights->dp, run->rnn->kernels, gk_run_weights(run), strip, rows,
                          (const float *const *)worker->saved_h, worker->whole_h, GK_START_ZERO, NULL);
}

/* ---- The gradient of W_hr ---- */

enum { GRADIENT_ROWS = 128 }; /* formed together */

void gk_projection_cut(struct gk_run *run, struct gk_arena *workspace) {
  size_t floats;
  if (!gk_size_array(&floats, 1, (int64_t)(run->rnn->widest_hidden + run->rnn->layers[0].dp.width),
                     GK_SUM_BLOCK, 1) ||
      !gk_size_add(&floats, GRADIENT_ROWS * GK_TRANSPOSED_STRIDE) ||
      !gk_size_align(&floats, GK_LINE_FLOATS) || floats > INT64_MAX)
    workspace->overflow = true;
  run->projection_floats = workspace->overflow ? 0 : floats;
  run->projection_scratch =
      gk_arena_take(workspace, sizeof(float), run->plan.threads, (int64_t)run->projection_floats, 1);
}

/* The next block of the sum: d h and whole_h of each row. */
static size_t next_block(const struct gk_run *run, const struct gk_saved *saved, struct gk_sweep *sweep,
                         const float *d_h[GK_SUM_BLOCK], const float *whole_h[GK_SUM_BLOCK]) {
  size_t rows = 0;
  for (int64_t s, i; rows < GK_SUM_BLOCK && gk_sweep_next(run, sweep, &s, &i); rows++) {
    d_h[rows] = gk_run_saved_d_h(run, saved, s, i);
    whole_h[rows] = gk_run_saved_whole_h(run, saved, s, i);
  }
  return rows;
}

/* Rows [begin, end) of the gradient, into c. */
static void gradient_rows(const struct gk_worker *worker, int layer, int direction, size_t begin, size_t end,
                          float *const c[GRADIENT_ROWS]) {
  const struct gk_run *run = worker->run;
  const struct gk_kernels *kernels = run->rnn->kernels;
  const struct gk_matrix *matrix = &gk_run_layer(run, layer, direction)->dp; /* its columns are W_hr's */
  const size_t stride = matrix->width * GK_SUM_BLOCK;
  float *panels = run->projection_scratch + (size_t)worker->thread * run->projection_floats;
  float *transposed = panels + (matrix->units + matrix->width) * GK_SUM_BLOCK;
  const float *d_h[GK_SUM_BLOCK], *whole_h[GK_SUM_BLOCK], *a[GRADIENT_ROWS];
  struct gk_sweep sweep = {.s = run->length[0]};
  for (size_t p = begin; p < end; p++)
    a[p - begin] = transposed + (p - begin) * GK_TRANSPOSED_STRIDE;
  for (bool first = true;; first = false) {
    const size_t rows = next_block(run, gk_run_saved(run, layer, direction), &sweep, d_h, whole_h);
    if (rows == 0 && !first)
      return;
    kernels->pack_rows(rows, matrix->units, whole_h, panels, stride, false);
    for (size_t r = 0; r < rows; r++)
      d_h[r] += begin;
    kernels->transpose(rows, end - begin, d_h, transposed, GK_TRANSPOSED_STRIDE);
    kernels->product(&(struct gk_product){.rows = end - begin,
                                          .k = rows,
                                          .sum_block = GK_GRADIENT_BLOCK,
                                          .a = a,
                                          .a_step = 1,
                                          .b = panels,
                                          .panel_stride = stride,
                                          .columns = matrix->columns,
                                          .vector_end = matrix->vectors,
                                          .c = c,
                                          .overwrite = first});
  }
}

void gk_projection_gradient(const struct gk_worker *worker, int layer, int direction) {
  const struct gk_run *run = worker->run;
  const struct gk_rnn_layer *weights = gk_run_layer(run, layer, direction);
  const size_t hidden = weights->hidden;
  size_t begin, end;
  gk_split(weights->output, GK_LINE_FLOATS, worker->thread, worker->threads, &begin, &end);
  for (size_t p = begin, rows; p < end; p += rows) {
    const size_t at = (size_t)weights->weight_hr + p * hidden;
    float *gradients = (run->accumulate ? run->finished : run->gradients) + at, *c[GRADIENT_ROWS];
    rows = end - p < GRADIENT_ROWS ? end - p : GRADIENT_ROWS;
    for (size_t r = 0; r < rows; r++)
      c[r] = gradients + r * hidden;
    gradient_rows(worker, layer, direction, p, p + rows, c);
    if (run->accumulate)
      run->rnn->kernels->add(rows * hidden, gradients, run->gradients + at);
  }
}
