/* SPDX-License-Identifier: Apache-2.0
 *
 * Gradient flow: norms of dL/dh_t where theory says what they are, and the spectral radius. (That the norms
 * are the reference's, and the same bits everywhere, is part of test_gradients.c and test_same_bits.c.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/network_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;

enum { H = 32, T = 100, N = 3 };

/* ---- Norms against time ---------------------------------------------------------------------- */

/* Small inputs and zero biases; weight_hh of each gate is rho times an orthogonal matrix. */
static struct network_data take_orthogonal(struct buffers *b, const struct network_case *c, double rho,
                                           float forget_bias) {
  struct network_data d = take_data(b, c);
  gk_rnn *rnn;
  check_status(c, gk_rnn_create(&c->desc, &rnn), "gk_rnn_create");
  gk_init_desc init = GK_INIT_DESC_INIT;
  init.init = GK_INIT_ORTHOGONAL;
  init.forget_bias = forget_bias;
  init.seed = 5;
  check_status(c, gk_rnn_init(rnn, &init, d.parameters), "gk_rnn_init");
  for (int i = 0; i < gk_rnn_tensor_count(rnn); i++) {
    gk_tensor tensor;
    check_status(c, gk_rnn_tensor(rnn, i, &tensor), "gk_rnn_tensor");
    for (int64_t j = 0; j < tensor.count && strncmp(tensor.name, "weight_hh", 9) == 0; j++)
      d.parameters[tensor.offset + j] = (float)(rho * (double)d.parameters[tensor.offset + j]);
  }
  gk_rnn_destroy(rnn);
  for (int64_t i = 0; i < sizes_of(c).inputs; i++)
    d.x[i] *= 0.01f;
  d.dy = NULL; /* the loss is a function of the last state alone */
  return d;
}

static struct network_case flow_case(gk_cell cell, gk_activation activation, gk_isa isa) {
  struct network_case c = {.desc = GK_RNN_DESC_INIT, .time = T, .batch = N, .states = true, .seed = 31};
  c.desc.cell = cell;
  c.desc.activation = activation;
  c.desc.input_size = 4;
  c.desc.hidden_size = H;
  c.desc.isa = isa;
  return c;
}

/* norm(t) of sample n over that of the last step. */
static double share(const float *norms, int64_t t, int64_t n) {
  return (double)norms[t * N + n] / (double)norms[(T - 1) * N + n];
}

static const double radii[] = {0.5, 1, 1.5};

static void identity_follows_the_radius(void **state) {
  (void)state;
  for (int tier = 0; tier < tier_count; tier++)
    for (int r = 0; r < 3; r++) {
      struct buffers b = {0};
      struct network_case c = flow_case(GK_CELL_RNN, GK_ACTIVATION_IDENTITY, tiers[tier]);
      if (!case_wanted(__func__))
        continue;
      struct network_data d = take_orthogonal(&b, &c, radii[r], 0);
      struct network_results got = run_case(&b, &c, &d);
      for (int64_t n = 0; n < N; n++)
        for (int64_t t = 0; t < T; t++) {
          double wanted = pow(radii[r], (double)(T - 1 - t));
          double error = fabs(share(got.dh_norms, t, n) / wanted - 1);
          if (wanted > 0x1p-90 && !(error <= 1e-5)) /* smaller gradients are flushed */
            fail_case(&c, "radius %g: norm at %d is %g of the last, wanted %g", radii[r], (int)t,
                      share(got.dh_norms, t, n), wanted);
        }
      buffers_release(&b);
    }
}

static void tanh_is_bounded_by_the_radius(void **state) {
  (void)state;
  for (int tier = 0; tier < tier_count; tier++)
    for (int r = 0; r < 3; r++) {
      struct buffers b = {0};
      struct network_case c = flow_case(GK_CELL_RNN, GK_ACTIVATION_TANH, tiers[tier]);
      if (!case_wanted(__func__))
        continue;
      struct network_data d = take_orthogonal(&b, &c, radii[r], 0);
      struct network_results got = run_case(&b, &c, &d);
      for (int64_t n = 0; n < N; n++)
        for (int64_t t = 0; t + 1 < T; t++)
          if (!(share(got.dh_norms, t, n) <= pow(radii[r], (double)(T - 1 - t)) * (1 + 1e-5)))
            fail_case(&c, "radius %g: norm at %d is %g of the last, bound %g", radii[r], (int)t,
                      share(got.dh_norms, t, n), pow(radii[r], (double)(T - 1 - t)));
      buffers_release(&b);
    }
}

