/* SPDX-License-Identifier: Apache-2.0
 * Projection of the hidden state, h = W_hr whole_h (Sak 2014; PyTorch's proj_size): a product after the
 * cell's arithmetic, and before it in backward. W_hr's gradient is one product over all steps, as every
 * other. */
#include <string.h>

#include "src/layers/linear.h"
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
    float *d_h = worker->d_h[j] + begin;
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
                          (const float *const *)worker->d_h, worker->d_whole_h, GK_START_ZERO, NULL);
}

/* ---- The gradient of W_hr ---- */

void gk_projection_cut(struct gk_run *run, struct gk_arena *workspace) {
  run->projection_floats = 0;
  for (int k = 0; k < run->rnn->layer_count; k++)
    if (!gk_linear_scratch(&run->rnn->layers[k].dp, &run->projection_floats))
      workspace->overflow = true;
  run->projection_scratch =
      gk_arena_take(workspace, sizeof(float), run->plan.threads, (int64_t)run->projection_floats, 1);
}

void gk_projection_gradient(const struct gk_worker *worker, int layer, int direction) {
  const struct gk_run *run = worker->run;
  const struct gk_rnn_layer *weights = gk_run_layer(run, layer, direction);
  const struct gk_saved *saved = gk_run_saved(run, layer, direction);
  struct gk_sweep_rows sweep = gk_sweep_rows_of(run, false);
  const struct gk_linear_gradient gradient = {.matrix = &weights->dp,
                                              .kernels = run->rnn->kernels,
                                              .rows = {.context = &sweep, .next = gk_sweep_next_rows},
                                              .dy = saved->d_h,
                                              .dy_stride = saved->h_width,
                                              .x = saved->whole_h,
                                              .x_stride = saved->c_width,
                                              .weight = run->gradients + weights->weight_hr,
                                              .accumulate = run->accumulate,
                                              .scratch = run->projection_scratch +
                                                         (size_t)worker->thread * run->projection_floats};
  gk_linear_gradient(&gradient, worker->thread, worker->threads);
}
