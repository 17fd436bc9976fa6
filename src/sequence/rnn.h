/* SPDX-License-Identifier: Apache-2.0
 *
 * struct gk_rnn: a network's description, the layout of its parameters, and how its weights are packed.
 * Immutable after gk_rnn_create, but for a hint that only speed depends on. */
#ifndef GK_SEQUENCE_RNN_H
#define GK_SEQUENCE_RNN_H

#include <float.h>

#include "kernels/kernels.h"
#include "src/cells/cell.h"
#include "src/core/arena.h"
#include "src/core/matrix.h"
#include "src/core/packed.h"
#include "src/core/status.h"

enum { GK_MAX_LAYER_TENSORS = 12 }; /* parameters of one direction of one layer */

/* What tells tensors apart for those who go over all of them. */
enum gk_tensor_role {
  GK_TENSOR_EMBEDDING,
  GK_TENSOR_INPUT,     /* (G*H, I): W_x */
  GK_TENSOR_RECURRENT, /* (G*H, P or H): W_h */
  GK_TENSOR_PROJECTION,
  GK_TENSOR_BIAS,
  GK_TENSOR_PEEPHOLE, /* (G-1, H), no matrix: element by element with c */
  GK_TENSOR_GAIN,     /* of layer normalisation */
  GK_TENSOR_SHIFT,    /* the same */
  GK_TENSOR_STATE     /* trained initial states */
};

struct gk_rnn_tensor {
  gk_tensor tensor;
  enum gk_tensor_role role;
  int layer;        /* of the layers, [layer * D + direction]; -1: the embedding's */
  const char *kind; /* its name without layer and direction; NULL: the embedding's */
};

/* One direction of one layer. */
struct gk_rnn_layer {
  int64_t input_size;
  size_t hidden;              /* units: floats of c and of each block of a gates row */
  size_t output;              /* floats of h */
  size_t output_width;        /* floats of a row of the layer's output, both directions */
  size_t output_column;       /* where this direction's h stands in it */
  int64_t h_offset, c_offset; /* floats of a sample in the layers before, in h0 and hn, c0 and cn */
  int64_t weight_ih, weight_hh, bias_ih, bias_hh;             /* offsets in the parameters */
  int64_t weight_hr, weight_peephole, h0, c0;                 /* the same, where the network has them */
  int64_t weight_ln_ih, weight_ln_hh, weight_ln_c, bias_ln_c; /* the same */
  size_t h0_row, c0_row;                                      /* of the packed rows of trained states */
  size_t peephole;                                            /* offset of its packed peepholes */
  size_t norm;                          /* of the packed row of layer normalisation (kernels/kernels.h) */
  size_t bias;                          /* offset of its packed gates row of biases */
  struct gk_matrix x, h[GK_MAX_PHASES]; /* forward: W_x and W_h, side by side where a step has one product */
  struct gk_matrix dx, dh[GK_MAX_PHASES]; /* backward */
  struct gk_matrix p, dp;                 /* projection: h (P) of the cell's (H), and its gradient */
};

/* How fast a thread went through its slices: FLOP a second, and how many were measured, at most what is
 * remembered. */
struct gk_pace {
  _Atomic float speed, flop;
};

struct gk_rnn {
  gk_rnn_desc desc;
  const struct gk_cell_info *cell;
  const struct gk_kernels *kernels;
  bool reads_across;    /* weight gradients read gates across, as they stand: gk_reads_across */
  struct gk_pace *pace; /* [threads] the hint (pace.h) */
  bool cores_are_near;  /* gk_cores_are_near: what the plan takes a thread more to cost */
  struct gk_cell_arithmetic arithmetic; /* of a step */
  bool general;                         /* they are the general ones, with the direction's variant */
  struct gk_cell_variant variant[2];
  int peepholes;       /* gates that see c */
  bool threads_forced; /* the caller named a number: small work takes as many all the same */
  int directions;
  int layer_count;                                   /* L * D */
  struct gk_rnn_layer *layers;                       /* [layer * D + direction] */
  int64_t *hidden_sizes;                             /* copy of the description's */
  size_t widest_hidden, widest_output, widest_input; /* of all layers; the output of both directions */
  int64_t hidden_values, cell_values;                /* floats of a sample in h0, c0 */
  struct gk_rnn_tensor *tensors;
  int tensor_count;
  int64_t parameter_count;
  struct gk_packed_size packed;
};

