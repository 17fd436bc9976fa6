/* SPDX-License-Identifier: Apache-2.0
 *
 * Feedback: whatever goes from step t's output to step t+1's input, and what stands on top of a stack to make
 * it (attention, the output layer). The time loop calls it before a chunk's first layer and after its last
 * one, and backward in reverse; where something is fed back a chunk is one step. Rows stand where the
 * caller's layout has (t, n): r = gk_run_caller_row. */
#ifndef GK_SEQUENCE_FEEDBACK_H
#define GK_SEQUENCE_FEEDBACK_H

#include "src/layers/linear.h"
#include "src/layers/output.h"
#include "src/sequence/run.h"

struct gk_decoder {
  gk_decoder_desc desc;
  gk_rnn *rnn;
  int64_t hidden;                  /* floats of the last layer's h */
  int64_t fed;                     /* floats of what is fed: E, O or 0 */
  int64_t top;                     /* floats of y: A or H */
  int64_t width;                   /* floats of the stack's input: I + fed + A with input feeding */
  struct gk_linear query, combine; /* W_q, W_c */
  struct gk_packed_size packed;    /* of these two */
  int64_t rnn_offset, query_offset, combine_offset, parameter_count;
};

/* Where a decoder's packed buffer holds its stack's. */
const void *gk_decoder_stack_packed(const gk_decoder *decoder, const void *packed);

/* One call. Rows of all (t, n), in the reserve (inference: in the workspace); what is not needed is NULL. */
struct gk_feed {
  const struct gk_decoder *decoder;
  bool in_turn;  /* something goes from step to step */
  bool chooses;  /* tokens: the network's own one is needed */
  int64_t beams; /* samples in a row that share a source */
  const float *packed, *output_packed, *parameters;
  struct gk_random_counter coin, draw; /* whose turn it is; which token */

  const float *x, *previous, *source, *feed0;
  const int32_t *tokens;
  float sampling, temperature;
  gk_choice choice;
  int64_t source_time;
  const int64_t *source_lengths;
  float *y, *outputs, *weights, *feedn;
  int32_t *chosen, *fed;

  const float *dy, *doutputs, *dfeedn;
  float *dx, *dprevious, *dsource, *dfeed0, *gradients, *output_gradients;
  bool accumulate;

  float *in, *d_in;         /* (R, width): the stack's input */
  uint8_t *own;             /* (R): the network fed itself */
  int32_t *token, *picked;  /* (R): the token that was fed; the network's choice after the step */
  float *query, *d_query;   /* (R, S) */
  float *alpha, *d_score;   /* (R, Ts) */
  float *joined, *d_joined; /* (R, S + H): [c; h] */
  float *top, *d_top;       /* (R, A or H): y, the gradient of W_c [c; h] or of y */
  float *d_h;               /* (R, H) */
  float *out, *d_out;       /* (R, O): o, the gradient of W_o y + b_o */
  int64_t *token_start,
      *token_rows; /* backward: (V + 1), (R): rows by fed token, in the order of the sweep */
  float *scratch;  /* scratch_floats a thread */
  size_t scratch_floats;
};

/* ---- Called by the time loop, by all threads of a region ---- */

/* Padding of the outputs. */
void gk_feed_start(const struct gk_worker *worker);
/* Inputs of the steps [begin, end), and what the top makes of the last layer's h after them. */
void gk_feed_inputs(const struct gk_worker *worker, int64_t begin, int64_t end);
void gk_feed_outputs(const struct gk_worker *worker, int64_t begin, int64_t end);
/* The gradient of the last layer's h at the steps [begin, end), from y's, o's and those of later inputs. */
void gk_feed_backward(const struct gk_worker *worker, int64_t begin, int64_t end);
/* Gradients of parameters, source and inputs, when all steps are done. */
void gk_feed_gradients(const struct gk_worker *worker);
/* Floats of scratch that one thread needs; false if they do not fit. */
bool gk_feed_scratch_floats(const struct gk_decoder *decoder, size_t *floats);

/* ---- The time loop with feedback (forward.c, backward.c); NULL: without ---- */

gk_status gk_rnn_forward_fed(const gk_rnn *rnn, const gk_rnn_forward_args *args, const struct gk_feed *feed);
gk_status gk_rnn_backward_fed(const gk_rnn *rnn, const gk_rnn_backward_args *args,
                              const struct gk_feed *feed);

#endif
