/* SPDX-License-Identifier: Apache-2.0
 *
 * Gate arithmetic of every cell and phase, forward and backward, on every tier: the bits of the scalar tier,
 * the values of the formulas in float64, nothing touched outside the units asked for.
 * ctest labels: edges */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "src/cells/cell.h"
#include "tests/guarded_memory.h"
#include "tests/kernel_tiers.h"
#include "tests/random_values.h"

enum { ROWS = 3, MOST_HIDDEN = 40, MOST_BLOCKS = 4 };

/* One array of rows each. GATES are pre-activations forward, activations and then gradients backward;
 * OTHER_GATES are saved activations forward, d_pre backward. Rows of both have `blocks` times the hidden
 * size. */
enum field { GATES, OTHER_GATES, H_PREV, C_PREV, H, C, SAVED_H, SAVED_C, DY, DH, DC, DRH, FIELDS };
static const char *const field_names[FIELDS] = {
    "gates", "saved gates or d_pre", "h_prev", "c_prev", "h", "c", "saved h", "saved c", "dy", "dh", "dc",
    "drh"};

/* One unit of one row in float64. */
struct unit {
  double gate[MOST_BLOCKS], other[MOST_BLOCKS];
  double field[FIELDS];
  gk_activation activation;
};

static double sigmoid(double x) {
  return 1 / (1 + exp(-x));
}

static void store_h(struct unit *u, double h) {
  u->field[H] = u->field[SAVED_H] = h;
}

static void store_gradient(struct unit *u, int block, double gradient) {
  u->gate[block] = u->other[block] = gradient;
}

static void rnn_forward(struct unit *u) {
  store_h(u, u->activation == GK_ACTIVATION_RELU ? fmax(u->gate[0], 0) : tanh(u->gate[0]));
}

static void rnn_backward(struct unit *u) {
  double h = u->field[H], slope = u->activation == GK_ACTIVATION_RELU ? h > 0 : 1 - h * h;
  store_gradient(u, 0, (u->field[DY] + u->field[DH]) * slope);
  u->field[DH] = 0;
}

static void lstm_forward(struct unit *u) {
  double *g = u->other;
  for (int gate = 0; gate < 4; gate++)
    g[gate] = gate == 2 ? tanh(u->gate[gate]) : sigmoid(u->gate[gate]);
  u->field[C] = u->field[SAVED_C] = g[1] * u->field[C_PREV] + g[0] * g[2];
  store_h(u, g[3] * tanh(u->field[C]));
}

static void lstm_backward(struct unit *u) {
  double i = u->gate[0], f = u->gate[1], g = u->gate[2], o = u->gate[3];
  double tanh_c = tanh(u->field[C]), dh = u->field[DY] + u->field[DH];
  double dc = u->field[DC] + dh * o * (1 - tanh_c * tanh_c);
  store_gradient(u, 0, dc * g * i * (1 - i));
  store_gradient(u, 1, dc * u->field[C_PREV] * f * (1 - f));
  store_gradient(u, 2, dc * i * (1 - g * g));
  store_gradient(u, 3, dh * tanh_c * o * (1 - o));
  u->field[DC] = dc * f;
  u->field[DH] = 0;
}

/* Blocks n r z a. */
static void gru_forward(struct unit *u) {
  double r = sigmoid(u->gate[1]), z = sigmoid(u->gate[2]), a = u->gate[3], n = tanh(u->gate[0] + r * a);
  u->other[0] = n, u->other[1] = r, u->other[2] = z, u->other[3] = a;
  store_h(u, n + z * (u->field[H_PREV] - n));
}

static void gru_backward(struct unit *u) {
  double n = u->gate[0], r = u->gate[1], z = u->gate[2], a = u->gate[3], dh = u->field[DY] + u->field[DH];
  double dn = dh * (1 - z) * (1 - n * n);
  store_gradient(u, 0, dn);
  store_gradient(u, 1, dn * a * r * (1 - r));
  store_gradient(u, 2, dh * (u->field[H_PREV] - n) * z * (1 - z));
  store_gradient(u, 3, dn * r);
  u->field[DH] = dh * z;
}

