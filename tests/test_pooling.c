/* SPDX-License-Identifier: Apache-2.0
 *
 * Pooling over time: the float64 reference against its difference quotients, every tier against the
 * reference, the same bits on every tier and any number of threads, last states against those that a network
 * returns. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/network_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;

struct pooled_case {
  gk_pool_desc desc;
  int64_t time, batch;
  bool ragged, coarse; /* few different values, so that maxima are met again */
};

struct pooled_data {
  int64_t *lengths;
  float *y, *dpooled;
};

struct pooled_results {
  float *pooled, *dy;
  int32_t *steps;
};

static int64_t value_row(const struct pooled_case *c, int64_t t, int64_t n) {
  return c->desc.layout == GK_BATCH_FIRST ? n * c->time + t : t * c->batch + n;
}

/* Padding is NaN. */
static struct pooled_data take_pooled_data(struct buffers *b, const struct pooled_case *c, uint64_t seed) {
  struct pooled_data d = {.y = take_random(b, seed, 1, c->time * c->batch * c->desc.width),
                          .dpooled = take_random(b, seed + 1, 1, c->batch * c->desc.width)};
  for (int64_t i = 0; i < c->time * c->batch * c->desc.width && c->coarse; i++)
    d.y[i] = floorf(d.y[i] * 2);
  if (!c->ragged)
    return d;
  d.lengths = buffers_take(b, (size_t)c->batch * sizeof(int64_t), sizeof(int64_t));
  for (int64_t n = 0; n < c->batch; n++) {
    d.lengths[n] = n == 0 ? c->time : n == 1 ? 0 : random_integer(seed + 2, (uint64_t)n, c->time + 1);
    for (int64_t t = d.lengths[n]; t < c->time; t++)
      for (int64_t j = 0; j < c->desc.width; j++)
        d.y[value_row(c, t, n) * c->desc.width + j] = NAN;
  }
  return d;
}

static struct pooled_results pool(struct buffers *b, const struct pooled_case *c,
                                  const struct pooled_data *d) {
  const int64_t rows = c->batch * c->desc.width, all = c->time * rows;
  struct pooled_results r = {.pooled = take_floats(b, rows),
                             .dy = take_floats(b, all),
                             .steps = buffers_take(b, (size_t)rows * sizeof(int32_t), sizeof(int32_t))};
  for (int64_t i = 0; i < all; i++)
    r.dy[i] = NAN;
  assert_int_equal(gk_pool_forward(&c->desc, c->time, c->batch, d->lengths, d->y, r.pooled, r.steps), GK_OK);
  assert_int_equal(gk_pool_backward(&c->desc, c->time, c->batch, d->lengths, r.steps, d->dpooled, r.dy),
                   GK_OK);
  return r;
}

static void check_near(const char *what, int64_t count, const float *got, const double *wanted) {
  for (int64_t i = 0; i < count; i++)
    if (!(fabs((double)got[i] - wanted[i]) <= 1e-6 * fmax(1, fabs(wanted[i]))))
      fail_msg("%s[%" PRId64 "] is %.9g, the reference has %.9g", what, i, (double)got[i], wanted[i]);
}

static void check_same(const char *what, int64_t count, const void *got, const void *wanted) {
  if (count && memcmp(got, wanted, (size_t)count * sizeof(float)) != 0)
    fail_msg("%s has other bits", what);
}

static double *take_values(struct buffers *b, const float *values, int64_t count) {
  double *copy = take_doubles(b, count);
  for (int64_t i = 0; i < count; i++)
    copy[i] = values[i];
  return copy;
}

