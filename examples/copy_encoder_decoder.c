/* SPDX-License-Identifier: Apache-2.0
 * An encoder-decoder (LSTM, the state copied across) copies sequences of up to five symbols: at least 90 %
 * of whole sequences right.
 *
 * Its exit status, which a test asks for, is 0 if it has learned. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gatekern.h"

#define CHECK(call)                                                                                          \
  if ((call) != GK_OK)                                                                                       \
  exit((puts(gk_last_error()), 1))

enum {
  N = 64,
  SYMBOLS = 8,
  START = SYMBOLS,
  END,
  V,
  LONGEST = 5,
  T = LONGEST + 1,
  H = 96,
  E = 16,
  STEPS = 400
};
enum { BOTH = GK_PACK_FORWARD | GK_PACK_BACKWARD };

/* One batch, time-major: sequences of 1 ... LONGEST symbols; the decoder says them in order, then END. */
static int32_t source[LONGEST * N], fed[T * N], targets[T * N];
static int64_t source_lengths[N], lengths[N];

static void make_batch(uint64_t number) {
  for (int n = 0; n < N; n++) {
    const int64_t length = 1 + (int64_t)(gk_uniform(1, number, (uint64_t)n) * LONGEST);
    source_lengths[n] = length;
    lengths[n] = length + 1;
    for (int t = 0; t < LONGEST; t++)
      source[t * N + n] = (int32_t)(gk_uniform(2, number, (uint64_t)(n * LONGEST + t)) * SYMBOLS);
    for (int t = 0; t < T; t++) {
      targets[t * N + n] = t < length ? source[(t)*N + n] : t == length ? END : -1; /* -1: ignored */
      fed[t * N + n] = t == 0 ? START : targets[(t - 1) * N + n];
    }
  }
}

static void *memory(size_t bytes) {
  void *start;
  CHECK(gk_allocate(bytes, &start));
  return start;
}

/* The parts and their memory. The parameters of all four stand in one array, one after the other, and so do
 * their gradients. */
struct network {
  gk_rnn *encoder;
  gk_bridge *bridge;
  gk_decoder *decoder;
  gk_output *output;
  int64_t at_bridge, at_decoder, at_output, count;
  float *p, *g, *adam_state;
  void *packed_encoder, *packed_bridge, *packed_decoder, *packed_output;
  void *encoder_reserve, *decoder_reserve, *workspace;
};

/* What passes between the parts, and its gradients. */
static float hn[N * H], cn[N * H], dhn[N * H], dcn[N * H], h0[N * H], c0[N * H], dh0[N * H], dc0[N * H];
static float y[T * N * H], dy[T * N * H];

static void create_parts(struct network *net) {
  gk_rnn_desc encoder_desc = GK_RNN_DESC_INIT;
  encoder_desc.cell = GK_CELL_LSTM;
  encoder_desc.vocabulary = SYMBOLS;
  encoder_desc.input_size = E;
  encoder_desc.hidden_size = H;
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  output_desc.input_size = H;
  output_desc.output_size = V;
  gk_decoder_desc decoder_desc = GK_DECODER_DESC_INIT;
  decoder_desc.rnn.cell = GK_CELL_LSTM;
  decoder_desc.rnn.hidden_size = H;
  decoder_desc.feedback = GK_FEEDBACK_TOKEN;
  decoder_desc.vocabulary = V;
  decoder_desc.embedding_size = E;
  CHECK(gk_rnn_create(&encoder_desc, &net->encoder));
  CHECK(gk_output_create(&output_desc, &net->output));
  decoder_desc.output = net->output;
  CHECK(gk_decoder_create(&decoder_desc, &net->decoder));
  CHECK(gk_bridge_create(GK_BRIDGE_COPY, net->encoder, gk_decoder_rnn(net->decoder), &net->bridge));
}

static void create_parameters(struct network *net) {
  net->at_bridge = gk_rnn_parameter_count(net->encoder);
  net->at_decoder = net->at_bridge + gk_bridge_parameter_count(net->bridge);
  net->at_output = net->at_decoder + gk_decoder_parameter_count(net->decoder);
  net->count = net->at_output + gk_output_parameter_count(net->output);
  net->p = memory((size_t)net->count * sizeof *net->p);
  net->g = memory((size_t)net->count * sizeof *net->g);
  net->adam_state = calloc((size_t)net->count * 2, sizeof *net->adam_state);
  gk_init_desc init = GK_INIT_DESC_INIT;
  init.forget_bias = 1;
  CHECK(gk_rnn_init(net->encoder, &init, net->p));
  CHECK(gk_bridge_init(net->bridge, 1, net->p + net->at_bridge));
  init.seed = 5; /* or the decoder would start with the encoder's numbers */
  CHECK(gk_decoder_init(net->decoder, &init, net->p + net->at_decoder));
  CHECK(gk_output_init(net->output, 2, net->p + net->at_output));
}

