/* SPDX-License-Identifier: Apache-2.0 */
/* Calls chosen kernels of one tier once each, for tests/check_instruction_counts.sh, which lets callgrind or
 * QEMU count the instructions inside measured_call. Prints a line "KERNEL ELEMENTS" for each call, in
 * order. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "dispatch/dispatch.h"
#include "kernels/kernels.h"

/* Sizes with a tail for each tier: 70 units are no multiple of 16 floats. */
enum {
  ROWS = 13,
  K = 300,
  COLUMNS = 280,
  HIDDEN = 70,
  COUNT = 1003,
  BLOCKS = 4,
  MOST_VECTORS = COLUMNS,
  MOST_PANEL = 256
};

static float *new_values(size_t count) {
  float *values = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
  if (!values)
    abort();
  for (size_t i = 0; i < count; i++)
    values[i] = (float)(i * 2654435761u % 65536) / 32768 - 1;
  return values;
}

static void *new_rows(size_t rows, size_t width) {
  float **row = malloc(rows * sizeof *row), *values = new_values(rows * width);
  if (!row)
    abort();
  for (size_t i = 0; i < rows; i++)
    row[i] = values + i * width;
  return row;
}

typedef void call_function(const struct gk_kernels *kernels, void *arguments);

/* Everything between entering and leaving this function is counted. */
__attribute__((noinline)) void measured_call(call_function *call, const struct gk_kernels *kernels,
                                             void *arguments);
void measured_call(call_function *call, const struct gk_kernels *kernels, void *arguments) {
  call(kernels, arguments);
  __asm__ volatile("" ::: "memory"); /* no tail call: the function must be left after the kernel */
}

/* Not inlined: its name tells QEMU's reader that measured_call has returned. */
__attribute__((noinline)) static void measure(const char *name, size_t elements, call_function *call,
                                              const struct gk_kernels *kernels, void *arguments) {
  measured_call(call, kernels, arguments);
  printf("%s %zu\n", name, elements);
}

static void call_product(const struct gk_kernels *kernels, void *arguments) {
  kernels->product(arguments);
}

static void measure_product(const struct gk_kernels *kernels) {
  static struct gk_column column[MOST_VECTORS];
  const size_t v = kernels->lanes, nv = kernels->tile_vectors, vectors = (COLUMNS + v - 1) / v;
  for (size_t q = 0; q < vectors; q++)
    column[q] = (struct gk_column){.offset = (uint32_t)(q * v),
                                   .lanes = (uint32_t)(COLUMNS - q * v < v ? COLUMNS - q * v : v)};
  struct gk_product product = {.rows = ROWS,
                               .k = K,
                               .sum_block = GK_SUM_BLOCK,
                               .a = new_rows(ROWS, K),
                               .a_step = 1,
                               .panel_stride = K * nv * v,
                               .columns = column,
                               .vector_end = vectors,
                               .c = new_rows(ROWS, COLUMNS),
                               .overwrite = true};
  product.b = new_values((vectors + nv - 1) / nv * product.panel_stride);
  measure("product", (size_t)ROWS * K * COLUMNS, call_product, kernels, &product);
  product.b_step = COLUMNS;
  measure("product_unpacked", (size_t)ROWS * K * COLUMNS, call_product, kernels, &product);
  product.b_columns = new_rows(nv * v, K);
  product.b_step = 0;
  product.vector_end = nv;
  measure("product_of_columns", (size_t)ROWS * K * nv * v, call_product, kernels, &product);
}

static void call_transpose(const struct gk_kernels *kernels, void *source) {
  static float destination[K * ROWS];
  kernels->transpose(ROWS, K, source, destination, ROWS);
}

static void call_pack_columns(const struct gk_kernels *kernels, void *source) {
  static float panel[K * MOST_PANEL];
  kernels->pack_columns(kernels->lanes * kernels->tile_vectors, K, source, panel, true);
}

static void call_pack_rows(const struct gk_kernels *kernels, void *source) {
  static float panels[K * (COLUMNS + MOST_PANEL)];
  kernels->pack_rows(K, COLUMNS, source, panels, K * kernels->lanes * kernels->tile_vectors, false);
}

