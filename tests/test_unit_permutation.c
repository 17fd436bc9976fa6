/* SPDX-License-Identifier: Apache-2.0
 *
 * Hidden units have no order: with the units of every layer and direction renamed in parameters, states and
 * upstream gradients, all results are the same under the new names. Sums over units run in another order
 * then, so that they are compared within 1e-5 of a tensor's largest magnitude. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/network_fixture.h"

#define LARGEST_DIFFERENCE 1e-5
enum { MOST_UNITS = 70, MOST_LAYERS = 2 };

static gk_isa tiers[MAX_TIERS];
static int tier_count;

/* Unit i of (layer, direction) is what unit old[layer][direction][i] was. */
struct names {
  int64_t old[MOST_LAYERS][2][MOST_UNITS];
};

static void shuffle(const struct network_case *c, struct names *names) {
  for (int layer = 0; layer < MOST_LAYERS; layer++)
    for (int direction = 0; direction < 2; direction++) {
      int64_t *old = names->old[layer][direction];
      for (int64_t i = 0; i < c->desc.hidden_size; i++) {
        const int64_t j = random_integer(c->seed + 77, (uint64_t)(i + 100 * layer + 1000 * direction), i + 1);
        old[i] = old[j];
        old[j] = i;
      }
    }
}

/* (rows, blocks * H): the columns of each block are renamed; block b by names[b % directions]. */
static float *rename_columns(struct buffers *b, const float *from, int64_t rows, int64_t blocks,
                             int64_t hidden, int64_t (*old)[MOST_UNITS], int64_t directions) {
  float *to = take_floats(b, rows * blocks * hidden);
  for (int64_t row = 0; row < rows; row++)
    for (int64_t block = 0; block < blocks; block++)
      for (int64_t i = 0; i < hidden; i++)
        to[(row * blocks + block) * hidden + i] =
            from[(row * blocks + block) * hidden + old[block % directions][i]];
  return to;
}

/* (L*D, N, H), of c or of an h that is not projected: the values of a projection are no units. */
static float *rename_states(struct buffers *b, const struct network_case *c, const struct names *names,
                            const float *from, bool of_c) {
  struct network_sizes s = sizes_of(c);
  const int64_t one = c->batch * c->desc.hidden_size;
  if (!of_c && c->desc.projection_size > 0)
    return (float *)(uintptr_t)from;
  float *to = from ? take_floats(b, of_c ? s.cells : s.states) : NULL;
  for (int64_t i = 0; to && i < c->desc.layers * s.directions; i++) {
    struct names copy = *names;
    const float *part = rename_columns(b, from + i * one, c->batch, 1, c->desc.hidden_size,
                                       &copy.old[i / s.directions][i % s.directions], 1);
    memcpy(to + i * one, part, (size_t)one * sizeof(float));
  }
  return to;
}

/* (T*N, D*H) of the last layer. */
static float *rename_outputs(struct buffers *b, const struct network_case *c, const struct names *names,
                             const float *from) {
  struct names copy = *names;
  const int64_t directions = sizes_of(c).directions;
  if (c->desc.projection_size > 0)
    return (float *)(uintptr_t)from;
  return rename_columns(b, from, c->time * c->batch, directions, c->desc.hidden_size,
                        copy.old[c->desc.layers - 1], directions);
}

/* Layer and direction from the end of a name, "..._l1_reverse"; false: of no layer. */
static bool place_of(const char *name, int *layer, int *direction) {
  const char *at = strstr(name, "_l");
  while (at && !(at[2] >= '0' && at[2] <= '9')) /* as in weight_ln_ih_l0 */
    at = strstr(at + 1, "_l");
  *layer = at ? atoi(at + 2) : 0;
  *direction = strstr(name, "_reverse") != NULL;
  return at != NULL;
}

/* Rows are renamed where there are blocks of H of them; columns too, but for the inputs of the first layer.
 */
static void rename_tensor(const struct network_case *c, const struct names *names, const gk_tensor *tensor,
                          const float *from, float *to) {
  const int64_t hidden = c->desc.hidden_size, directions = sizes_of(c).directions;
  const int64_t columns = tensor->rank > 1 ? tensor->shape[1] : 1;
  int layer, direction;
  const bool of_layer = place_of(tensor->name, &layer, &direction);
  const bool input = strncmp(tensor->name, "weight_ih", 9) == 0;
  const bool rename_rows = of_layer && tensor->shape[0] % hidden == 0;
  const bool renamed = of_layer && tensor->rank > 1 && !(input && layer == 0) && columns % hidden == 0;
  for (int64_t row = 0; row < tensor->shape[0]; row++)
    for (int64_t column = 0; column < columns; column++) {
      int64_t from_row = row, from_column = column;
      if (rename_rows)
        from_row = row / hidden * hidden + names->old[layer][direction][row % hidden];
      if (renamed) {
        const int64_t block = column / hidden;
        const int64_t *old = input ? names->old[layer - 1][block % directions] : names->old[layer][direction];
        from_column = block * hidden + old[column % hidden];
      }
      to[row * columns + column] = from[from_row * columns + from_column];
    }
}

