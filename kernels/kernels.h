/* SPDX-License-Identifier: Apache-2.0
 *
 * The contract of every kernel, and struct gk_kernels, the table that dispatch hands out.
 *
 * Kernels are pure functions over memory: no allocation, no threads, no globals, no I/O. Each gives the
 * same bits on every tier. Rows are handed over as arrays of pointers, so that ragged batches, both
 * layouts, resets and gathers need no copies. No alignment is assumed. Unless said otherwise, outputs
 * do not overlap inputs.
 */
#ifndef GK_KERNELS_KERNELS_H
#define GK_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/gatekern.h"

/* The canonical order of a sum of products: y = init; for each block of GK_SUM_BLOCK (of sums over rows:
 * GK_GRADIENT_BLOCK) consecutive k: acc = +0, acc = fma(a[k], b[k], acc) with k ascending, y = y + acc. Part
 * of the results, not of their speed. */
#define GK_SUM_BLOCK 256

/* The block of sums over the rows (t, sample) of a batch: gradients of weights and biases. Their terms often
 * cancel, so that blocks of 256 left some tensors 3 to 9 times less exact than PyTorch's; such a product
 * takes 2 % longer (AVX-512, H = 128 and 512). A divisor of GK_SUM_BLOCK, in which rows are packed. */
#define GK_GRADIENT_BLOCK 64

/* Virtual lanes of every other reduction: value i joins lane i % GK_SUM_LANES, in ascending order;
 * then lane j += lane j + w for w = GK_SUM_LANES/2, ..., 1, and + 0: the sum is never -0. */
#define GK_SUM_LANES 32

#define GK_MAX_PHASES 2

enum {
#define GK_CELL(constant, identifier, name) GK_KERNEL_CELL_##constant,
#include "kernels/cells.def"
#undef GK_CELL
  GK_CELL_COUNT
};

/* Lanes [begin, end) of a vector, which follow one another in a row of C. */
struct gk_column_part {
  uint32_t offset; /* of lane `begin`, in floats */
  uint16_t begin, end;
};

#define GK_MOST_LANES   16 /* v of any tier */
#define GK_WIDEST_PANEL 64 /* columns: nv * v of any tier */

/* Where one vector of a packed matrix lands in a row of C. */
struct gk_column {
  uint32_t offset;                    /* of lane 0, in floats */
  uint32_t lanes;                     /* 1..v valid lanes; the others are not written */
  const struct gk_column_part *parts; /* of them, one after the other, that stand apart; NULL: none do */
};

/* Memory that the caller will read next: while a product computes it asks for a little of it with each k.
 * Read in one burst it would keep the caller waiting for memory that was idle before. Only a hint. */
#define GK_AHEAD_RANGES 32
struct gk_ahead {
  size_t count, floats; /* floats: of all ranges */
  struct gk_ahead_range {
    const float *start;
    size_t floats;
  } range[GK_AHEAD_RANGES];
};

/* C[i][column(q) + lane] += sum over k of a[i][k * a_step] * B[k][q][lane] in the canonical order, for
 * i < rows and the vectors q of [vector_begin, vector_end). B is packed in panels of nv vectors: vector q of
 * row k is at b + (q / nv) * panel_stride + (k * nv + q % nv) * v. Lanes beyond a column's are zero in B.
 * Or B is not packed: its k rows stand b_step floats apart, beginning with row b_first, after the last one
 * row 0; vector q of row 0 is at b + q * v. Then a_step is 1, and only the last column may have fewer lanes
 * than v, beyond which nothing is read. Or b_columns are rows of W, k floats each, whose transpose is B: one
 * for each lane of the vectors, which are at most nv. Then a_step is 1 too, and what is but a hint has no
 * effect. */
struct gk_product {
  size_t rows;
  size_t k;
  size_t sum_block;      /* GK_SUM_BLOCK or GK_GRADIENT_BLOCK */
  const float *const *a; /* [rows] */
  ptrdiff_t a_step;      /* floats from k to k: 1, or any number on a tier that reads_across */
  const float *b;
  size_t b_step, b_first;          /* of B unpacked; 0: it is packed */
  const float *const *b_columns;   /* or NULL */
  const float *b_after;            /* what will be read as B is, next; or NULL. Only a hint */
  size_t b_floats;                 /* of all that is read in turn with this B; or 0. Only a hint */
  size_t panel_stride;             /* floats from panel to panel, >= k * nv * v */
  const struct gk_column *columns; /* of vector 0 */
  size_t vector_begin, vector_end;
  bool descending; /* the last vectors first: what a call left in the caches is read first by the next one */
  float *const *c; /* [rows] */
  bool overwrite;  /* C = 0 + sum instead */
  bool stream;     /* overwrite, past the caches: stream_end() follows. Rows of whole lines of cache */
  const float *const *init;     /* [rows]: C = init + sum instead, init being addressed as C is; or NULL */
  const struct gk_ahead *ahead; /* or NULL */
};

