/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmarks.h"

#include <stdio.h>
#include <stdlib.h>

#include "runner.h"

enum { MOST_ISAS = 16 };

/* One registered benchmark. */
struct layer {
  bench_shape shape;
  bench_pass pass;
  gk_isa isa;
};

/* Google Benchmark calls a function several times to find how many iterations it needs: the network of the
 * last call is kept. */
static bench_runner *current;
static const struct layer *current_layer;

void layer_benchmarks_end(void) {
  bench_runner_destroy(current);
  current = NULL;
  current_layer = NULL;
}

/* GFLOP/s of a tier and number of threads, measured once in this process. */
static double peak_of(gk_isa isa, int threads) {
  static double peak[MOST_ISAS];
  static int measured_threads[MOST_ISAS];
  if ((int)isa >= MOST_ISAS)
    return 0;
  if (measured_threads[isa] != threads && gk_measure_peak(isa, threads, 0.2, &peak[isa], NULL) == GK_OK)
    measured_threads[isa] = threads;
  return peak[isa];
}

static void run_layer(shim_state *state, const void *context) {
  const struct layer *layer = context;
  bench_interval interval;
  gk_status status = GK_OK;
  if (current_layer != layer) {
    layer_benchmarks_end();
    status = bench_runner_create(&layer->shape, layer->pass, layer->isa, 0, GK_SCHEDULE_AUTO, &current);
    if (status == GK_OK)
      current_layer = layer;
    if (status == GK_OK)
      status = bench_runner_run(current, &interval);
  }
  while (status == GK_OK && shim_keep_running(state))
    status = bench_runner_run(current, &interval);
  if (status != GK_OK) {
    shim_error(state, status == GK_ERROR_MEMORY ? "not enough memory" : gk_last_error());
    return;
  }
  shim_flop_and_bytes(state, bench_pass_flop(&layer->shape, layer->pass),
                      bench_pass_bytes(&layer->shape, layer->pass));
  const gk_rnn_desc *desc = bench_runner_description(current);
  shim_counter(state, "OpenMP threads", desc->threads);
  shim_counter(state, "peak FLOP/s", 1e9 * peak_of(desc->isa, desc->threads));
}

static void register_shape(const char *list, const bench_shape *shape) {
  for (int isa = 1; isa <= gk_isa_count(); isa++)
    for (int pass = 0; gk_isa_usable((gk_isa)isa) && bench_pass_names[pass]; pass++) {
      char name[256];
      struct layer *layer = malloc(sizeof *layer); /* lives as long as the program */
      if (!layer)
        return;
      *layer = (struct layer){*shape, (bench_pass)pass, (gk_isa)isa};
      snprintf(name, sizeof name, "layer/%s/%s/%s/%s", list, shape->name, gk_isa_name(layer->isa),
               bench_pass_names[pass]);
      shim_register(name, run_layer, layer);
    }
}

void register_layer_benchmarks(void) {
  for (const bench_list *list = bench_lists; list->name; list++) {
    char message[256];
    bench_shapes shapes;
    if (!bench_shapes_parse(list->text, &shapes, message, sizeof message)) {
      fprintf(stderr, "gatekern-bench: list %s: %s\n", list->name, message);
      continue;
    }
    for (size_t i = 0; i < shapes.count; i++)
      register_shape(list->name, &shapes.shape[i]);
    bench_shapes_free(&shapes);
  }
}
