/* SPDX-License-Identifier: Apache-2.0
 *
 * Cells that are special cases of others, bit for bit: outputs, states and gradients. A gate is forced by its
 * bias, far enough for its sigmoid to be 0 or 1 exactly, and its weights are zero.
 * ctest labels: edges */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/network_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;

/* Which gate of `to` gate g of `from` is; the others are forced to values[gate]. */
struct special_case {
  gk_cell from, to;
  int gates;       /* of `to` */
  int same_as[4];  /* the gate of `from`, or -1: forced */
  float forced[4]; /* its bias */
  bool no_bias_hh; /* the candidate's halves are summed apart: one of them starts from zero */
  bool forward; /* gradients of inputs and states are sums in another order: outputs only, and the parameters'
                   gradients of one step */
};

#define ONE  200.0f
#define ZERO (-200.0f)

/* The whole parameters of `to` from those of `from`, all layers. */
static void embed_parameters(const struct special_case *s, const struct network_case *from,
                             const struct network_case *to, const float *source, float *target, bool back) {
  const int64_t H = from->desc.hidden_size, D = gk_reference_directions(&from->desc);
  for (int64_t l = 0; l < from->desc.layers; l++)
    for (int64_t d = 0; d < D; d++) {
      const struct gk_reference_layout f = gk_reference_layout_of(&from->desc, l, d);
      const struct gk_reference_layout t = gk_reference_layout_of(&to->desc, l, d);
      const int64_t from_at[4] = {f.weight_ih, f.weight_hh, f.bias_ih, f.bias_hh};
      const int64_t to_at[4] = {t.weight_ih, t.weight_hh, t.bias_ih, t.bias_hh};
      const int64_t columns[4] = {f.input_size, H, 1, 1};
      for (int k = 0; k < 4; k++)
        for (int g = 0; g < s->gates; g++)
          for (int64_t i = 0; i < H * columns[k]; i++) {
            const int64_t at = to_at[k] + g * H * columns[k] + i;
            const int64_t other = from_at[k] + s->same_as[g] * H * columns[k] + i;
            if (back && s->same_as[g] >= 0)
              target[other] = source[at];
            else if (!back)
              target[at] = s->same_as[g] >= 0 ? source[other] : k == 2 ? s->forced[g] : 0;
          }
    }
}

static void clear_bias_hh(const struct network_case *c, float *parameters) {
  for (int64_t l = 0; l < c->desc.layers; l++)
    for (int64_t d = 0; d < gk_reference_directions(&c->desc); d++) {
      const struct gk_reference_layout at = gk_reference_layout_of(&c->desc, l, d);
      memset(parameters + at.bias_hh, 0, (size_t)(at.end - at.bias_hh) * sizeof *parameters);
    }
}

static void check_identity(const struct special_case *s, struct network_case c) {
  struct buffers buffers = {0};
  struct network_case from = c, to = c;
  from.desc.cell = s->from;
  to.desc.cell = s->to;
  struct network_data from_data = take_data(&buffers, &from), to_data = from_data;
  if (s->no_bias_hh)
    clear_bias_hh(&from, from_data.parameters);
  to_data.parameters = take_floats(&buffers, sizes_of(&to).parameters);
  embed_parameters(s, &from, &to, from_data.parameters, to_data.parameters, false);
  struct network_results wanted = run_case(&buffers, &from, &from_data);
  struct network_results got = run_case(&buffers, &to, &to_data), compared = got;
  compared.gradients = take_floats(&buffers, sizes_of(&from).parameters);
  embed_parameters(s, &from, &to, got.gradients, compared.gradients, true);
  if (s->forward)
    compared.dx = compared.dh0 = compared.dh_norms = NULL;
  if (s->forward && c.time > 1)
    compared.gradients = NULL;
  char what[96];
  snprintf(what, sizeof what, "%s with forced gates against %s", gk_cell_name(s->to), gk_cell_name(s->from));
  check_same_results(&from, what, &compared, &wanted);
  buffers_release(&buffers);
}

/* Sizes whose gate gradients of one cell start a block of a sum where the other's do: 3 H <= 256, 2 H = 256.
 */
static void check_special_case(const char *test, const struct special_case *s) {
  static const int64_t hidden[] = {1, 5, 17, 64, 85, 128};
  for (int tier = 0; tier < tier_count; tier++)
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
      for (int direction = GK_FORWARD; direction <= GK_BIDIRECTIONAL; direction++) {
        struct network_case c = {
            .desc = GK_RNN_DESC_INIT, .time = 7, .batch = 5, .ragged = true, .states = true, .seed = 500 + i};
        c.desc.isa = tiers[tier];
        c.desc.input_size = 4 + 9 * (int64_t)i;
        c.desc.hidden_size = hidden[i];
        c.desc.layers = 1;
        c.desc.direction = (gk_direction)direction;
        if (case_wanted(test))
          check_identity(s, c);
      }
}

/* Both gates of Ng's GRU at 1: all of the candidate (z = 0), and nothing of h' reset (r = 1). */
static void gru_with_open_gates_is_the_rnn(void **state) {
  struct special_case s = {.from = GK_CELL_RNN,
                           .to = GK_CELL_GRU_RESET_BEFORE,
                           .gates = 3,
                           .same_as = {-1, -1, 0},
                           .forced = {ONE, ZERO}};
  (void)state;
  check_special_case(__func__, &s);
  s.to = GK_CELL_GRU;
  s.no_bias_hh = true;
  check_special_case(__func__, &s);
}

static void gru_with_reset_at_one_is_the_simplified_gru(void **state) {
  struct special_case s = {.from = GK_CELL_GRU_SIMPLIFIED,
                           .to = GK_CELL_GRU_RESET_BEFORE,
                           .gates = 3,
                           .same_as = {-1, 0, 1},
                           .forced = {ONE},
                           .forward = true};
  (void)state;
  check_special_case(__func__, &s);
  s.to = GK_CELL_GRU;
  s.no_bias_hh = true;
  check_special_case(__func__, &s);
}

static void simplified_gru_with_an_open_gate_is_the_rnn(void **state) {
  const struct special_case s = {
      .from = GK_CELL_RNN, .to = GK_CELL_GRU_SIMPLIFIED, .gates = 2, .same_as = {-1, 0}, .forced = {ZERO}};
  (void)state;
  check_special_case(__func__, &s);
}

static void mgu_with_its_gate_at_one_is_the_rnn(void **state) {
  const struct special_case s = {
      .from = GK_CELL_RNN, .to = GK_CELL_MGU, .gates = 2, .same_as = {-1, 0}, .forced = {ONE}};
  (void)state;
  check_special_case(__func__, &s);
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  tier_count = usable_tiers(tiers);
  if (tier_count == 0) {
    print_error("no usable tier: nothing would be tested\n");
    return 1;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gru_with_open_gates_is_the_rnn),
      cmocka_unit_test(gru_with_reset_at_one_is_the_simplified_gru),
      cmocka_unit_test(simplified_gru_with_an_open_gate_is_the_rnn),
      cmocka_unit_test(mgu_with_its_gate_at_one_is_the_rnn),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
