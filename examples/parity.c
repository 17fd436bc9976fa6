/* SPDX-License-Identifier: Apache-2.0
 * Many-to-many of the same length: at every step, is the number of ones so far odd? Every cell learns it from
 * strings of 1 ... 16 bits and must then be right at 99 % of the steps of strings of 64.
 *
 *   example-parity [CELL]...     all of them by default
 *
 * Its exit status, which a test asks for, is 0 if each has learned, 2 if there is no such cell. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gatekern.h"

#define CHECK(call)                                                                                          \
  if ((call) != GK_OK)                                                                                       \
  exit((puts(gk_last_error()), 1))

enum {
  N = 64,
  T = 16,
  LONG = 4 * T,
  H = 32,
  STEPS = 4000,
  EVERY = 100,
  BOTH = GK_PACK_FORWARD | GK_PACK_BACKWARD
};
static const double ENOUGH = 0.002;

/* Time-major: bits, whether the ones so far are odd, and which steps count. */
static float x[LONG * N], odd[LONG * N], counts[LONG * N];
static int64_t lengths[N];

static void make_batch(uint64_t number, int time, bool ragged) {
  for (int n = 0; n < N; n++) {
    lengths[n] = ragged ? 1 + (int64_t)(gk_uniform(1, number, (uint64_t)n) * (float)time) : time;
    for (int t = 0, parity = 0; t < time; t++) {
      const int bit = gk_uniform(2, number, (uint64_t)(n * time + t)) < 0.5f;
      parity ^= bit;
      x[t * N + n] = (float)bit;
      odd[t * N + n] = (float)parity;
      counts[t * N + n] = t < lengths[n]; /* 0: padding */
    }
  }
}

