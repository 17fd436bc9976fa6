/* SPDX-License-Identifier: Apache-2.0
 *
 * Outputs, final states and every gradient of every tier against the float64 reference: within 1e-5 of
 * each tensor's largest magnitude. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/reference_fixture.h"

#define TOLERANCE 1e-5

static gk_isa tiers[MAX_TIERS];
static int tier_count;
static double largest_error;

static void check_case(struct network_case *c) {
  largest_error = fmax(largest_error, check_tiers_near_reference(c, TOLERANCE, tiers, tier_count));
}

static struct network_case random_case(gk_cell cell, gk_activation activation, int64_t hidden,
                                       uint64_t seed) {
  struct network_case c = {.desc = GK_RNN_DESC_INIT, .seed = seed};
  c.desc.cell = cell;
  c.desc.activation = activation;
  c.desc.hidden_size = hidden;
  c.desc.input_size = 1 + random_integer(seed, 0, 40);
  c.desc.layers = 1 + random_integer(seed, 1, 2);
  c.desc.direction = (gk_direction)random_integer(seed, 2, 3);
  c.desc.layout = (gk_layout)random_integer(seed, 3, 2);
  c.desc.vocabulary = random_integer(seed, 4, 3) ? 0 : 1 + random_integer(seed, 5, 60);
  c.time = 1 + random_integer(seed, 6, 20);
  c.batch = 1 + random_integer(seed, 7, 9);
  c.ragged = random_integer(seed, 8, 2);
  c.states = random_integer(seed, 9, 3) > 0;
  c.resets = random_integer(seed, 10, 3) == 0;
  return c;
}

/* GATEKERN_TEST_FULL=1: a long sweep. One hidden unit stays out of it, because a tensor of one element can be
 * a sum that almost cancels, and then no fp32 arithmetic is within 1e-5 of it. */
static void check_cell(const char *test, gk_cell cell, gk_activation activation) {
  static const int64_t hidden[] = {1, 3, 5, 16, 17, 33, 61, 64};
  enum { SHAPES = 8, SHAPES_IN_FULL = 150 };
  largest_error = 0;
  for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
    uint64_t shapes = getenv("GATEKERN_TEST_FULL") && hidden[i] > 1 ? SHAPES_IN_FULL : SHAPES;
    for (uint64_t k = 0; k < shapes; k++) {
      uint64_t seed = 10000 * (uint64_t)cell + 5000 * (uint64_t)activation + SHAPES_IN_FULL * i + k + 1;
      struct network_case c = random_case(cell, activation, hidden[i], seed);
      if (case_wanted(test))
        check_case(&c);
    }
  }
  print_message("%s: largest error %.2g of a tensor's largest magnitude\n", test, largest_error);
}

/* One test a cell. */
#define GK_CELL(constant, identifier, name)                                                                  \
  static void identifier##_is_near_the_reference(void **state) {                                             \
    (void)state;                                                                                             \
    check_cell(__func__, GK_CELL_##constant, GK_ACTIVATION_TANH);                                            \
  }
#include "kernels/cells.def"
#undef GK_CELL

static void rnn_with_relu_is_near_the_reference(void **state) {
  (void)state;
  check_cell(__func__, GK_CELL_RNN, GK_ACTIVATION_RELU);
}

/* No hidden recurrence: weight_hh has no columns, everything else is as ever. */
static void cells_without_recurrence_are_near_the_reference(void **state) {
  (void)state;
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (uint64_t k = 0; k < 6; k++) {
      struct network_case c = random_case((gk_cell)cell, GK_ACTIVATION_TANH, 5 + 13 * (int64_t)k, 900 + k);
      c.desc.recurrence = GK_RECURRENCE_NONE;
      if (case_wanted(__func__))
        check_case(&c);
    }
}

