/* SPDX-License-Identifier: Apache-2.0
 *
 * ctest labels: edges same-bits
 *
 * The bits of the canonical order (kernels.h), which plain loops compute here, so that a build that adds in
 * another order fails even where all of its tiers agree. ReLU units, because their arithmetic outside the
 * products is exact, forward and backward. Kept small: this file also runs emulated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "kernels/kernels.h"
#include "tests/network_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;

/* y += sum of a[k * a_stride] * b[k * b_stride]. */
static float blocked_sum(int64_t block, float y, int64_t count, const float *a, int64_t a_stride,
                         const float *b, int64_t b_stride) {
  for (int64_t begin = 0; begin < count; begin += block) {
    float acc = 0;
    for (int64_t k = begin; k < count && k < begin + block; k++)
      acc = fmaf(a[k * a_stride], b[k * b_stride], acc);
    y = y + acc;
  }
  return y;
}

static float canonical_sum(float y, int64_t count, const float *a, int64_t a_stride, const float *b,
                           int64_t b_stride) {
  return blocked_sum(GK_SUM_BLOCK, y, count, a, a_stride, b, b_stride);
}

/* Over rows (t, sample), or over tokens: gradients of parameters. */
static float gradient_sum(int64_t count, const float *a, int64_t a_stride, const float *b) {
  return blocked_sum(GK_GRADIENT_BLOCK, 0, count, a, a_stride, b, 1);
}

/* What stands in memory: magnitudes below 2^-95 are +0. */
static float stored(float x) {
  return fabsf(x) < 0x1p-95f ? 0 : x;
}

static void check_logits(const struct network_case *c, gk_output *output, const float *p, int64_t hidden,
                         int64_t classes) {
  enum { ROWS = 5 };
  struct buffers b = {0};
  size_t packed_bytes, workspace_bytes;
  check_status(c, gk_output_packed_bytes(output, GK_PACK_FORWARD, &packed_bytes), "gk_output_packed_bytes");
  check_status(c, gk_output_workspace_bytes(output, ROWS, &workspace_bytes), "gk_output_workspace_bytes");
  void *packed = buffers_take(&b, packed_bytes, 1), *workspace = buffers_take(&b, workspace_bytes, 1);
  float *h = take_random(&b, 2, 1, ROWS * hidden);
  float *logits = take_floats(&b, ROWS * classes), *wanted = take_floats(&b, ROWS * classes);
  check_status(c, gk_output_pack(output, GK_PACK_FORWARD, p, packed), "gk_output_pack");
  check_status(c, gk_output_forward(output, ROWS, h, packed, logits, workspace), "gk_output_forward");
  for (int64_t r = 0; r < ROWS; r++)
    for (int64_t v = 0; v < classes; v++)
      wanted[r * classes + v] =
          canonical_sum(p[classes * hidden + v], hidden, h + r * hidden, 1, p + v * hidden, 1);
  check_bits(c, "canonical order", "logits", ROWS * classes, logits, wanted);
  buffers_release(&b);
}

static void logits_are_sums_in_canonical_order(void **state) {
  (void)state;
  enum { HIDDEN = 600, CLASSES = 21 };
  for (int tier = 0; tier < tier_count; tier++) {
    struct buffers b = {0};
    struct network_case c = {.desc = GK_RNN_DESC_INIT, .seed = 1}; /* names the tier if it fails */
    c.desc.isa = tiers[tier];
    if (!case_wanted(__func__))
      continue;
    gk_output_desc desc = GK_OUTPUT_DESC_INIT;
    desc.input_size = HIDDEN;
    desc.output_size = CLASSES;
    desc.isa = tiers[tier];
    desc.threads = 2;
    gk_output *output;
    check_status(&c, gk_output_create(&desc, &output), "gk_output_create");
    check_logits(&c, output, take_random(&b, 1, 0.3f, CLASSES * HIDDEN + CLASSES), HIDDEN, CLASSES);
    gk_output_destroy(output);
    buffers_release(&b);
  }
}

/* One layer, time-major. */
struct relu {
  int64_t I, H, T, N;
  const struct network_data *d;
  const float *w_ih, *w_hh, *b_ih, *b_hh; /* in the parameters */
  float *h;                               /* (T+1, N, H): h[0] is h0 */
  float *da;                              /* (T, N, H): gradients of the pre-activations */
  float *y, *dx, *dh0, *dw_ih, *dw_hh, *db;
};

static void forward(const struct relu *r) {
  const struct network_data *d = r->d;
  int64_t H = r->H, I = r->I, N = r->N;
  memcpy(r->h, d->h0, (size_t)(N * H) * sizeof(float));
  for (int64_t t = 0; t < r->T; t++)
    for (int64_t n = 0; n < N; n++)
      for (int64_t j = 0; j < H; j++) {
        float a = r->b_ih[j] + r->b_hh[j];
        a = canonical_sum(a, I, d->x + (t * N + n) * I, 1, r->w_ih + j * I, 1);
        a = canonical_sum(a, H, r->h + (t * N + n) * H, 1, r->w_hh + j * H, 1);
        float h = t < d->lengths[n] ? stored(a > 0 ? a : 0) : 0;
        r->h[((t + 1) * N + n) * H + j] = r->y[(t * N + n) * H + j] = h;
      }
}

