/* SPDX-License-Identifier: Apache-2.0
 *
 * [W_hh | W_ih] and one bias of a layer: every element is that of its tensor, a network that is given them
 * back has the bits that it had, and a plain cell is one product with [h', x]. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/network_walk.h"

/* A tensor of one direction of a layer by its PyTorch name. */
static gk_tensor tensor_of(const struct network_case *c, const gk_rnn *rnn, const char *kind, int64_t layer,
                           int direction) {
  gk_tensor tensor;
  check_status(c, gk_rnn_tensor_of(rnn, kind, layer, direction, &tensor), kind);
  return tensor;
}

struct combined {
  int64_t rows, left, right; /* G*H; columns of W_hh and of W_ih */
  int64_t biases;
  float *weight, *bias;
};

static struct combined take_combined(struct buffers *b, const struct network_case *c, const gk_rnn *rnn,
                                     const float *parameters, int64_t layer, int direction) {
  const gk_tensor w_ih = tensor_of(c, rnn, "weight_ih", layer, direction);
  const gk_tensor w_hh = tensor_of(c, rnn, "weight_hh", layer, direction);
  struct combined made = {.rows = w_ih.shape[0], .left = w_hh.shape[1], .right = w_ih.shape[1]};
  made.biases = made.rows + (c->desc.cell == GK_CELL_GRU ? made.rows / 3 : 0);
  made.weight = take_floats(b, made.rows * (made.left + made.right));
  made.bias = take_floats(b, made.biases);
  check_status(c, gk_rnn_combined_weights(rnn, parameters, layer, direction, made.weight, made.bias),
               "gk_rnn_combined_weights");
  return made;
}

static void check_elements(const struct network_case *c, const gk_rnn *rnn, const float *parameters,
                           int64_t layer, int direction, const struct combined *made) {
  const float *w_ih = parameters + tensor_of(c, rnn, "weight_ih", layer, direction).offset;
  const float *w_hh = parameters + tensor_of(c, rnn, "weight_hh", layer, direction).offset;
  const float *b_ih = parameters + tensor_of(c, rnn, "bias_ih", layer, direction).offset;
  const float *b_hh = parameters + tensor_of(c, rnn, "bias_hh", layer, direction).offset;
  for (int64_t r = 0; r < made->rows; r++) {
    const float *row = made->weight + r * (made->left + made->right);
    check_bits(c, "combined weights", "weight_hh", made->left, row, w_hh + r * made->left);
    check_bits(c, "combined weights", "weight_ih", made->right, row + made->left, w_ih + r * made->right);
    const bool apart = c->desc.cell == GK_CELL_GRU && r >= made->rows / 3 * 2;
    const float bias = apart ? b_ih[r] : b_ih[r] + b_hh[r];
    check_bits(c, "combined weights", "bias", 1, made->bias + r, &bias);
    if (apart)
      check_bits(c, "combined weights", "b_hn", 1, made->bias + r + made->rows / 3, b_hh + r);
  }
}

static void check_round_trip(struct network_case *c) {
  struct buffers b = {0};
  gk_rnn *rnn;
  struct network_data d = take_data(&b, c);
  struct network_results wanted = run_case(&b, c, &d);
  const int64_t count = sizes_of(c).parameters;
  float *parameters = take_floats(&b, count);
  check_status(c, gk_rnn_create(&c->desc, &rnn), "gk_rnn_create");
  memcpy(parameters, d.parameters, (size_t)count * sizeof *parameters);
  for (int64_t layer = 0; layer < c->desc.layers; layer++)
    for (int direction = 0; direction < (int)sizes_of(c).directions; direction++) {
      const struct combined made = take_combined(&b, c, rnn, d.parameters, layer, direction);
      check_elements(c, rnn, d.parameters, layer, direction, &made);
      const gk_tensor w_ih = tensor_of(c, rnn, "weight_ih", layer, direction);
      const gk_tensor w_hh = tensor_of(c, rnn, "weight_hh", layer, direction);
      memset(parameters + w_ih.offset, 0x33, (size_t)w_ih.count * sizeof *parameters);
      memset(parameters + w_hh.offset, 0x33, (size_t)w_hh.count * sizeof *parameters);
      check_status(c, gk_rnn_set_combined_weights(rnn, layer, direction, made.weight, made.bias, parameters),
                   "gk_rnn_set_combined_weights");
    }
  d.parameters = parameters;
  struct network_results got = run_case(&b, c, &d);
  check_same_results(c, "its weights combined and given back", &got, &wanted);
  gk_rnn_destroy(rnn);
  buffers_release(&b);
}