/* Memory is the caller's: sizes are asked for. */
static void allocate_memory(struct network *net) {
  size_t encoder, bridge, decoder, output, bridge_workspace, output_workspace, search_workspace;
  gk_rnn_memory encoder_needs, decoder_needs;
  CHECK(gk_rnn_packed_bytes(net->encoder, BOTH, &encoder));
  CHECK(gk_bridge_packed_bytes(net->bridge, BOTH, &bridge));
  CHECK(gk_decoder_packed_bytes(net->decoder, BOTH, &decoder));
  CHECK(gk_output_packed_bytes(net->output, BOTH, &output));
  net->packed_encoder = memory(encoder);
  net->packed_bridge = memory(bridge);
  net->packed_decoder = memory(decoder);
  net->packed_output = memory(output);
  CHECK(gk_rnn_memory_needed(net->encoder, LONGEST, N, &encoder_needs));
  CHECK(gk_decoder_memory_needed(net->decoder, T, N, 0, &decoder_needs));
  net->encoder_reserve = memory(encoder_needs.reserve_bytes);
  net->decoder_reserve = memory(decoder_needs.reserve_bytes);
  CHECK(gk_bridge_workspace_bytes(net->bridge, N, &bridge_workspace));
  CHECK(gk_output_workspace_bytes(net->output, T * N, &output_workspace));
  CHECK(gk_decoder_search_bytes(net->decoder, N, 1, T, 0, &search_workspace));
  net->workspace =
      memory(bridge_workspace + output_workspace + search_workspace + encoder_needs.forward_workspace_bytes +
             encoder_needs.backward_workspace_bytes + decoder_needs.forward_workspace_bytes +
             decoder_needs.backward_workspace_bytes); /* more than any of them */
}

static void destroy(struct network *net) {
  gk_rnn_destroy(net->encoder);
  gk_bridge_destroy(net->bridge);
  gk_decoder_destroy(net->decoder);
  gk_output_destroy(net->output);
  void *all[] = {net->p,
                 net->g,
                 net->packed_encoder,
                 net->packed_bridge,
                 net->packed_decoder,
                 net->packed_output,
                 net->encoder_reserve,
                 net->decoder_reserve,
                 net->workspace};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    gk_free(all[i]);
  free(net->adam_state);
}

/* After each update. */
static void pack(struct network *net) {
  CHECK(gk_rnn_pack(net->encoder, BOTH, net->p, net->packed_encoder));
  CHECK(gk_bridge_pack(net->bridge, BOTH, net->p + net->at_bridge, net->packed_bridge));
  CHECK(gk_decoder_pack(net->decoder, BOTH, net->p + net->at_decoder, net->packed_decoder));
  CHECK(gk_output_pack(net->output, BOTH, net->p + net->at_output, net->packed_output));
}

/* The source through the encoder, and its last states through the bridge to the decoder's first ones. A
 * reserve is what backward needs; without it forward is inference. */
static void encode(struct network *net, void *reserve) {
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  forward.time = LONGEST;
  forward.batch = N;
  forward.lengths = source_lengths;
  forward.tokens = source;
  forward.parameters = net->p;
  forward.packed = net->packed_encoder;
  forward.hn = hn;
  forward.cn = cn;
  forward.reserve = reserve;
  forward.workspace = net->workspace;
  CHECK(gk_rnn_forward(net->encoder, &forward));
  CHECK(gk_bridge_forward(net->bridge, N, hn, cn, net->packed_bridge, h0, c0, net->workspace));
}

/* Teacher forcing: the decoder is fed what it should have said. */
static void decode(struct network *net) {
  gk_decoder_forward_args forward = GK_DECODER_FORWARD_ARGS_INIT;
  forward.time = T;
  forward.batch = N;
  forward.lengths = lengths;
  forward.tokens = fed;
  forward.h0 = h0;
  forward.c0 = c0;
  forward.parameters = net->p + net->at_decoder;
  forward.packed = net->packed_decoder;
  forward.y = y;
  forward.reserve = net->decoder_reserve;
  forward.workspace = net->workspace;
  CHECK(gk_decoder_forward(net->decoder, &forward));
}

