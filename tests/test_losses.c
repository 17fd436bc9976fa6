/* SPDX-License-Identifier: Apache-2.0
 *
 * Losses over plain arrays and fused with the output layer: the float64 reference against difference
 * quotients, fp32 of every tier against the reference, the same bits everywhere, padding, tied weights.
 * ctest labels: edges */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/float_controls.h"
#include "tests/reference_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;

enum { HIDDEN = 37, ROWS_AT_MOST = 530 };

/* Rows across blocks of GK_SUM_BLOCK, classes across vectors. */
static const struct {
  int64_t rows, columns;
} sizes[] = {{1, 1}, {3, 5}, {20, 33}, {ROWS_AT_MOST, 7}};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* What a loss is asked for. Kind and size choose the options, so that all meet. */
struct loss_case {
  gk_loss_kind kind;
  int64_t rows, columns;
  bool weighted;
  float smoothing, positive_weight, delta, scale;
  int32_t ignored;
};

static struct loss_case case_of(int kind, int size, bool options) {
  struct loss_case c = {.kind = (gk_loss_kind)kind,
                        .rows = sizes[size].rows,
                        .columns = sizes[size].columns,
                        .scale = 1 / (float)sizes[size].rows,
                        .ignored = -1};
  if (options) {
    c.weighted = true;
    c.smoothing = kind == GK_LOSS_SOFTMAX && c.columns > 1 ? 0.1f : 0; /* one class has nothing to share */
    c.positive_weight = 2.5f;
    c.delta = 0.4f;
    c.ignored = sizes[size].columns > 1 ? 1 : -1;
  }
  return c;
}

struct loss_data {
  float *x, *values, *weights; /* weights: NULL, or every fourth 0 */
  int32_t *targets;            /* every seventh is negative */
};

static struct loss_data take_loss_data(struct buffers *b, const struct loss_case *c) {
  struct loss_data d = {.x = take_floats(b, c->rows * c->columns),
                        .values = take_floats(b, c->rows * c->columns)};
  random_floats(41, 2, c->rows * c->columns, d.x);
  random_floats(42, 0.5f, c->rows * c->columns, d.values);
  for (int64_t i = 0; i < c->rows * c->columns; i++)
    d.values[i] = i % 3 ? d.values[i] + 0.5f : (float)(i / 3 % 2);
  d.targets = buffers_take(b, (size_t)c->rows * sizeof(int32_t), sizeof(int32_t));
  for (int64_t r = 0; r < c->rows; r++)
    d.targets[r] = r % 7 == 5 ? -100 : (int32_t)random_integer(43, (uint64_t)r, c->columns);
  if (c->weighted) {
    d.weights = take_floats(b, c->rows);
    for (int64_t r = 0; r < c->rows; r++)
      d.weights[r] = r % 4 == 3 ? 0 : 0.5f + (float)(r % 3);
  }
  return d;
}

static bool counts(const struct loss_case *c, const struct loss_data *d, int64_t r) {
  if (d->weights && d->weights[r] == 0)
    return false;
  return c->kind != GK_LOSS_SOFTMAX || (d->targets[r] >= 0 && d->targets[r] != c->ignored);
}

static double reference_of(const struct loss_case *c, const struct loss_data *d, int64_t r, const double *x,
                           double *dx) {
  double values[64];
  for (int64_t j = 0; j < c->columns; j++)
    values[j] = (double)d->values[r * c->columns + j];
  struct gk_reference_row row = {.kind = c->kind,
                                 .count = c->columns,
                                 .x = x,
                                 .target = d->targets[r],
                                 .values = values,
                                 .weight = d->weights ? (double)d->weights[r] : 1,
                                 .smoothing = (double)c->smoothing,
                                 .positive_weight = c->positive_weight > 0 ? (double)c->positive_weight : 1,
                                 .delta = c->delta > 0 ? (double)c->delta : 1,
                                 .scale = (double)c->scale};
  return gk_reference_row_loss(&row, dx);
}

/* ---- The reference --------------------------------------------------------------------------- */