/* An LSTM whose forget gates are open hands the gradient on where an RNN of the same weights loses it. */
static void lstm_keeps_what_the_rnn_loses(void **state) {
  (void)state;
  for (int tier = 0; tier < tier_count; tier++) {
    struct buffers b = {0};
    struct network_case lstm = flow_case(GK_CELL_LSTM, GK_ACTIVATION_TANH, tiers[tier]);
    struct network_case rnn = flow_case(GK_CELL_RNN, GK_ACTIVATION_TANH, tiers[tier]);
    if (!case_wanted(__func__))
      continue;
    struct network_data open = take_orthogonal(&b, &lstm, 0.5, 5), shut = take_orthogonal(&b, &lstm, 0.5, -1);
    struct network_data plain = take_orthogonal(&b, &rnn, 0.5, 0);
    struct network_results kept = run_case(&b, &lstm, &open), lost = run_case(&b, &lstm, &shut);
    struct network_results gone = run_case(&b, &rnn, &plain);
    for (int64_t n = 0; n < N; n++) {
      const double first = (double)kept.dh_norms[n], near = (double)kept.dh_norms[(T - 11) * N + n];
      if (!(first > 0.3 * near))
        fail_case(&lstm, "forget bias 5: norm %g at the first step, %g ten before the last", first, near);
      if (!(share(lost.dh_norms, 0, n) < 1e-6))
        fail_case(&lstm, "forget bias -1: %g of the last is left", share(lost.dh_norms, 0, n));
      if (!(share(gone.dh_norms, 0, n) < 1e-20))
        fail_case(&rnn, "%g of the last is left", share(gone.dh_norms, 0, n));
    }
    buffers_release(&b);
  }
}

/* Neither the results nor their bits change when norms are recorded. */
static void recording_changes_nothing(void **state) {
  (void)state;
  for (int kind = 0; kind < network_kinds_of_both_directions(); kind++)
    for (int schedule = GK_SCHEDULE_SLICES; schedule < gk_schedule_count(); schedule++) {
      struct buffers b = {0};
      struct network_case c = {.desc = GK_RNN_DESC_INIT, .time = 9, .batch = 6, .ragged = true, .seed = 8};
      c.desc.input_size = 5;
      c.desc.hidden_size = 37;
      c.desc.layers = 2;
      set_kind(&c, kind);
      if (kind % 2)
        add_all_masks(&c);
      c.desc.schedule = (gk_schedule)schedule;
      c.desc.threads = 3;
      if (!case_wanted(__func__))
        continue;
      struct network_data d = take_data(&b, &c);
      struct network_results recorded = run_case(&b, &c, &d), plain = take_results(&b, &c);
      plain.dh_norms = NULL;
      struct network net = open_network(&b, &c, d.parameters);
      run_network(&net, &d, &plain);
      close_network(&net);
      check_same_results(&c, "norms not recorded", &plain, &recorded);
      buffers_release(&b);
    }
}

/* ---- The spectral radius --------------------------------------------------------------------- */

enum { MOST = 128 };
static float matrix[MOST * MOST];

static void check_radius(const char *what, int size, double wanted, double tolerance) {
  double one, three;
  assert_int_equal(gk_spectral_radius(1, size, matrix, &one), GK_OK);
  assert_int_equal(gk_spectral_radius(3, size, matrix, &three), GK_OK);
  if (!(fabs(one - wanted) <= tolerance * (wanted > 0 ? wanted : 1)))
    fail_msg("%s, size %d: spectral radius %.9g, wanted %.9g", what, size, one, wanted);
  assert_true(one == three);
}

static void set_zero(int size) {
  memset(matrix, 0, (size_t)(size * size) * sizeof *matrix);
}

/* Uniform matrices, most with a complex pair on top; wanted is numpy.linalg.eigvals. */
static void the_radius_of_random_matrices_is_numpys(void **state) {
  (void)state;
  static const struct {
    int size;
    double radius;
  } numpy[] = {{1, 0.07650148868560791}, {2, 0.5402820026222626}, {3, 0.9318238699384763},
               {7, 1.590720123355638},   {24, 3.020282404972519}, {64, 5.090594718782704},
               {128, 6.54476415901811}};
  for (size_t i = 0; i < sizeof numpy / sizeof *numpy; i++) {
    random_floats(900 + (uint64_t)numpy[i].size, 1, numpy[i].size * numpy[i].size, matrix);
    check_radius("random", numpy[i].size, numpy[i].radius, 1e-5);
  }
}