/* Blocks r z n q; the second phase finds z and q's product beside its own pre-activation. */
static void gru_reset_before_forward_gates(struct unit *u) {
  u->other[0] = sigmoid(u->gate[0]);
  u->other[1] = u->gate[1] = sigmoid(u->gate[1]);
  u->other[3] = u->gate[3] = u->other[0] * u->field[H_PREV];
}

static void gru_reset_before_forward_candidate(struct unit *u) {
  double z = u->gate[1], n = u->other[2] = tanh(u->gate[2]);
  store_h(u, n + z * (u->field[H_PREV] - n));
}

static void gru_reset_before_backward_candidate(struct unit *u) {
  double z = u->gate[1], n = u->gate[2], dh = u->field[DY] + u->field[DH];
  store_gradient(u, 1, dh * (u->field[H_PREV] - n) * z * (1 - z));
  store_gradient(u, 2, dh * (1 - z) * (1 - n * n));
  u->field[DH] = dh * z;
}

static void gru_reset_before_backward_gates(struct unit *u) {
  double r = u->gate[0];
  store_gradient(u, 0, u->field[DRH] * u->field[H_PREV] * r * (1 - r));
  u->field[DH] += u->field[DRH] * r;
}

/* Blocks z n. */
static void gru_simplified_forward(struct unit *u) {
  double z = u->other[0] = sigmoid(u->gate[0]), n = u->other[1] = tanh(u->gate[1]);
  store_h(u, n + z * (u->field[H_PREV] - n));
}

static void gru_simplified_backward(struct unit *u) {
  double z = u->gate[0], n = u->gate[1], dh = u->field[DY] + u->field[DH];
  store_gradient(u, 0, dh * (u->field[H_PREV] - n) * z * (1 - z));
  store_gradient(u, 1, dh * (1 - z) * (1 - n * n));
  u->field[DH] = dh * z;
}

/* Blocks f n q; the second phase finds f beside its own pre-activation, and backward n in d_pre. */
static void mgu_forward_gate(struct unit *u) {
  u->other[0] = u->gate[0] = sigmoid(u->gate[0]);
  u->other[2] = u->gate[2] = u->other[0] * u->field[H_PREV];
}

static void mgu_forward_candidate(struct unit *u) {
  double f = u->gate[0], n = u->other[1] = tanh(u->gate[1]);
  store_h(u, u->field[H_PREV] + f * (n - u->field[H_PREV]));
}

static void mgu_backward_candidate(struct unit *u) {
  double f = u->gate[0], n = u->gate[1], dh = u->field[DY] + u->field[DH];
  store_gradient(u, 1, dh * f * (1 - n * n));
  u->other[0] = n;
  u->field[DH] = dh;
}

static void mgu_backward_gate(struct unit *u) {
  double f = u->gate[0], n = u->other[0], dh = u->field[DH], h_prev = u->field[H_PREV];
  store_gradient(u, 0, (dh * (n - h_prev) + u->field[DRH] * h_prev) * f * (1 - f));
  u->field[DH] = dh * (1 - f) + u->field[DRH] * f;
}

typedef void plain_fn(struct unit *unit);
static plain_fn *const plain_forward[GK_CELL_COUNT][GK_MAX_PHASES] = {
    [GK_CELL_RNN] = {rnn_forward},
    [GK_CELL_GRU] = {gru_forward},
    [GK_CELL_GRU_RESET_BEFORE] = {gru_reset_before_forward_gates, gru_reset_before_forward_candidate},
    [GK_CELL_LSTM] = {lstm_forward},
    [GK_CELL_GRU_SIMPLIFIED] = {gru_simplified_forward},
    [GK_CELL_MGU] = {mgu_forward_gate, mgu_forward_candidate},
};
static plain_fn *const plain_backward[GK_CELL_COUNT][GK_MAX_PHASES] = {
    [GK_CELL_RNN] = {rnn_backward},
    [GK_CELL_GRU] = {gru_backward},
    [GK_CELL_GRU_RESET_BEFORE] = {gru_reset_before_backward_candidate, gru_reset_before_backward_gates},
    [GK_CELL_LSTM] = {lstm_backward},
    [GK_CELL_GRU_SIMPLIFIED] = {gru_simplified_backward},
    [GK_CELL_MGU] = {mgu_backward_candidate, mgu_backward_gate},
};

