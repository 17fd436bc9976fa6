/* SPDX-License-Identifier: Apache-2.0
 *
 * Regularisation: masks as they are read back, what inference makes of them, and keys that do not fit. That
 * training applies them is in test_gradients.c, that their bits depend on nothing else in test_same_bits.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/reference_fixture.h"

static gk_isa tiers[MAX_TIERS];
static int tier_count;

static struct network_case make_case(gk_cell cell, gk_isa isa) {
  struct network_case c = {
      .desc = GK_RNN_DESC_INIT, .time = 6, .batch = 4, .ragged = true, .states = true, .seed = 17};
  c.desc.cell = cell;
  c.desc.isa = isa;
  c.desc.input_size = 9;
  c.desc.hidden_size = 21;
  c.desc.layers = 2;
  return c;
}

/* Kept values are 1/(1-p), about 1-p of all; one mask a sequence is one for all t; off is 1 everywhere. */
static void masks_have_their_values_and_their_share(void **state) {
  (void)state;
  enum { WIDE = 1000 };
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  float row[WIDE], other[WIDE], same[WIDE];
  const gk_random_key key = {.seed = 5, .step = 8, .first_sample = 3};
  desc.input_size = desc.hidden_size = WIDE;
  desc.layers = 2;
  for (int sequence = 0; sequence < 2; sequence++)
    for (int on = 0; on < 2; on++) {
      gk_rnn *rnn;
      desc.dropout = desc.input_dropout = desc.recurrent_dropout = on ? 0.25f : 0;
      desc.weight_dropout = desc.zoneout_h = desc.zoneout_c = on ? 0.25f : 0;
      desc.dropout_masks = (gk_dropout_masks)sequence;
      assert_int_equal(gk_rnn_create(&desc, &rnn), GK_OK);
      for (int mask = 0; mask < GK_MASK_COUNT; mask++) {
        const bool zoneout = mask == GK_MASK_ZONEOUT_H || mask == GK_MASK_ZONEOUT_C;
        const bool fixed = sequence ? !zoneout : mask == GK_MASK_WEIGHT;
        assert_int_equal(gk_rnn_mask(rnn, (gk_mask)mask, &key, 0, 0, 2, 1, row), GK_OK);
        assert_int_equal(gk_rnn_mask(rnn, (gk_mask)mask, &key, 0, 0, 4, 1, other), GK_OK);
        const gk_random_key later = {.seed = 5, .step = 8, .first_sample = 3, .first_time = 2};
        assert_int_equal(gk_rnn_mask(rnn, (gk_mask)mask, &later, 0, 0, 2, 1, same), GK_OK);
        assert_memory_equal(same, other, sizeof other);
        int first = 0;
        for (int i = 0; i < WIDE; i++) {
          assert_true(zoneout ? row[i] == 0 || row[i] == 1
                              : row[i] == 0 || row[i] == 1 / (1 - (on ? 0.25f : 0)));
          first += row[i] == 0;
        }
        assert_in_range(first,
                        !on       ? (zoneout ? WIDE : 0)
                        : zoneout ? 680
                                  : 180,
                        !on       ? (zoneout ? WIDE : 0)
                        : zoneout ? 820
                                  : 320);
        if (on)
          assert_true((memcmp(row, other, sizeof row) == 0) == fixed);
        if (mask == GK_MASK_OUTPUT || mask == GK_MASK_INPUT) { /* not of every layer */
          assert_int_equal(gk_rnn_mask(rnn, (gk_mask)mask, &key, 1, 0, 2, 1, row), GK_OK);
          for (int i = 0; i < WIDE; i++)
            assert_true(row[i] == 1);
        }
      }
      gk_rnn_destroy(rnn);
    }
}

static struct network_results infer(struct buffers *b, const struct network_case *c,
                                    const struct network_data *d) {
  struct network_case plain = *c;
  plain.desc.weight_dropout = 0; /* packs as inference needs it */
  struct network_results r = take_results(b, c);
  struct network net = open_network(b, &plain, d->parameters);
  gk_rnn *masked;
  check_status(c, gk_rnn_create(&c->desc, &masked), "gk_rnn_create");
  gk_rnn_forward_args args = forward_args(&net, d, &r);
  args.reserve = NULL;
  args.workspace = net.inference_workspace;
  check_status(c, gk_rnn_forward(masked, &args), "gk_rnn_forward");
  gk_rnn_destroy(masked);
  close_network(&net);
  return r;
}