/* An activation as kernels take it: never DEFAULT. from_output: forward saves its value, from which backward
 * takes the derivative; else forward saves what it was applied to, before clipping. */
struct gk_activation_function {
  gk_activation kind;
  float alpha, beta;
  bool from_output;
};

/* What departs from a cell's usual arithmetic (gk_cell_options), for the general kernels. */
struct gk_cell_variant {
  struct gk_activation_function function[GK_ACTIVATION_PLACES];
  float clip;      /* of pre-activations; infinite: none */
  float cell_clip; /* of c; infinite: none */
  bool coupled;    /* blocks are i g o, and f = 1 - i */
};

/* Added to the variance in layer normalisation: PyTorch's default. */
#define GK_LAYER_NORM_EPSILON 1e-5f

/* One step of a cell for some rows and the units [unit_begin, unit_end): reads pre-activations, writes the
 * new states. A row of `pre` holds blocks of `hidden` floats whose meaning kernels/math/CELL.h states; it is
 * scratch for the step's phases and holds nothing of use after the last. The saved rows, all NULL in
 * inference, take what backward needs: activations in the same blocks, and the states once more. c may be
 * c_prev and h may be h_prev. Saved rows may be those of pre, h and c, but for the general kernels. */
struct gk_cell_forward {
  size_t rows, unit_begin, unit_end, hidden;
  gk_activation activation;
  const struct gk_cell_variant *variant; /* general kernels only */
  const float *peephole;                 /* the same: rows i f o (coupled: i o) of `hidden` floats, or NULL */
  const float *norm; /* kernels/math/lstm_normalised.h: gains of the two products and biases, G * hidden
                        floats each, gain and bias of c, hidden each */
  float *const
      *scales; /* the same: [rows] takes 1 / sqrt(variance + epsilon) of both products and of c, or NULL */
  float *const *pre;
  const float *const *h_prev;
  const float *const *c_prev; /* cells with memory, else NULL */
  float *const *h;
  float *const *c;
  float *const *saved_gates;
  float *const *saved_h;
  float *const *saved_c;
  bool stream;      /* saved rows go past the caches: they are more than these would keep until backward */
  bool units_split; /* other threads have other units of these rows: a hint which order is fast */
};

/* The same step backward. `gates` holds the activations; the gradients of the pre-activations go to d_pre,
 * the operand of the products that follow, and to d_pre_copy (NULL, or rows that may be `gates`). The
 * gradient of h is dy (NULL: zero) + dh; dh receives the part of the gradient of h_prev that does not go
 * through the recurrent product (which is then added to it), dc the gradient of c_prev. */
struct gk_cell_backward {
  size_t rows, unit_begin, unit_end, hidden;
  gk_activation activation;
  const struct gk_cell_variant *variant; /* general kernels only */
  const float *peephole;                 /* the same, or NULL */
  const float *const *gates;
  float *const *d_pre;
  float *const *d_pre_copy;
  const float *const *h_prev;
  const float *const *c_prev;
  const float *const *h;
  const float *const *c;
  const float *const *dy; /* NULL, or [rows] */
  float *const *dh;
  float *const *dc;
  float *const *drh; /* gru-reset-before: gradient of r * h_prev, between its two phases */
  const float *norm; /* of the step forward */
  const float *const *scales;
  const float *const *squashed, *const *d_squashed; /* NULL, or in place of tanh(c) and of what it gives dc */
  bool units_split;                                 /* as in the step forward */
};

typedef void gk_cell_forward_fn(const struct gk_cell_forward *step);
typedef void gk_cell_backward_fn(const struct gk_cell_backward *step);