/* Every option of cells, two layers; with SLEEF's functions, and an LSTM's projection, every other one. */
static void every_option_is_near_the_reference(void **state) {
  (void)state;
  static const int64_t hidden[] = {5, 17, 61, 64};
  largest_error = 0;
  for (int i = 0; i < CELL_VARIANTS; i++)
    for (size_t k = 0; k < sizeof hidden / sizeof *hidden; k++) {
      struct network_case c =
          random_case(cell_variants[i].cell, GK_ACTIVATION_DEFAULT, hidden[k], 90000 + 10 * (uint64_t)i + k);
      c.desc.layers = 2;
      c.desc.math = k == 1 ? GK_MATH_SLEEF : GK_MATH_OWN;
      c.desc.projection_size = c.desc.cell == GK_CELL_LSTM && k == 1 ? 9 : 0;
      if (needs_two_directions(&cell_variants[i]))
        c.desc.direction = GK_BIDIRECTIONAL;
      check_status(&c, gk_rnn_options_set(&c.desc, cell_variants[i].options), "gk_rnn_options_set");
      if (case_wanted(__func__))
        check_case(&c);
    }
  print_message("%s: largest error %.2g of a tensor's largest magnitude\n", __func__, largest_error);
}

/* The largest shape of the promise, everything at once, each cell. */
static void the_largest_shape_is_near_the_reference(void **state) {
  (void)state;
  for (int cell = 0; cell < gk_cell_count(); cell++) {
    struct network_case c = {.desc = GK_RNN_DESC_INIT,
                             .time = 20,
                             .batch = 9,
                             .ragged = true,
                             .states = true,
                             .seed = 70 + (uint64_t)cell};
    c.desc.cell = (gk_cell)cell;
    c.desc.input_size = 40;
    c.desc.hidden_size = 64;
    c.desc.layers = 2;
    c.desc.direction = GK_BIDIRECTIONAL;
    for (int math = GK_MATH_OWN; math <= GK_MATH_SLEEF; math++) {
      c.desc.math = (gk_math)math;
      if (case_wanted(__func__))
        check_case(&c);
    }
  }
}

/* One kind of mask alone, then all of them; the reference applies what is read back. */
static void networks_with_masks_are_near_the_reference(void **state) {
  (void)state;
  enum { KINDS = 6 };
  largest_error = 0;
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (int direction = GK_FORWARD; direction <= GK_BIDIRECTIONAL; direction++)
      for (int kind = 0; kind <= KINDS; kind++) {
        struct network_case c = {.desc = GK_RNN_DESC_INIT,
                                 .time = 7,
                                 .batch = 5,
                                 .ragged = (direction + kind) % 2,
                                 .resets = kind % 2,
                                 .states = true,
                                 .seed = 90 + (uint64_t)(cell * 10 + kind)};
        c.desc.cell = (gk_cell)cell;
        c.desc.activation = (gk_activation)(cell == GK_CELL_RNN && kind % 2);
        c.desc.input_size = 11;
        c.desc.hidden_size = 18;
        c.desc.layers = kind == 0 ? 3 : 2;
        c.desc.direction = (gk_direction)direction;
        c.desc.dropout_masks = (gk_dropout_masks)((cell + direction + kind) % 2);
        if (cell == GK_CELL_LSTM && kind % 2 == 0)
          c.desc.projection_size = 10;
        if (cell == GK_CELL_LSTM)
          c.desc.options.peephole = direction == GK_REVERSE || kind == KINDS;
        if ((cell + direction) % 2)
          c.desc.vocabulary = 6;
        struct network_case all = c;
        add_all_masks(&all);
        c.desc.dropout = kind == 0 || kind == KINDS ? all.desc.dropout : 0;
        c.desc.input_dropout = kind == 1 || kind == KINDS ? all.desc.input_dropout : 0;
        c.desc.recurrent_dropout = kind == 2 || kind == KINDS ? all.desc.recurrent_dropout : 0;
        c.desc.weight_dropout = kind == 3 || kind == KINDS ? all.desc.weight_dropout : 0;
        c.desc.zoneout_h = kind == 4 || kind == KINDS ? all.desc.zoneout_h : 0;
        c.desc.zoneout_c = kind == 5 || kind == KINDS ? all.desc.zoneout_c : 0;
        if (case_wanted(__func__))
          check_case(&c);
      }
  print_message("%s: largest error %.2g of a tensor's largest magnitude\n", __func__, largest_error);
}

