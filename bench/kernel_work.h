/* SPDX-License-Identifier: Apache-2.0
 *
 * What benchmarks of kernels share: their list, and one run's size, memory and clock. */
#ifndef GATEKERN_BENCH_KERNEL_WORK_H
#define GATEKERN_BENCH_KERNEL_WORK_H

#include <stdlib.h>

#include "kernels/kernels.h"
#include "runner_clock.h"
#include "shim.h"

/* One a line of kernel_list.def: `context` is a struct work. */
#define GK_KERNEL(slot, test, counts, sizes, maths) shim_function run_##slot;
#include "kernel_list.def"
#undef GK_KERNEL

/* A kernel of one tier on one size: three numbers, which mean what kernel_benchmarks.c says of its sizes. */
struct work {
  const struct gk_kernels *kernels;
  gk_cell cell; /* cells only */
  int phase;
  bool coupled; /* LSTM in general only */
  size_t size[3];
  enum { PACKED, UNPACKED, OF_COLUMNS, FORMS } form; /* products only: of B */
};

/* The sizes that the lines of kernel_list.def name. */
struct kernel_sizes {
  struct size_list {
    const size_t (*size)[3];
    size_t count;
  } products, matrices, cells, arrays, logits, rounds, levels;
};

#define GK_SIZE_LIST(sizes)                                                                                  \
  { sizes, sizeof sizes / sizeof *sizes }

/* Every line of kernel_list.def on one tier as kernel/KERNEL/TIER/SIZES, of cells every phase and variant. */
void register_kernels(const char *tier, const struct gk_kernels *table, const struct kernel_sizes *sizes);

enum { MOST_ARRAYS = 12 };

/* Memory of one run. */
struct arena {
  float *array[MOST_ARRAYS];
  void *rows[MOST_ARRAYS];
  int arrays;
};

/* Values in [low, high) that cost no time to make and are never denormal. */
static inline float *take(struct arena *arena, size_t count, float low, float high) {
  float *values = aligned_alloc(64, (count * sizeof(float) + 64) / 64 * 64);
  if (!values || arena->arrays == MOST_ARRAYS)
    abort();
  for (size_t i = 0; i < count; i++)
    values[i] = low + (high - low) * (float)(i * 2654435761u % 65536) / 65536;
  return arena->array[arena->arrays++] = values;
}

/* Pointers to `rows` rows of `width` floats of `values`. */
static inline void *take_rows(struct arena *arena, float *values, size_t rows, size_t width) {
  float **row = malloc((rows + 1) * sizeof *row);
  if (!row)
    abort();
  for (size_t i = 0; i < rows; i++)
    row[i] = values + i * width;
  return arena->rows[arena->arrays - 1] = row;
}

static inline void release(struct arena *arena) {
  for (int i = 0; i < MOST_ARRAYS; i++) {
    free(arena->array[i]);
    free(arena->rows[i]);
  }
}

/* Cycles of the fastest call, which no other program has interrupted. */
struct cycles {
  double start, best;
};

static inline void start_call(struct cycles *cycles) {
  cycles->start = clock_seconds();
}

static inline void end_call(struct cycles *cycles) {
  const double seconds = clock_seconds() - cycles->start;
  if (cycles->best == 0 || seconds < cycles->best)
    cycles->best = seconds;
}

static inline void count_cycles(shim_state *state, const char *name, const struct cycles *cycles,
                                double parts) {
  shim_counter(state, name, cycles->best / clock_cycle_seconds() / parts);
}

#endif
