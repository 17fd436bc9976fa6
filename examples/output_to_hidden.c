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

int main(void) {
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  output_desc.input_size = H;
  output_desc.output_size = 2;
  gk_output *output;
  CHECK(gk_output_create(&output_desc, &output));
  gk_decoder_desc desc = GK_DECODER_DESC_INIT;
  desc.rnn.cell = GK_CELL_RNN;
  desc.rnn.recurrence = GK_RECURRENCE_NONE;
  desc.rnn.input_size = 1;
  desc.rnn.hidden_size = H;
  desc.feedback = GK_FEEDBACK_OUTPUT;
  desc.output = output;
  desc.output_function = GK_OUTPUT_SOFTMAX;
  gk_decoder *network;
  CHECK(gk_decoder_create(&desc, &network));

  const int64_t at_output = gk_decoder_parameter_count(network);
  const int64_t count = at_output + gk_output_parameter_count(output);
  float *p = memory((size_t)count * sizeof *p), *g = memory((size_t)count * sizeof *g);
  float *adam_state = calloc((size_t)count * 2, sizeof *adam_state);
  gk_init_desc init = GK_INIT_DESC_INIT;
  CHECK(gk_decoder_init(network, &init, p));
  CHECK(gk_output_init(output, 1, p + at_output));
  size_t bytes[3];
  gk_rnn_memory need, long_need;
  CHECK(gk_decoder_packed_bytes(network, BOTH, &bytes[0]));
  CHECK(gk_output_packed_bytes(output, BOTH, &bytes[1]));
  CHECK(gk_output_workspace_bytes(output, T * N, &bytes[2]));
  CHECK(gk_decoder_memory_needed(network, T, N, 0, &need));
  CHECK(gk_decoder_memory_needed(network, LONG, N, 0, &long_need));
  void *packed = memory(bytes[0]), *output_packed = memory(bytes[1]), *reserve = memory(need.reserve_bytes);
  void *workspace = memory(bytes[2] + need.forward_workspace_bytes + need.backward_workspace_bytes +
                           long_need.inference_workspace_bytes);
  static float y[LONG * N * H], dy[T * N * H], outputs[LONG * N * 2];
  gk_decoder_forward_args forward = GK_DECODER_FORWARD_ARGS_INIT;
  forward.batch = N;
  forward.x = x;
  forward.previous = previous;
  forward.packed = packed;
  forward.output_packed = output_packed;
  forward.y = y;
  forward.outputs = outputs;
  forward.workspace = workspace;

  gk_optimizer_desc adam = GK_OPTIMIZER_DESC_INIT;
  for (int step = 1; step <= STEPS; step++) {
    make_batch((uint64_t)step, T);
    CHECK(gk_decoder_pack(network, BOTH, p, packed));
    CHECK(gk_output_pack(output, BOTH, p + at_output, output_packed));
    forward.time = T;
    forward.sampling = step > STEPS / 2; /* 0: the teacher's output is fed, 1: the network's */
    forward.reserve = reserve;
    CHECK(gk_decoder_forward(network, &forward));
    double loss;
    gk_output_loss_args criterion = GK_OUTPUT_LOSS_ARGS_INIT;
    criterion.rows = T * N;
    criterion.h = y;
    criterion.targets = targets;
    criterion.packed = output_packed;
    criterion.loss = &loss;
    criterion.gradient_scale = 1.0f / (T * N);
    criterion.dh = dy;
    criterion.gradients = g + at_output;
    criterion.workspace = workspace;
    CHECK(gk_output_loss(output, &criterion));
    gk_decoder_backward_args backward = GK_DECODER_BACKWARD_ARGS_INIT;
    backward.time = T;
    backward.batch = N;
    backward.packed = packed;
    backward.output_packed = output_packed;
    backward.dy = dy;
    backward.gradients = g;
    backward.output_gradients = g + at_output; /* what goes through the feedback is added */
    backward.reserve = reserve;
    backward.workspace = workspace;
    CHECK(gk_decoder_backward(network, &backward));
    CHECK(gk_optimizer_step(&adam, step, 0.02, 1, count, p, g, adam_state));
    if (step % (STEPS / 6) == 0)
      printf("step %3d  %-13s  loss %.4f\n", step, forward.sampling > 0 ? "free-running" : "teacher",
             loss / (T * N));
  }

  make_batch(1 << 20, LONG);
  forward.time = LONG;
  forward.sampling = 1;
  forward.reserve = NULL;
  CHECK(gk_decoder_forward(network, &forward));
  int right = 0;
  for (int i = 0; i < LONG * N; i++)
    right += (outputs[2 * i + 1] > outputs[2 * i]) == targets[i];
  printf("free-running, %d steps: right at %.2f %%\n", LONG, 100.0 * right / (LONG * N));
  return right < LONG * N * 99 / 100;
}
