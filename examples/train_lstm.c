/* SPDX-License-Identifier: Apache-2.0
 * One training step of an LSTM through the C API: the loss is half the squared distance of y from `target`. */
#include <stdio.h>

#include "gatekern.h"

#define CHECK(call) do { if ((call) != GK_OK) { puts(gk_last_error()); return 1; } } while (0)
static float x[20 * 8 * 16], target[20 * 8 * 32], y[20 * 8 * 32], dy[20 * 8 * 32]; /* T 20, N 8, I 16, H 32 */
static float parameters[10000], gradients[10000], state[20000];

int main(void) {
  gk_rnn_desc desc = GK_RNN_DESC_INIT; /* an LSTM of one layer */
  desc.input_size = 16, desc.hidden_size = 32;
  gk_rnn *rnn;
  CHECK(gk_rnn_create(&desc, &rnn));
  const int64_t count = gk_rnn_parameter_count(rnn); /* PyTorch's tensors, one after the other */
  gk_init_desc init = GK_INIT_DESC_INIT;
  CHECK(gk_rnn_init(rnn, &init, parameters));

  size_t packed_bytes;
  gk_rnn_memory needed;
  void *packed, *reserve, *workspace;
  CHECK(gk_rnn_packed_bytes(rnn, GK_PACK_FORWARD | GK_PACK_BACKWARD, &packed_bytes));
  CHECK(gk_rnn_memory_needed(rnn, 20, 8, &needed));
  CHECK(gk_allocate(packed_bytes, &packed));
  CHECK(gk_allocate(needed.reserve_bytes, &reserve));
  CHECK(gk_allocate(needed.forward_workspace_bytes + needed.backward_workspace_bytes, &workspace));
  for (int i = 0; i < 20 * 8 * 16; i++) x[i] = gk_uniform(1, 0, (uint64_t)i);

  gk_optimizer_desc adam = GK_OPTIMIZER_DESC_INIT;
  for (int step = 1; step <= 100; step++) {
    double loss = 0;
    CHECK(gk_rnn_pack(rnn, GK_PACK_FORWARD | GK_PACK_BACKWARD, parameters, packed)); /* after each update */
    gk_rnn_forward_args forward = {.size = sizeof forward, .time = 20, .batch = 8, .x = x, .packed = packed,
                                   .y = y, .reserve = reserve, .workspace = workspace};
    CHECK(gk_rnn_forward(rnn, &forward));
    for (int i = 0; i < 20 * 8 * 32; i++) dy[i] = y[i] - target[i], loss += 0.5 * dy[i] * dy[i];
    gk_rnn_backward_args backward = {.size = sizeof backward, .time = 20, .batch = 8, .x = x, .packed = packed,
                                     .dy = dy, .gradients = gradients, .reserve = reserve, .workspace = workspace};
    CHECK(gk_rnn_backward(rnn, &backward));
    CHECK(gk_optimizer_step(&adam, step, 0.01, 1.0f, count, parameters, gradients, state));
    if (step % 25 == 0) printf("step %3d  loss %.4f\n", step, loss);
  }
}
