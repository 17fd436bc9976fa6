/* SPDX-License-Identifier: Apache-2.0
 * Tagging that needs both directions: at every step, was this symbol there before, and will it come again?
 * (four tags). A GRU that reads forward cannot know the second; one that reads both ways, its directions side
 * by side or added, must give 98 % of the tags of strings that it has not seen, and forward alone at most 80.
 *
 * Its exit status, which a test asks for, is 0 if it is so. */
#include <stdio.h>
#include <stdlib.h>

#include "gatekern.h"

#define CHECK(call)                                                                                          \
  if ((call) != GK_OK)                                                                                       \
  exit((puts(gk_last_error()), 1))

enum {
  N = 64,
  SYMBOLS = 12,
  T = 14,
  TAGS = 4,
  E = 16,
  H = 48,
  STEPS = 800,
  BOTH = GK_PACK_FORWARD | GK_PACK_BACKWARD
};

/* Time-major: strings of 2 ... T symbols; tag 1 for "before" + 2 for "again", -1 (ignored) in padding. */
static int32_t tokens[T * N], tags[T * N];
static int64_t lengths[N];

static void make_batch(uint64_t number) {
  for (int n = 0; n < N; n++) {
    lengths[n] = 2 + (int64_t)(gk_uniform(1, number, (uint64_t)n) * (T - 1));
    for (int t = 0; t < T; t++)
      tokens[t * N + n] = (int32_t)(gk_uniform(2, number, (uint64_t)(n * T + t)) * SYMBOLS);
    for (int t = 0; t < T; t++) {
      tags[t * N + n] = t < lengths[n] ? 0 : -1;
      for (int s = 0; s < lengths[n] && t < lengths[n]; s++)
        if (s != t && tokens[s * N + n] == tokens[t * N + n])
          tags[t * N + n] |= s < t ? 1 : 2;
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

static float y[T * N * 2 * H], dy[T * N * 2 * H];

static void create(struct network *net, gk_direction direction, gk_merge merge) {
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.cell = GK_CELL_GRU;
  desc.vocabulary = SYMBOLS;
  desc.input_size = E;
  desc.hidden_size = H;
  desc.direction = direction;
  desc.merge = merge;
  CHECK(gk_rnn_create(&desc, &net->rnn));
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  output_desc.input_size = gk_rnn_output_size(net->rnn);
  output_desc.output_size = TAGS;
  CHECK(gk_output_create(&output_desc, &net->output));
  net->at_output = gk_rnn_parameter_count(net->rnn);
  net->count = net->at_output + gk_output_parameter_count(net->output);
  net->p = memory((size_t)net->count * sizeof *net->p);
  net->g = memory((size_t)net->count * sizeof *net->g);
  net->adam_state = calloc((size_t)net->count * 2, sizeof *net->adam_state);
  gk_init_desc init = GK_INIT_DESC_INIT;
  CHECK(gk_rnn_init(net->rnn, &init, net->p));
  CHECK(gk_output_init(net->output, 1, net->p + net->at_output));
}

/* Memory is the caller's: sizes are asked for. */
static void allocate_memory(struct network *net) {
  size_t packed, output_packed, output_workspace;
  CHECK(gk_rnn_packed_bytes(net->rnn, BOTH, &packed));
  CHECK(gk_output_packed_bytes(net->output, BOTH, &output_packed));
  CHECK(gk_output_workspace_bytes(net->output, T * N, &output_workspace));
  gk_rnn_memory need;
  CHECK(gk_rnn_memory_needed(net->rnn, T, N, &need));
  net->packed = memory(packed);
  net->output_packed = memory(output_packed);
  net->reserve = memory(need.reserve_bytes);
  net->workspace = memory(output_workspace + need.forward_workspace_bytes + need.backward_workspace_bytes +
                          need.inference_workspace_bytes);
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
static void run_forward(struct network *net, void *reserve) {
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  forward.time = T;
  forward.batch = N;
  forward.lengths = lengths;
  forward.tokens = tokens;
  forward.parameters = net->p;
  forward.packed = net->packed;
  forward.y = y;
  forward.reserve = reserve;
  forward.workspace = net->workspace;
  CHECK(gk_rnn_forward(net->rnn, &forward));
}

/* Gradients of the loss to dy and to those of the output layer. */
static void output_loss(struct network *net) {
  gk_output_loss_args criterion = GK_OUTPUT_LOSS_ARGS_INIT;
  criterion.rows = T * N;
  criterion.h = y;
  criterion.targets = tags;
  criterion.packed = net->output_packed;
  criterion.gradient_scale = 1.0f / (T * N);
  criterion.dh = dy;
  criterion.gradients = net->g + net->at_output;
  criterion.workspace = net->workspace;
  CHECK(gk_output_loss(net->output, &criterion));
}

static void run_backward(struct network *net) {
  gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  backward.time = T;
  backward.batch = N;
  backward.lengths = lengths;
  backward.tokens = tokens;
  backward.parameters = net->p;
  backward.packed = net->packed;
  backward.dy = dy;
  backward.gradients = net->g;
  backward.reserve = net->reserve;
  backward.workspace = net->workspace;
  CHECK(gk_rnn_backward(net->rnn, &backward));
}

/* One batch, one update. */
static void train(struct network *net, int step) {
  static const gk_optimizer_desc adam = GK_OPTIMIZER_DESC_INIT;
  make_batch((uint64_t)step);
  pack(net);
  run_forward(net, net->reserve);
  output_loss(net);
  run_backward(net);
  CHECK(gk_optimizer_step(&adam, step, 0.005, 1, net->count, net->p, net->g, net->adam_state));
}

/* The share of right tags of strings that it has not seen, in percent. */
static double test(struct network *net) {
  static float logits[T * N * TAGS];
  int right = 0, all = 0;
  make_batch(1 << 20);
  pack(net);
  run_forward(net, NULL);
  CHECK(gk_output_forward(net->output, T * N, y, net->output_packed, logits, net->workspace));
  for (int i = 0; i < T * N; i++) {
    int best = 0;
    for (int tag = 1; tag < TAGS; tag++)
      best = logits[i * TAGS + tag] > logits[i * TAGS + best] ? tag : best;
    all += tags[i] >= 0;
    right += best == tags[i];
  }
  return 100.0 * right / all;
}

/* The share of right tags after STEPS updates, in percent. */
static double learn(const char *name, gk_direction direction, gk_merge merge) {
  struct network net;
  create(&net, direction, merge);
  allocate_memory(&net);
  for (int step = 1; step <= STEPS; step++)
    train(&net, step);
  const double right = test(&net);
  destroy(&net);
  printf("%-25s  tags right: %.1f %%\n", name, right);
  fflush(stdout);
  return right;
}

int main(void) {
  const int right = (learn("forward", GK_FORWARD, GK_MERGE_CONCATENATE) <= 80) +
                    (learn("both ways, side by side", GK_BIDIRECTIONAL, GK_MERGE_CONCATENATE) >= 98) +
                    (learn("both ways, added", GK_BIDIRECTIONAL, GK_MERGE_SUM) >= 98);
  return right < 3;
}