/* Without zoneout nothing is left of the masks; with it inference takes the mean of old and new. */
static void inference_takes_the_mean(void **state) {
  (void)state;
  for (int tier = 0; tier < tier_count; tier++)
    for (int cell = 0; cell < gk_cell_count(); cell++) {
      struct buffers b = {0};
      struct network_case c = make_case((gk_cell)cell, tiers[tier]), plain = c;
      struct network_sizes s = sizes_of(&c);
      struct network_data d = take_data(&b, &c);
      add_all_masks(&c);
      struct network_case dropped = c;
      dropped.desc.zoneout_h = dropped.desc.zoneout_c = 0;
      struct network_results without = infer(&b, &plain, &d), with = infer(&b, &dropped, &d);
      check_bits(&dropped, "inference with dropout", "y", s.outputs, with.y, without.y);
      struct network_results zoned = infer(&b, &c, &d);
      double *h = take_doubles(&b, s.states * c.time), *m = take_doubles(&b, s.states * c.time);
      double *y = take_doubles(&b, s.outputs), *hn = take_doubles(&b, s.states);
      for (int64_t i = 0; i < s.states * c.time; i++) {
        h[i] = c.desc.zoneout_h;
        m[i] = c.desc.zoneout_c;
      }
      struct gk_reference_call call = {.time = c.time,
                                       .batch = c.batch,
                                       .lengths = d.lengths,
                                       .x = take_copy(&b, d.x, s.inputs),
                                       .h0 = take_copy(&b, d.h0, s.states),
                                       .c0 = take_copy(&b, d.c0, s.states),
                                       .parameters = take_copy(&b, d.parameters, s.parameters),
                                       .zoneout_h = h,
                                       .zoneout_c = has_memory(&c) ? m : NULL,
                                       .y = y,
                                       .hn = hn};
      assert_int_equal(gk_reference_run(&c.desc, &call), GK_OK);
      int64_t i;
      assert_true(relative_error(s.outputs, zoned.y, y, &i) < 1e-5);
      assert_true(relative_error(s.states, zoned.hn, hn, &i) < 1e-5);
      buffers_release(&b);
    }
}

#define REFUSED(call, wanted, text)                                                                          \
  do {                                                                                                       \
    assert_int_equal(call, wanted);                                                                          \
    assert_non_null(strstr(gk_last_error(), text));                                                          \
  } while (0)

/* Dropped weights belong to one training step: other calls refuse them, and it refuses others. */
static void a_packed_buffer_knows_its_key(void **state) {
  (void)state;
  struct buffers b = {0};
  struct network_case c = make_case(GK_CELL_GRU, tiers[0]);
  c.desc.weight_dropout = 0.5f;
  struct network_data d = take_data(&b, &c);
  struct network_results r = take_results(&b, &c);
  struct network net = open_network(&b, &c, d.parameters);
  gk_rnn_forward_args forward = forward_args(&net, &d, &r), other = forward;
  gk_rnn_backward_args backward = backward_args(&net, &d, &r);
  assert_int_equal(gk_rnn_forward(net.rnn, &forward), GK_OK);
  other.random.step++;
  REFUSED(gk_rnn_forward(net.rnn, &other), GK_ERROR_ARGUMENT, "seed and step");
  other = forward;
  other.random.first_sample++;
  assert_int_equal(gk_rnn_forward(net.rnn, &other), GK_OK);
  backward.random.seed++;
  REFUSED(gk_rnn_backward(net.rnn, &backward), GK_ERROR_ARGUMENT, "weight_dropout is 0.5");
  other = forward;
  other.reserve = NULL;
  other.workspace = net.inference_workspace;
  REFUSED(gk_rnn_forward(net.rnn, &other), GK_ERROR_ARGUMENT, "inference");
  assert_int_equal(gk_rnn_pack(net.rnn, GK_PACK_FORWARD, d.parameters, net.packed), GK_OK);
  assert_int_equal(gk_rnn_forward(net.rnn, &other), GK_OK);
  REFUSED(gk_rnn_forward(net.rnn, &forward), GK_ERROR_ARGUMENT, "gk_rnn_pack_dropped");
  REFUSED(gk_rnn_pack_dropped(net.rnn, 0, &forward.random, d.parameters, net.packed), GK_ERROR_ARGUMENT,
          "weight_dropout is 0.5");
  assert_int_equal(gk_rnn_pack(net.rnn, 0, d.parameters, net.packed), GK_OK);
  assert_int_equal(gk_rnn_forward(net.rnn, &other), GK_OK); /* inference drops nothing */
  REFUSED(gk_rnn_forward(net.rnn, &forward), GK_ERROR_ARGUMENT, "gk_rnn_pack_dropped");
  REFUSED(gk_rnn_pack_dropped(net.rnn, GK_PACK_FORWARD, NULL, d.parameters, net.packed), GK_ERROR_ARGUMENT,
          "key is NULL");
  close_network(&net);
  buffers_release(&b);
}