/* ---- What a gradient pointer changes --------------------------------------------------------- */

/* Leaving out any set of results changes no bit of the others. */
static void check_subsets(struct network_case *c) {
  struct buffers buffers = {0};
  struct network_data d = take_data(&buffers, c);
  struct network_results all = run_case(&buffers, c, &d);
  for (unsigned set = 0; set < 128; set++) {
    struct buffers subset_buffers = {0};
    struct network_results some = take_results(&subset_buffers, c);
    float **arrays = (float **)&some;
    for (int i = 0; i < 7; i++)
      if (!(set & 1u << i))
        arrays[i] = NULL;
    struct network net = open_network(&subset_buffers, c, d.parameters);
    run_network(&net, &d, &some);
    close_network(&net);
    char what[64];
    snprintf(what, sizeof what, "only results of the set 0x%02x asked for", set);
    check_same_results(c, what, &some, &all);
    buffers_release(&subset_buffers);
  }
  buffers_release(&buffers);
}

static void results_left_out_change_no_other(void **state) {
  (void)state;
  for (int i = 0; i < tier_count; i++)
    for (int cell = 0; cell < gk_cell_count(); cell++)
      for (int64_t vocabulary = 0; vocabulary <= 6; vocabulary += 6) {
        struct network_case c = {.desc = GK_RNN_DESC_INIT,
                                 .time = 5,
                                 .batch = 4,
                                 .ragged = cell % 2,
                                 .states = true,
                                 .seed = 110 + (uint64_t)cell};
        c.desc.cell = (gk_cell)cell;
        c.desc.isa = tiers[i];
        c.desc.input_size = 6;
        c.desc.hidden_size = 9;
        c.desc.layers = 2;
        c.desc.vocabulary = vocabulary;
        c.desc.threads = 1;
        if (case_wanted(__func__))
          check_subsets(&c);
      }
}

/* NULL for dy, dhn, dcn, h0, c0 is zeros, to the bit. */
static void check_null_inputs(struct network_case *c) {
  struct buffers buffers = {0};
  struct network_sizes s = sizes_of(c);
  struct network_data given = take_data(&buffers, c);
  for (unsigned set = 0; set < 32; set++) {
    struct buffers set_buffers = {0};
    struct network_data zeros = given, nulls = given;
    float **z[] = {&zeros.h0, &zeros.c0, &zeros.dy, &zeros.dhn, &zeros.dcn};
    float **n[] = {&nulls.h0, &nulls.c0, &nulls.dy, &nulls.dhn, &nulls.dcn};
    int64_t counts[] = {s.states, s.states, s.outputs, s.states, s.states};
    for (int i = 0; i < 5; i++)
      if (set & 1u << i && *z[i]) {
        *z[i] = take_floats(&set_buffers, counts[i]);
        memset(*z[i], 0, (size_t)counts[i] * sizeof(float));
        *n[i] = NULL;
      }
    struct network_results wanted = run_case(&set_buffers, c, &zeros);
    struct network_results got = run_case(&set_buffers, c, &nulls);
    char what[64];
    snprintf(what, sizeof what, "NULL for the inputs of the set 0x%02x", set);
    check_same_results(c, what, &got, &wanted);
    buffers_release(&set_buffers);
  }
  buffers_release(&buffers);
}

static void inputs_left_out_are_zeros(void **state) {
  (void)state;
  for (int i = 0; i < tier_count; i++)
    for (int cell = 0; cell < gk_cell_count(); cell++) {
      struct network_case c = {.desc = GK_RNN_DESC_INIT,
                               .time = 4,
                               .batch = 3,
                               .ragged = cell % 2,
                               .states = true,
                               .seed = 130 + (uint64_t)cell};
      c.desc.cell = (gk_cell)cell;
      c.desc.isa = tiers[i];
      c.desc.input_size = 5;
      c.desc.hidden_size = 7;
      c.desc.layers = 2;
      c.desc.threads = 1;
      if (case_wanted(__func__))
        check_null_inputs(&c);
    }
}