static void check_case(struct pooled_case *c, uint64_t seed) {
  struct buffers b = {0};
  const int64_t rows = c->batch * c->desc.width, all = c->time * rows;
  struct pooled_data d = take_pooled_data(&b, c, seed);
  double *pooled = take_doubles(&b, rows), *dy = take_doubles(&b, all);
  gk_reference_pool(&c->desc, c->time, c->batch, d.lengths, take_values(&b, d.y, all), pooled,
                    take_values(&b, d.dpooled, rows), dy);
  c->desc.isa = tiers[0];
  c->desc.threads = 1;
  struct pooled_results first = pool(&b, c, &d);
  check_near("pooled", rows, first.pooled, pooled);
  check_near("dy", all, first.dy, dy);
  static const int threads[] = {1, 3, 5};
  for (int i = 0; i < tier_count; i++)
    for (int k = 0; k < 3; k++) {
      c->desc.isa = tiers[i];
      c->desc.threads = threads[k];
      struct pooled_results r = pool(&b, c, &d);
      check_same("pooled", rows, r.pooled, first.pooled);
      check_same("steps", rows, r.steps, first.steps);
      check_same("dy", all, r.dy, first.dy);
    }
  buffers_release(&b);
}

static struct pooled_case make_case(int kind, int direction, int layout, int shape) {
  static const int64_t time[] = {1, 7, 300, 0}, batch[] = {3, 5, 2, 4}, width[] = {2, 38, 6, 8};
  struct pooled_case c = {.desc = GK_POOL_DESC_INIT,
                          .time = time[shape],
                          .batch = batch[shape],
                          .ragged = shape > 0,
                          .coarse = shape == 1};
  c.desc.pool = (gk_pool)kind;
  c.desc.direction = (gk_direction)direction;
  c.desc.layout = (gk_layout)layout;
  c.desc.width = width[shape];
  return c;
}

static void pooling_is_the_reference_with_the_same_bits_everywhere(void **state) {
  (void)state;
  for (int kind = 0; kind < gk_pool_count(); kind++)
    for (int direction = GK_FORWARD; direction <= GK_BIDIRECTIONAL; direction++)
      for (int layout = GK_TIME_MAJOR; layout <= GK_BATCH_FIRST; layout++)
        for (int shape = 0; shape < 4; shape++) {
          if (kind != GK_POOL_LAST && direction > GK_FORWARD) /* matters to last alone */
            continue;
          struct pooled_case c = make_case(kind, direction, layout, shape);
          check_case(&c, 700 + (uint64_t)(kind * 100 + direction * 10 + shape));
        }
}

/* Pooling is linear around y: one central difference is exact but for rounding. */
static void the_reference_is_its_difference_quotient(void **state) {
  (void)state;
  for (int kind = 0; kind < gk_pool_count(); kind++)
    for (int direction = GK_FORWARD; direction <= GK_BIDIRECTIONAL; direction++) {
      struct buffers b = {0};
      struct pooled_case c = make_case(kind, direction, direction % 2, 1);
      c.coarse = false;
      const int64_t rows = c.batch * c.desc.width, all = c.time * rows;
      struct pooled_data d = take_pooled_data(&b, &c, 31);
      double *y = take_values(&b, d.y, all), *weights = take_values(&b, d.dpooled, rows);
      double *pooled = take_doubles(&b, rows), *dy = take_doubles(&b, all);
      gk_reference_pool(&c.desc, c.time, c.batch, d.lengths, y, pooled, weights, dy);
      for (int64_t i = 0; i < all; i++) {
        double loss[2] = {0, 0}, centre = y[i];
        for (int side = 0; side < 2; side++) {
          y[i] = centre + (side ? 1e-6 : -1e-6);
          gk_reference_pool(&c.desc, c.time, c.batch, d.lengths, y, pooled, NULL, NULL);
          for (int64_t k = 0; k < rows; k++)
            loss[side] += pooled[k] * weights[k];
        }
        y[i] = centre;
        assert_true(fabs((loss[1] - loss[0]) / 2e-6 - dy[i]) <= 1e-7 * fmax(1, fabs(dy[i])));
      }
      buffers_release(&b);
    }
}

