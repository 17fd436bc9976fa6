/* SPDX-License-Identifier: Apache-2.0
 * Trains an LSTM to give y = 0 through the C API. README.md shows this file; a test compares and runs it. */
#include <stdio.h>

#include "gatekern.h"

#define CHECK(call)                                                                                          \
  if ((call) != GK_OK)                                                                                       \
  return puts(gk_last_error()), 1
enum { T = 20, N = 8, I = 16, H = 32, BOTH = GK_PACK_FORWARD | GK_PACK_BACKWARD };
static float x[T * N * I], y[T * N * H], weights[7000], gradients[7000], adam_state[14000];

int main(void) {
  gk_rnn_desc desc = {
      .size = sizeof desc, .cell = GK_CELL_LSTM, .input_size = I, .hidden_size = H, .layers = 1};
  gk_rnn *rnn;
  CHECK(gk_rnn_create(&desc, &rnn)); /* immutable; threads and instruction set are chosen here */
  gk_init_desc init = GK_INIT_DESC_INIT;
  CHECK(gk_rnn_init(rnn, &init, weights)); /* PyTorch's tensors, one after the other */
  size_t packed_bytes;
  gk_rnn_memory need;
  void *packed, *reserve, *workspace; /* memory is the caller's: sizes are asked for */
  CHECK(gk_rnn_packed_bytes(rnn, BOTH, &packed_bytes));
  CHECK(gk_rnn_memory_needed(rnn, T, N, &need));
  CHECK(gk_allocate(packed_bytes, &packed));
  CHECK(gk_allocate(need.reserve_bytes, &reserve));
  CHECK(gk_allocate(need.forward_workspace_bytes + need.backward_workspace_bytes, &workspace));
  for (int i = 0; i < T * N * I; i++)
    x[i] = gk_uniform(1, 0, (uint64_t)i);
  gk_optimizer_desc adam = GK_OPTIMIZER_DESC_INIT;
  for (int step = 1; step <= 100; step++) {
    CHECK(gk_rnn_pack(rnn, BOTH, weights, packed)); /* after each update */
    CHECK(gk_rnn_forward(rnn, &(gk_rnn_forward_args){.size = sizeof(gk_rnn_forward_args),
                                                     .time = T,
                                                     .batch = N,
                                                     .x = x,
                                                     .packed = packed,
                                                     .y = y,
                                                     .reserve = reserve,
                                                     .workspace = workspace}));
    double loss = 0; /* half the sum of squares: its gradient is y itself */
    for (int i = 0; i < T * N * H; i++)
      loss += 0.5 * y[i] * y[i];
    CHECK(gk_rnn_backward(rnn, &(gk_rnn_backward_args){.size = sizeof(gk_rnn_backward_args),
                                                       .time = T,
                                                       .batch = N,
                                                       .x = x,
                                                       .packed = packed,
                                                       .dy = y,
                                                       .gradients = gradients,
                                                       .reserve = reserve,
                                                       .workspace = workspace}));
    CHECK(gk_optimizer_step(&adam, step, 0.01, 1.0f, gk_rnn_parameter_count(rnn), weights, gradients,
                            adam_state));
    if (step % 25 == 0)
      printf("step %3d  loss %.4f\n", step, loss);
  }
}
