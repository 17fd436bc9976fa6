/* SPDX-License-Identifier: Apache-2.0
 * Many-to-one: the adding problem (Hochreiter and Schmidhuber 1997) over 50 steps. Every step has a number
 * and a mark; the answer, asked for after the last step, is the sum of the two numbers that are marked, one
 * in each half. 95 % of the answers must be within 0.1 (always saying 1 gives 19 %). Every cell learns it
 * (the plain RNN with ReLU, from the identity: Le, Jaitly, Hinton 2015), and so does an LSTM with peepholes,
 * coupled gates, layer normalisation, clipping and projection at once.
 *
 *   example-adding [NETWORK]...     all of them by default
 *
 * Its exit status, which a test asks for, is 0 if each has learned. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gatekern.h"

#define CHECK(call)                                                                                          \
  if ((call) != GK_OK)                                                                                       \
  exit((puts(gk_last_error()), 1))

enum {
  N = 32,
  TESTED = 512,
  T = 50,
  H = 32,
  STEPS = 3000,
  EVERY = 100,
  BOTH = GK_PACK_FORWARD | GK_PACK_BACKWARD
};
static const double ENOUGH = 0.001; /* mean square of an error: three times its root is below 0.1 */

/* Time-major: a number and its mark a step; what their sum is. */
static float x[T * TESTED * 2], sums[TESTED];

static void make_batch(uint64_t number, int samples) {
  memset(x, 0, sizeof x);
  for (int n = 0; n < samples; n++) {
    for (int t = 0; t < T; t++)
      x[(t * samples + n) * 2] = gk_uniform(1, number, (uint64_t)(n * T + t));
    sums[n] = 0;
    for (int half = 0; half < 2; half++) {
      const int t = half * T / 2 + (int)(gk_uniform(2, number, (uint64_t)(n * 2 + half)) * T / 2);
      x[(t * samples + n) * 2 + 1] = 1;
      sums[n] += x[(t * samples + n) * 2];
    }
  }
}

static void *memory(size_t bytes) {
  void *start;
  CHECK(gk_allocate(bytes, &start));
  return start;
}

/* weight_hh := I, biases := 0: a ReLU network that keeps what it has until it learns otherwise. */
static void start_from_identity(const gk_rnn *rnn, float *p) {
  for (int i = 0; i < gk_rnn_tensor_count(rnn); i++) {
    gk_tensor tensor;
    CHECK(gk_rnn_tensor(rnn, i, &tensor));
    const bool recurrent = strcmp(tensor.name, "weight_hh_l0") == 0;
    if (recurrent || strncmp(tensor.name, "bias", 4) == 0)
      for (int64_t k = 0; k < tensor.count; k++)
        p[tensor.offset + k] = recurrent && k % (H + 1) == 0;
  }
}