/* The case's forward and backward passes as calls of a decoder that holds packed parameters. */
static void run_as_decoder(const struct network_case *c, const struct network_data *d, gk_decoder *decoder,
                           const gk_random_key *key, const void *packed, struct buffers *b,
                           const struct network_results *r) {
  gk_rnn_memory memory;
  check_status(c, gk_decoder_memory_needed(decoder, c->time, c->batch, 0, &memory), "memory");
  void *reserve = buffers_take(b, memory.reserve_bytes, 1);
  gk_decoder_forward_args forward = {.size = sizeof forward,
                                     .time = c->time,
                                     .batch = c->batch,
                                     .lengths = d->lengths,
                                     .x = d->x,
                                     .h0 = d->h0,
                                     .c0 = d->c0,
                                     .packed = packed,
                                     .y = r->y,
                                     .hn = r->hn,
                                     .cn = r->cn,
                                     .random = *key,
                                     .reserve = reserve};
  gk_decoder_backward_args backward = {.size = sizeof backward,
                                       .time = c->time,
                                       .batch = c->batch,
                                       .lengths = d->lengths,
                                       .h0 = d->h0,
                                       .c0 = d->c0,
                                       .packed = packed,
                                       .dy = d->dy,
                                       .dhn = d->dhn,
                                       .dcn = d->dcn,
                                       .dx = r->dx,
                                       .dh0 = r->dh0,
                                       .dc0 = r->dc0,
                                       .gradients = r->gradients,
                                       .random = *key,
                                       .reserve = reserve};
  forward.workspace = buffers_take(b, memory.forward_workspace_bytes, 1);
  backward.workspace = buffers_take(b, memory.backward_workspace_bytes, 1);
  check_status(c, gk_decoder_forward(decoder, &forward), "gk_decoder_forward");
  check_status(c, gk_decoder_backward(decoder, &backward), "gk_decoder_backward");
}

/* A decoder without feedback is its stack, masks and dropped weights too. */
static void a_decoder_draws_the_masks_of_its_stack(void **state) {
  (void)state;
  for (int tier = 0; tier < tier_count; tier++)
    for (int cell = 0; cell < gk_cell_count(); cell++) {
      struct buffers b = {0};
      struct network_case c = make_case((gk_cell)cell, tiers[tier]);
      add_all_masks(&c);
      struct network_data d = take_data(&b, &c);
      struct network_results wanted = run_case(&b, &c, &d), r = take_results(&b, &c);
      gk_decoder_desc desc = GK_DECODER_DESC_INIT;
      gk_decoder *decoder;
      size_t bytes;
      const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
      const gk_random_key key = {.seed = c.seed, .step = 3, .first_sample = 40};
      desc.rnn = c.desc;
      desc.feedback = GK_FEEDBACK_NONE;
      check_status(&c, gk_decoder_create(&desc, &decoder), "gk_decoder_create");
      check_status(&c, gk_decoder_packed_bytes(decoder, both, &bytes), "gk_decoder_packed_bytes");
      assert_int_equal(gk_decoder_parameter_count(decoder), sizes_of(&c).parameters);
      void *packed = buffers_take(&b, bytes, 1);
      check_status(&c, gk_decoder_pack_dropped(decoder, both, &key, d.parameters, packed), "pack");
      run_as_decoder(&c, &d, decoder, &key, packed, &b, &r);
      r.dh_norms = NULL;
      check_same_results(&c, "decoder", &r, &wanted);
      REFUSED(gk_decoder_pack_dropped(decoder, both, NULL, d.parameters, packed), GK_ERROR_ARGUMENT, "key");
      gk_decoder_destroy(decoder);
      buffers_release(&b);
    }
}