/* accumulate adds the finished gradient once: old + new, rounded once. */
static void check_accumulate(struct network_case *c) {
  struct buffers buffers = {0};
  struct network_sizes s = sizes_of(c);
  struct network_data d = take_data(&buffers, c);
  struct network_results wanted = run_case(&buffers, c, &d), got = take_results(&buffers, c);
  float *old = take_random(&buffers, c->seed + 1000, 1, s.parameters);
  memcpy(got.gradients, old, (size_t)s.parameters * sizeof(float));
  struct network net = open_network(&buffers, c, d.parameters);
  gk_rnn_forward_args forward = forward_args(&net, &d, &got);
  gk_rnn_backward_args backward = backward_args(&net, &d, &got);
  backward.accumulate = true;
  check_status(c, gk_rnn_forward(net.rnn, &forward), "gk_rnn_forward");
  check_status(c, gk_rnn_backward(net.rnn, &backward), "gk_rnn_backward");
  for (int64_t i = 0; i < s.parameters; i++)
    wanted.gradients[i] += old[i];
  check_same_results(c, "accumulate", &got, &wanted);
  close_network(&net);
  buffers_release(&buffers);
}

static void accumulating_adds_the_finished_gradient_once(void **state) {
  (void)state;
  for (int i = 0; i < tier_count; i++)
    for (int cell = 0; cell < gk_cell_count(); cell++)
      for (int tokens = 0; tokens < 2; tokens++) {
        struct network_case c =
            random_case((gk_cell)cell, GK_ACTIVATION_TANH, 10 + cell * 7, 150 + (uint64_t)cell);
        c.desc.isa = tiers[i];
        c.desc.vocabulary = tokens ? 13 : 0;
        if (cell % 2)
          add_all_masks(&c);
        if (case_wanted(__func__))
          check_accumulate(&c);
      }
}

/* More units than a share of the weight gradients' work (STRIP_UNITS), more terms than a block of
 * their sums (GK_GRADIENT_BLOCK), several threads. */
static void many_units_and_terms_are_accumulated_once(void **state) {
  (void)state;
  for (int i = 0; i < tier_count; i++)
    for (int cell = 0; cell < gk_cell_count(); cell++)
      for (int schedule = GK_SCHEDULE_SLICES; schedule < gk_schedule_count(); schedule++) {
        struct network_case c = {
            .desc = GK_RNN_DESC_INIT, .time = 9, .batch = 9, .states = true, .seed = 170 + (uint64_t)cell};
        c.desc.cell = (gk_cell)cell;
        c.desc.isa = tiers[i];
        c.desc.input_size = 5;
        c.desc.hidden_size = 261;
        c.desc.threads = 2;
        c.desc.schedule = (gk_schedule)schedule;
        if (case_wanted(__func__))
          check_accumulate(&c);
      }
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
#define GK_CELL(constant, identifier, name) cmocka_unit_test(identifier##_is_near_the_reference),
#include "kernels/cells.def"
#undef GK_CELL
      cmocka_unit_test(cells_without_recurrence_are_near_the_reference),
      cmocka_unit_test(rnn_with_relu_is_near_the_reference),
      cmocka_unit_test(every_option_is_near_the_reference),
      cmocka_unit_test(the_largest_shape_is_near_the_reference),
      cmocka_unit_test(networks_with_masks_are_near_the_reference),
      cmocka_unit_test(results_left_out_change_no_other),
      cmocka_unit_test(inputs_left_out_are_zeros),
      cmocka_unit_test(accumulating_adds_the_finished_gradient_once),
      cmocka_unit_test(many_units_and_terms_are_accumulated_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