/* An optimizer over one range; see include/gatekern.h. */
struct gk_update {
  size_t count;
  float *parameters;
  const float *gradients;
  float *first;  /* Adam m, SGD momentum buffer, RMSprop square average, Adagrad sum of squares */
  float *second; /* Adam v */
  float gradient_scale, weight_decay, learning_rate;
  float momentum, beta1, beta2, alpha, epsilon;
  float step_size;             /* Adam: learning_rate / (1 - beta1^step), rounded from double */
  float bias_correction2_root; /* Adam: sqrt(1 - beta2^step), rounded from double */
  float shrink; /* AdamW: factor of the parameters, 1 - learning_rate * weight_decay, rounded from double */
  bool first_step; /* SGD: the momentum buffer takes the gradient as it is */
  bool nesterov;   /* SGD with momentum */
};

/* A row of random numbers: Philox4x32-10 with this key and the counters {counter..., unit / 4}. */
struct gk_uniforms {
  uint32_t key[2], counter[3];
};

/* One row of a loss; see enum gk_loss_kind in include/gatekern.h. */
struct gk_loss_row {
  size_t count;
  const float *x;               /* logits or predictions */
  const float *values;          /* what they should be; all but softmax */
  size_t target;                /* softmax: the class */
  float scale;                  /* factor of the gradient */
  float smoothing;              /* softmax */
  float positive_weight, delta; /* binary; huber */
  float *dx;                    /* may be x; NULL: the loss alone */
};

struct gk_kernels {
  gk_isa isa;
  gk_math math;
  size_t lanes;        /* v, floats of a vector */
  size_t tile_rows;    /* mr */
  size_t tile_vectors; /* nv, vectors of a panel */
  bool reads_across;   /* products can take A transposed as it stands: see a_step */

  void (*product)(const struct gk_product *product);

  /* destination[column * stride + row] = source[row][column]. */
  void (*transpose)(size_t rows, size_t columns, const float *const *source, float *destination,
                    size_t stride);
  /* Packs rows of a plain matrix as columns of one panel, at most its nv * v: row k, column l of it is
   * source[l][k], zero past `columns`. stream: what will not be read soon goes past the caches, if all
   * columns are there, whole vectors of rows; stream_end() follows. */
  void (*pack_columns)(size_t columns, size_t rows, const float *const *source, float *panel, bool stream);
  /* Packs rows of a plain matrix as panels: panel p, row k, lane l of its nv * v columns is
   * source[k][p * nv * v + l], zero past `columns`. Panels are panel_stride floats apart.
   * stream as above. */
  void (*pack_rows)(size_t rows, size_t columns, const float *const *source, float *panels,
                    size_t panel_stride, bool stream);
  /* The same of rows that may hold anything, flushed. */
  void (*pack_flushed)(size_t rows, size_t columns, const float *const *source, float *panels,
                       size_t panel_stride);
  /* sum[j] = sum over rows of source[row][j] in the canonical order, GK_GRADIENT_BLOCK rows a block, for
   * `columns` columns from each pointer; added to what is there unless overwrite (from 0 then). */
  void (*column_sum)(size_t rows, size_t columns, const float *const *source, float *sum, bool overwrite);
  /* The same of the products a[row][j] * b[row][j]. */
  void (*column_dot)(size_t rows, size_t columns, const float *const *a, const float *const *b, float *sum,
                     bool overwrite);

  /* best[j] = the largest of source[row][j], row[j] = first_row + its row, the lowest of equals; a NaN is
   * larger than any number. Goes on from what is in best and row unless overwrite. rows > 0. */
  void (*column_max)(size_t rows, size_t columns, const float *const *source, int32_t first_row, float *best,
                     int32_t *row, bool overwrite);

  gk_cell_forward_fn *cell_forward[GK_CELL_COUNT][GK_MAX_PHASES];
  gk_cell_backward_fn *cell_backward[GK_CELL_COUNT][GK_MAX_PHASES];
  /* For steps with a variant: the same source with every option looked at. */
  gk_cell_forward_fn *cell_forward_general[GK_CELL_COUNT][GK_MAX_PHASES];
  gk_cell_backward_fn *cell_backward_general[GK_CELL_COUNT][GK_MAX_PHASES];
  gk_cell_forward_fn *lstm_normalised_forward; /* whole rows only */
  gk_cell_backward_fn *lstm_normalised_backward;
  /* destination = source, past the caches but for its first and last line; stream_end() follows. */
  void (*stream)(size_t count, const float *source, float *destination);
  void (*stream_end)(void); /* after what streamed, before another thread reads it */

  void (*sigmoid)(size_t count, const float *x, float *y); /* y may be x */
  void (*tanh)(size_t count, const float *x, float *y);

