/* SPDX-License-Identifier: Apache-2.0
 *
 * The oracle: every cell and layer in float64, one sample and one time step at a time, in plain loops
 * and libm's functions. Nothing here is fast, and nothing here is shared with the kernels, so that an
 * error of one is not an error of the other.
 *
 * Shapes and names are those of gatekern.h; parameters have the layout of gk_rnn's parameters, as doubles.
 */
#ifndef GK_REFERENCE_H
#define GK_REFERENCE_H

#include <stdint.h>

#include "include/gatekern.h"

/* ---- Products -------------------------------------------------------------------------------- */

/* y (rows) += M (rows, columns) x (columns). */
void gk_reference_product(int64_t rows, int64_t columns, const double *m, const double *x, double *y);
/* Of the product above, given dy: dx += M^T dy, dm += dy x^T. */
void gk_reference_product_backward(int64_t rows, int64_t columns, const double *m, const double *x,
                                   const double *dy, double *dx, double *dm);
/* y (count) += x (count). */
void gk_reference_add(int64_t count, const double *x, double *y);
double gk_reference_sigmoid(double x);

/* ---- Cells ----------------------------------------------------------------------------------- */

/* One layer in one direction: G*H rows a matrix, gates outermost in PyTorch's order. */
struct gk_reference_weights {
  const gk_rnn_desc *desc;                        /* the cell's options; hidden_size is this layer's */
  int64_t input_size;                             /* of this layer */
  int64_t output;                                 /* values of h: H, or what an LSTM's projection leaves */
  const double *weight_ih;                        /* (G*H, input_size) */
  const double *weight_hh;                        /* (G*H, output) */
  const double *bias_ih;                          /* (G*H) */
  const double *bias_hh;                          /* (G*H) */
  const double *peephole;                         /* (G - 1, H) or NULL */
  const double *ln_ih, *ln_hh, *ln_c, *bias_ln_c; /* layer normalisation: (G*H), (G*H), (H), (H), or NULL */
};

/* Added to, never overwritten. */
struct gk_reference_weight_gradients {
  double *weight_ih, *weight_hh, *bias_ih, *bias_hh, *peephole, *ln_ih, *ln_hh, *ln_c, *bias_ln_c;
};

/* One time step of one sample. c is NULL in cells without memory.
 *   kept     what backward needs of forward; `kept` arrays of H values
 *   scratch  GK_REFERENCE_SCRATCH * H values, contents meaningless before and after */
#define GK_REFERENCE_SCRATCH 10

struct gk_reference_cell {
  int gates; /* G without options */
  int kept;
  /* h, c (H) -> h_next, c_next (H), which are other arrays. A projection of h_next is the network's. */
  void (*forward)(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                  double *h_next, double *c_next, double *kept, double *scratch);
  /* dh, dc: gradients of h_next, c_next on entry, of h, c on return; dh has the larger of H and output
   * values. dx (input_size) is added to. */
  void (*backward)(const struct gk_reference_weights *w, const double *x, const double *h, const double *c,
                   const double *kept, double *dh, double *dc, double *dx,
                   const struct gk_reference_weight_gradients *dw, double *scratch);
};

#define GK_CELL(constant, identifier, name) extern const struct gk_reference_cell gk_reference_##identifier;
#include "kernels/cells.def"
#undef GK_CELL

const struct gk_reference_cell *gk_reference_cell_of(gk_cell cell);
/* G of a description, with its options. */
int64_t gk_reference_gates(const gk_rnn_desc *desc);

/* The function of a place: its value at `a` and, unless it is NULL, its derivative there. Pre-activations
 * (every place but GK_OUTPUT) are bounded by the options' clip first. */
double gk_reference_activation(const gk_rnn_desc *desc, gk_activation_place place, double a, double *slope);

/* ---- Networks -------------------------------------------------------------------------------- */

/* Forward, then (when `backward` is set) BPTT of a whole network. Plan fields of the description are
 * ignored. Any pointer but `parameters` and the input may be NULL: zero, or not wanted. */
