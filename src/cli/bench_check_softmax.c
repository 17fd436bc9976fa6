/* SPDX-License-Identifier: Apache-2.0 */
/* `gatekern bench --check softmax`: the output layer of a word-level model, with its loss. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench_check.h"
#include "runner_clock.h"
#include "shape_text.h"

enum { SOFTMAX_RUNS = 3 };

struct output_layer {
  gk_output *output;
  gk_output_loss_args args;
  void *memory[7];
};

static gk_status take(void **memory, size_t bytes) {
  const gk_status status = gk_allocate(bytes ? bytes : 1, memory);
  if (status == GK_OK)
    memset(*memory, 0, bytes);
  return status;
}

static gk_status open_output(const struct check_plan *plan, const bench_shape *s, struct output_layer *layer,
                             double *loss) {
  const int64_t rows = s->time * s->batch;
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  gk_output_desc desc = GK_OUTPUT_DESC_INIT;
  size_t packed = 0, workspace = 0;
  desc.input_size = s->hidden;
  desc.output_size = plan->words;
  desc.isa = plan->isa;
  desc.threads = plan->threads;
  gk_status status = gk_output_create(&desc, &layer->output);
  if (status == GK_OK)
    status = gk_output_packed_bytes(layer->output, both, &packed);
  if (status == GK_OK)
    status = gk_output_workspace_bytes(layer->output, rows, &workspace);
  if (status != GK_OK)
    return status;
  const size_t parameters = (size_t)gk_output_parameter_count(layer->output) * sizeof(float);
  const size_t h = (size_t)(rows * s->hidden) * sizeof(float);
  const size_t bytes[] = {parameters, packed, workspace, h, (size_t)rows * sizeof(int32_t), h, parameters};
  void **memory = layer->memory;
  for (int i = 0; i < 7 && status == GK_OK; i++)
    status = take(&memory[i], bytes[i]);
  if (status == GK_OK)
    status = gk_output_init(layer->output, 1, memory[0]);
  if (status == GK_OK)
    status = gk_output_pack(layer->output, both, memory[0], memory[1]);
  if (status != GK_OK)
    return status;
  for (int64_t i = 0; i < rows * s->hidden; i++)
    ((float *)memory[3])[i] = 2 * gk_uniform(1, 0, (uint64_t)i) - 1;
  for (int64_t i = 0; i < rows; i++)
    ((int32_t *)memory[4])[i] = (int32_t)(i * 7919 % plan->words);
  layer->args = (gk_output_loss_args)GK_OUTPUT_LOSS_ARGS_INIT;
  layer->args.rows = rows;
  layer->args.h = memory[3];
  layer->args.targets = memory[4];
  layer->args.packed = memory[1];
  layer->args.loss = loss;
  layer->args.gradient_scale = 1 / (float)rows;
  layer->args.dh = memory[5];
  layer->args.gradients = memory[6];
  layer->args.workspace = memory[2];
  return GK_OK;
}

static void print_measured(const struct check_plan *plan, const bench_shape *s, double seconds, double gflops,
                           double ceiling) {
  char text[SHAPE_TEXT];
  snprintf(text, sizeof text, "output layer H%lld, %lld words, %lld rows", (long long)s->hidden,
           (long long)plan->words, (long long)(s->time * s->batch));
  bench_check_start_text(plan, s, text);
  if (plan->json)
    printf("\"words\": %lld, ", (long long)plan->words);
  printf(plan->json ? "\"ms\": %.6g, \"gflops\": %.5g, \"peak_gflops\": %.5g, "
                    : "%9.3f ms, %.1f GFLOP/s, of the peak %.1f: ",
         1e3 * seconds, gflops, ceiling);
}

/* Logits, softmax, loss, gradients of h and of the weights: three products of rows, hidden units and words.
 */
gk_status bench_check_softmax(const struct check_plan *plan, const bench_shape *s,
                              struct check_summary *summary) {
  struct output_layer layer = {.output = NULL};
  double loss, best = INFINITY, peak[2] = {0};
  gk_status status = open_output(plan, s, &layer, &loss);
  if (status == GK_OK)
    status = gk_measure_peak(plan->isa, plan->threads, 0.1, &peak[0], NULL);
  const double end = clock_seconds() + plan->seconds;
  for (int run = 0; status == GK_OK && (run <= SOFTMAX_RUNS || clock_seconds() < end); run++) {
    const double start = clock_seconds();
    status = gk_output_loss(layer.output, &layer.args);
    if (run > 0) /* the first one warms up */
      best = fmin(best, clock_seconds() - start);
  }
  if (status == GK_OK)
    status = gk_measure_peak(plan->isa, plan->threads, 0.1, &peak[1], NULL);
  gk_output_destroy(layer.output);
  for (int i = 0; i < 7; i++)
    gk_free(layer.memory[i]);
  if (status != GK_OK)
    return status;
  const double rows = (double)(s->time * s->batch);
  const double gflops = 1e-9 * 6 * rows * (double)s->hidden * (double)plan->words / best;
  const double ceiling = fmax(peak[0], peak[1]);
  print_measured(plan, s, best, gflops, ceiling);
  bench_check_end_line(plan, s, ceiling / gflops, summary);
  return GK_OK;
}