  /* u[i] = number first + i of the row, uniform in [0, 1), 24 bits; src/core/random.h. */
  void (*uniforms)(const struct gk_uniforms *row, size_t first, size_t count, float *u);
  /* y[i] = x[i], flushed, * scale where uniform[i] >= p, else +0; y may be x. */
  void (*dropout)(size_t count, float p, float scale, const float *uniform, const float *x, float *y);
  /* y[i] = previous[i] where uniform[i] < p, else x[i]; y may be x. In the mean of all masks, which inference
   * takes, y = x + p (previous - x), flushed. */
  void (*zoneout)(size_t count, float p, const float *uniform, const float *previous, const float *x,
                  float *y);
  void (*zoneout_mean)(size_t count, float p, const float *previous, const float *x, float *y);
  /* d = dy (NULL: zero) + d, flushed, goes on to what computed x, or where uniform[i] < p to `stayed`, the
   * gradient of `previous`; the other one becomes 0. */
  void (*zoneout_backward)(size_t count, float p, const float *uniform, const float *dy, float *d,
                           float *stayed);
  void (*add)(size_t count, const float *x, float *y); /* y += x */
  /* y = x, +0 where |x| < 2^-95; y may be x. What is left, times a weight, an activation or a gradient of at
   * least 2^-31, is no denormal number. A NaN stays. */
  void (*flush)(size_t count, const float *x, float *y);
  bool (*needs_flush)(size_t count, const float *x); /* is any of 0 < |x| < 2^-95? */
  /* x[i] = x[i] within +-limit; a NaN stays. */
  void (*clamp)(size_t count, float limit, float *x);
  void (*scale)(size_t count, float factor, float *x); /* x *= factor */

  /* p = softmax(scale * logits); p may be logits. Uses SLEEF's deterministic exp. */
  void (*softmax)(size_t count, float scale, const float *logits, float *p);
  /* Return the loss of a row, not scaled; its gradient is written to dx. */
  float (*softmax_loss)(const struct gk_loss_row *row);
  float (*binary_loss)(const struct gk_loss_row *row);
  float (*squared_loss)(const struct gk_loss_row *row);
  float (*huber_loss)(const struct gk_loss_row *row);
  float (*sum_squares)(size_t count, const float *x);

  /* Attention and feedback. Strides are in floats and may be negative. */
  /* out[r] = x . y[r * stride], `count` values each, in virtual lanes. */
  void (*dots)(size_t rows, size_t count, const float *x, const float *y, ptrdiff_t stride, float *out);
  /* sum[j] = sum over rows r of w[r * w_stride] * v[r * v_stride + j] in the canonical order, GK_SUM_BLOCK
   * rows a block; added to what is there unless overwrite (from 0 then). */
  void (*weighted_sum)(size_t rows, size_t columns, const float *w, ptrdiff_t w_stride, const float *v,
                       ptrdiff_t v_stride, float *sum, bool overwrite);
  /* Gradients of what a function was applied to, from its values y (p) and their gradients; flushed. d may be
   * dy (dp). */
  void (*softmax_backward)(size_t count, const float *p, const float *dp, float *d);
  void (*tanh_backward)(size_t count, const float *y, const float *dy, float *d);
  void (*sigmoid_backward)(size_t count, const float *y, const float *dy, float *d);

  void (*sgd)(const struct gk_update *update);
  void (*rmsprop)(const struct gk_update *update);
  void (*adagrad)(const struct gk_update *update);
  void (*adam)(const struct gk_update *update);
  void (*adamw)(const struct gk_update *update);

  /* Machine's limits. fma_loop does `iterations` rounds of independent FMAs and returns the FLOP it did;
   * read_loop sums `count` floats (a multiple of 1024); the activation loops apply the function
   * `iterations` times to 16 floats held in registers and write them back to x. */
  double (*fma_loop)(size_t iterations, float *sink);
  float (*read_loop)(size_t count, const float *x);
  void (*sigmoid_loop)(size_t iterations, float *x);
  void (*tanh_loop)(size_t iterations, float *x);
};

#define GK_ISA_TABLE(isa) extern const struct gk_kernels gk_kernels_##isa##_own, gk_kernels_##isa##_sleef
GK_ISA_TABLE(scalar);     /* baseline: fma through libm */
GK_ISA_TABLE(scalar_fma); /* the same source with the fma instruction */
GK_ISA_TABLE(avx2);
GK_ISA_TABLE(avx512);
GK_ISA_TABLE(neon);
#undef GK_ISA_TABLE

#endif