static void backward(const struct relu *r) {
  const struct network_data *d = r->d;
  int64_t H = r->H, I = r->I, N = r->N;
  memcpy(r->dh0, d->dhn, (size_t)(N * H) * sizeof(float));
  memset(r->dx, 0, (size_t)(r->T * N * I) * sizeof(float));
  for (int64_t t = r->T - 1; t >= 0; t--)
    for (int64_t n = 0; n < N; n++) {
      float *da = r->da + (t * N + n) * H, *dh = r->dh0 + n * H;
      if (t >= d->lengths[n])
        continue;
      for (int64_t j = 0; j < H; j++) {
        float sum = d->dy[(t * N + n) * H + j] + dh[j];
        da[j] = stored(r->h[((t + 1) * N + n) * H + j] > 0 ? sum : 0);
      }
      for (int64_t i = 0; i < H; i++)
        dh[i] = canonical_sum(0, H, da, 1, r->w_hh + i, H);
      for (int64_t i = 0; i < I; i++)
        r->dx[(t * N + n) * I + i] = canonical_sum(0, H, da, 1, r->w_ih + i, I);
    }
}

/* Rows t * N + n of the steps that exist, as the backward sweep visits them: longest sample first. */
static int64_t visited_rows(const struct relu *r, int64_t *rows) {
  int64_t count = 0;
  for (int64_t t = r->T - 1; t >= 0; t--)
    for (int64_t length = r->T; length > t; length--)
      for (int64_t n = 0; n < r->N; n++)
        if (r->d->lengths[n] == length)
          rows[count++] = t * r->N + n;
  return count;
}

static void weight_gradients(struct buffers *b, const struct relu *r) {
  int64_t H = r->H, I = r->I;
  int64_t *rows = buffers_take(b, (size_t)(r->T * r->N) * sizeof(int64_t), sizeof(int64_t));
  int64_t count = visited_rows(r, rows);
  float *da = take_floats(b, count), *other = take_floats(b, count), *ones = take_floats(b, count);
  assert_true(r->T * r->N < 200 || count > GK_SUM_BLOCK);
  for (int64_t j = 0; j < H; j++) {
    for (int64_t k = 0; k < count; k++) {
      da[k] = r->da[rows[k] * H + j];
      ones[k] = 1;
    }
    r->db[j] = gradient_sum(count, da, 1, ones);
    for (int64_t i = 0; i < I; i++) {
      for (int64_t k = 0; k < count; k++)
        other[k] = r->d->x[rows[k] * I + i];
      r->dw_ih[j * I + i] = gradient_sum(count, da, 1, other);
    }
    for (int64_t i = 0; i < H; i++) {
      for (int64_t k = 0; k < count; k++)
        other[k] = r->h[rows[k] * H + i];
      r->dw_hh[j * H + i] = gradient_sum(count, da, 1, other);
    }
  }
}

/* The folded embedding: gate gradients are summed by token first, in the order of the sweep; the input
 * weights' gradient and the bias's are sums over the tokens that occur, in ascending order. */
static void embedding_gradients(struct buffers *b, const struct relu *r, int64_t vocabulary,
                                float *dembedding) {
  const int64_t H = r->H, I = r->I;
  int64_t *rows = buffers_take(b, (size_t)(r->T * r->N) * sizeof(int64_t), sizeof(int64_t));
  const int64_t count = visited_rows(r, rows);
  float *of_token = take_floats(b, count), *ones = take_floats(b, count > vocabulary ? count : vocabulary);
  float *sums = take_floats(b, vocabulary * H), *column = take_floats(b, vocabulary);
  const float **embedding = buffers_take(b, (size_t)vocabulary * sizeof *embedding, sizeof *embedding);
  int64_t distinct = 0, most = 0;
  for (int64_t k = 0; k < count || k < vocabulary; k++)
    ones[k] = 1;
  memset(dembedding, 0, (size_t)(vocabulary * I) * sizeof *dembedding);
  for (int64_t token = 0; token < vocabulary; token++) {
    int64_t occurrences = 0;
    for (int64_t j = 0; j < H; j++) {
      occurrences = 0;
      for (int64_t k = 0; k < count; k++)
        if (r->d->tokens[rows[k]] == token)
          of_token[occurrences++] = r->da[rows[k] * H + j];
      sums[distinct * H + j] = gradient_sum(occurrences, of_token, 1, ones);
    }
    most = occurrences > most ? occurrences : most;
    if (!occurrences)
      continue;
    for (int64_t i = 0; i < I; i++)
      dembedding[token * I + i] = canonical_sum(0, H, sums + distinct * H, 1, r->w_ih + i, I);
    embedding[distinct++] = r->d->parameters + token * I;
  }
  assert_true(r->T * r->N < 200 || most > GK_SUM_BLOCK || distinct > GK_SUM_BLOCK);
  for (int64_t j = 0; j < H; j++) {
    r->db[j] = gradient_sum(distinct, sums + j, H, ones);
    for (int64_t i = 0; i < I; i++) {
      for (int64_t u = 0; u < distinct; u++)
        column[u] = embedding[u][i];
      r->dw_ih[j * I + i] = gradient_sum(distinct, sums + j, H, column);
    }
  }
}