static void the_radius_of_a_scaled_orthogonal_matrix_is_the_scale(void **state) {
  (void)state;
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.cell = GK_CELL_RNN;
  desc.input_size = 1;
  desc.hidden_size = 100;
  gk_rnn *rnn;
  gk_tensor tensor;
  assert_int_equal(gk_rnn_create(&desc, &rnn), GK_OK);
  float *parameters = malloc((size_t)gk_rnn_parameter_count(rnn) * sizeof *parameters);
  gk_init_desc init = GK_INIT_DESC_INIT;
  init.init = GK_INIT_ORTHOGONAL;
  assert_non_null(parameters);
  assert_int_equal(gk_rnn_init(rnn, &init, parameters), GK_OK);
  assert_int_equal(gk_rnn_tensor(rnn, 1, &tensor), GK_OK);
  for (int i = 0; i < 100 * 100; i++)
    matrix[i] = 1.25f * parameters[tensor.offset + i];
  check_radius("orthogonal", 100, 1.25, 1e-5);
  gk_rnn_destroy(rnn);
  free(parameters);
}

/* A rotation has nothing but a complex pair: a single vector never settles. */
static void the_radius_of_rotations_is_found(void **state) {
  (void)state;
  for (int degrees = 1; degrees <= 180; degrees += 7) {
    const double angle = degrees * 3.14159265358979323846 / 180;
    matrix[0] = matrix[3] = (float)(0.9 * cos(angle));
    matrix[2] = (float)(0.9 * sin(angle));
    matrix[1] = -matrix[2];
    check_radius("rotation", 2, 0.9, 1e-5);
  }
}

/* Where index i of a matrix stands, so that no loop meets a triangle as one. */
static float *shuffled(int size, int i, int j) {
  return &matrix[(i * 7 + 3) % size * size + (j * 7 + 3) % size];
}

/* first + more i on the diagonal, `above` on the `width` diagonals above it. */
static void set_triangle(int size, float first, float more, int width, float above) {
  set_zero(size);
  for (int i = 0; i < size; i++)
    for (int j = i; j < size && j <= i + width; j++)
      *shuffled(size, i, j) = j == i ? first + more * (float)i : above;
}

/* Large transients, defective, nilpotent, no eigenvalue but zero; powers of what is beside the diagonal leave
 * those on it behind by more than a double holds. */
static void the_radius_of_non_normal_matrices_is_found(void **state) {
  (void)state;
  static const int sizes[] = {20, 32, 64, MOST};
  for (int s = 0; s < 4; s++) {
    const int size = sizes[s];
    set_triangle(size, 0.5f, 0.02f, size, 10);
    check_radius("triangular", size, (double)(0.5f + 0.02f * (float)(size - 1)), 1e-6);
    set_triangle(size, 1, -1e-3f / (float)size, size, 1);
    check_radius("triangular, eigenvalues side by side", size, 1, 1e-6);
    set_triangle(size, 0.75f, 0, 1, 1);
    check_radius("one Jordan block", size, 0.75, 1e-6);
    *shuffled(size, size - 1, 0) = 1e-30f; /* a cycle whose product is that */
    check_radius("nearly a Jordan block", size, 0.75 + pow(1e-30, 1.0 / size), 1e-6);
    set_triangle(size, 0, 0, size, 1);
    check_radius("nilpotent", size, 0, 0);
    for (int i = 0; i < size; i += 2) { /* two by two: radius 3 sqrt(2), a complex pair */
      *shuffled(size, i, i) = *shuffled(size, i + 1, i + 1) = 3;
      *shuffled(size, i, i + 1) = 300;
      *shuffled(size, i + 1, i) = -0.03f;
    }
    check_radius("triangular of blocks", size, 3 * sqrt(2), 1e-6);
  }
  static const float scaled[] = {0.810121f, 0, 9.2206192e-37f, 6.9736015e-37f, 0.61540508f,
                                 0,         0, 5.7856232e34f,  0.76124585f};
  memcpy(matrix, scaled, sizeof scaled);
  check_radius("irreducible by values far below the diagonal", 3, (double)0.810121f, 1e-6);
  const int size = 20;
  set_zero(size);
  check_radius("zero", size, 0, 0);
  matrix[size + 1] = -0x1p-140f; /* far from 1 on both sides */
  check_radius("tiny", size, 0x1p-140, 1e-5);
  matrix[size + 1] = -0x1p120f;
  check_radius("huge", size, 0x1p120, 1e-5);
  matrix[0] = matrix[1] = 2; /* two by two, nilpotent but irreducible */
  matrix[size] = matrix[size + 1] = -2;
  check_radius("nilpotent of one block", size, 0, 0);
}

static void the_radius_refuses_wrong_arguments(void **state) {
  (void)state;
  double radius = 7;
  set_zero(3);
  assert_int_equal(gk_spectral_radius(1, 0, matrix, &radius), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_spectral_radius(-1, 3, matrix, &radius), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_spectral_radius(1, 3, NULL, &radius), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_spectral_radius(1, 3, matrix, NULL), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_spectral_radius(1, (int64_t)1 << 40, matrix, &radius), GK_ERROR_OVERFLOW);
  assert_true(radius == 7);
  matrix[4] = NAN;
  assert_int_equal(gk_spectral_radius(1, 3, matrix, &radius), GK_OK);
  assert_true(isnan(radius));
}