static void call_pack_flushed(const struct gk_kernels *kernels, void *source) {
  static float panels[K * (COLUMNS + MOST_PANEL)];
  kernels->pack_flushed(K, COLUMNS, source, panels, K * kernels->lanes * kernels->tile_vectors);
}

static void call_needs_flush(const struct gk_kernels *kernels, void *values) {
  if (kernels->needs_flush(COUNT, values))
    fprintf(stderr, "values are tiny\n");
}

/* Which kernel of a cell, with what it is given. */
enum kind { PLAIN, GENERAL, COUPLED, NORMALISED };
static const char *const kind_suffix[] = {"", "_general", "_coupled", "_normalised"};

struct cell_call {
  int cell, phase;
  enum kind kind;
  struct gk_cell_forward forward;
  struct gk_cell_backward backward;
};

static void call_forward(const struct gk_kernels *kernels, void *arguments) {
  const struct cell_call *call = arguments;
  if (call->kind == NORMALISED)
    kernels->lstm_normalised_forward(&call->forward);
  else
    (call->kind ? kernels->cell_forward_general
                : kernels->cell_forward)[call->cell][call->phase](&call->forward);
}

static void call_backward(const struct gk_kernels *kernels, void *arguments) {
  const struct cell_call *call = arguments;
  if (call->kind == NORMALISED)
    kernels->lstm_normalised_backward(&call->backward);
  else
    (call->kind ? kernels->cell_backward_general
                : kernels->cell_backward)[call->cell][call->phase](&call->backward);
}

/* The usual functions, and options that do not depend on the cell. */
static struct gk_cell_variant variant_of(enum kind kind) {
  return (struct gk_cell_variant){.function = {[GK_CANDIDATE] = {GK_ACTIVATION_TANH, 0, 0, true},
                                               [GK_GATE] = {GK_ACTIVATION_SIGMOID, 0, 0, true},
                                               [GK_OUTPUT] = {GK_ACTIVATION_TANH, 0, 0, true}},
                                  .clip = INFINITY,
                                  .cell_clip = 0.5f,
                                  .coupled = kind == COUPLED};
}

static void measure_phase(const struct gk_kernels *kernels, int cell, int phase, enum kind kind,
                          const char *forward, const char *backward) {
  const struct gk_cell_variant variant = variant_of(kind);
  /* Normalised: also both products, and c, normalised (kernels/math/lstm_normalised.h). */
  const size_t width = (kind == NORMALISED ? 3 * BLOCKS + 1 : BLOCKS) * HIDDEN;
  struct cell_call call = {
      .cell = cell,
      .kind = kind,
      .phase = phase,
      .forward = {.rows = ROWS,
                  .unit_end = HIDDEN,
                  .hidden = HIDDEN,
                  .pre = new_rows(ROWS, width),
                  .h_prev = new_rows(ROWS, HIDDEN),
                  .c_prev = new_rows(ROWS, HIDDEN),
                  .h = new_rows(ROWS, HIDDEN),
                  .c = new_rows(ROWS, HIDDEN),
                  .saved_gates = new_rows(ROWS, width),
                  .saved_h = new_rows(ROWS, HIDDEN),
                  .saved_c = new_rows(ROWS, HIDDEN)},
      .backward = {.rows = ROWS,
                   .unit_end = HIDDEN,
                   .hidden = HIDDEN,
                   .d_pre = new_rows(ROWS, width),
                   .dy = new_rows(ROWS, HIDDEN),
                   .dh = new_rows(ROWS, HIDDEN),
                   .dc = new_rows(ROWS, HIDDEN),
                   .drh = new_rows(ROWS, HIDDEN)},
  };
  call.backward.gates = (const float *const *)call.forward.saved_gates;
  call.backward.h_prev = call.forward.h_prev;
  call.backward.c_prev = call.forward.c_prev;
  call.backward.h = (const float *const *)call.forward.saved_h;
  call.backward.c = (const float *const *)call.forward.saved_c;
  if (kind != PLAIN) {
    call.forward.variant = call.backward.variant = &variant;
    call.forward.peephole = call.backward.peephole = new_values(3 * HIDDEN);
  }
  if (kind == NORMALISED) {
    call.forward.norm = call.backward.norm = new_values((3 * BLOCKS + 2) * HIDDEN);
    call.forward.scales = new_rows(ROWS, 3);
    call.backward.scales = (const float *const *)call.forward.scales;
    call.backward.d_pre_copy = new_rows(ROWS, width);
  }
  measure(forward, (size_t)ROWS * HIDDEN, call_forward, kernels, &call);
  measure(backward, (size_t)ROWS * HIDDEN, call_backward, kernels, &call);
}