/* One call: what is asked for, and the rows in plain memory. */
struct call {
  gk_cell cell;
  int phase;
  bool backward, in_place, saves, with_dy, units_split;
  gk_activation activation;
  const struct gk_cell_variant *variant; /* NULL: the plain kernels */
  const float *peephole;
  size_t rows, begin, end, hidden, blocks;
  float values[FIELDS][ROWS * MOST_BLOCKS * MOST_HIDDEN];
};

static const char *slot_of(const struct call *call) {
  if (call->variant)
    return call->backward ? "cell_backward_general" : "cell_forward_general";
  return call->backward ? "cell_backward" : "cell_forward";
}

static bool is_gates(int field) {
  return field == GATES || field == OTHER_GATES;
}

static size_t width_of(const struct call *call, int field) {
  return is_gates(field) ? call->blocks * call->hidden : call->hidden;
}

/* Does the kernel get this array at all? */
static bool has_field(const struct call *call, int field) {
  const bool memory = gk_cell_find(call->cell)->memory;
  switch (field) {
  case OTHER_GATES:
    return call->backward || call->saves;
  case C_PREV:
  case C:
    return memory;
  case SAVED_H:
    return !call->backward && call->saves;
  case SAVED_C:
    return !call->backward && call->saves && memory;
  case DY:
    return call->backward && call->with_dy;
  case DH:
    return call->backward;
  case DC:
    return call->backward && memory;
  case DRH:
    return call->backward && gk_cell_find(call->cell)->phases > 1;
  default:
    return true;
  }
}

/* Forward: pre-activations up to +-4. Backward: activations in (0, 1), as gates are. */
static void make_call(struct call *call, uint64_t stream) {
  for (int field = 0; field < FIELDS; field++) {
    const size_t count = call->rows * width_of(call, field);
    kernel_random(stream * FIELDS + (uint64_t)field, field == GATES ? 4 : 1, count, call->values[field]);
    if (field == GATES && call->backward)
      for (size_t i = 0; i < count; i++)
        call->values[field][i] = 0.5f + call->values[field][i] / 8.1f;
  }
  if (call->in_place) {
    memcpy(call->values[H], call->values[H_PREV], sizeof call->values[H]);
    memcpy(call->values[C], call->values[C_PREV], sizeof call->values[C]);
  }
}

/* Runs the kernel of `kernels` on `array`, whose rows stand in reverse order. */
static void run_call(const struct call *call, const struct gk_kernels *kernels, float *const array[FIELDS]) {
  float *row[FIELDS][ROWS];
  for (int field = 0; field < FIELDS; field++)
    for (size_t i = 0; i < call->rows; i++)
      row[field][i] = array[field] ? array[field] + (call->rows - 1 - i) * width_of(call, field) : NULL;
  const float *const *c_prev = array[C_PREV] ? (const float *const *)row[C_PREV] : NULL;
  if (call->backward) {
    const struct gk_cell_backward step = {
        .rows = call->rows,
        .unit_begin = call->begin,
        .unit_end = call->end,
        .units_split = call->units_split,
        .hidden = call->hidden,
        .activation = call->activation,
        .variant = call->variant,
        .peephole = call->peephole,
        .gates = (const float *const *)row[GATES],
        .d_pre_copy = row[GATES],
        .d_pre = row[OTHER_GATES],
        .h_prev = (const float *const *)row[H_PREV],
        .c_prev = c_prev,
        .h = (const float *const *)row[H],
        .c = array[C] ? (const float *const *)row[C] : NULL,
        .dy = array[DY] ? (const float *const *)row[DY] : NULL,
        .dh = row[DH],
        .dc = array[DC] ? row[DC] : NULL,
        .drh = array[DRH] ? row[DRH] : NULL,
    };
    (call->variant ? kernels->cell_backward_general : kernels->cell_backward)[call->cell][call->phase](&step);
  } else {
    const struct gk_cell_forward step = {
        .rows = call->rows,
        .unit_begin = call->begin,
        .unit_end = call->end,
        .units_split = call->units_split,
        .hidden = call->hidden,
        .activation = call->activation,
        .variant = call->variant,
        .peephole = call->peephole,
        .pre = row[GATES],
        .h_prev = (const float *const *)(call->in_place ? row[H] : row[H_PREV]),
        .c_prev = call->in_place && c_prev ? (const float *const *)row[C] : c_prev,
        .h = row[H],
        .c = array[C] ? row[C] : NULL,
        .saved_gates = array[OTHER_GATES] ? row[OTHER_GATES] : NULL,
        .saved_h = array[SAVED_H] ? row[SAVED_H] : NULL,
        .saved_c = array[SAVED_C] ? row[SAVED_C] : NULL,
        .stream = call->saves && call->begin == 0,
    };
    (call->variant ? kernels->cell_forward_general : kernels->cell_forward)[call->cell][call->phase](&step);
    kernels->stream_end();
  }
}