/* No step, or no sample: states pass through, gradients are zeros. */
static void calls_without_a_step_are_allowed(void **state) {
  (void)state;
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (int empty = 0; empty < 4; empty++) {
      struct buffers b = {0};
      struct network_case c = make_case((gk_cell)cell, tiers[tier_count - 1]);
      c.ragged = false;
      c.desc.vocabulary = empty / 2 ? 7 : 0;
      c.desc.dropout_masks = (gk_dropout_masks)(cell % 2);
      *(empty % 2 ? &c.time : &c.batch) = 0;
      add_all_masks(&c);
      struct network_data d = take_data(&b, &c);
      struct network_results r = run_case(&b, &c, &d);
      for (int64_t i = 0; i < sizes_of(&c).parameters; i++)
        assert_true(r.gradients[i] == 0);
      for (int64_t i = 0; i < sizes_of(&c).states; i++)
        assert_true(r.hn[i] == d.h0[i] && r.dh0[i] == d.dhn[i]);
      buffers_release(&b);
    }
}

static void wrong_arguments_are_refused(void **state) {
  (void)state;
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  gk_rnn *rnn;
  const gk_random_key key = {0};
  float row[64];
  desc.input_size = desc.hidden_size = 5;
  desc.cell = GK_CELL_GRU;
  desc.zoneout_c = 0.5f;
  REFUSED(gk_rnn_create(&desc, &rnn), GK_ERROR_UNSUPPORTED, "zoneout_c is 0.5 and the cell gru");
  desc.zoneout_c = 0;
  desc.recurrence = GK_RECURRENCE_NONE;
  desc.weight_dropout = 0.25f;
  REFUSED(gk_rnn_create(&desc, &rnn), GK_ERROR_UNSUPPORTED, "weight_dropout is 0.25 and recurrence is none");
  desc.recurrence = GK_RECURRENCE_HIDDEN;
  assert_int_equal(gk_rnn_create(&desc, &rnn), GK_OK);
  REFUSED(gk_rnn_mask(NULL, GK_MASK_INPUT, &key, 0, 0, 0, 0, row), GK_ERROR_ARGUMENT, "rnn is NULL");
  REFUSED(gk_rnn_mask(rnn, GK_MASK_INPUT, NULL, 0, 0, 0, 0, row), GK_ERROR_ARGUMENT, "key is NULL");
  REFUSED(gk_rnn_mask(rnn, GK_MASK_INPUT, &key, 0, 0, 0, 0, NULL), GK_ERROR_ARGUMENT, "factors is NULL");
  REFUSED(gk_rnn_mask(rnn, (gk_mask)6, &key, 0, 0, 0, 0, row), GK_ERROR_ARGUMENT, "mask is 6");
  REFUSED(gk_rnn_mask(rnn, GK_MASK_INPUT, &key, 1, 0, 0, 0, row), GK_ERROR_ARGUMENT, "layer is 1");
  REFUSED(gk_rnn_mask(rnn, GK_MASK_INPUT, &key, 0, 1, 0, 0, row), GK_ERROR_ARGUMENT, "direction is 1");
  REFUSED(gk_rnn_mask(rnn, GK_MASK_INPUT, &key, 0, 0, -1, 0, row), GK_ERROR_ARGUMENT, "t is -1");
  REFUSED(gk_rnn_mask(rnn, GK_MASK_INPUT, &key, 0, 0, 0, -2, row), GK_ERROR_ARGUMENT, "n is -2");
  gk_dropout_masks masks;
  REFUSED(gk_dropout_masks_from_name("batch", &masks), GK_ERROR_ARGUMENT, "step, sequence");
  for (int i = 0; i < 2; i++)
    assert_true(gk_dropout_masks_from_name(gk_dropout_masks_name((gk_dropout_masks)i), &masks) == GK_OK &&
                masks == (gk_dropout_masks)i);
  gk_rnn_destroy(rnn);
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(masks_have_their_values_and_their_share),
      cmocka_unit_test(inference_takes_the_mean),
      cmocka_unit_test(a_packed_buffer_knows_its_key),
      cmocka_unit_test(a_decoder_draws_the_masks_of_its_stack),
      cmocka_unit_test(calls_without_a_step_are_allowed),
      cmocka_unit_test(wrong_arguments_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