static void the_reference_has_the_gradients_of_its_losses(void **state) {
  (void)state;
  for (int kind = 0; kind < gk_loss_count(); kind++)
    for (int options = 0; options < 2; options++) {
      struct buffers b = {0};
      struct loss_case c = case_of(kind, 2, options);
      struct loss_data d = take_loss_data(&b, &c);
      for (int64_t r = 0; r < c.rows; r++) {
        double x[64], dx[64], largest = 0;
        if (!counts(&c, &d, r))
          continue;
        for (int64_t j = 0; j < c.columns; j++)
          x[j] = (double)d.x[r * c.columns + j];
        reference_of(&c, &d, r, x, dx);
        for (int64_t j = 0; j < c.columns; j++)
          largest = fmax(largest, fabs(dx[j]));
        for (int64_t j = 0; j < c.columns; j++) {
          static const double weights[3] = {45, -9, 1};
          const double step = kind == GK_LOSS_HUBER ? 1e-5 : 1e-3, centre = x[j];
          double difference = 0;
          for (int i = 0; i < 3; i++) {
            x[j] = centre + (i + 1) * step;
            difference += weights[i] * reference_of(&c, &d, r, x, NULL);
            x[j] = centre - (i + 1) * step;
            difference -= weights[i] * reference_of(&c, &d, r, x, NULL);
          }
          x[j] = centre;
          const double quotient = (double)c.scale * difference / (60 * step);
          if (!(fabs(dx[j] - quotient) <= 1e-7 * largest))
            fail_msg("%s, row %d, value %d: gradient %.12g, difference quotient %.12g",
                     gk_loss_name((gk_loss_kind)kind), (int)r, (int)j, dx[j], quotient);
        }
      }
      buffers_release(&b);
    }
}

/* ---- Plain arrays ---------------------------------------------------------------------------- */

static gk_loss_args args_of(const struct loss_case *c, const struct loss_data *d, gk_isa isa, int threads) {
  gk_loss_args args = GK_LOSS_ARGS_INIT;
  args.kind = c->kind;
  args.rows = c->rows;
  args.columns = c->columns;
  args.x = d->x;
  args.targets = c->kind == GK_LOSS_SOFTMAX ? d->targets : NULL;
  args.ignored_target = c->ignored >= 0 ? &c->ignored : NULL;
  args.values = c->kind == GK_LOSS_SOFTMAX ? NULL : d->values;
  args.row_weights = d->weights;
  args.label_smoothing = c->smoothing;
  args.positive_weight = c->positive_weight;
  args.huber_delta = c->delta;
  args.gradient_scale = c->scale;
  args.isa = isa;
  args.threads = threads;
  return args;
}

static void check_arrays(const struct loss_case *c) {
  struct buffers b = {0};
  struct loss_data d = take_loss_data(&b, c);
  const int64_t count = c->rows * c->columns;
  double *exact = take_doubles(&b, count), exact_loss = 0, loss, first_loss = 0;
  float *first = take_floats(&b, count), *got = take_floats(&b, count);
  for (int64_t r = 0; r < c->rows; r++) {
    double x[64];
    for (int64_t j = 0; j < c->columns; j++)
      x[j] = (double)d.x[r * c->columns + j];
    if (counts(c, &d, r))
      exact_loss += reference_of(c, &d, r, x, exact + r * c->columns);
  }
  for (int64_t r = 0; r < c->rows; r++) /* padding is not read */
    for (int64_t j = 0; j < c->columns && !counts(c, &d, r); j++)
      d.x[r * c->columns + j] = d.values[r * c->columns + j] = NAN;
  for (int tier = 0; tier < tier_count; tier++)
    for (int threads = 1; threads <= 5; threads += 2) {
      gk_loss_args args = args_of(c, &d, tiers[tier], threads);
      args.loss = &loss;
      args.dx = tier == 0 && threads == 1 ? first : got;
      assert_int_equal(gk_loss_gradient(&args), GK_OK);
      if (args.dx == first) {
        int64_t worst;
        first_loss = loss;
        if (!(relative_error(count, first, exact, &worst) <= 1e-5))
          fail_msg("%s: gradient[%d] is %g, wanted %g", gk_loss_name(c->kind), (int)worst,
                   (double)first[worst], exact[worst]);
        assert_true(fabs(loss - exact_loss) <= 1e-6 * (1 + fabs(exact_loss)));
      } else {
        assert_memory_equal(got, first, (size_t)count * sizeof(float));
        assert_true(loss == first_loss);
      }
      loss = 0;
      args.dx = NULL; /* the loss alone; then the gradient alone, in place */
      assert_int_equal(gk_loss_gradient(&args), GK_OK);
      assert_true(loss == first_loss);
      memcpy(got, d.x, (size_t)count * sizeof(float));
      args.x = args.dx = got;
      args.loss = NULL;
      assert_int_equal(gk_loss_gradient(&args), GK_OK);
      assert_memory_equal(got, first, (size_t)count * sizeof(float));
    }
  buffers_release(&b);
}