struct gk_reference_call {
  int64_t time, batch;
  const int64_t *lengths; /* (N) */
  const bool *reset;      /* the description's layout: a sequence begins at this step */
  const double *x;        /* the description's layout */
  const int32_t *tokens;  /* with a vocabulary, instead of x */
  const double *h0, *c0;  /* (L*D, N, H) */
  const double *parameters;
  /* Factor of every output of every layer but the last, (L-1, T, N, D*H) time-major whatever the
   * layout: the mask that dropout drew, 0 or 1/(1-p). */
  const double *masks;
  /* The other masks that regularisation drew, read back, each NULL where it is off. Factors of x (T, N, I);
   * of the state that a recurrent product reads, (L*D, T, N, H); of weight_hh, in the layout of the
   * parameters. Zoneout, (L*D, T, N, H): the share of the step before that stays in h and c, 0 or 1, or its
   * mean. */
  const double *input_masks, *recurrent_masks, *parameter_masks, *zoneout_h, *zoneout_c;
  double *y, *hn, *cn;

  bool backward;
  const double *dy, *dhn, *dcn;
  double *dx, *dh0, *dc0;
  double *gradients; /* overwritten */
  double *dh_norms;  /* (L*D, T, N), zeros at first: padding is not written */
};

/* GK_OK or GK_ERROR_MEMORY. */
gk_status gk_reference_run(const gk_rnn_desc *desc, const struct gk_reference_call *call);
int64_t gk_reference_parameter_count(const gk_rnn_desc *desc);

/* Where the tensors of one layer and direction stand in the array of parameters. */
struct gk_reference_layout {
  int64_t input_size, hidden, output; /* I, H, P of the layer */
  int64_t width, column;         /* of a row of the layer's output; where this direction's h stands in it */
  int64_t h_offset, unit_offset; /* values of h, units of all layers and directions before */
  int64_t weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, peephole, ln_ih, ln_hh, ln_c, bias_ln_c, h0,
      c0; /* offsets in values; one that
is the next one's has no values */
  int64_t end;
};
struct gk_reference_layout gk_reference_layout_of(const gk_rnn_desc *desc, int64_t layer, int64_t direction);
int64_t gk_reference_directions(const gk_rnn_desc *desc);

/* ---- Embedding, output layer, loss ----------------------------------------------------------- */

/* x (rows, I) = weight (V, I)[tokens]; backward: dweight (V, I)[tokens] += dx. */
void gk_reference_embedding(int64_t rows, int64_t size, const double *weight, const int32_t *tokens,
                            double *x);
void gk_reference_embedding_backward(int64_t rows, int64_t size, const int32_t *tokens, const double *dx,
                                     double *dweight);

/* gk_pool_forward, and its backward where dy is not NULL. */
void gk_reference_pool(const gk_pool_desc *desc, int64_t time, int64_t batch, const int64_t *lengths,
                       const double *y, double *pooled, const double *dpooled, double *dy);

/* p (count) = softmax(logits / temperature). */
void gk_reference_softmax(int64_t count, double temperature, const double *logits, double *p);

/* One row's loss, weight included; d (count), NULL: not wanted, is its gradient times `scale`. */
struct gk_reference_row {
  gk_loss_kind kind;
  int64_t count;
  const double *x;
  int64_t target;       /* softmax */
  const double *values; /* the others */
  double weight, smoothing, positive_weight, delta, scale;
};
double gk_reference_row_loss(const struct gk_reference_row *row, double *d);

/* gk_output_loss: outputs = h W^T + b and the summed loss; a negative target is ignored. dh, dweight, dbias
 * are overwritten, each times `scale`; any may be NULL. `scratch` has 2 * V values. */
struct gk_reference_loss {
  int64_t rows, input_size, output_size;
  const double *h;             /* (R, H) */
  const double *weight, *bias; /* (V, H), (V) */
  const int32_t *targets;      /* (R) */
  double scale;
  double *dh, *dweight, *dbias;
  double *scratch;
  gk_loss_kind kind;
  const double *values;                     /* (R, V) */
  const double *row_weights;                /* (R); NULL: 1 */
  double smoothing, positive_weight, delta; /* 0: 0, 1, 1 */
};
double gk_reference_output_loss(const struct gk_reference_loss *loss);

/* ---- Optimizers ------------------------------------------------------------------------------ */

/* As gk_optimizer_step; `state` holds two arrays of `count` values whatever the kind, zeros at first. */
void gk_reference_optimizer_step(const gk_optimizer_desc *desc, int64_t step, double learning_rate,
                                 double gradient_scale, int64_t count, double *parameters,
                                 const double *gradients, double *state);

#endif