/* The rows of the embedding as vectors. */
static float *take_embedded(struct buffers *b, const struct network_case *c, const struct network_data *d) {
  const int64_t I = c->desc.input_size, count = c->time * c->batch;
  float *x = take_floats(b, count * I);
  for (int64_t row = 0; row < count; row++)
    memcpy(x + row * I, d->parameters + d->tokens[row] * I, (size_t)I * sizeof *x);
  return x;
}

/* The result of a case by plain loops. */
static struct network_results plain_results(struct buffers *b, const struct network_case *c,
                                            const struct network_data *given) {
  struct network_results wanted = take_results(b, c);
  struct network_data data = *given, *const d = &data;
  if (c->desc.vocabulary)
    d->x = take_embedded(b, c, given);
  wanted.dh_norms = NULL; /* no sum of products */
  struct gk_reference_layout at = gk_reference_layout_of(&c->desc, 0, 0);
  int64_t H = c->desc.hidden_size, N = c->batch;
  struct relu r = {.I = c->desc.input_size,
                   .H = H,
                   .T = c->time,
                   .N = N,
                   .d = d,
                   .w_ih = d->parameters + at.weight_ih,
                   .w_hh = d->parameters + at.weight_hh,
                   .b_ih = d->parameters + at.bias_ih,
                   .b_hh = d->parameters + at.bias_hh,
                   .h = take_floats(b, (c->time + 1) * N * H),
                   .da = take_floats(b, c->time * N * H),
                   .y = wanted.y,
                   .dx = wanted.dx ? wanted.dx : take_floats(b, c->time * N * c->desc.input_size),
                   .dh0 = wanted.dh0,
                   .dw_ih = wanted.gradients + at.weight_ih,
                   .dw_hh = wanted.gradients + at.weight_hh,
                   .db = wanted.gradients + at.bias_ih};
  forward(&r);
  backward(&r);
  weight_gradients(b, &r);
  if (c->desc.vocabulary) /* embedding.weight is the first tensor */
    embedding_gradients(b, &r, c->desc.vocabulary, wanted.gradients);
  memcpy(wanted.gradients + at.bias_hh, r.db, (size_t)H * sizeof(float));
  for (int64_t n = 0; n < N; n++)
    memcpy(wanted.hn + n * H, r.h + (d->lengths[n] * N + n) * H, (size_t)H * sizeof(float));
  return wanted;
}

static void check_shapes(const char *test, const int64_t (*shapes)[5], size_t count, uint64_t seed) {
  for (size_t i = 0; i < count; i++) {
    struct buffers b = {0};
    struct network_case c = {.desc = GK_RNN_DESC_INIT,
                             .time = shapes[i][2],
                             .batch = shapes[i][3],
                             .states = true,
                             .ragged = true,
                             .seed = seed + i};
    c.desc.cell = GK_CELL_RNN;
    c.desc.activation = GK_ACTIVATION_RELU;
    c.desc.input_size = shapes[i][0];
    c.desc.hidden_size = shapes[i][1];
    c.desc.vocabulary = shapes[i][4];
    c.desc.threads = 2;
    struct network_data d = take_data(&b, &c);
    struct network_results wanted = plain_results(&b, &c, &d);
    for (int tier = 0; tier < tier_count; tier++)
      for (int schedule = GK_SCHEDULE_SLICES; schedule < gk_schedule_count(); schedule++) {
        struct buffers run_buffers = {0};
        c.desc.isa = tiers[tier];
        c.desc.schedule = (gk_schedule)schedule;
        if (!case_wanted(test))
          continue;
        struct network_results got = run_case(&run_buffers, &c, &d);
        check_same_results(&c, "canonical order", &got, &wanted);
        buffers_release(&run_buffers);
      }
    buffers_release(&b);
  }
}

/* Long sums over inputs and units; long sums over (t, sample); both short. I, H, T, N, V. */
static void a_network_sums_in_canonical_order(void **state) {
  static const int64_t shapes[][5] = {{300, 270, 2, 3, 0}, {6, 9, 9, 90, 0}, {5, 7, 4, 6, 0}};
  (void)state;
  check_shapes(__func__, shapes, sizeof shapes / sizeof *shapes, 12);
}

/* Long sums over the places of a token; over the tokens that occur; over units; all short. */
static void a_network_of_tokens_sums_in_canonical_order(void **state) {
  static const int64_t shapes[][5] = {
      {6, 9, 12, 90, 1}, {3, 5, 9, 90, 1500}, {7, 270, 3, 4, 5}, {5, 7, 4, 6, 3}};
  (void)state;
  check_shapes(__func__, shapes, sizeof shapes / sizeof *shapes, 40);
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(logits_are_sums_in_canonical_order),
      cmocka_unit_test(a_network_sums_in_canonical_order),
      cmocka_unit_test(a_network_of_tokens_sums_in_canonical_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