static void losses_of_arrays_are_near_the_reference(void **state) {
  (void)state;
  for (int kind = 0; kind < gk_loss_count(); kind++)
    for (int size = 0; size < SIZES; size++)
      for (int options = 0; options < 2; options++) {
        struct loss_case c = case_of(kind, size, options);
        check_arrays(&c);
      }
}

/* ---- The output layer ------------------------------------------------------------------------ */

struct layer {
  gk_output *output;
  void *packed, *workspace;
};

static struct layer open_layer(struct buffers *b, const struct loss_case *c, gk_isa isa, int threads,
                               bool tied, const float *parameters) {
  struct layer layer;
  size_t packed, workspace;
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  gk_output_desc desc = {.size = sizeof desc,
                         .input_size = HIDDEN,
                         .output_size = c->columns,
                         .isa = isa,
                         .threads = threads,
                         .tied = tied};
  assert_int_equal(gk_output_create(&desc, &layer.output), GK_OK);
  assert_int_equal(gk_output_packed_bytes(layer.output, both, &packed), GK_OK);
  assert_int_equal(gk_output_workspace_bytes(layer.output, c->rows, &workspace), GK_OK);
  layer.packed = buffers_take(b, packed, 1);
  layer.workspace = buffers_take(b, workspace, 1);
  if (tied)
    assert_int_equal(
        gk_output_pack_tied(layer.output, both, parameters, parameters + c->columns * HIDDEN, layer.packed),
        GK_OK);
  else
    assert_int_equal(gk_output_pack(layer.output, both, parameters, layer.packed), GK_OK);
  return layer;
}

/* dh (R, H), then the gradients of weight and bias; returns the loss. */
static double run_layer(const struct loss_case *c, const struct loss_data *d, const float *h,
                        const struct layer *layer, bool tied, float *gradients) {
  const gk_loss_args plain = args_of(c, d, GK_ISA_AUTO, 1);
  float *weight = gradients + c->rows * HIDDEN, *bias = weight + c->columns * HIDDEN;
  double loss;
  gk_output_loss_args args = GK_OUTPUT_LOSS_ARGS_INIT;
  args.rows = c->rows;
  args.h = h;
  args.targets = plain.targets;
  args.packed = layer->packed;
  args.loss = &loss;
  args.gradient_scale = plain.gradient_scale;
  args.dh = gradients;
  args.gradients = tied ? bias : weight;
  args.dweight = tied ? weight : NULL;
  args.workspace = layer->workspace;
  args.kind = plain.kind;
  args.ignored_target = plain.ignored_target;
  args.values = plain.values;
  args.row_weights = plain.row_weights;
  args.label_smoothing = plain.label_smoothing;
  args.positive_weight = plain.positive_weight;
  args.huber_delta = plain.huber_delta;
  assert_int_equal(gk_output_loss(layer->output, &args), GK_OK);
  args.loss = NULL; /* not wanted: nothing else changes */
  assert_int_equal(gk_output_loss(layer->output, &args), GK_OK);
  return loss;
}

static void check_near(const struct loss_case *c, const char *what, int64_t count, const float *got,
                       const double *wanted) {
  int64_t worst;
  if (!(relative_error(count, got, wanted, &worst) <= 1e-5))
    fail_msg("%s, %d rows: %s[%d] is %g, wanted %g", gk_loss_name(c->kind), (int)c->rows, what, (int)worst,
             (double)got[worst], wanted[worst]);
}