static float *rename_parameters(struct buffers *b, const struct network_case *c, const struct names *names,
                                const float *from) {
  float *to = take_floats(b, sizes_of(c).parameters);
  gk_rnn *rnn;
  check_status(c, gk_rnn_create(&c->desc, &rnn), "gk_rnn_create");
  for (int i = 0; i < gk_rnn_tensor_count(rnn); i++) {
    gk_tensor tensor;
    check_status(c, gk_rnn_tensor(rnn, i, &tensor), "gk_rnn_tensor");
    rename_tensor(c, names, &tensor, from + tensor.offset, to + tensor.offset);
  }
  gk_rnn_destroy(rnn);
  return to;
}

static void check_near(const struct network_case *c, const struct network_results *got,
                       const struct network_results *wanted) {
  struct named_tensor tensors[MAX_TENSORS];
  const int count = tensors_of(c, tensors);
  for (int k = 0; k < count; k++) {
    const float *a = result_arrays(got)[tensors[k].array], *b = result_arrays(wanted)[tensors[k].array];
    double largest = 1e-30;
    if (!a || !b)
      continue;
    a += tensors[k].offset;
    b += tensors[k].offset;
    for (int64_t i = 0; i < tensors[k].count; i++)
      largest = fmax(largest, fabs((double)b[i]));
    for (int64_t i = 0; i < tensors[k].count; i++)
      if (!(fabs((double)a[i] - (double)b[i]) <= LARGEST_DIFFERENCE * largest))
        fail_case(c, "renamed units: %s[%" PRId64 "] is %.9g, wanted %.9g", tensors[k].name, i, (double)a[i],
                  (double)b[i]);
  }
}

static void check_case(const struct network_case *c) {
  struct buffers b = {0};
  struct names names;
  shuffle(c, &names);
  const struct network_data d = take_data(&b, c);
  struct network_data e = d;
  e.parameters = rename_parameters(&b, c, &names, d.parameters);
  e.dy = rename_outputs(&b, c, &names, d.dy);
  const float *const states[] = {d.h0, d.c0, d.dhn, d.dcn};
  float **const renamed[] = {&e.h0, &e.c0, &e.dhn, &e.dcn};
  for (int i = 0; i < 4; i++)
    *renamed[i] = rename_states(&b, c, &names, states[i], i % 2);
  const struct network_results got = run_case(&b, c, &e), plain = run_case(&b, c, &d);
  struct network_results wanted = plain;
  wanted.y = rename_outputs(&b, c, &names, plain.y);
  wanted.hn = rename_states(&b, c, &names, plain.hn, false);
  wanted.cn = rename_states(&b, c, &names, plain.cn, true);
  wanted.dh0 = rename_states(&b, c, &names, plain.dh0, false);
  wanted.dc0 = rename_states(&b, c, &names, plain.dc0, true);
  wanted.gradients = rename_parameters(&b, c, &names, plain.gradients);
  check_near(c, &got, &wanted);
  buffers_release(&b);
}

static void renamed_units_give_the_same_results(void **state) {
  enum { SHAPES = 4 };
  static const int64_t hidden[SHAPES] = {5, 16, 35, MOST_UNITS}, input[SHAPES] = {3, 19, 8, 41};
  (void)state;
  for (int tier = 0; tier < tier_count; tier++)
    for (int kind = 0; kind < network_kinds_of_both_directions(); kind++)
      for (int shape = 0; shape < SHAPES; shape++) {
        struct network_case c = {.desc = GK_RNN_DESC_INIT,
                                 .time = 7,
                                 .batch = 6,
                                 .states = true,
                                 .ragged = shape % 2,
                                 .seed = 700 + 10 * (uint64_t)kind + (uint64_t)shape};
        c.desc.isa = tiers[tier];
        c.desc.input_size = input[shape];
        c.desc.hidden_size = hidden[shape];
        c.desc.layers = 1 + shape % 2;
        c.desc.direction = shape > 1 ? GK_BIDIRECTIONAL : GK_FORWARD;
        c.desc.vocabulary = shape == 1 ? 9 : 0;
        c.desc.threads = 1 + shape % 3;
        set_kind(&c, kind);
        const bool wanted = kind < gk_cell_count() || (tier + kind + shape) % 4 == 0;
        if (wanted && case_wanted(__func__))
          check_case(&c);
      }
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(renamed_units_give_the_same_results)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
