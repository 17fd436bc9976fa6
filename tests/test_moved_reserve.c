/* SPDX-License-Identifier: Apache-2.0
 *
 * What forward leaves in a reserve may be copied elsewhere before backward reads it, at any alignment, and a
 * reserve of another call is an error instead of a wrong result. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/decoder_fixture.h"
#include "tests/reserve_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;

/* Bytes past a line of cache: of forward's reserve, and of its copy. */
static const size_t places[][2] = {{0, 4}, {4, 0}, {60, 17}, {1, 63}, {32, 16}};
enum { PLACES = sizeof places / sizeof *places };

/* So many bytes, the first of which stands `place` behind the beginning of a line. */
static char *take_at(struct buffers *b, size_t bytes, size_t place) {
  char *base = buffers_take(b, bytes + 128, 1);
  return base + (64 - (uintptr_t)base % 64) % 64 + place;
}

static char *copy_at(struct buffers *b, char *from, size_t bytes, size_t place) {
  char *copy = memcpy(take_at(b, bytes, place), from, bytes);
  memset(from, 0xff, bytes);
  return copy;
}

static void check_moved(const struct network_case *c, const size_t place[2]) {
  struct buffers b = {0};
  struct network_data data = take_data(&b, c);
  const struct network_results wanted = run_case(&b, c, &data), got = take_results(&b, c);
  struct network net = open_network(&b, c, data.parameters);
  const size_t bytes = net.memory.reserve_bytes;
  net.reserve = take_at(&b, bytes, place[0]);
  const gk_rnn_forward_args forward = forward_args(&net, &data, &got);
  check_status(c, gk_rnn_forward(net.rnn, &forward), "gk_rnn_forward");
  net.reserve = copy_at(&b, net.reserve, bytes, place[1]);
  for (int call = 0; call < 2; call++) { /* kept, so that it may move again */
    gk_rnn_backward_args backward = backward_args(&net, &data, &got);
    backward.keep_reserve = true;
    backward.workspace = buffers_take(&b, net.memory.keep_workspace_bytes, 1);
    check_status(c, gk_rnn_backward(net.rnn, &backward), "gk_rnn_backward");
    check_same_results(c, call ? "moved back" : "moved", &got, &wanted);
    net.reserve = copy_at(&b, net.reserve, bytes, place[0]);
  }
  close_network(&net);
  buffers_release(&b);
}

static struct network_case planned_case(gk_cell cell, gk_direction direction, uint64_t seed) {
  struct network_case c = make_case(cell, direction, seed);
  c.seed = seed;
  c.desc.isa = tiers[seed % (uint64_t)tier_count];
  c.desc.threads = plans[seed % PLANS].threads;
  c.desc.schedule = plans[seed % PLANS].schedule;
  return c;
}

static void networks(void **state) {
  (void)state;
  uint64_t seed = 8100;
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (int direction = GK_FORWARD; direction <= GK_BIDIRECTIONAL; direction++)
      for (size_t place = 0; place < PLACES; place++) {
        struct network_case c = planned_case((gk_cell)cell, (gk_direction)direction, ++seed);
        if (place % 2)
          add_all_masks(&c);
        if (case_wanted(__func__))
          check_moved(&c, places[place]);
      }
}

/* More than what is written past the caches. */
static void a_large_reserve(void **state) {
  (void)state;
  struct network_case c = planned_case(GK_CELL_LSTM, GK_FORWARD, 8200);
  c.time = 24;
  c.batch = 40;
  c.desc.hidden_size = 130;
  for (size_t place = 0; place < PLACES; place++)
    check_moved(&c, places[place]);
}

static void check_moved_decoder(uint64_t seed, const size_t place[2]) {
  struct buffers b = {0};
  struct decoder_case c = random_decoder(seed);
  struct decoder_data data = take_decoder_data(&b, &c);
  const struct decoder_sizes s = decoder_sizes_of(&c);
  const struct decoder_results wanted = run_decoder(&b, &c, &data), got = take_decoder_results(&b, &c, &data);
  struct open_decoder o = open_decoder(&b, &c, &data);
  gk_rnn_memory memory;
  decoder_ok(&c, gk_decoder_memory_needed(o.decoder, c.time, c.batch, c.source_time, &memory), "memory");
  o.reserve = take_at(&b, memory.reserve_bytes, place[0]);
  const gk_decoder_forward_args forward = decoder_forward_args(&o, &c, &data, &got);
  decoder_ok(&c, gk_decoder_forward(o.decoder, &forward), "gk_decoder_forward");
  o.reserve = copy_at(&b, o.reserve, memory.reserve_bytes, place[1]);
  const gk_decoder_backward_args backward = decoder_backward_args(&o, &c, &data, &got);
  if (backward.output_gradients)
    memset(backward.output_gradients, 0, (size_t)s.count[D_OUTPUT_GRADIENTS] * sizeof(float));
  decoder_ok(&c, gk_decoder_backward(o.decoder, &backward), "gk_decoder_backward");
  for (int k = D_DX; k < D_TENSORS; k++)
    if (got.tensor[k] && memcmp(got.tensor[k], wanted.tensor[k], (size_t)got.count[k] * sizeof(float)) != 0)
      fail_decoder(&c, "moved reserve: %s has other bits", decoder_tensor_names[k]);
  close_decoder(&o);
  buffers_release(&b);
}

static void decoders(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 40; seed++)
    check_moved_decoder(8300 + seed, places[seed % PLACES]);
}

static void expect_refused(const struct network *net, const gk_rnn_backward_args *args, const char *words) {
  assert_int_equal(gk_rnn_backward(net->rnn, args), GK_ERROR_ARGUMENT);
  if (!strstr(gk_last_error(), words))
    fail_msg("\"%s\" does not say \"%s\"", gk_last_error(), words);
}

static void anothers_reserve_is_refused(void **state) {
  (void)state;
  struct buffers b = {0};
  struct network_case c = planned_case(GK_CELL_GRU, GK_FORWARD, 8400), other = c;
  other.desc.threads = 3;
  other.desc.schedule = GK_SCHEDULE_SLICES;
  c.desc.threads = 1;
  c.ragged = other.ragged = c.resets = other.resets = false;
  const struct network_data data = take_data(&b, &c);
  const struct network_results got = take_results(&b, &c);
  struct network net = open_network(&b, &c, data.parameters),
                 second = open_network(&b, &other, data.parameters);
  gk_rnn_backward_args backward = backward_args(&net, &data, &got);
  expect_refused(&net, &backward, "reserve holds no forward call"); /* nothing has been written there */
  const gk_rnn_forward_args forward = forward_args(&net, &data, &got);
  check_status(&c, gk_rnn_forward(net.rnn, &forward), "gk_rnn_forward");
  backward.time--;
  expect_refused(&net, &backward, "time 7, batch 6; backward has 6, 6");
  backward.time++;
  backward.batch--;
  expect_refused(&net, &backward, "time 7, batch 6; backward has 7, 5");
  backward.batch++;
  second.reserve = net.reserve;
  const gk_rnn_backward_args anothers = backward_args(&second, &data, &got);
  expect_refused(&second, &anothers, "other threads");
  check_status(&c, gk_rnn_backward(net.rnn, &backward), "gk_rnn_backward"); /* it was left as it is */
  expect_refused(&net, &backward, "has not kept it");
  close_network(&net);
  close_network(&second);
  buffers_release(&b);
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(networks),
      cmocka_unit_test(a_large_reserve),
      cmocka_unit_test(decoders),
      cmocka_unit_test(anothers_reserve_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