/* Every phase of a cell, under its name in the list of cells. */
static void measure_cell(const struct gk_kernels *kernels, int cell, const char *name, enum kind kind) {
  const bool phases = kernels->cell_forward[cell][1] != NULL;
  for (int phase = 0; phase < (phases ? 2 : 1); phase++) {
    char forward[64], backward[64];
    const char *suffix = !phases ? "" : phase ? "_2" : "_1";
    snprintf(forward, sizeof forward, "%s_forward%s%s", name, kind_suffix[kind], suffix);
    snprintf(backward, sizeof backward, "%s_backward%s%s", name, kind_suffix[kind], suffix);
    measure_phase(kernels, cell, phase, kind, forward, backward);
  }
}

static void call_sigmoid(const struct gk_kernels *kernels, void *values) {
  kernels->sigmoid(COUNT, values, values);
}

static void call_tanh(const struct gk_kernels *kernels, void *values) {
  kernels->tanh(COUNT, values, values);
}

static void call_softmax_loss(const struct gk_kernels *kernels, void *logits) {
  kernels->softmax_loss(
      &(struct gk_loss_row){.count = COUNT, .x = logits, .target = 17, .scale = 0.5f, .dx = logits});
}

static void call_adam(const struct gk_kernels *kernels, void *update) {
  kernels->adam(update);
}

int main(int argc, char **argv) {
  gk_isa isa;
  if (argc != 2 || gk_isa_from_name(argv[1], &isa) != GK_OK) {
    fprintf(stderr, "usage: check_instruction_counts TIER\n");
    return 2;
  }
  const struct gk_kernels *kernels = gk_dispatch(isa, GK_MATH_OWN);
  if (!kernels) {
    fprintf(stderr, "%s does not run here\n", argv[1]);
    return 1;
  }
  const size_t width = kernels->lanes * kernels->tile_vectors;
  if (width > MOST_PANEL)
    return 1;
  measure_product(kernels);
  measure("transpose", ROWS * K, call_transpose, kernels, new_rows(ROWS, K));
  measure("pack_columns", width * K, call_pack_columns, kernels, new_rows(width, K));
  measure("pack_rows", K * COLUMNS, call_pack_rows, kernels, new_rows(K, COLUMNS));
  measure("pack_flushed", K * COLUMNS, call_pack_flushed, kernels, new_rows(K, COLUMNS));
  measure("needs_flush", COUNT, call_needs_flush, kernels, new_values(COUNT));
#define GK_CELL(constant, identifier, name)                                                                  \
  measure_cell(kernels, GK_KERNEL_CELL_##constant, #identifier, PLAIN);                                      \
  measure_cell(kernels, GK_KERNEL_CELL_##constant, #identifier, GENERAL);
#include "kernels/cells.def"
#undef GK_CELL
  measure_cell(kernels, GK_KERNEL_CELL_LSTM, "lstm", COUPLED);
  measure_cell(kernels, GK_KERNEL_CELL_LSTM, "lstm", NORMALISED);
  measure("sigmoid", COUNT, call_sigmoid, kernels, new_values(COUNT));
  measure("tanh", COUNT, call_tanh, kernels, new_values(COUNT));
  measure("softmax_loss", COUNT, call_softmax_loss, kernels, new_values(COUNT));
  struct gk_update adam = {.count = COUNT,
                           .parameters = new_values(COUNT),
                           .gradients = new_values(COUNT),
                           .first = new_values(COUNT),
                           .second = calloc(COUNT, sizeof(float)),
                           .gradient_scale = 1,
                           .learning_rate = 1e-3f,
                           .beta1 = 0.9f,
                           .beta2 = 0.999f,
                           .epsilon = 1e-8f,
                           .bias_correction1 = 1e-2f,
                           .bias_correction2_root = 0.03f};
  if (!adam.second)
    return 1;
  measure("adam", COUNT, call_adam, kernels, &adam);
  return 0;
}