static void the_first_of_equal_maxima_takes_the_gradient_and_nan_wins(void **state) {
  (void)state;
  const float y[4][3] = {{1, 5, 2}, {3, 5, NAN}, {3, 4, 7}, {2, 5, NAN}}, d[3] = {10, 20, 30};
  float pooled[3], dy[4][3];
  int32_t steps[3];
  gk_pool_desc desc = GK_POOL_DESC_INIT;
  desc.pool = GK_POOL_MAX;
  desc.width = 3;
  for (int i = 0; i < tier_count; i++) {
    desc.isa = tiers[i];
    assert_int_equal(gk_pool_forward(&desc, 4, 1, NULL, y[0], pooled, steps), GK_OK);
    assert_true(pooled[0] == 3 && pooled[1] == 5 && isnan(pooled[2]));
    assert_true(steps[0] == 1 && steps[1] == 0 && steps[2] == 1);
    assert_int_equal(gk_pool_forward(&desc, 4, 1, NULL, y[0], pooled, NULL), GK_OK);
    assert_true(pooled[0] == 3 && pooled[1] == 5 && isnan(pooled[2]));
    assert_int_equal(gk_pool_backward(&desc, 4, 1, NULL, steps, d, dy[0]), GK_OK);
    for (int t = 0; t < 4; t++)
      for (int j = 0; j < 3; j++)
        assert_true(dy[t][j] == (t == steps[j] ? d[j] : 0));
  }
}

/* The last layer's hn, sample by sample, directions side by side. */
static void last_is_the_final_state_of_the_network(void **state) {
  (void)state;
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (int direction = GK_FORWARD; direction <= GK_BIDIRECTIONAL; direction++) {
      struct buffers b = {0};
      struct network_case c = {
          .desc = GK_RNN_DESC_INIT, .time = 6, .batch = 5, .ragged = true, .seed = 60 + (uint64_t)cell};
      c.desc.cell = (gk_cell)cell;
      c.desc.isa = tiers[tier_count - 1];
      c.desc.input_size = 4;
      c.desc.hidden_size = 19;
      c.desc.layers = 2;
      c.desc.direction = (gk_direction)direction;
      c.desc.layout = (gk_layout)(cell % 2);
      struct network_data d = take_data(&b, &c);
      struct network_results r = run_case(&b, &c, &d);
      const int64_t D = sizes_of(&c).directions, H = c.desc.hidden_size, N = c.batch;
      gk_pool_desc desc = GK_POOL_DESC_INIT;
      desc.direction = c.desc.direction;
      desc.layout = c.desc.layout;
      desc.width = D * H;
      float *pooled = take_floats(&b, N * D * H);
      assert_int_equal(gk_pool_forward(&desc, c.time, N, d.lengths, r.y, pooled, NULL), GK_OK);
      for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < D; k++)
          check_bits(&c, "last", "pooled", H, pooled + (n * D + k) * H, r.hn + ((D + k) * N + n) * H);
      buffers_release(&b);
    }
}

#define REFUSED(call, wanted, text)                                                                          \
  do {                                                                                                       \
    assert_int_equal(call, wanted);                                                                          \
    assert_non_null(strstr(gk_last_error(), text));                                                          \
  } while (0)

/* Steps of equal values, of which a sum in one level of blocks misses more the longer it is. */
static void the_mean_of_many_steps_is_near_theirs(void **state) {
  (void)state;
  enum { MOST = 1000000, BLOCK = 256 * 256 };
  static const int64_t time[] = {BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 257, MOST};
  struct buffers b = {0};
  float *y = take_floats(&b, MOST), mean;
  for (int64_t t = 0; t < MOST; t++)
    y[t] = 0.1f;
  gk_pool_desc desc = GK_POOL_DESC_INIT;
  desc.pool = GK_POOL_MEAN;
  desc.width = 1;
  for (int i = 0; i < 6; i++) {
    assert_int_equal(gk_pool_forward(&desc, time[i], 1, NULL, y, &mean, NULL), GK_OK);
    if (!(fabs((double)mean - 0.1) <= 2e-5 * 0.1))
      fail_msg("the mean of %" PRId64 " steps of 0.1 is %.9g", time[i], (double)mean);
  }
  buffers_release(&b);
}

/* No sample: no memory is needed for any number of steps. */
static void no_samples_of_any_number_of_steps_are_allowed(void **state) {
  (void)state;
  gk_pool_desc desc = GK_POOL_DESC_INIT;
  desc.width = 2;
  for (int kind = GK_POOL_LAST; kind <= GK_POOL_MEAN; kind++) {
    desc.pool = (gk_pool)kind;
    assert_int_equal(gk_pool_forward(&desc, INT64_MAX, 0, NULL, NULL, NULL, NULL), GK_OK);
    assert_int_equal(gk_pool_backward(&desc, INT64_MAX, 0, NULL, NULL, NULL, NULL), GK_OK);
  }
}