/* Trains until the loss is small. The share of new answers within 0.1, in percent. */
static double learn(const char *name, const gk_rnn_desc *desc) {
  gk_rnn *rnn;
  CHECK(gk_rnn_create(desc, &rnn));
  const int64_t width = gk_rnn_output_size(rnn), at_output = gk_rnn_parameter_count(rnn);
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  output_desc.input_size = width;
  output_desc.output_size = 1;
  gk_output *output;
  CHECK(gk_output_create(&output_desc, &output));
  const int64_t count = at_output + gk_output_parameter_count(output);
  float *p = memory((size_t)count * sizeof *p), *g = memory((size_t)count * sizeof *g);
  float *adam_state = calloc((size_t)count * 2, sizeof *adam_state);
  gk_init_desc init = GK_INIT_DESC_INIT;
  init.forget_bias = 1;
  CHECK(gk_rnn_init(rnn, &init, p));
  if (desc->cell == GK_CELL_RNN)
    start_from_identity(rnn, p);
  CHECK(gk_output_init(output, 1, p + at_output));

  size_t bytes[3];
  gk_rnn_memory need, test_need;
  CHECK(gk_rnn_packed_bytes(rnn, BOTH, &bytes[0]));
  CHECK(gk_output_packed_bytes(output, BOTH, &bytes[1]));
  CHECK(gk_output_workspace_bytes(output, TESTED, &bytes[2]));
  CHECK(gk_rnn_memory_needed(rnn, T, N, &need));
  CHECK(gk_rnn_memory_needed(rnn, T, TESTED, &test_need));
  void *packed = memory(bytes[0]), *output_packed = memory(bytes[1]), *reserve = memory(need.reserve_bytes);
  void *workspace = memory(bytes[2] + need.forward_workspace_bytes + need.backward_workspace_bytes +
                           test_need.inference_workspace_bytes);
  static float y[T * TESTED * H], dy[T * N * H], last[TESTED * H], dlast[N * H], answers[TESTED];
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  forward.time = T;
  forward.batch = N;
  forward.x = x;
  forward.packed = packed;
  forward.y = y;
  forward.reserve = reserve;
  forward.workspace = workspace;
  gk_pool_desc pool = GK_POOL_DESC_INIT;
  pool.pool = GK_POOL_LAST;
  pool.width = width;
  gk_output_loss_args criterion = GK_OUTPUT_LOSS_ARGS_INIT;
  criterion.rows = N;
  criterion.h = last;
  criterion.kind = GK_LOSS_SQUARED;
  criterion.values = sums;
  criterion.packed = output_packed;
  criterion.gradient_scale = 1.0f / N;
  criterion.dh = dlast;
  criterion.gradients = g + at_output;
  criterion.workspace = workspace;
  gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  backward.time = T;
  backward.batch = N;
  backward.x = x;
  backward.packed = packed;
  backward.dy = dy;
  backward.gradients = g;
  backward.reserve = reserve;
  backward.workspace = workspace;

  gk_learning_rate_desc rate = GK_LEARNING_RATE_DESC_INIT;
  rate.decay = GK_DECAY_COSINE;
  rate.learning_rate = 0.005;
  rate.steps = STEPS;
  gk_optimizer_desc adam = GK_OPTIMIZER_DESC_INIT;
  double loss, mean = 1; /* of the last EVERY steps */
  criterion.loss = &loss;
  int step = 0, within = 0;
  while (step < STEPS && mean > ENOUGH) {
    mean = 0;
    for (int i = 0; i < EVERY; i++) {
      make_batch((uint64_t)++step, N);
      CHECK(gk_rnn_pack(rnn, BOTH, p, packed));
      CHECK(gk_output_pack(output, BOTH, p + at_output, output_packed));
      CHECK(gk_rnn_forward(rnn, &forward));
      CHECK(gk_pool_forward(&pool, T, N, NULL, y, last, NULL));
      CHECK(gk_output_loss(output, &criterion));
      CHECK(gk_pool_backward(&pool, T, N, NULL, NULL, dlast, dy));
      CHECK(gk_rnn_backward(rnn, &backward));
      double norm;
      CHECK(gk_gradient_norm(GK_ISA_AUTO, 0, 1, (const float *[]){g}, &count, &norm));
      CHECK(gk_optimizer_step(&adam, step, gk_learning_rate(&rate, NULL, step), gk_clip_scale(norm, 1), count,
                              p, g, adam_state));
      mean += loss / (N * EVERY);
    }
  }

  make_batch(1 << 20, TESTED); /* sums that it has not seen */
  CHECK(gk_rnn_pack(rnn, BOTH, p, packed));
  CHECK(gk_output_pack(output, BOTH, p + at_output, output_packed));
  forward.batch = TESTED;
  forward.reserve = NULL;
  CHECK(gk_rnn_forward(rnn, &forward));
  CHECK(gk_pool_forward(&pool, T, TESTED, NULL, y, last, NULL));
  CHECK(gk_output_forward(output, TESTED, last, output_packed, answers, workspace));
  for (int n = 0; n < TESTED; n++)
    within += fabsf(answers[n] - sums[n]) <= 0.1f;
  printf("%-16s  %4d steps  loss %.4f  within 0.1: %.1f %%\n", name, step, mean, 100.0 * within / TESTED);
  fflush(stdout);
  gk_rnn_destroy(rnn);
  gk_output_destroy(output);
  void *all[] = {p, g, packed, output_packed, reserve, workspace};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    gk_free(all[i]);
  free(adam_state);
  return 100.0 * within / TESTED;
}

int main(int argc, char **argv) {
  int right = 0, asked = 0;
  for (int cell = 0; cell <= gk_cell_count(); cell++) {
    gk_rnn_desc desc = GK_RNN_DESC_INIT;
    const char *name = "lstm-all-options";
    desc.input_size = 2;
    desc.hidden_size = H;
    if (cell < gk_cell_count()) {
      desc.cell = (gk_cell)cell;
      name = gk_cell_name(desc.cell);
      if (desc.cell == GK_CELL_RNN)
        desc.activation = GK_ACTIVATION_RELU;
    } else {
      desc.projection_size = H / 2;
      desc.options.peephole = desc.options.coupled = desc.options.layer_norm = true;
      desc.options.preactivation_clip = desc.options.cell_clip = 10;
    }
    bool wanted = argc == 1;
    for (int i = 1; i < argc; i++)
      wanted |= strcmp(argv[i], name) == 0;
    if (wanted)
      asked++, right += learn(name, &desc) >= 95;
  }
  printf("learned: %d of %d\n", right, asked);
  return right < asked || asked == 0;
}
