/* SPDX-License-Identifier: Apache-2.0
 * Many-to-one: the adding problem (Hochreiter and Schmidhuber 1997) over 50 steps. Every step has a number
 * and a mark; the answer, asked for after the last step, is the sum of the two numbers that are marked, one
 * in each half. 95 % of the answers must be within 0.1 (always saying 1 gives 19 %). Every cell learns it
 * (the plain RNN with ReLU, from the identity: Le, Jaitly, Hinton 2015), and so does an LSTM with peepholes,
 * coupled gates, layer normalisation, clipping and projection at once.
 *
 *   example-adding [NETWORK]...     all of them by default
 *
 * Its exit status, which a test asks for, is 0 if each has learned, 2 if there is no such network. */
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

/* The network and its output layer, whose parameters stand in one array behind the network's; the memory of
 * both. */
struct network {
  gk_rnn *rnn;
  gk_output *output;
  int64_t at_output, count;
  float *p, *g, *adam_state;
  void *packed, *output_packed, *reserve, *workspace;
};

static float y[T * TESTED * H], dy[T * N * H], last[TESTED * H], dlast[N * H];

static void create(struct network *net, const gk_rnn_desc *desc) {
  CHECK(gk_rnn_create(desc, &net->rnn));
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  output_desc.input_size = gk_rnn_output_size(net->rnn);
  output_desc.output_size = 1;
  CHECK(gk_output_create(&output_desc, &net->output));
  net->at_output = gk_rnn_parameter_count(net->rnn);
  net->count = net->at_output + gk_output_parameter_count(net->output);
  net->p = memory((size_t)net->count * sizeof *net->p);
  net->g = memory((size_t)net->count * sizeof *net->g);
  net->adam_state = calloc((size_t)net->count * 2, sizeof *net->adam_state);
  gk_init_desc init = GK_INIT_DESC_INIT;
  init.forget_bias = 1;
  CHECK(gk_rnn_init(net->rnn, &init, net->p));
  if (desc->cell == GK_CELL_RNN)
    start_from_identity(net->rnn, net->p);
  CHECK(gk_output_init(net->output, 1, net->p + net->at_output));
}

/* Memory is the caller's: sizes are asked for. */
static void allocate_memory(struct network *net) {
  size_t packed, output_packed, output_workspace;
  CHECK(gk_rnn_packed_bytes(net->rnn, BOTH, &packed));
  CHECK(gk_output_packed_bytes(net->output, BOTH, &output_packed));
  CHECK(gk_output_workspace_bytes(net->output, TESTED, &output_workspace));
  gk_rnn_memory need, test_need;
  CHECK(gk_rnn_memory_needed(net->rnn, T, N, &need));
  CHECK(gk_rnn_memory_needed(net->rnn, T, TESTED, &test_need));
  net->packed = memory(packed);
  net->output_packed = memory(output_packed);
  net->reserve = memory(need.reserve_bytes);
  net->workspace = memory(output_workspace + need.forward_workspace_bytes + need.backward_workspace_bytes +
                          test_need.inference_workspace_bytes);
}

static void destroy(struct network *net) {
  gk_rnn_destroy(net->rnn);
  gk_output_destroy(net->output);
  void *all[] = {net->p, net->g, net->packed, net->output_packed, net->reserve, net->workspace};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    gk_free(all[i]);
  free(net->adam_state);
}

/* After each update. */
static void pack(struct network *net) {
  CHECK(gk_rnn_pack(net->rnn, BOTH, net->p, net->packed));
  CHECK(gk_output_pack(net->output, BOTH, net->p + net->at_output, net->output_packed));
}

static gk_pool_desc last_step(const struct network *net) {
  gk_pool_desc pool = GK_POOL_DESC_INIT;
  pool.pool = GK_POOL_LAST;
  pool.width = gk_rnn_output_size(net->rnn);
  return pool;
}

/* The outputs of the last step. A reserve is what backward needs; without it forward is inference. */
static void run_forward(struct network *net, int samples, void *reserve) {
  const gk_pool_desc pool = last_step(net);
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  forward.time = T;
  forward.batch = samples;
  forward.x = x;
  forward.packed = net->packed;
  forward.y = y;
  forward.reserve = reserve;
  forward.workspace = net->workspace;
  CHECK(gk_rnn_forward(net->rnn, &forward));
  CHECK(gk_pool_forward(&pool, T, samples, NULL, y, last, NULL));
}