/* What the formulas say of every array; units that were not asked for stay. */
static void solve_plainly(const struct call *call, double wanted[FIELDS][ROWS * MOST_BLOCKS * MOST_HIDDEN]) {
  plain_fn *plain = (call->backward ? plain_backward : plain_forward)[call->cell][call->phase];
  assert_non_null(plain);
  for (int field = 0; field < FIELDS; field++)
    for (size_t i = 0; i < call->rows * width_of(call, field); i++)
      wanted[field][i] = (double)call->values[field][i];
  for (size_t row = 0; row < call->rows; row++)
    for (size_t j = call->begin; j < call->end; j++) {
      struct unit unit = {.activation = call->activation};
      double *gate = wanted[GATES] + row * width_of(call, GATES) + j;
      double *other = wanted[OTHER_GATES] + row * width_of(call, GATES) + j;
      for (size_t block = 0; block < call->blocks; block++) {
        unit.gate[block] = gate[block * call->hidden];
        unit.other[block] = other[block * call->hidden];
      }
      for (int field = H_PREV; field < FIELDS; field++)
        unit.field[field] = has_field(call, field) ? wanted[field][row * call->hidden + j] : 0;
      plain(&unit);
      for (size_t block = 0; block < call->blocks; block++) {
        gate[block * call->hidden] = unit.gate[block];
        other[block * call->hidden] = unit.other[block];
      }
      for (int field = H_PREV; field < FIELDS; field++)
        wanted[field][row * call->hidden + j] = unit.field[field];
    }
}

/* A step's last phase may leave anything in its pre-activations: nobody reads them again. */
static void allow_scratch(const struct call *call, const float *got, double *wanted) {
  if (call->backward || call->phase + 1 < gk_cell_find(call->cell)->phases)
    return;
  for (size_t i = 0; i < call->rows * width_of(call, GATES); i++)
    if (i % call->hidden >= call->begin && i % call->hidden < call->end)
      wanted[i] = (double)got[i];
}

static void check_call(struct call *call, const struct kernel_tier *tier, gk_math math,
                       struct guarded_memory memory[FIELDS], uint64_t stream) {
  static float definition[FIELDS][ROWS * MOST_BLOCKS * MOST_HIDDEN];
  static double exact[FIELDS][ROWS * MOST_BLOCKS * MOST_HIDDEN];
  float *got[FIELDS], *wanted[FIELDS];
  make_call(call, stream);
  solve_plainly(call, exact);
  memcpy(definition, call->values, sizeof definition);
  for (int field = 0; field < FIELDS; field++) {
    const size_t count = call->rows * width_of(call, field);
    const int place = (stream + (uint64_t)field) % 3 == 0 ? (int)(stream % 16) : GUARD_AT_END;
    got[field] = guarded_take(&memory[field], count, place);
    memcpy(got[field], call->values[field], count * sizeof(float));
    wanted[field] = definition[field];
    if (!has_field(call, field))
      got[field] = wanted[field] = NULL;
  }
  if (call->saves && call->begin == 0)
    kernel_case(tier, "stream_end", "rows past the caches are there after it");
  kernel_case(
      tier, slot_of(call),
      "%s, phase %d, activation %d, rows %zu, units %zu..%zu of %zu, in place %d, saves %d, dy %d, math %d",
      gk_cell_name(call->cell), call->phase, (int)call->activation, call->rows, call->begin, call->end - 1,
      call->hidden, call->in_place, call->saves, call->with_dy, (int)math);
  run_call(call, tier->kernels, got);
  run_call(call, kernel_definition(math), wanted);
  allow_scratch(call, got[GATES], exact[GATES]);
  for (int field = 0; field < FIELDS; field++) {
    const size_t width = width_of(call, field);
    if (!got[field])
      continue;
    kernel_same(field_names[field], call->rows * width, got[field], wanted[field]);
    /* run_call reverses the rows, and the formulas do not. */
    for (size_t row = 0; row < call->rows; row++)
      kernel_near(field_names[field], width, got[field] + row * width, exact[field] + row * width, 1e-6,
                  1e-6);
    kernel_true(guarded_intact(&memory[field]), "the kernel wrote outside");
  }
}