static void check_layer(const struct loss_case *c) {
  struct buffers b = {0};
  struct loss_data d = take_loss_data(&b, c);
  const int64_t rows = c->rows * HIDDEN, weights = c->columns * HIDDEN, all = rows + weights + c->columns;
  float *h = take_floats(&b, rows), *parameters = take_floats(&b, weights + c->columns);
  random_floats(44, 1, rows, h);
  random_floats(45, 0.3f, weights + c->columns, parameters);
  double *exact = take_doubles(&b, all), *p = take_copy(&b, parameters, weights + c->columns);
  int32_t *targets = buffers_take(&b, (size_t)c->rows * sizeof(int32_t), sizeof(int32_t));
  for (int64_t r = 0; r < c->rows; r++)
    targets[r] = d.targets[r] == c->ignored ? -1 : d.targets[r];
  struct gk_reference_loss reference = {.rows = c->rows,
                                        .input_size = HIDDEN,
                                        .output_size = c->columns,
                                        .h = take_copy(&b, h, rows),
                                        .weight = p,
                                        .bias = p + weights,
                                        .targets = c->kind == GK_LOSS_SOFTMAX ? targets : NULL,
                                        .scale = (double)c->scale,
                                        .dh = exact,
                                        .dweight = exact + rows,
                                        .dbias = exact + rows + weights,
                                        .scratch = take_doubles(&b, 2 * c->columns),
                                        .kind = c->kind,
                                        .values = take_copy(&b, d.values, c->rows * c->columns),
                                        .row_weights = take_copy(&b, d.weights, c->rows),
                                        .smoothing = (double)c->smoothing,
                                        .positive_weight = (double)c->positive_weight,
                                        .delta = (double)c->delta};
  const double exact_loss = gk_reference_output_loss(&reference);
  for (int64_t r = 0; r < c->rows; r++) { /* padding is not read */
    for (int64_t j = 0; j < HIDDEN && !counts(c, &d, r); j++)
      h[r * HIDDEN + j] = r % 2 ? INFINITY : NAN;
    for (int64_t j = 0; j < c->columns && !counts(c, &d, r); j++)
      d.values[r * c->columns + j] = NAN;
  }
  float *first = take_floats(&b, all);
  double first_loss = NAN;
  for (int tier = 0; tier < tier_count; tier++)
    for (int way = 0; way < 4; way++) { /* 1, 2, 3 threads; tied */
      struct buffers run = {0};
      float *got = take_floats(&run, all);
      const bool tied = way == 3;
      struct layer layer = open_layer(&run, c, tiers[tier], tied ? 2 : way + 1, tied, parameters);
      const double loss = run_layer(c, &d, h, &layer, tied, got);
      if (isnan(first_loss)) {
        first_loss = loss;
        memcpy(first, got, (size_t)all * sizeof(float));
        check_near(c, "dh", rows, got, exact);
        check_near(c, "dweight", weights, got + rows, exact + rows);
        check_near(c, "dbias", c->columns, got + rows + weights, exact + rows + weights);
        assert_true(fabs(loss - exact_loss) <= 1e-6 * (1 + fabs(exact_loss)));
      }
      assert_memory_equal(got, first, (size_t)all * sizeof(float));
      assert_true(loss == first_loss);
      gk_output_destroy(layer.output);
      buffers_release(&run);
    }
  buffers_release(&b);
}

static void losses_of_an_output_layer_are_near_the_reference(void **state) {
  (void)state;
  for (int kind = 0; kind < gk_loss_count(); kind++)
    for (int size = 1; size < SIZES; size++)
      for (int options = 0; options < 2; options++) {
        struct loss_case c = case_of(kind, size, options);
        check_layer(&c);
      }
}

/* Where a loss has a sigmoid, the layer's own choice of activations counts, and no variable of the
 * environment. */
static void layer_takes_the_activations_that_it_is_given(void **state) {
  (void)state;
  enum { WIDTH = 64 };
  float gradients[GK_MATH_SLEEF + 1][WIDTH], h = 1, parameters[2 * WIDTH];
  random_floats(46, 3, 2 * WIDTH, parameters);
  const float values[WIDTH] = {0};
  setenv("GATEKERN_MATH", "sleef", 1);
  for (int math = GK_MATH_AUTO; math <= GK_MATH_SLEEF; math++) {
    struct buffers b = {0};
    gk_output_desc desc = GK_OUTPUT_DESC_INIT;
    desc.input_size = 1;
    desc.output_size = WIDTH;
    desc.math = (gk_math)math;
    gk_output *output;
    size_t packed, workspace;
    assert_int_equal(gk_output_create(&desc, &output), GK_OK);
    assert_int_equal(gk_output_packed_bytes(output, GK_PACK_FORWARD, &packed), GK_OK);
    assert_int_equal(gk_output_workspace_bytes(output, 1, &workspace), GK_OK);
    gk_output_loss_args args = GK_OUTPUT_LOSS_ARGS_INIT;
    void *weights = buffers_take(&b, packed, 1);
    float all[2 * WIDTH];
    assert_int_equal(gk_output_pack(output, GK_PACK_FORWARD, parameters, weights), GK_OK);
    args.kind = GK_LOSS_BINARY;
    args.rows = 1;
    args.h = &h;
    args.values = values;
    args.packed = weights;
    args.gradient_scale = 1;
    args.gradients = all;
    args.workspace = buffers_take(&b, workspace, 1);
    assert_int_equal(gk_output_loss(output, &args), GK_OK);
    memcpy(gradients[math], all + WIDTH, sizeof gradients[math]); /* of the biases: sigmoids */
    gk_output_destroy(output);
    buffers_release(&b);
  }
  unsetenv("GATEKERN_MATH");
  assert_memory_equal(gradients[GK_MATH_AUTO], gradients[GK_MATH_SLEEF], sizeof gradients[0]);
  assert_memory_not_equal(gradients[GK_MATH_OWN], gradients[GK_MATH_SLEEF], sizeof gradients[0]);
}

