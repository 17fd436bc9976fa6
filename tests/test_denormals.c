/* SPDX-License-Identifier: Apache-2.0
 *
 * What a caller gives below 2^-95 counts as 0: networks whose inputs, initial states and gradients (but that
 * of the last h, which counts with dy) have such values give the bits that they give with zeros there. On
 * every tier, for every kind of network, layout, schedule and direction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/network_walk.h"

/* Masks; lengths that differ, sequences that begin inside others, two directions; an embedding and trained
 * states.
 */
enum { WAYS = 3 };
static int way;

/* Some of the values, and half of the rows as a whole; zeros there in `zeros`. */
static void make_tiny(int64_t count, int64_t width, float *tiny, float *zeros) {
  memcpy(zeros, tiny, (size_t)count * sizeof *zeros);
  for (int64_t i = 0; i < count; i++)
    if (i / width % 2 == 0 || i % 5 == 0) {
      tiny[i] = tiny[i] < 0 ? -1e-31f : i % 3 ? 1e-31f : 1e-39f;
      zeros[i] = 0;
    }
}

/* Parameters that a network starts from as from x, h0 and c0. */
static bool is_given(const char *gradient) {
  return strncmp(gradient, "dembedding", 10) == 0 || strncmp(gradient, "dh0_", 4) == 0 ||
         strncmp(gradient, "dc0_", 4) == 0;
}

static void check_zeros(struct network_case *c, float weight_scale, bool biases, const char *what) {
  struct buffers b = {0};
  c->weight_scale = weight_scale;
  const struct network_sizes s = sizes_of(c);
  struct network_data tiny = take_data(&b, c), zeros = tiny;
  struct named_tensor tensors[MAX_TENSORS];
  const int tensor_count = tensors_of(c, tensors);
  const struct {
    float **tiny, **zeros;
    int64_t count, width;
  } given[] = {{&tiny.x, &zeros.x, s.inputs, c->desc.input_size},
               {&tiny.h0, &zeros.h0, s.states, h_size(c)},
               {&tiny.c0, &zeros.c0, s.cells, c_size(c)},
               {&tiny.dy, &zeros.dy, s.outputs, s.width},
               {&tiny.dcn, &zeros.dcn, s.cells, c_size(c)}};
  zeros.parameters = take_floats(&b, s.parameters);
  for (int i = 0; i < tensor_count && !biases; i++)
    if (strstr(tensors[i].name, "dbias"))
      memset(tiny.parameters + tensors[i].offset, 0, (size_t)tensors[i].count * sizeof(float));
  memcpy(zeros.parameters, tiny.parameters, (size_t)s.parameters * sizeof(float));
  for (int i = 0; i < tensor_count; i++)
    if (is_given(tensors[i].name))
      make_tiny(tensors[i].count, c->desc.vocabulary ? c->desc.input_size : 1,
                tiny.parameters + tensors[i].offset, zeros.parameters + tensors[i].offset);
  for (size_t i = 0; i < sizeof given / sizeof *given; i++)
    if (*given[i].tiny) {
      *given[i].zeros = take_floats(&b, given[i].count);
      make_tiny(given[i].count, given[i].width, *given[i].tiny, *given[i].zeros);
    }
  struct network_results got = run_case(&b, c, &tiny), wanted = run_case(&b, c, &zeros);
  if (!biases) { /* gradients may be infinite: infinity - infinity */
    got = (struct network_results){.y = got.y, .hn = got.hn, .cn = got.cn};
    wanted = (struct network_results){.y = wanted.y, .hn = wanted.hn, .cn = wanted.cn};
  }
  check_same_results(c, what, &got, &wanted);
  buffers_release(&b);
}

/* Weights so large that what products add to zero biases would show; and usual ones, for gradients. */
static void check_case(struct network_case *c) {
  check_zeros(c, 3000, false, "large weights");
  check_zeros(c, 1, true, "usual weights");
}

static void adjust(struct network_case *c, int shape) {
  c->small = false;
  c->ragged = way && shape % 2 == 0;
  c->resets = way && shape > 1;
  if (way == 2) {
    c->states = false;
    c->desc.trained_states = true;
    c->desc.vocabulary = 9;
  }
  if (way && shape % 2)
    c->desc.direction = GK_BIDIRECTIONAL;
  if (way != 1 && shape % 2)
    add_all_masks(c);
}

static void tiny_values_that_are_given_count_as_zeros(void **state) {
  (void)state;
  for (way = 0; way < WAYS; way++)
    for_each_case(__func__, adjust, check_case);
}

/* Weights so large that what products add to a bias of zero would show. */
static void tiny_inputs_of_an_output_layer_count_as_zeros(void **state) {
  enum { ROWS = 300, H = 19, V = 33 }; /* rows: more than a block of a sum */
  static float tiny[ROWS * H], zeros[ROWS * H], parameters[V * H + V], logits[2][ROWS * V];
  (void)state;
  random_floats(7, 1, ROWS * H, tiny);
  random_floats(8, 3000, V * H, parameters);
  make_tiny(ROWS * H, H, tiny, zeros);
  for (int tier = 0; tier < tier_count; tier++)
    for (int threads = 1; threads <= 3; threads++) {
      struct buffers b = {0};
      gk_output_desc desc = GK_OUTPUT_DESC_INIT;
      gk_output *output;
      size_t packed, workspace;
      desc.input_size = H;
      desc.output_size = V;
      desc.isa = tiers[tier];
      desc.threads = threads;
      assert_int_equal(gk_output_create(&desc, &output), GK_OK);
      assert_int_equal(gk_output_packed_bytes(output, GK_PACK_FORWARD, &packed), GK_OK);
      assert_int_equal(gk_output_workspace_bytes(output, ROWS, &workspace), GK_OK);
      void *weights = buffers_take(&b, packed, 1), *scratch = buffers_take(&b, workspace, 1);
      assert_int_equal(gk_output_pack(output, GK_PACK_FORWARD, parameters, weights), GK_OK);
      for (int i = 0; i < 2; i++)
        assert_int_equal(gk_output_forward(output, ROWS, i ? zeros : tiny, weights, logits[i], scratch),
                         GK_OK);
      assert_int_equal(first_difference(ROWS * V, logits[0], logits[1]), -1);
      gk_output_destroy(output);
      buffers_release(&b);
    }
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(tiny_values_that_are_given_count_as_zeros),
                                     cmocka_unit_test(tiny_inputs_of_an_output_layer_count_as_zeros)};
  return start_walk(argc, argv) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
