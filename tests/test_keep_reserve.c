/* SPDX-License-Identifier: Apache-2.0
 *
 * A backward call that keeps the reserve leaves it good for another one, with other gradients: each has the
 * bits that it would have as the only one. Every cell, direction, option, and schedule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/decoder_fixture.h"
#include "tests/reserve_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;

/* One forward call, then backward with dy, with another, and with dy again, which may consume it. */
static void check_backward_again(const struct network_case *c) {
  struct buffers b = {0};
  struct network_data data = take_data(&b, c), other = data;
  const struct network_sizes s = sizes_of(c);
  other.dy = take_random(&b, c->seed * 16 + 11, 1, s.outputs);
  if (c->states)
    other.dhn = take_random(&b, c->seed * 16 + 12, 1, s.states);
  const struct network_results wanted = run_case(&b, c, &data), wanted_other = run_case(&b, c, &other);
  struct network net = open_network(&b, c, data.parameters);
  const struct network_results got = take_results(&b, c);
  const gk_rnn_forward_args forward = forward_args(&net, &data, &got);
  check_status(c, gk_rnn_forward(net.rnn, &forward), "gk_rnn_forward");
  for (int call = 0; call < 3; call++) {
    gk_rnn_backward_args backward = backward_args(&net, call == 1 ? &other : &data, &got);
    backward.keep_reserve = call < 2;
    if (backward.keep_reserve)
      backward.workspace = buffers_take(&b, net.memory.keep_workspace_bytes, 1);
    set_paces(&net, call);
    check_status(c, gk_rnn_backward(net.rnn, &backward), "gk_rnn_backward");
    static const char *const names[] = {"kept", "kept, again", "kept twice, then consumed"};
    check_same_results(c, names[call], &got, call == 1 ? &wanted_other : &wanted);
  }
  if (c->desc.direction != GK_BIDIRECTIONAL)
    assert_int_equal(net.memory.keep_workspace_bytes, net.memory.backward_workspace_bytes);
  close_network(&net);
  buffers_release(&b);
}

static void check_plans(struct network_case *c, const char *test, uint64_t seed) {
  for (int plan = 0; plan < PLANS; plan++) {
    c->seed = seed;
    c->desc.isa = tiers[(seed + (uint64_t)plan) % (uint64_t)tier_count];
    c->desc.threads = plans[plan].threads;
    c->desc.schedule = plans[plan].schedule;
    if (case_wanted(test))
      check_backward_again(c);
  }
}

/* Plain, with every mask, with tokens, of layers that differ. */
static void every_cell_and_direction(void **state) {
  (void)state;
  static const int64_t sizes[3] = {9, 21, 6};
  uint64_t seed = 7000;
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (int direction = GK_FORWARD; direction <= GK_BIDIRECTIONAL; direction++)
      for (int kind = 0; kind < 4; kind++) {
        struct network_case c = make_case((gk_cell)cell, (gk_direction)direction, ++seed);
        if (kind % 2) { /* samples of one length, enough for slices that differ */
          c.batch = 17;
          c.ragged = false;
          c.uneven = true;
        }
        if (kind == 1)
          add_all_masks(&c);
        if (kind == 2)
          c.desc.vocabulary = 15;
        if (kind == 3) {
          c.desc.hidden_sizes = sizes;
          c.desc.trained_states = true;
          c.desc.projection_size = cell == GK_CELL_LSTM ? 8 : 0;
          c.desc.merge = direction == GK_BIDIRECTIONAL ? GK_MERGE_SUM : GK_MERGE_CONCATENATE;
        }
        check_plans(&c, __func__, seed);
      }
}

static void every_option_in_both_directions(void **state) {
  (void)state;
  for (int i = 0; i < CELL_VARIANTS; i++) {
    struct network_case c = make_case(cell_variants[i].cell, GK_BIDIRECTIONAL, (uint64_t)i);
    c.desc.layers = 2;
    check_status(&c, gk_rnn_options_set(&c.desc, cell_variants[i].options), "gk_rnn_options_set");
    check_plans(&c, __func__, 7500 + (uint64_t)i);
  }
}

/* A decoder's reserve is never consumed. */
static void decoders(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 24; seed++) {
    struct buffers b = {0};
    struct decoder_case c = random_decoder(2600 + seed);
    struct decoder_data data = take_decoder_data(&b, &c);
    const struct decoder_sizes s = decoder_sizes_of(&c);
    struct decoder_results wanted = run_decoder(&b, &c, &data), got = take_decoder_results(&b, &c, &data);
    struct open_decoder o = open_decoder(&b, &c, &data);
    const gk_decoder_forward_args forward = decoder_forward_args(&o, &c, &data, &got);
    decoder_ok(&c, gk_decoder_forward(o.decoder, &forward), "gk_decoder_forward");
    float *dy = take_random(&b, seed, 1, s.count[D_Y]);
    for (int call = 0; call < 2; call++) {
      gk_decoder_backward_args backward = decoder_backward_args(&o, &c, &data, &got);
      if (call == 0)
        backward.dy = dy;
      if (backward.output_gradients)
        memset(backward.output_gradients, 0, (size_t)s.count[D_OUTPUT_GRADIENTS] * sizeof(float));
      decoder_ok(&c, gk_decoder_backward(o.decoder, &backward), "gk_decoder_backward");
    }
    for (int k = D_DX; k < D_TENSORS; k++)
      if (got.tensor[k] && memcmp(got.tensor[k], wanted.tensor[k], (size_t)got.count[k] * sizeof(float)) != 0)
        fail_decoder(&c, "backward again: %s has other bits", decoder_tensor_names[k]);
    close_decoder(&o);
    buffers_release(&b);
  }
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_cell_and_direction),
      cmocka_unit_test(every_option_in_both_directions),
      cmocka_unit_test(decoders),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