/* Of a network: each gate's own matrix; with a projection W_hh W_hr (H, H), whose P largest eigenvalues the
 * library takes from the smaller product. */
static void radii_of_a_network_are_those_of_its_matrices(void **state) {
  (void)state;
  static const int64_t sizes[] = {9, 14};
  for (int projected = 0; projected < 2; projected++)
    for (int direction = GK_FORWARD; direction <= GK_BIDIRECTIONAL; direction++) {
      gk_rnn_desc desc = GK_RNN_DESC_INIT;
      desc.input_size = 5;
      desc.layers = 2;
      desc.hidden_sizes = sizes;
      desc.projection_size = projected ? 6 : 0;
      desc.direction = (gk_direction)direction;
      gk_rnn *rnn;
      gk_init_desc init = GK_INIT_DESC_INIT;
      static float parameters[20000], product[14 * 14];
      assert_int_equal(gk_rnn_create(&desc, &rnn), GK_OK);
      assert_true(gk_rnn_parameter_count(rnn) <= 20000);
      assert_int_equal(gk_rnn_init(rnn, &init, parameters), GK_OK);
      const float *hh = NULL, *hr = NULL;
      double radii_of[4], wanted;
      int checked = 0;
      const int directions = direction == GK_BIDIRECTIONAL ? 2 : 1;
      for (int i = 0; i < gk_rnn_tensor_count(rnn); i++) {
        gk_tensor tensor;
        assert_int_equal(gk_rnn_tensor(rnn, i, &tensor), GK_OK);
        if (strncmp(tensor.name, "weight_hh", 9) == 0)
          hh = parameters + tensor.offset;
        if (strncmp(tensor.name, "weight_hr", 9) == 0)
          hr = parameters + tensor.offset;
        if (strncmp(tensor.name, projected ? "weight_hr" : "weight_hh", 9) != 0)
          continue;
        const int64_t layer = checked / directions, h = sizes[layer], p = projected ? 6 : h;
        assert_int_equal(gk_rnn_spectral_radii(rnn, parameters, layer, checked % directions, radii_of),
                         GK_OK);
        for (int gate = 0; gate < 4; gate++) {
          for (int64_t j = 0; j < h * h && projected; j++) {
            double sum = 0;
            for (int64_t k = 0; k < p; k++)
              sum += (double)hh[(gate * h + j / h) * p + k] * (double)hr[k * h + j % h];
            product[j] = (float)sum;
          }
          assert_int_equal(gk_spectral_radius(1, h, projected ? product : hh + gate * h * h, &wanted), GK_OK);
          assert_true(fabs(radii_of[gate] - wanted) <= 1e-4 * wanted);
          assert_int_equal(
              gk_rnn_spectral_radius(rnn, parameters, layer, checked % directions, gate, &wanted), GK_OK);
          assert_true(radii_of[gate] == wanted);
        }
        checked++;
      }
      assert_int_equal(checked, 2 * directions);
      assert_int_equal(gk_rnn_spectral_radii(rnn, parameters, 2, 0, radii_of), GK_ERROR_ARGUMENT);
      assert_int_equal(gk_rnn_spectral_radii(rnn, parameters, 0, directions, radii_of), GK_ERROR_ARGUMENT);
      assert_int_equal(gk_rnn_spectral_radii(rnn, NULL, 0, 0, radii_of), GK_ERROR_ARGUMENT);
      assert_int_equal(gk_rnn_spectral_radius(rnn, parameters, 0, 0, 4, radii_of), GK_ERROR_ARGUMENT);
      assert_int_equal(gk_rnn_spectral_radius(rnn, parameters, 0, 0, -1, radii_of), GK_ERROR_ARGUMENT);
      gk_rnn_destroy(rnn);
    }
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(identity_follows_the_radius),
      cmocka_unit_test(tanh_is_bounded_by_the_radius),
      cmocka_unit_test(lstm_keeps_what_the_rnn_loses),
      cmocka_unit_test(recording_changes_nothing),
      cmocka_unit_test(the_radius_of_random_matrices_is_numpys),
      cmocka_unit_test(the_radius_of_a_scaled_orthogonal_matrix_is_the_scale),
      cmocka_unit_test(the_radius_of_rotations_is_found),
      cmocka_unit_test(the_radius_of_non_normal_matrices_is_found),
      cmocka_unit_test(the_radius_refuses_wrong_arguments),
      cmocka_unit_test(radii_of_a_network_are_those_of_its_matrices),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