/* The loss summed over all symbols; its gradients to dy and to those of the output layer. */
static double output_loss(struct network *net) {
  double loss;
  gk_output_loss_args criterion = GK_OUTPUT_LOSS_ARGS_INIT;
  criterion.rows = T * N;
  criterion.h = y;
  criterion.targets = targets;
  criterion.packed = net->packed_output;
  criterion.loss = &loss;
  criterion.gradient_scale = 1.0f / (T * N);
  criterion.dh = dy;
  criterion.gradients = net->g + net->at_output;
  criterion.workspace = net->workspace;
  CHECK(gk_output_loss(net->output, &criterion));
  return loss;
}

static void decode_backward(struct network *net) {
  gk_decoder_backward_args backward = GK_DECODER_BACKWARD_ARGS_INIT;
  backward.time = T;
  backward.batch = N;
  backward.lengths = lengths;
  backward.h0 = h0;
  backward.c0 = c0;
  backward.parameters = net->p + net->at_decoder;
  backward.packed = net->packed_decoder;
  backward.dy = dy;
  backward.dh0 = dh0;
  backward.dc0 = dc0;
  backward.gradients = net->g + net->at_decoder;
  backward.reserve = net->decoder_reserve;
  backward.workspace = net->workspace;
  CHECK(gk_decoder_backward(net->decoder, &backward));
}

/* From the decoder's first states back to the encoder's last ones, and through the encoder. */
static void encode_backward(struct network *net) {
  gk_bridge_backward_args cross = GK_BRIDGE_BACKWARD_ARGS_INIT;
  cross.batch = N;
  cross.hn = hn;
  cross.cn = cn;
  cross.h0 = h0;
  cross.c0 = c0;
  cross.packed = net->packed_bridge;
  cross.dh0 = dh0;
  cross.dc0 = dc0;
  cross.dhn = dhn;
  cross.dcn = dcn;
  cross.gradients = net->g + net->at_bridge;
  cross.workspace = net->workspace;
  CHECK(gk_bridge_backward(net->bridge, &cross));
  gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  backward.time = LONGEST;
  backward.batch = N;
  backward.lengths = source_lengths;
  backward.tokens = source;
  backward.parameters = net->p;
  backward.packed = net->packed_encoder;
  backward.dhn = dhn;
  backward.dcn = dcn;
  backward.gradients = net->g;
  backward.reserve = net->encoder_reserve;
  backward.workspace = net->workspace;
  CHECK(gk_rnn_backward(net->encoder, &backward));
}

/* One batch, one update; the loss before it. */
static double train(struct network *net, int step) {
  static const gk_optimizer_desc adam = GK_OPTIMIZER_DESC_INIT;
  make_batch((uint64_t)step);
  pack(net);
  encode(net, net->encoder_reserve);
  decode(net);
  const double loss = output_loss(net);
  decode_backward(net);
  encode_backward(net);
  double norm;
  CHECK(gk_gradient_norm(GK_ISA_AUTO, 0, 1, (const float *[]){net->g}, &net->count, &norm));
  CHECK(gk_optimizer_step(&adam, step, 0.003, gk_clip_scale(norm, 1), net->count, net->p, net->g,
                          net->adam_state));
  return loss;
}

/* How many sequences that it has not seen it says wholly right, from START on by itself: greedy search. */
static int count_right(struct network *net) {
  static int32_t said[N * T], start[N];
  make_batch(1 << 20);
  for (int n = 0; n < N; n++)
    start[n] = START;
  encode(net, NULL);
  gk_search_args search = GK_SEARCH_ARGS_INIT;
  search.batch = N;
  search.most = T;
  search.start = start;
  search.end = END;
  search.h0 = h0;
  search.c0 = c0;
  search.parameters = net->p + net->at_decoder;
  search.packed = net->packed_decoder;
  search.output_packed = net->packed_output;
  search.tokens = said;
  search.workspace = net->workspace;
  CHECK(gk_decoder_search(net->decoder, &search));
  int right = 0;
  for (int n = 0; n < N; n++) {
    bool same = true;
    for (int t = 0; t < T; t++)
      same &= said[n * T + t] == targets[t * N + n]; /* -1 after the end in both */
    right += same;
  }
  return right;
}

int main(void) {
  struct network net;
  create_parts(&net);
  create_parameters(&net);
  allocate_memory(&net);
  for (int step = 1; step <= STEPS; step++) {
    const double loss = train(&net, step);
    if (step % (STEPS / 5) == 0)
      printf("step %4d  loss %.4f\n", step, loss / (T * N));
  }
  const int right = count_right(&net);
  destroy(&net);
  printf("whole sequences right: %d of %d\n", right, N);
  return right < N * 90 / 100;
}
