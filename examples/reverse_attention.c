/* SPDX-License-Identifier: Apache-2.0
 * An encoder-decoder with attention (bidirectional GRU encoder, linear bridge through tanh, Luong's general
 * score, input feeding) reverses sequences of up to nine symbols: at least 90 % of whole sequences right.
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
  LONGEST = 9,
  T = LONGEST + 1,
  H = 64,
  E = 16,
  STEPS = 400
};
enum { BOTH = GK_PACK_FORWARD | GK_PACK_BACKWARD };

/* One batch, time-major: sequences of 1 ... LONGEST symbols; the decoder says them backward, then END. */
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
      targets[t * N + n] = t < length    ? source[((length - 1 - t)) * N + n]
                           : t == length ? END
                                         : -1; /* -1: ignored */
      fed[t * N + n] = t == 0 ? START : targets[(t - 1) * N + n];
    }
  }
}

static void *memory(size_t bytes) {
  void *start;
  CHECK(gk_allocate(bytes, &start));
  return start;
}

int main(void) {
  gk_rnn_desc encoder_desc = GK_RNN_DESC_INIT;
  encoder_desc.cell = GK_CELL_GRU;
  encoder_desc.vocabulary = SYMBOLS;
  encoder_desc.input_size = E;
  encoder_desc.hidden_size = H;
  encoder_desc.direction = GK_BIDIRECTIONAL;
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  output_desc.input_size = H;
  output_desc.output_size = V;
  gk_decoder_desc decoder_desc = GK_DECODER_DESC_INIT;
  decoder_desc.rnn.cell = GK_CELL_GRU;
  decoder_desc.rnn.hidden_size = H;
  decoder_desc.feedback = GK_FEEDBACK_TOKEN;
  decoder_desc.vocabulary = V;
  decoder_desc.embedding_size = E;
  decoder_desc.attention = GK_ATTENTION_GENERAL;
  decoder_desc.source_size = 2 * H;
  decoder_desc.input_feeding = true;
  gk_rnn *encoder;
  gk_output *output;
  gk_decoder *decoder;
  gk_bridge *bridge;
  CHECK(gk_rnn_create(&encoder_desc, &encoder));
  CHECK(gk_output_create(&output_desc, &output));
  decoder_desc.output = output;
  CHECK(gk_decoder_create(&decoder_desc, &decoder));
  CHECK(gk_bridge_create(GK_BRIDGE_TANH, encoder, gk_decoder_rnn(decoder), &bridge));

  /* One array of parameters for all four. */
  const int64_t at_bridge = gk_rnn_parameter_count(encoder);
  const int64_t at_decoder = at_bridge + gk_bridge_parameter_count(bridge);
  const int64_t at_output = at_decoder + gk_decoder_parameter_count(decoder);
  const int64_t count = at_output + gk_output_parameter_count(output);
  float *p = memory((size_t)count * sizeof *p), *g = memory((size_t)count * sizeof *g);
  float *adam_state = calloc((size_t)count * 2, sizeof *adam_state);
  gk_init_desc init = GK_INIT_DESC_INIT;
  CHECK(gk_rnn_init(encoder, &init, p));
  CHECK(gk_bridge_init(bridge, 1, p + at_bridge));
  CHECK(gk_decoder_init(decoder, &init, p + at_decoder));
  CHECK(gk_output_init(output, 2, p + at_output));

  size_t bytes[8];
  gk_rnn_memory encoder_needs, decoder_needs;
  CHECK(gk_rnn_packed_bytes(encoder, BOTH, &bytes[0]));
  CHECK(gk_bridge_packed_bytes(bridge, BOTH, &bytes[1]));
  CHECK(gk_decoder_packed_bytes(decoder, BOTH, &bytes[2]));
  CHECK(gk_output_packed_bytes(output, BOTH, &bytes[3]));
  CHECK(gk_bridge_workspace_bytes(bridge, N, &bytes[4]));
  CHECK(gk_output_workspace_bytes(output, T * N, &bytes[5]));
  CHECK(gk_rnn_memory_needed(encoder, LONGEST, N, &encoder_needs));
  CHECK(gk_decoder_memory_needed(decoder, T, N, LONGEST, &decoder_needs));
  CHECK(gk_decoder_search_bytes(decoder, N, 1, T, LONGEST, &bytes[6]));
  void *packed[4], *reserve[2] = {memory(encoder_needs.reserve_bytes), memory(decoder_needs.reserve_bytes)};
  for (int i = 0; i < 4; i++)
    packed[i] = memory(bytes[i]);
  bytes[7] = bytes[4] + bytes[5] + bytes[6] + encoder_needs.forward_workspace_bytes +
             encoder_needs.backward_workspace_bytes + decoder_needs.forward_workspace_bytes +
             decoder_needs.backward_workspace_bytes; /* more than any of them */
  void *workspace = memory(bytes[7]);
  enum { D = 2 };
  static float states[LONGEST * N * 2 * H], d_states[LONGEST * N * 2 * H];
  static float hn[D * N * H], dhn[D * N * H], h0[N * H], dh0[N * H];
  static float y[T * N * H], dy[T * N * H];
  gk_rnn_forward_args encode = GK_RNN_FORWARD_ARGS_INIT;
  encode.time = LONGEST;
  encode.batch = N;
  encode.lengths = source_lengths;
  encode.tokens = source;
  encode.parameters = p;
  encode.packed = packed[0];
  encode.hn = hn;
  encode.y = states; /* what the decoder attends to */
  encode.reserve = reserve[0];
  encode.workspace = workspace;
  gk_decoder_forward_args decode = GK_DECODER_FORWARD_ARGS_INIT;
  decode.time = T;
  decode.batch = N;
  decode.lengths = lengths;
  decode.tokens = fed; /* teacher forcing */
  decode.source_time = LONGEST;
  decode.source_lengths = source_lengths;
  decode.source = states;
  decode.h0 = h0;
  decode.parameters = p + at_decoder;
  decode.packed = packed[2];
  decode.y = y;
  decode.reserve = reserve[1];
  decode.workspace = workspace;

  gk_optimizer_desc adam = GK_OPTIMIZER_DESC_INIT;
  for (int step = 1; step <= STEPS; step++) {
    make_batch((uint64_t)step);
    CHECK(gk_rnn_pack(encoder, BOTH, p, packed[0]));
    CHECK(gk_bridge_pack(bridge, BOTH, p + at_bridge, packed[1]));
    CHECK(gk_decoder_pack(decoder, BOTH, p + at_decoder, packed[2]));
    CHECK(gk_output_pack(output, BOTH, p + at_output, packed[3]));
    CHECK(gk_rnn_forward(encoder, &encode));
    CHECK(gk_bridge_forward(bridge, N, hn, NULL, packed[1], h0, NULL, workspace));
    CHECK(gk_decoder_forward(decoder, &decode));
    double loss, norm;
    gk_output_loss_args criterion = GK_OUTPUT_LOSS_ARGS_INIT;
    criterion.rows = T * N;
    criterion.h = y;
    criterion.targets = targets;
    criterion.packed = packed[3];
    criterion.loss = &loss;
    criterion.gradient_scale = 1.0f / (T * N);
    criterion.dh = dy;
    criterion.gradients = g + at_output;
    criterion.workspace = workspace;
    CHECK(gk_output_loss(output, &criterion));
    gk_decoder_backward_args back = GK_DECODER_BACKWARD_ARGS_INIT;
    back.time = T;
    back.batch = N;
    back.lengths = lengths;
    back.source_time = LONGEST;
    back.source_lengths = source_lengths;
    back.source = states;
    back.dsource = d_states;
    back.h0 = h0;
    back.parameters = p + at_decoder;
    back.packed = packed[2];
    back.dy = dy;
    back.dh0 = dh0;
    back.gradients = g + at_decoder;
    back.reserve = reserve[1];
    back.workspace = workspace;
    CHECK(gk_decoder_backward(decoder, &back));
    gk_bridge_backward_args cross = GK_BRIDGE_BACKWARD_ARGS_INIT;
    cross.batch = N;
    cross.hn = hn;
    cross.h0 = h0;
    cross.packed = packed[1];
    cross.dh0 = dh0;
    cross.dhn = dhn;
    cross.gradients = g + at_bridge;
    cross.workspace = workspace;
    CHECK(gk_bridge_backward(bridge, &cross));
    gk_rnn_backward_args unroll = GK_RNN_BACKWARD_ARGS_INIT;
    unroll.time = LONGEST;
    unroll.batch = N;
    unroll.lengths = source_lengths;
    unroll.tokens = source;
    unroll.parameters = p;
    unroll.packed = packed[0];
    unroll.dy = d_states;
    unroll.dhn = dhn;
    unroll.gradients = g;
    unroll.reserve = reserve[0];
    unroll.workspace = workspace;
    CHECK(gk_rnn_backward(encoder, &unroll));
    CHECK(gk_gradient_norm(GK_ISA_AUTO, 0, 1, (const float *[]){g}, &count, &norm));
    CHECK(gk_optimizer_step(&adam, step, 0.003, gk_clip_scale(norm, 1), count, p, g, adam_state));
    if (step % (STEPS / 5) == 0)
      printf("step %4d  loss %.4f\n", step, loss / (T * N));
  }

  /* Sequences that it has not seen, said from START on by itself: greedy search. */
  static int32_t said[N * T], start[N];
  make_batch(1 << 20);
  for (int n = 0; n < N; n++)
    start[n] = START;
  encode.reserve = NULL;
  CHECK(gk_rnn_forward(encoder, &encode));
  CHECK(gk_bridge_forward(bridge, N, hn, NULL, packed[1], h0, NULL, workspace));
  gk_search_args search = GK_SEARCH_ARGS_INIT;
  search.batch = N;
  search.most = T;
  search.start = start;
  search.end = END;
  search.source_time = LONGEST;
  search.source_lengths = source_lengths;
  search.source = states;
  search.h0 = h0;
  search.parameters = p + at_decoder;
  search.packed = packed[2];
  search.output_packed = packed[3];
  search.tokens = said;
  search.workspace = workspace;
  CHECK(gk_decoder_search(decoder, &search));
  int right = 0;
  for (int n = 0; n < N; n++) {
    bool same = true;
    for (int t = 0; t < T; t++)
      same &= said[n * T + t] == targets[t * N + n]; /* -1 after the end in both */
    right += same;
  }
  printf("whole sequences right: %d of %d\n", right, N);
  return right < N * 90 / 100;
}
