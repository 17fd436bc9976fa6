/* SPDX-License-Identifier: Apache-2.0
 * One-to-many: one token starts it, each output feeds the next step. A GRU is told a number n and says the
 * first twelve decimals of n / 13. Trained with scheduled sampling (inverse sigmoid: from the teacher's
 * digits to its own), then it runs freely: at least 99 % of the digits right. The loss under teacher
 * forcing and free-running shows what the difference between training and use costs.
 *
 * Its exit status, which a test asks for, is 0 if it has learned. */
#include <stdio.h>
#include <stdlib.h>

#include "gatekern.h"

#define CHECK(call)                                                                                          \
  if ((call) != GK_OK)                                                                                       \
  exit((puts(gk_last_error()), 1))

enum { N = 12, T = 12, V = 13, E = 8, H = 32, STEPS = 400, BOTH = GK_PACK_FORWARD | GK_PACK_BACKWARD };

static void *memory(size_t bytes) {
  void *start;
  CHECK(gk_allocate(bytes, &start));
  return start;
}

int main(void) {
  /* Time-major: sample n starts with the token n + 1; then what is fed is the digit before. */
  static int32_t tokens[T * N], targets[T * N], chosen[T * N];
  for (int n = 0; n < N; n++)
    for (int t = 0, rest = n + 1; t < T; t++) {
      tokens[t * N + n] = t ? targets[(t - 1) * N + n] : n + 1;
      targets[t * N + n] = 10 * rest / 13;
      rest = 10 * rest % 13;
    }
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  output_desc.input_size = H;
  output_desc.output_size = V;
  gk_output *output;
  CHECK(gk_output_create(&output_desc, &output));
  gk_decoder_desc desc = GK_DECODER_DESC_INIT;
  desc.rnn.cell = GK_CELL_GRU;
  desc.rnn.hidden_size = H;
  desc.feedback = GK_FEEDBACK_TOKEN;
  desc.vocabulary = V;
  desc.embedding_size = E;
  desc.output = output;
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
  gk_rnn_memory need;
  CHECK(gk_decoder_packed_bytes(network, BOTH, &bytes[0]));
  CHECK(gk_output_packed_bytes(output, BOTH, &bytes[1]));
  CHECK(gk_output_workspace_bytes(output, T * N, &bytes[2]));
  CHECK(gk_decoder_memory_needed(network, T, N, 0, &need));
  void *packed = memory(bytes[0]), *output_packed = memory(bytes[1]), *reserve = memory(need.reserve_bytes);
  void *workspace = memory(bytes[2] + need.forward_workspace_bytes + need.backward_workspace_bytes +
                           need.inference_workspace_bytes);
  static float y[T * N * H], dy[T * N * H];
  double loss;
  gk_decoder_forward_args forward = GK_DECODER_FORWARD_ARGS_INIT;
  forward.time = T;
  forward.batch = N;
  forward.tokens = tokens;
  forward.parameters = p;
  forward.packed = packed;
  forward.output_packed = output_packed;
  forward.y = y;
  forward.reserve = reserve;
  forward.workspace = workspace;
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
  gk_decoder_backward_args backward = GK_DECODER_BACKWARD_ARGS_INIT;
  backward.time = T;
  backward.batch = N;
  backward.parameters = p;
  backward.packed = packed;
  backward.dy = dy;
  backward.gradients = g;
  backward.reserve = reserve;
  backward.workspace = workspace;

  gk_optimizer_desc adam = GK_OPTIMIZER_DESC_INIT;
  for (int step = 1; step <= STEPS; step++) {
    CHECK(gk_decoder_pack(network, BOTH, p, packed));
    CHECK(gk_output_pack(output, BOTH, p + at_output, output_packed));
    forward.sampling = 1 - gk_teacher_probability(GK_TEACHER_INVERSE_SIGMOID, STEPS / 10.0, 0, 0, step);
    forward.random = (gk_random_key){.seed = 1, .step = (uint64_t)step};
    CHECK(gk_decoder_forward(network, &forward));
    CHECK(gk_output_loss(output, &criterion));
    CHECK(gk_decoder_backward(network, &backward));
    CHECK(gk_optimizer_step(&adam, step, 0.01, 1, count, p, g, adam_state));
    if (step % (STEPS / 5) == 0)
      printf("step %3d  sampling %.2f  loss %.4f\n", step, (double)forward.sampling, loss / (T * N));
  }

  forward.reserve = NULL;
  criterion.dh = criterion.gradients = NULL;
  for (int own = 0; own <= 1; own++) {
    forward.sampling = (float)own;
    forward.chosen = own ? chosen : NULL;
    CHECK(gk_decoder_forward(network, &forward));
    CHECK(gk_output_loss(output, &criterion));
    printf("%s: loss %.4f\n", own ? "free-running" : "teacher forcing", loss / (T * N));
  }
  int right = 0;
  for (int i = 0; i < T * N; i++)
    right += chosen[i] == targets[i];
  printf("5 / 13 = 0.");
  for (int t = 0; t < T; t++)
    printf("%d", (int)chosen[t * N + 4]);
  printf("...\ndigits right: %d of %d\n", right, T * N);
  return right < T * N * 99 / 100;
}