/* A tied layer's parameters are its bias; what needs the weight is refused by a message. */
static void a_tied_layer_has_no_parameters_but_its_bias(void **state) {
  (void)state;
  gk_output_desc desc = {.size = sizeof desc, .input_size = 3, .output_size = 5, .tied = true};
  gk_output *tied, *plain;
  gk_tensor tensor;
  float weight[15], bias[5], parameters[20], alone[5];
  char packed[8192];
  assert_int_equal(gk_output_create(&desc, &tied), GK_OK);
  desc.tied = false;
  assert_int_equal(gk_output_create(&desc, &plain), GK_OK);
  assert_int_equal(gk_output_tensor_count(tied), 1);
  assert_int_equal(gk_output_parameter_count(tied), 5);
  assert_int_equal(gk_output_tensor(tied, 0, &tensor), GK_OK);
  assert_string_equal(tensor.name, "bias");
  assert_int_equal(tensor.offset, 0);
  assert_int_equal(gk_output_tensor(tied, 1, &tensor), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_output_pack(tied, GK_PACK_FORWARD, parameters, packed), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "gk_output_pack_tied"));
  assert_int_equal(gk_output_pack_tied(plain, GK_PACK_FORWARD, weight, bias, packed), GK_ERROR_ARGUMENT);
  assert_int_equal(gk_output_init_tied(tied, 9, weight, bias), GK_OK);
  assert_int_equal(gk_output_init(tied, 9, alone), GK_OK);
  assert_int_equal(gk_output_init(plain, 9, parameters), GK_OK);
  assert_memory_equal(weight, parameters, sizeof weight);
  assert_memory_equal(bias, parameters + 15, sizeof bias);
  assert_memory_equal(alone, bias, sizeof bias);
  gk_output_destroy(tied);
  gk_output_destroy(plain);
}

/* ---- Faults ---------------------------------------------------------------------------------- */

static void wrong_arguments_are_refused_and_write_nothing(void **state) {
  (void)state;
  float x[6] = {0}, dx[6] = {7, 7, 7, 7, 7, 7};
  static const float sevens[6] = {7, 7, 7, 7, 7, 7};
  int32_t targets[2] = {0, 2};
  double loss = 5;
  gk_loss_args good = GK_LOSS_ARGS_INIT, args;
  good.rows = 2;
  good.columns = 3;
  good.x = x;
  good.targets = targets;
  good.dx = dx;
  good.loss = &loss;
#define EXPECT(field, value, status, word)                                                                   \
  do {                                                                                                       \
    args = good;                                                                                             \
    args.field = value;                                                                                      \
    assert_int_equal(gk_loss_gradient(&args), status);                                                       \
    assert_non_null(strstr(gk_last_error(), word));                                                          \
    assert_memory_equal(dx, sevens, sizeof dx);                                                              \
    assert_true(loss == 5);                                                                                  \
  } while (0)
  EXPECT(size, 1, GK_ERROR_ARGUMENT, "size");
  EXPECT(kind, (gk_loss_kind)9, GK_ERROR_ARGUMENT, "kind");
  EXPECT(rows, -1, GK_ERROR_ARGUMENT, "rows");
  EXPECT(columns, 0, GK_ERROR_ARGUMENT, "columns");
  EXPECT(x, NULL, GK_ERROR_ARGUMENT, "x is NULL");
  EXPECT(targets, NULL, GK_ERROR_ARGUMENT, "targets");
  EXPECT(kind, GK_LOSS_BINARY, GK_ERROR_ARGUMENT, "values");
  EXPECT(threads, -1, GK_ERROR_ARGUMENT, "threads");
  EXPECT(isa, (gk_isa)77, GK_ERROR_ISA, "77");
  EXPECT(label_smoothing, -0.1f, GK_ERROR_ARGUMENT, "label_smoothing");
  good.kind = GK_LOSS_SQUARED;
  good.values = x;
  EXPECT(label_smoothing, 0.1f, GK_ERROR_UNSUPPORTED, "squared");
  good.kind = GK_LOSS_SOFTMAX;
  targets[1] = 3;
  EXPECT(rows, 2, GK_ERROR_ARGUMENT, "targets[1] is 3");
#undef EXPECT
  assert_int_equal(gk_loss_gradient(NULL), GK_ERROR_ARGUMENT);
  gk_loss_kind kind;
  for (int i = 0; i < gk_loss_count(); i++) {
    assert_int_equal(gk_loss_from_name(gk_loss_name((gk_loss_kind)i), &kind), GK_OK);
    assert_int_equal(kind, i);
  }
  assert_int_equal(gk_loss_from_name("hinge", &kind), GK_ERROR_ARGUMENT);
}

