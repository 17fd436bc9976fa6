/* SPDX-License-Identifier: Apache-2.0
 * Many-to-many of the same length: at every step, is the number of ones so far odd? Every cell learns it from
 * strings of 1 ... 16 bits and must then be right at 99 % of the steps of strings of 64.
 *
 *   example-parity [CELL]...     all of them by default
 *
 * Its exit status, which a test asks for, is 0 if each has learned. */
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

/* Trains until the loss is small. The share of right steps of longer strings, in percent. */
static double learn(gk_cell cell) {
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.cell = cell;
  desc.input_size = 1;
  desc.hidden_size = H;
  gk_rnn *rnn;
  CHECK(gk_rnn_create(&desc, &rnn));
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  output_desc.input_size = H;
  output_desc.output_size = 1;
  gk_output *output;
  CHECK(gk_output_create(&output_desc, &output));
  const int64_t at_output = gk_rnn_parameter_count(rnn);
  const int64_t count = at_output + gk_output_parameter_count(output);
  float *p = memory((size_t)count * sizeof *p), *g = memory((size_t)count * sizeof *g);
  float *adam_state = calloc((size_t)count * 2, sizeof *adam_state);
  gk_init_desc init = GK_INIT_DESC_INIT;
  init.init = GK_INIT_ORTHOGONAL;
  CHECK(gk_rnn_init(rnn, &init, p));
  CHECK(gk_output_init(output, 1, p + at_output));

  size_t bytes[3];
  gk_rnn_memory need, long_need;
  CHECK(gk_rnn_packed_bytes(rnn, BOTH, &bytes[0]));
  CHECK(gk_output_packed_bytes(output, BOTH, &bytes[1]));
  CHECK(gk_output_workspace_bytes(output, LONG * N, &bytes[2]));
  CHECK(gk_rnn_memory_needed(rnn, T, N, &need));
  CHECK(gk_rnn_memory_needed(rnn, LONG, N, &long_need));
  void *packed = memory(bytes[0]), *output_packed = memory(bytes[1]), *reserve = memory(need.reserve_bytes);
  void *workspace = memory(bytes[2] + need.forward_workspace_bytes + need.backward_workspace_bytes +
                           long_need.inference_workspace_bytes);
  static float y[LONG * N * H], dy[T * N * H], logits[LONG * N];
  gk_rnn_forward_args forward = GK_RNN_FORWARD_ARGS_INIT;
  forward.time = T;
  forward.batch = N;
  forward.lengths = lengths;
  forward.x = x;
  forward.packed = packed;
  forward.y = y;
  forward.reserve = reserve;
  forward.workspace = workspace;
  gk_output_loss_args criterion = GK_OUTPUT_LOSS_ARGS_INIT;
  criterion.rows = T * N;
  criterion.h = y;
  criterion.kind = GK_LOSS_BINARY;
  criterion.values = odd;
  criterion.row_weights = counts;
  criterion.packed = output_packed;
  criterion.gradient_scale = 1.0f / (T * N);
  criterion.dh = dy;
  criterion.gradients = g + at_output;
  criterion.workspace = workspace;
  gk_rnn_backward_args backward = GK_RNN_BACKWARD_ARGS_INIT;
  backward.time = T;
  backward.batch = N;
  backward.lengths = lengths;
  backward.x = x;
  backward.packed = packed;
  backward.dy = dy;
  backward.gradients = g;
  backward.reserve = reserve;
  backward.workspace = workspace;

  gk_optimizer_desc adam = GK_OPTIMIZER_DESC_INIT;
  double loss, mean = 1; /* of the last EVERY batches, in nats a step */
  criterion.loss = &loss;
  int step = 0, right = 0;
  while (step < STEPS && mean > ENOUGH) {
    mean = 0;
    for (int i = 0; i < EVERY; i++) {
      make_batch((uint64_t)++step, T, true);
      CHECK(gk_rnn_pack(rnn, BOTH, p, packed));
      CHECK(gk_output_pack(output, BOTH, p + at_output, output_packed));
      CHECK(gk_rnn_forward(rnn, &forward));
      CHECK(gk_output_loss(output, &criterion));
      CHECK(gk_rnn_backward(rnn, &backward));
      double norm;
      CHECK(gk_gradient_norm(GK_ISA_AUTO, 0, 1, (const float *[]){g}, &count, &norm));
      CHECK(gk_optimizer_step(&adam, step, 0.005, gk_clip_scale(norm, 1), count, p, g, adam_state));
      mean += loss / (T * N * EVERY);
    }
  }

  make_batch(1 << 20, LONG, false);
  CHECK(gk_rnn_pack(rnn, BOTH, p, packed));
  CHECK(gk_output_pack(output, BOTH, p + at_output, output_packed));
  forward.time = LONG;
  forward.reserve = NULL;
  CHECK(gk_rnn_forward(rnn, &forward));
  CHECK(gk_output_forward(output, LONG * N, y, output_packed, logits, workspace));
  for (int i = 0; i < LONG * N; i++)
    right += (logits[i] > 0) == (odd[i] > 0);
  printf("%-16s  %4d steps  loss %.4f  right on %d bits: %.2f %%\n", gk_cell_name(cell), step, mean, LONG,
         100.0 * right / (LONG * N));
  fflush(stdout);
  gk_rnn_destroy(rnn);
  gk_output_destroy(output);
  void *all[] = {p, g, packed, output_packed, reserve, workspace};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    gk_free(all[i]);
  free(adam_state);
  return 100.0 * right / (LONG * N);
}

int main(int argc, char **argv) {
  int right = 0, asked = 0;
  for (int cell = 0; cell < gk_cell_count(); cell++) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; i++)
      wanted |= strcmp(argv[i], gk_cell_name((gk_cell)cell)) == 0;
    if (wanted)
      asked++, right += learn((gk_cell)cell) >= 99;
  }
  printf("learned: %d of %d\n", right, asked);
  return right < asked || asked == 0;
}