static void check_sizes(struct call *call, const struct kernel_tier *tier, gk_math math,
                        struct guarded_memory memory[FIELDS]) {
  enum { MOST = 2 * 16 + 3 }; /* two vectors of the widest tier, two lines of cache, and more */
  for (call->hidden = 1; call->hidden <= MOST; call->hidden++)
    for (size_t part = 0; part < 5; part++) {
      /* All units; as teams cut them: from the middle to the end, one in the middle, none, more than a
       * line. */
      call->begin = part == 0 ? 0 : part == 4 ? call->hidden / 9 : call->hidden / 2;
      call->end = part == 2 ? call->begin + 1 : part == 3 ? call->begin : call->hidden;
      call->units_split = part > 0;
      call->rows = part == 4 ? ROWS : 1 + (call->hidden + part) % ROWS;
      call->with_dy = call->backward && (call->hidden + part) % 2 == 0;
      call->saves = !call->backward && (call->hidden + part) % 4 < 2;
      call->in_place = !call->backward && (call->hidden + part) % 3 == 0;
      check_call(call, tier, math, memory, call->hidden * 5 + part);
    }
}

static void check_every_cell(bool backward) {
  static struct call call;
  struct guarded_memory memory[FIELDS];
  for (int field = 0; field < FIELDS; field++)
    assert_true(guarded_open(&memory[field], ROWS * MOST_BLOCKS * MOST_HIDDEN + 16));
  for (int math = GK_MATH_OWN; math <= GK_MATH_SLEEF; math++)
    for (const struct kernel_tier *tier = kernel_tiers((gk_math)math); tier->kernels; tier++)
      for (int cell = 0; cell < gk_cell_count(); cell++) {
        const struct gk_cell_info *info = gk_cell_find((gk_cell)cell);
        for (int phase = 0; phase < info->phases; phase++)
          for (int relu = 0; relu < (cell == GK_CELL_RNN ? 2 : 1); relu++) {
            call = (struct call){.cell = (gk_cell)cell,
                                 .phase = phase,
                                 .backward = backward,
                                 .activation = relu ? GK_ACTIVATION_RELU : GK_ACTIVATION_TANH,
                                 .blocks = (size_t)info->blocks};
            check_sizes(&call, tier, (gk_math)math, memory);
          }
      }
  assert_true(kernel_cases() > 0);
  for (int field = 0; field < FIELDS; field++)
    guarded_close(&memory[field]);
}

static void forward_arithmetic_of_every_cell_and_tail(void **state) {
  (void)state;
  check_every_cell(false);
}

/* ---- General kernels ------------------------------------------------------------------------- */

static struct call plain_call; /* what `general` is compared with on the scalar tier, if it has a cell */

/* The general kernel of a tier against the general, or the plain, one of the scalar tier. */
static void check_general_call(struct call *call, bool against_plain, const struct kernel_tier *tier,
                               gk_math math, struct guarded_memory memory[FIELDS], uint64_t stream) {
  static float definition[FIELDS][ROWS * MOST_BLOCKS * MOST_HIDDEN];
  float *got[FIELDS], *wanted[FIELDS];
  make_call(call, stream);
  memcpy(definition, call->values, sizeof definition);
  for (int field = 0; field < FIELDS; field++) {
    const size_t count = call->rows * width_of(call, field);
    got[field] = guarded_take(&memory[field], count, GUARD_AT_END);
    memcpy(got[field], call->values[field], count * sizeof(float));
    wanted[field] = definition[field];
    if (!has_field(call, field))
      got[field] = wanted[field] = NULL;
  }
  kernel_case(tier, slot_of(call), "%s, phase %d, %s, %s, rows %zu, units %zu..%zu of %zu, math %d",
              gk_cell_name(call->cell), call->phase, against_plain ? "no option" : "all options",
              gk_activation_name(call->variant->function[GK_GATE].kind), call->rows, call->begin,
              call->end - 1, call->hidden, (int)math);
  run_call(call, tier->kernels, got);
  plain_call = *call;
  if (against_plain)
    plain_call.variant = NULL;
  run_call(&plain_call, kernel_definition(math), wanted);
  for (int field = 0; field < FIELDS; field++) {
    if (!got[field] || (field == GATES && !call->backward)) /* scratch */
      continue;
    kernel_same(field_names[field], call->rows * width_of(call, field), got[field], wanted[field]);
    kernel_true(guarded_intact(&memory[field]), "the kernel wrote outside");
  }
}

