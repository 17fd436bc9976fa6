/* SPDX-License-Identifier: Apache-2.0
 * An output-to-hidden (Jordan) network: its only memory is its own output before, so the parity of the bits
 * so far must be said to be remembered. Trained with the right output fed (all steps at once), then with
 * its own, gradients through the feedback; it must be right at 99 % of the steps of sequences four times as
 * long.
 *
 * Its exit status, which a test asks for, is 0 if it has learned. */
#include <stdio.h>
#include <stdlib.h>

#include "gatekern.h"

#define CHECK(call)                                                                                          \
  if ((call) != GK_OK)                                                                                       \
  exit((puts(gk_last_error()), 1))

enum { N = 32, T = 12, LONG = 4 * T, H = 16, STEPS = 300, BOTH = GK_PACK_FORWARD | GK_PACK_BACKWARD };

/* Time-major: bits, and the parity so far as a class and as what is fed a step later. */
static float x[LONG * N], previous[LONG * N * 2];
static int32_t targets[LONG * N];

static void make_batch(uint64_t number, int time) {
  for (int n = 0; n < N; n++)
    for (int t = 0, parity = 0; t < time; t++) {
      const int bit = gk_uniform(1, number, (uint64_t)(n * time + t)) < 0.5f;
      previous[(t * N + n) * 2] = !parity;
      previous[(t * N + n) * 2 + 1] = (float)parity;
      parity ^= bit;
      x[t * N + n] = (float)bit;
      targets[t * N + n] = parity;
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
  gk_decoder *decoder;
  gk_output *output;
  int64_t at_output, count;
  float *p, *g, *adam_state;
  void *packed, *output_packed, *reserve, *workspace;
};

static float y[LONG * N * H], dy[T * N * H], outputs[LONG * N * 2];

static void create(struct network *net) {
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  output_desc.input_size = H;
  output_desc.output_size = 2;
  CHECK(gk_output_create(&output_desc, &net->output));
  gk_decoder_desc desc = GK_DECODER_DESC_INIT;
  desc.rnn.cell = GK_CELL_RNN;
  desc.rnn.recurrence = GK_RECURRENCE_NONE;
  desc.rnn.input_size = 1;
  desc.rnn.hidden_size = H;
  desc.feedback = GK_FEEDBACK_OUTPUT;
  desc.output = net->output;
  desc.output_function = GK_OUTPUT_SOFTMAX;
  CHECK(gk_decoder_create(&desc, &net->decoder));
  net->at_output = gk_decoder_parameter_count(net->decoder);
  net->count = net->at_output + gk_output_parameter_count(net->output);
  net->p = memory((size_t)net->count * sizeof *net->p);
  net->g = memory((size_t)net->count * sizeof *net->g);
  net->adam_state = calloc((size_t)net->count * 2, sizeof *net->adam_state);
  gk_init_desc init = GK_INIT_DESC_INIT;
  CHECK(gk_decoder_init(net->decoder, &init, net->p));
  CHECK(gk_output_init(net->output, 1, net->p + net->at_output));
}

/* Memory is the caller's: sizes are asked for. */
static void allocate_memory(struct network *net) {
  size_t packed, output_packed, output_workspace;
  CHECK(gk_decoder_packed_bytes(net->decoder, BOTH, &packed));
  CHECK(gk_output_packed_bytes(net->output, BOTH, &output_packed));
  CHECK(gk_output_workspace_bytes(net->output, T * N, &output_workspace));
  gk_rnn_memory need, long_need;
  CHECK(gk_decoder_memory_needed(net->decoder, T, N, 0, &need));
  CHECK(gk_decoder_memory_needed(net->decoder, LONG, N, 0, &long_need));
  net->packed = memory(packed);
  net->output_packed = memory(output_packed);
  net->reserve = memory(need.reserve_bytes);
  net->workspace = memory(output_workspace + need.forward_workspace_bytes + need.backward_workspace_bytes +
                          long_need.inference_workspace_bytes);
}

static void destroy(struct network *net) {
  gk_decoder_destroy(net->decoder);
  gk_output_destroy(net->output);
  void *all[] = {net->p, net->g, net->packed, net->output_packed, net->reserve, net->workspace};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    gk_free(all[i]);
  free(net->adam_state);
}

/* After each update. */
static void pack(struct network *net) {
  CHECK(gk_decoder_pack(net->decoder, BOTH, net->p, net->packed));
  CHECK(gk_output_pack(net->output, BOTH, net->p + net->at_output, net->output_packed));
}

/* own: what is fed is the network's output, not the teacher's. A reserve is what backward needs; without it
 * forward is inference. */
static void run_forward(struct network *net, int time, bool own, void *reserve) {
  gk_decoder_forward_args forward = GK_DECODER_FORWARD_ARGS_INIT;
  forward.time = time;
  forward.batch = N;
  forward.x = x;
  forward.previous = previous;
  forward.sampling = own;
  forward.packed = net->packed;
  forward.output_packed = net->output_packed;
  forward.y = y;
  forward.outputs = outputs;
  forward.reserve = reserve;
  forward.workspace = net->workspace;
  CHECK(gk_decoder_forward(net->decoder, &forward));
}

/* The loss of a step; its gradients to dy and to those of the output layer. */
static double output_loss(struct network *net) {
  double loss;
  gk_output_loss_args criterion = GK_OUTPUT_LOSS_ARGS_INIT;
  criterion.rows = T * N;
  criterion.h = y;
  criterion.targets = targets;
  criterion.packed = net->output_packed;
  criterion.loss = &loss;
  criterion.gradient_scale = 1.0f / (T * N);
  criterion.dh = dy;
  criterion.gradients = net->g + net->at_output;
  criterion.workspace = net->workspace;
  CHECK(gk_output_loss(net->output, &criterion));
  return loss / (T * N);
}

static void run_backward(struct network *net) {
  gk_decoder_backward_args backward = GK_DECODER_BACKWARD_ARGS_INIT;
  backward.time = T;
  backward.batch = N;
  backward.packed = net->packed;
  backward.output_packed = net->output_packed;
  backward.dy = dy;
  backward.gradients = net->g;
  backward.output_gradients = net->g + net->at_output; /* what goes through the feedback is added */
  backward.reserve = net->reserve;
  backward.workspace = net->workspace;
  CHECK(gk_decoder_backward(net->decoder, &backward));
}

/* One batch, one update; the loss before it. */
static double train(struct network *net, int step, bool own) {
  static const gk_optimizer_desc adam = GK_OPTIMIZER_DESC_INIT;
  make_batch((uint64_t)step, T);
  pack(net);
  run_forward(net, T, own, net->reserve);
  const double loss = output_loss(net);
  run_backward(net);
  CHECK(gk_optimizer_step(&adam, step, 0.02, 1, net->count, net->p, net->g, net->adam_state));
  return loss;
}

/* At how many steps of longer sequences its own output, fed back, is right. */
static int count_right(struct network *net) {
  make_batch(1 << 20, LONG);
  run_forward(net, LONG, true, NULL);
  int right = 0;
  for (int i = 0; i < LONG * N; i++)
    right += (outputs[2 * i + 1] > outputs[2 * i]) == targets[i];
  return right;
}

int main(void) {
  struct network net;
  create(&net);
  allocate_memory(&net);
  for (int step = 1; step <= STEPS; step++) {
    const bool own = step > STEPS / 2;
    const double loss = train(&net, step, own);
    if (step % (STEPS / 6) == 0)
      printf("step %3d  %-13s  loss %.4f\n", step, own ? "free-running" : "teacher", loss);
  }
  const int right = count_right(&net);
  destroy(&net);
  printf("free-running, %d steps: right at %.2f %%\n", LONG, 100.0 * right / (LONG * N));
  return right < LONG * N * 99 / 100;
}