static void two_layers_in_both_directions(struct network_case *c, int shape) {
  c->desc.layers = 2;
  c->desc.direction = (gk_direction)(shape % 3);
  c->desc.trained_states = shape == 1;
  c->desc.recurrence = shape == 3 && c->desc.projection_size == 0 ? GK_RECURRENCE_NONE : GK_RECURRENCE_HIDDEN;
}

static void a_network_keeps_its_bits_when_weights_are_combined_and_given_back(void **state) {
  (void)state;
  for_each_case(__func__, two_layers_in_both_directions, check_round_trip);
}

/* h = tanh(W [h', x] + b), in double. */
static void a_plain_cell_is_one_product_with_h_and_x(void **state) {
  (void)state;
  struct buffers b = {0};
  struct network_case c = {
      .desc = GK_RNN_DESC_INIT, .time = 1, .batch = 3, .states = true, .weight_scale = 1, .seed = 71};
  gk_rnn *rnn;
  c.desc.cell = GK_CELL_RNN;
  c.desc.input_size = 7;
  c.desc.hidden_size = 11;
  struct network_data d = take_data(&b, &c);
  struct network_results r = run_case(&b, &c, &d);
  check_status(&c, gk_rnn_create(&c.desc, &rnn), "gk_rnn_create");
  const struct combined made = take_combined(&b, &c, rnn, d.parameters, 0, 0);
  for (int64_t n = 0; n < c.batch; n++)
    for (int64_t u = 0; u < 11; u++) {
      const float *row = made.weight + u * 18;
      double a = (double)made.bias[u];
      for (int64_t k = 0; k < 18; k++)
        a += (double)row[k] * (double)(k < 11 ? d.h0[n * 11 + k] : d.x[n * 7 + k - 11]);
      if (!(fabs(tanh(a) - (double)r.y[n * 11 + u]) < 1e-6))
        fail_case(&c, "y[%d, %d] is %.9g, tanh(W [h', x] + b) is %.9g", (int)n, (int)u,
                  (double)r.y[n * 11 + u], tanh(a));
    }
  gk_rnn_destroy(rnn);
  buffers_release(&b);
}

static void what_is_not_asked_for_stays(void **state) {
  (void)state;
  struct buffers b = {0};
  struct network_case c = {.desc = GK_RNN_DESC_INIT, .time = 1, .batch = 1, .seed = 72};
  gk_rnn *rnn;
  c.desc.cell = GK_CELL_GRU;
  c.desc.input_size = 3;
  c.desc.hidden_size = 4;
  struct network_data d = take_data(&b, &c);
  const int64_t count = sizes_of(&c).parameters;
  check_status(&c, gk_rnn_create(&c.desc, &rnn), "gk_rnn_create");
  struct combined made = take_combined(&b, &c, rnn, d.parameters, 0, 0);
  float *before = take_floats(&b, count), *weight = take_floats(&b, made.rows * 7);
  memcpy(before, d.parameters, (size_t)count * sizeof *before);
  check_status(&c, gk_rnn_combined_weights(rnn, d.parameters, 0, 0, weight, NULL), "without a bias");
  check_bits(&c, "without a bias", "weight", made.rows * 7, weight, made.weight);
  check_status(&c, gk_rnn_set_combined_weights(rnn, 0, 0, weight, NULL, d.parameters), "without a bias");
  check_bits(&c, "without a bias", "parameters", count, d.parameters, before);
  assert_int_equal(gk_rnn_combined_weights(NULL, before, 0, 0, weight, NULL), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "rnn is NULL"));
  assert_int_equal(gk_rnn_combined_weights(rnn, NULL, 0, 0, weight, NULL), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "parameters is NULL"));
  assert_int_equal(gk_rnn_combined_weights(rnn, before, 1, 0, weight, NULL), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "layer is 1, must be 0..0"));
  assert_int_equal(gk_rnn_set_combined_weights(rnn, 0, 1, weight, NULL, d.parameters), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "direction is 1, must be 0..0"));
  assert_int_equal(gk_rnn_set_combined_weights(rnn, 0, 0, weight, NULL, NULL), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "parameters is NULL"));
  gk_rnn_destroy(rnn);
  buffers_release(&b);
}

int main(int argc, char **argv) {
  if (!start_walk(argc, argv))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_network_keeps_its_bits_when_weights_are_combined_and_given_back),
      cmocka_unit_test(a_plain_cell_is_one_product_with_h_and_x),
      cmocka_unit_test(what_is_not_asked_for_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