static struct gk_cell_variant make_variant(gk_activation gate, gk_activation other, bool usual,
                                           bool coupled) {
  const float limit = usual ? INFINITY : 1.25f;
  struct gk_cell_variant v = {.clip = limit, .cell_clip = limit, .coupled = coupled};
  for (int place = 0; place < GK_ACTIVATION_PLACES; place++)
    v.function[place] = (struct gk_activation_function){place == GK_GATE ? gate : other, 0.75f, 0.25f, usual};
  return v;
}

/* Every function at every place, bounds, peepholes and coupled gates; and without any the plain bits. */
static void general_arithmetic_has_the_same_bits(void **state) {
  static struct call call;
  struct guarded_memory memory[FIELDS];
  float peephole[3 * MOST_HIDDEN];
  (void)state;
  kernel_random(99, 1, 3 * MOST_HIDDEN, peephole);
  for (int field = 0; field < FIELDS; field++)
    assert_true(guarded_open(&memory[field], ROWS * MOST_BLOCKS * MOST_HIDDEN + 16));
  for (int math = GK_MATH_OWN; math <= GK_MATH_SLEEF; math++)
    for (const struct kernel_tier *tier = kernel_tiers((gk_math)math); tier->kernels; tier++)
      for (int cell = 0; cell < gk_cell_count(); cell++)
        for (int phase = 0; phase < gk_cell_find((gk_cell)cell)->phases; phase++)
          for (int kind = 0; kind < 2 * gk_activation_count(); kind++) {
            const bool usual = kind == 0, backward = kind % 2, lstm = cell == GK_CELL_LSTM;
            const gk_activation function = (gk_activation)(kind / 2);
            const struct gk_cell_variant variant =
                kind < 2 ? make_variant(GK_ACTIVATION_SIGMOID, GK_ACTIVATION_TANH, true, false)
                         : make_variant(function, (gk_activation)(gk_activation_count() - kind / 2), usual,
                                        lstm && kind % 4 < 2);
            if (kind < 2 && cell == GK_CELL_RNN)
              continue; /* saves its pre-activation */
            call = (struct call){.cell = (gk_cell)cell,
                                 .phase = phase,
                                 .backward = backward,
                                 .activation = GK_ACTIVATION_TANH,
                                 .variant = &variant,
                                 .peephole = lstm && kind >= 2 ? peephole : NULL,
                                 .saves = !backward,
                                 .with_dy = backward,
                                 .rows = ROWS,
                                 .units_split = true,
                                 .blocks = (size_t)gk_cell_find((gk_cell)cell)->blocks};
            for (call.hidden = 1; call.hidden <= MOST_HIDDEN; call.hidden += 1 + call.hidden / 3) {
              call.end = call.hidden;
              check_general_call(&call, kind < 2, tier, (gk_math)math, memory, 7 + call.hidden);
            }
          }
  for (int field = 0; field < FIELDS; field++)
    guarded_close(&memory[field]);
}

static void backward_arithmetic_of_every_cell_and_tail(void **state) {
  (void)state;
  check_every_cell(true);
}