static void wrong_arguments_are_refused(void **state) {
  (void)state;
  float y[12] = {0}, pooled[4] = {77, 77, 77, 77}, dy[12];
  int32_t steps[4] = {0, 0, 3, 0};
  const int64_t lengths[2] = {3, 4};
  gk_pool pool;
  gk_pool_desc good = GK_POOL_DESC_INIT, bad;
  good.width = 2;
  REFUSED(gk_pool_forward(NULL, 3, 2, NULL, y, pooled, NULL), GK_ERROR_ARGUMENT, "desc");
#define BAD(field, value, text)                                                                              \
  bad = good;                                                                                                \
  bad.field = value;                                                                                         \
  REFUSED(gk_pool_forward(&bad, 3, 2, NULL, y, pooled, NULL), GK_ERROR_ARGUMENT, text);                      \
  REFUSED(gk_pool_backward(&bad, 3, 2, NULL, NULL, pooled, dy), GK_ERROR_ARGUMENT, text)
  BAD(size, 3, "size");
  BAD(pool, (gk_pool)3, "pool is 3");
  BAD(direction, (gk_direction)3, "direction is 3");
  BAD(layout, (gk_layout)-1, "layout is -1");
  BAD(width, 0, "width is 0");
  BAD(threads, -1, "threads is -1");
  good.direction = GK_BIDIRECTIONAL;
  BAD(width, 3, "width is 3");
  REFUSED(gk_pool_forward(&good, -1, 2, NULL, y, pooled, NULL), GK_ERROR_ARGUMENT, "time is -1");
  REFUSED(gk_pool_forward(&good, 3, -2, NULL, y, pooled, NULL), GK_ERROR_ARGUMENT, "batch is -2");
  REFUSED(gk_pool_forward(&good, 3, INT64_MAX, NULL, y, pooled, NULL), GK_ERROR_OVERFLOW, "memory");
  REFUSED(gk_pool_forward(&good, 3, 2, lengths, y, pooled, NULL), GK_ERROR_ARGUMENT, "lengths[1] is 4");
  REFUSED(gk_pool_forward(&good, 3, 2, NULL, NULL, pooled, NULL), GK_ERROR_ARGUMENT, "y is NULL");
  REFUSED(gk_pool_forward(&good, 3, 2, NULL, y, NULL, NULL), GK_ERROR_ARGUMENT, "pooled is NULL");
  good.pool = GK_POOL_MAX;
  REFUSED(gk_pool_backward(&good, 3, 2, NULL, NULL, pooled, dy), GK_ERROR_ARGUMENT, "steps is NULL");
  REFUSED(gk_pool_backward(&good, 3, 2, NULL, steps, pooled, dy), GK_ERROR_ARGUMENT, "steps[1, 0] is 3");
  REFUSED(gk_pool_backward(&good, 3, 2, NULL, steps, NULL, dy), GK_ERROR_ARGUMENT, "dpooled is NULL");
  REFUSED(gk_pool_forward(&good, INT64_C(1) << 31, 0, NULL, NULL, NULL, NULL), GK_ERROR_OVERFLOW, "for max");
  REFUSED(gk_pool_from_name("sum", &pool), GK_ERROR_ARGUMENT, "last, mean, max");
  for (int i = 0; i < gk_pool_count(); i++)
    assert_true(gk_pool_from_name(gk_pool_name((gk_pool)i), &pool) == GK_OK && pool == (gk_pool)i);
  for (int i = 0; i < 4; i++)
    assert_true(pooled[i] == 77);
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pooling_is_the_reference_with_the_same_bits_everywhere),
      cmocka_unit_test(the_reference_is_its_difference_quotient),
      cmocka_unit_test(the_first_of_equal_maxima_takes_the_gradient_and_nan_wins),
      cmocka_unit_test(last_is_the_final_state_of_the_network),
      cmocka_unit_test(the_mean_of_many_steps_is_near_theirs),
      cmocka_unit_test(no_samples_of_any_number_of_steps_are_allowed),
      cmocka_unit_test(wrong_arguments_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