/* ---- The caller's floating-point environment ---- */

/* Losses of all magnitudes, denormal ones among them, whose sum is rounded. */
static void the_callers_floating_point_environment_changes_no_loss(void **state) {
  (void)state;
  enum { ROWS = 300 };
  float x[ROWS], values[ROWS], dx[ROWS], wanted_dx[ROWS];
  double loss, wanted;
  for (int r = 0; r < ROWS; r++) {
    x[r] = ldexpf(0.75f + random_value(71, (uint64_t)r) / 4, r % 90 - 80);
    values[r] = r % 2 ? 0 : 0.5f;
  }
  gk_loss_args args = GK_LOSS_ARGS_INIT;
  args.kind = GK_LOSS_SQUARED;
  args.rows = ROWS;
  args.columns = 1;
  args.x = x;
  args.values = values;
  args.loss = &loss;
  args.dx = dx;
  const control_word before = read_control();
  for (int tier = 0; tier < tier_count; tier++) {
    args.isa = tiers[tier];
    assert_int_equal(gk_loss_gradient(&args), GK_OK);
    wanted = loss;
    memcpy(wanted_dx, dx, sizeof dx);
    for (int i = 0; i < CONTROLS; i++) {
      write_control(odd_controls[i]);
      const control_word set = read_control();
      const gk_status status = gk_loss_gradient(&args);
      const control_word after = read_control();
      write_control(before);
      assert_int_equal(status, GK_OK);
      assert_int_equal(after, set);
      assert_memory_equal(&loss, &wanted, sizeof loss);
      assert_memory_equal(dx, wanted_dx, sizeof dx);
    }
  }
}

/* A weight that is all but zero is none where denormals are zeros, and its target must exist all the same. */
static void the_callers_floating_point_environment_hides_no_target(void **state) {
  (void)state;
  const float x[3] = {1, 2, 3}, weight = 0x1p-140f;
  const int32_t target = 3;
  gk_loss_args args = GK_LOSS_ARGS_INIT;
  args.rows = 1;
  args.columns = 3;
  args.x = x;
  args.targets = &target;
  args.row_weights = &weight;
  const control_word before = read_control();
  for (int i = 0; i < CONTROLS; i++) {
    write_control(odd_controls[i]);
    const gk_status status = gk_loss_gradient(&args);
    write_control(before);
    assert_int_equal(status, GK_ERROR_ARGUMENT);
  }
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_reference_has_the_gradients_of_its_losses),
      cmocka_unit_test(losses_of_arrays_are_near_the_reference),
      cmocka_unit_test(losses_of_an_output_layer_are_near_the_reference),
      cmocka_unit_test(layer_takes_the_activations_that_it_is_given),
      cmocka_unit_test(a_tied_layer_has_no_parameters_but_its_bias),
      cmocka_unit_test(wrong_arguments_are_refused_and_write_nothing),
      cmocka_unit_test(the_callers_floating_point_environment_changes_no_loss),
      cmocka_unit_test(the_callers_floating_point_environment_hides_no_target),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