/* Of a probability: what some environments take for 0 is off in all of them. */
static inline bool gk_probability_is_on(float probability) {
  return probability >= FLT_MIN;
}

/* How one call is cut. Reads nothing but sizes. */
struct gk_rnn_plan {
  gk_schedule schedule; /* never AUTO */
  int threads;
  int64_t chunk;      /* steps whose input product (or dx) is formed at once */
  int64_t kept_steps; /* that pass from layer to layer: a chunk, or with a wavefront two */
};
/* What gk_rnn_create refuses without making anything. */
gk_status gk_rnn_check_description(const gk_rnn_desc *desc);
/* fed: something besides the states goes from the last layer of a step to the first one of the next. */
struct gk_rnn_plan gk_rnn_plan_for(const struct gk_rnn *rnn, int64_t time, int64_t batch, bool training,
                                   bool fed);
/* The plan of a call, and of all shorter ones those that may need the most memory. Returns how many. */
#define GK_RNN_MOST_PLANS 6
int gk_rnn_plans_up_to(const struct gk_rnn *rnn, int64_t time, int64_t batch, bool training,
                       struct gk_rnn_plan plans[GK_RNN_MOST_PLANS]);
/* Weights of all layers; those of them that each step reads. */
double gk_rnn_weights(const struct gk_rnn *rnn);
double gk_rnn_recurrent_weights(const struct gk_rnn *rnn);
/* Steps of a training call, at most, whose forward reads weights so rarely that none is packed, if one chunk
 * takes them and they have not too many rows; may be infinite. */
double gk_rnn_unpacked_steps(const struct gk_rnn *rnn);
/* Of gk_rnn_explain_plan: what a training step packs, and why. */
void gk_rnn_explain_packing(const struct gk_rnn *rnn, int64_t time, int64_t batch, gk_rnn_plan_info *info);
/* rnn and the sizes of a call that is planned. */
gk_status gk_rnn_check_sizes(const struct gk_rnn *rnn, int64_t time, int64_t batch);
/* A direction of a layer that the network has. */
gk_status gk_rnn_check_place(const struct gk_rnn *rnn, int64_t layer, int direction);
/* "1 sample", "64 samples" */
enum { GK_COUNT_TEXT = 32 };
void gk_count_text(long long count, const char *unit, char text[GK_COUNT_TEXT]);
/* So few threads pack a block of rows of the weight gradient each for itself: what one writes and another
 * reads goes from cache to cache, twice. Measured with two: a step takes 1 to 2 % less (AVX-512, H = 128 and
 * 512), with packing at 1.2 % of it; each further thread's copy costs as much of its own, smaller part. */
#define GK_OWN_PANELS_THREADS 4
/* Threads that pack: those that one sample's step of a layer keeps busy, and so whatever the batch will read
 * the weights. */
int gk_rnn_packing_threads(const struct gk_rnn *rnn);
/* Does the first layer start from a table of what its input weights make of the embedding's rows? Where input
 * dropout acts, each time a row is read has a mask of its own instead. */
static inline bool gk_rnn_folds(const struct gk_rnn *rnn, bool training) {
  return rnn->desc.vocabulary > 0 && !(training && rnn->desc.input_dropout > 0);
}
/* Are a layer's gates interleaved in W_x and W_h? */
bool gk_rnn_interleaves(const struct gk_rnn *rnn, const struct gk_rnn_layer *layer);

#endif
