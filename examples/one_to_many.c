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

/* Time-major: sample n starts with the token n + 1; then what is fed is the digit before. */
static int32_t tokens[T * N], targets[T * N], chosen[T * N];

static void make_fractions(void) {
  for (int n = 0; n < N; n++)
    for (int t = 0, rest = n + 1; t < T; t++) {
      tokens[t * N + n] = t ? targets[(t - 1) * N + n] : n + 1;
      targets[t * N + n] = 10 * rest / 13;
      rest = 10 * rest % 13;
    }
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

static float y[T * N * H], dy[T * N * H];

static void create(struct network *net) {
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  output_desc.input_size = H;
  output_desc.output_size = V;
  CHECK(gk_output_create(&output_desc, &net->output));
  gk_decoder_desc desc = GK_DECODER_DESC_INIT;
  desc.rnn.cell = GK_CELL_GRU;
  desc.rnn.hidden_size = H;
  desc.feedback = GK_FEEDBACK_TOKEN;
  desc.vocabulary = V;
  desc.embedding_size = E;
  desc.output = net->output;
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
  gk_rnn_memory need;
  CHECK(gk_decoder_memory_needed(net->decoder, T, N, 0, &need));
  net->packed = memory(packed);
  net->output_packed = memory(output_packed);
  net->reserve = memory(need.reserve_bytes);
  net->workspace = memory(output_workspace + need.forward_workspace_bytes + need.backward_workspace_bytes +
                          need.inference_workspace_bytes);
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

/* What every call of forward has in common. */
static gk_decoder_forward_args forward_args(struct network *net) {
  gk_decoder_forward_args forward = GK_DECODER_FORWARD_ARGS_INIT;
  forward.time = T;
  forward.batch = N;
  forward.tokens = tokens;
  forward.parameters = net->p;
  forward.packed = net->packed;
  forward.output_packed = net->output_packed;
  forward.y = y;
  forward.workspace = net->workspace;
  return forward;
}

/* The loss of a digit; its gradients, if they are wanted, to dy and to those of the output layer. */
static double output_loss(struct network *net, bool gradients) {
  double loss;
  gk_output_loss_args criterion = GK_OUTPUT_LOSS_ARGS_INIT;
  criterion.rows = T * N;
  criterion.h = y;
  criterion.targets = targets;
  criterion.packed = net->output_packed;
  criterion.loss = &loss;
  criterion.gradient_scale = 1.0f / (T * N);
  criterion.dh = gradients ? dy : NULL;
  criterion.gradients = gradients ? net->g + net->at_output : NULL;
  criterion.workspace = net->workspace;
  CHECK(gk_output_loss(net->output, &criterion));
  return loss / (T * N);
}

static void run_backward(struct network *net) {
  gk_decoder_backward_args backward = GK_DECODER_BACKWARD_ARGS_INIT;
  backward.time = T;
  backward.batch = N;
  backward.parameters = net->p;
  backward.packed = net->packed;
  backward.dy = dy;
  backward.gradients = net->g;
  backward.reserve = net->reserve;
  backward.workspace = net->workspace;
  CHECK(gk_decoder_backward(net->decoder, &backward));
}

/* One update, with ever more digits of its own fed instead of the teacher's. */
static void train(struct network *net, int step) {
  static const gk_optimizer_desc adam = GK_OPTIMIZER_DESC_INIT;
  pack(net);
  gk_decoder_forward_args forward = forward_args(net);
  forward.sampling = 1 - gk_teacher_probability(GK_TEACHER_INVERSE_SIGMOID, STEPS / 10.0, 0, 0, step);
  forward.random = (gk_random_key){.seed = 1, .step = (uint64_t)step};
  forward.reserve = net->reserve;
  CHECK(gk_decoder_forward(net->decoder, &forward));
  const double loss = output_loss(net, true);
  run_backward(net);
  CHECK(gk_optimizer_step(&adam, step, 0.01, 1, net->count, net->p, net->g, net->adam_state));
  if (step % (STEPS / 5) == 0)
    printf("step %3d  sampling %.2f  loss %.4f\n", step, (double)forward.sampling, loss);
}

/* The loss in use: the teacher's digits are fed, or all its own, which go to `chosen`. */
static double test(struct network *net, bool own) {
  gk_decoder_forward_args forward = forward_args(net);
  forward.sampling = own;
  forward.chosen = own ? chosen : NULL;
  CHECK(gk_decoder_forward(net->decoder, &forward));
  return output_loss(net, false);
}

int main(void) {
  struct network net;
  make_fractions();
  create(&net);
  allocate_memory(&net);
  for (int step = 1; step <= STEPS; step++)
    train(&net, step);
  printf("teacher forcing: loss %.4f\n", test(&net, false));
  printf("free-running: loss %.4f\n", test(&net, true));
  destroy(&net);
  int right = 0;
  for (int i = 0; i < T * N; i++)
    right += chosen[i] == targets[i];
  printf("5 / 13 = 0.");
  for (int t = 0; t < T; t++)
    printf("%d", (int)chosen[t * N + 4]);
  printf("...\ndigits right: %d of %d\n", right, T * N);
  return right < T * N * 99 / 100;
}