/* The loss summed over the samples; its gradients to dlast and to those of the output layer. */
static double output_loss(struct network *net) {
  double loss;
  gk_output_loss_args criterion = GK_OUTPUT_LOSS_ARGS_INIT;
  criterion.rows = N;
  criterion.h = last;
  criterion.kind = GK_LOSS_SQUARED;
  criterion.values = sums;
  criterion.packed = net->output_packed;
  criterion.loss = &loss;
  criterion.gradient_scale = 1.0f / N;
  criterion.dh = dlast;
  criterion.gradients = net->g + net->at_output;
  criterion.workspace = net->workspace;
  CHECK(gk_output_loss(net->output, &criterion));
  return loss;
}

static void run_backward(struct network *net) {
  const gk_pool_desc pool = last_step(net);
  CHECK(gk_pool_backward(&pool, T, N, NULL, NULL, dlast, dy));
  gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  backward.time = T;
  backward.batch = N;
  backward.x = x;
  backward.packed = net->packed;
  backward.dy = dy;
  backward.gradients = net->g;
  backward.reserve = net->reserve;
  backward.workspace = net->workspace;
  CHECK(gk_rnn_backward(net->rnn, &backward));
}

static void update(struct network *net, int step) {
  static const gk_optimizer_desc adam = GK_OPTIMIZER_DESC_INIT;
  gk_learning_rate_desc rate = GK_LEARNING_RATE_DESC_INIT;
  rate.decay = GK_DECAY_COSINE;
  rate.learning_rate = 0.005;
  rate.steps = STEPS;
  double norm;
  CHECK(gk_gradient_norm(GK_ISA_AUTO, 0, 1, (const float *[]){net->g}, &net->count, &norm));
  CHECK(gk_optimizer_step(&adam, step, gk_learning_rate(&rate, NULL, step), gk_clip_scale(norm, 1),
                          net->count, net->p, net->g, net->adam_state));
}

/* One batch, one update; the loss before it, of a sample. */
static double train(struct network *net, int step) {
  make_batch((uint64_t)step, N);
  pack(net);
  run_forward(net, N, net->reserve);
  const double loss = output_loss(net);
  run_backward(net);
  update(net, step);
  return loss / N;
}

/* The share of answers to sums that it has not seen which are within 0.1, in percent. */
static double test(struct network *net) {
  static float answers[TESTED];
  int within = 0;
  make_batch(1 << 20, TESTED);
  pack(net);
  run_forward(net, TESTED, NULL);
  CHECK(gk_output_forward(net->output, TESTED, last, net->output_packed, answers, net->workspace));
  for (int n = 0; n < TESTED; n++)
    within += fabsf(answers[n] - sums[n]) <= 0.1f;
  return 100.0 * within / TESTED;
}

/* Trains until the loss is small. The share of new answers within 0.1, in percent. */
static double learn(const char *name, const gk_rnn_desc *desc) {
  struct network net;
  create(&net, desc);
  allocate_memory(&net);
  double mean = 1; /* of the last EVERY steps */
  int step = 0;
  while (step < STEPS && mean > ENOUGH) {
    mean = 0;
    for (int i = 0; i < EVERY; i++)
      mean += train(&net, ++step) / EVERY;
  }
  const double within = test(&net);
  destroy(&net);
  printf("%-16s  %4d steps  loss %.4f  within 0.1: %.1f %%\n", name, step, mean, within);
  fflush(stdout);
  return within;
}

static const char all_options[] = "lstm-all-options";

static void check_names(int argc, char **argv) {
  gk_cell known;
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], all_options) != 0 && gk_cell_from_name(argv[i], &known) != GK_OK) {
      fprintf(stderr, "%s: no such network; ", argv[i]);
      for (int cell = 0; cell < gk_cell_count(); cell++)
        fprintf(stderr, "%s, ", gk_cell_name((gk_cell)cell));
      fprintf(stderr, "%s\n", all_options);
      exit(2);
    }
}

int main(int argc, char **argv) {
  int right = 0, asked = 0;
  check_names(argc, argv);
  for (int cell = 0; cell <= gk_cell_count(); cell++) {
    gk_rnn_desc desc = GK_RNN_DESC_INIT;
    const char *name = all_options;
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
  return right < asked;
}