/* Units are independent: a NaN in one unit's input stays in it. */
static void a_nan_stays_in_its_unit(void **state) {
  static float clean[FIELDS][ROWS * MOST_BLOCKS * MOST_HIDDEN],
      poisoned[FIELDS][ROWS * MOST_BLOCKS * MOST_HIDDEN];
  static struct call call;
  const size_t hidden = 37;
  (void)state;
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (int cell = 0; cell < gk_cell_count(); cell++)
      for (int backward = 0; backward < 2; backward++)
        for (int field = 0; field < FIELDS; field++) {
          const struct gk_cell_info *info = gk_cell_find((gk_cell)cell);
          const size_t unit = 5 * (size_t)field + (size_t)cell;
          float *a[FIELDS], *b[FIELDS];
          call = (struct call){
              .cell = (gk_cell)cell, .backward = backward, .with_dy = true, .saves = true, .rows = 1};
          call.hidden = call.end = hidden, call.blocks = (size_t)info->blocks;
          make_call(&call, 77);
          memcpy(clean, call.values, sizeof clean);
          memcpy(poisoned, call.values, sizeof poisoned);
          poisoned[field][unit] = NAN;
          for (int f = 0; f < FIELDS; f++)
            a[f] = has_field(&call, f) ? clean[f] : NULL, b[f] = has_field(&call, f) ? poisoned[f] : NULL;
          kernel_case(tier, slot_of(&call), "%s, units 0..36 of 37, NaN in %s[%zu]",
                      gk_cell_name((gk_cell)cell), field_names[field], unit);
          run_call(&call, tier->kernels, a);
          run_call(&call, tier->kernels, b);
          for (int f = 0; f < FIELDS; f++)
            for (size_t block = 0; block < width_of(&call, f) / hidden; block++) {
              clean[f][block * hidden + unit] = poisoned[f][block * hidden + unit] = 0;
              kernel_same(field_names[f], hidden, poisoned[f] + block * hidden, clean[f] + block * hidden);
            }
        }
  assert_true(kernel_cases() > 0);
}

/* Stored values are zero or at least 2^-95: no product of two of them is denormal. */
static void tiny_results_are_stored_as_zero(void **state) {
  static struct call call;
  (void)state;
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (int cell = 0; cell < gk_cell_count(); cell++)
      for (int backward = 0; backward < 2; backward++)
        for (int exponent = -130; exponent <= -60; exponent++) {
          const struct gk_cell_info *info = gk_cell_find((gk_cell)cell);
          const int stored[] = {backward ? GATES : H, backward ? DH : C, backward ? DC : C};
          float *array[FIELDS];
          call = (struct call){.cell = (gk_cell)cell, .backward = backward, .rows = 1};
          call.hidden = call.end = 19, call.blocks = (size_t)info->blocks;
          call.phase = backward ? 0 : info->phases - 1;
          make_call(&call, 99);
          for (int field = 0; field < FIELDS; field++) {
            array[field] = has_field(&call, field) ? call.values[field] : NULL;
            for (size_t i = 0; i < width_of(&call, field); i++)
              if (field >= DY || (!backward && (is_gates(field) || field == H_PREV || field == C_PREV)))
                call.values[field][i] = ldexpf(call.values[field][i], exponent);
          }
          kernel_case(tier, slot_of(&call), "%s, units 0..18 of 19, inputs times 2^%d",
                      gk_cell_name((gk_cell)cell), exponent);
          run_call(&call, tier->kernels, array);
          for (int s = 0; s < 3; s++)
            for (size_t i = 0; i < (array[stored[s]] ? width_of(&call, stored[s]) : 0); i++) {
              const float value = array[stored[s]][i];
              kernel_true((value == 0 && !signbit(value)) || fabsf(value) >= 0x1p-95f,
                          "a stored value is tiny");
            }
        }
  assert_true(kernel_cases() > 0);
}

static void every_listed_kernel_was_run(void **state) {
  (void)state;
  kernel_all_listed("kernels_cells");
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(forward_arithmetic_of_every_cell_and_tail, kernel_say_where),
      cmocka_unit_test_teardown(backward_arithmetic_of_every_cell_and_tail, kernel_say_where),
      cmocka_unit_test_teardown(general_arithmetic_has_the_same_bits, kernel_say_where),
      cmocka_unit_test_teardown(a_nan_stays_in_its_unit, kernel_say_where),
      cmocka_unit_test_teardown(tiny_results_are_stored_as_zero, kernel_say_where),
      cmocka_unit_test(every_listed_kernel_was_run),
  };
  kernel_arguments(argc, argv);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