static void *memory(size_t bytes) {
  void *start;
  CHECK(gk_allocate(bytes, &start));
  return start;
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

static float y[LONG * N * H], dy[T * N * H];

static void create(struct network *net, gk_cell cell) {
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.cell = cell;
  desc.input_size = 1;
  desc.hidden_size = H;
  CHECK(gk_rnn_create(&desc, &net->rnn));
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  output_desc.input_size = H;
  output_desc.output_size = 1;
  CHECK(gk_output_create(&output_desc, &net->output));
  net->at_output = gk_rnn_parameter_count(net->rnn);
  net->count = net->at_output + gk_output_parameter_count(net->output);
  net->p = memory((size_t)net->count * sizeof *net->p);
  net->g = memory((size_t)net->count * sizeof *net->g);
  net->adam_state = calloc((size_t)net->count * 2, sizeof *net->adam_state);
  gk_init_desc init = GK_INIT_DESC_INIT;
  init.init = GK_INIT_ORTHOGONAL;
  CHECK(gk_rnn_init(net->rnn, &init, net->p));
  CHECK(gk_output_init(net->output, 1, net->p + net->at_output));
}

/* Memory is the caller's: sizes are asked for. */
static void allocate_memory(struct network *net) {
  size_t packed, output_packed, output_workspace;
  CHECK(gk_rnn_packed_bytes(net->rnn, BOTH, &packed));
  CHECK(gk_output_packed_bytes(net->output, BOTH, &output_packed));
  CHECK(gk_output_workspace_bytes(net->output, LONG * N, &output_workspace));
  gk_rnn_memory need, long_need;
  CHECK(gk_rnn_memory_needed(net->rnn, T, N, &need));
  CHECK(gk_rnn_memory_needed(net->rnn, LONG, N, &long_need));
  net->packed = memory(packed);
  net->output_packed = memory(output_packed);
  net->reserve = memory(need.reserve_bytes);
  net->workspace = memory(output_workspace + need.forward_workspace_bytes + need.backward_workspace_bytes +
                          long_need.inference_workspace_bytes);
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

/* A reserve is what backward needs; without it forward is inference. */
static void run_forward(struct network *net, int time, void *reserve) {
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  forward.time = time;
  forward.batch = N;
  forward.lengths = lengths;
  forward.x = x;
  forward.packed = net->packed;
  forward.y = y;
  forward.reserve = reserve;
  forward.workspace = net->workspace;
  CHECK(gk_rnn_forward(net->rnn, &forward));
}

/* The loss summed over the steps that count; its gradients to dy and to those of the output layer. */
static double output_loss(struct network *net) {
  double loss;
  gk_output_loss_args criterion = GK_OUTPUT_LOSS_ARGS_INIT;
  criterion.rows = T * N;
  criterion.h = y;
  criterion.kind = GK_LOSS_BINARY;
  criterion.values = odd;
  criterion.row_weights = counts;
  criterion.packed = net->output_packed;
  criterion.loss = &loss;
  criterion.gradient_scale = 1.0f / (T * N);
  criterion.dh = dy;
  criterion.gradients = net->g + net->at_output;
  criterion.workspace = net->workspace;
  CHECK(gk_output_loss(net->output, &criterion));
  return loss;
}

static void run_backward(struct network *net) {
  gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  backward.time = T;
  backward.batch = N;
  backward.lengths = lengths;
  backward.x = x;
  backward.packed = net->packed;
  backward.dy = dy;
  backward.gradients = net->g;
  backward.reserve = net->reserve;
  backward.workspace = net->workspace;
  CHECK(gk_rnn_backward(net->rnn, &backward));
}

/* One batch, one update; the loss before it, in nats a step. */
static double train(struct network *net, int step) {
  static const gk_optimizer_desc adam = GK_OPTIMIZER_DESC_INIT;
  make_batch((uint64_t)step, T, true);
  pack(net);
  run_forward(net, T, net->reserve);
  const double loss = output_loss(net);
  run_backward(net);
  double norm;
  CHECK(gk_gradient_norm(GK_ISA_AUTO, 0, 1, (const float *[]){net->g}, &net->count, &norm));
  CHECK(gk_optimizer_step(&adam, step, 0.005, gk_clip_scale(norm, 1), net->count, net->p, net->g,
                          net->adam_state));
  return loss / (T * N);
}

/* The share of right steps of strings of LONG bits, in percent. */
static double test(struct network *net) {
  static float logits[LONG * N];
  int right = 0;
  make_batch(1 << 20, LONG, false);
  pack(net);
  run_forward(net, LONG, NULL);
  CHECK(gk_output_forward(net->output, LONG * N, y, net->output_packed, logits, net->workspace));
  for (int i = 0; i < LONG * N; i++)
    right += (logits[i] > 0) == (odd[i] > 0);
  return 100.0 * right / (LONG * N);
}

/* Trains until the loss is small. The share of right steps of longer strings, in percent. */
static double learn(gk_cell cell) {
  struct network net;
  create(&net, cell);
  allocate_memory(&net);
  double mean = 1; /* of the last EVERY batches */
  int step = 0;
  while (step < STEPS && mean > ENOUGH) {
    mean = 0;
    for (int i = 0; i < EVERY; i++)
      mean += train(&net, ++step) / EVERY;
  }
  const double right = test(&net);
  destroy(&net);
  printf("%-16s  %4d steps  loss %.4f  right on %d bits: %.2f %%\n", gk_cell_name(cell), step, mean, LONG,
         right);
  fflush(stdout);
  return right;
}

static void check_names(int argc, char **argv) {
  gk_cell known;
  for (int i = 1; i < argc; i++)
    if (gk_cell_from_name(argv[i], &known) != GK_OK) {
      fprintf(stderr, "%s: no such cell; ", argv[i]);
      for (int cell = 0; cell < gk_cell_count(); cell++)
        fprintf(stderr, "%s%s", cell ? ", " : "", gk_cell_name((gk_cell)cell));
      fputs("\n", stderr);
      exit(2);
    }
}

int main(int argc, char **argv) {
  int right = 0, asked = 0;
  check_names(argc, argv);
  for (int cell = 0; cell < gk_cell_count(); cell++) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; i++)
      wanted |= strcmp(argv[i], gk_cell_name((gk_cell)cell)) == 0;
    if (wanted)
      asked++, right += learn((gk_cell)cell) >= 99;
  }
  printf("learned: %d of %d\n", right, asked);
  return right < asked;
}
