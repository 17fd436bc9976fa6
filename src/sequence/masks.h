/* SPDX-License-Identifier: Apache-2.0
 *
 * Regularisation by random masks (masks.c): where the time loop stops by while an option of the description
 * is on. Off, none of these functions is called. */
#ifndef GK_SEQUENCE_MASKS_H
#define GK_SEQUENCE_MASKS_H

#include "src/sequence/run.h"

/* What the masks of one kind, layer and direction derive from. */
struct gk_random_stream gk_mask_stream(const gk_random_key *key, gk_mask mask, int layer, int direction);

/* What masks add to the memory of a call, and their streams. */
void gk_masks_cut_saved(const struct gk_run *run, const struct gk_rnn_layer *layer, struct gk_saved *saved,
                        struct gk_arena *reserve);
void gk_masks_cut_workspace(struct gk_run *run, struct gk_arena *workspace);
void gk_masks_open(struct gk_run *run);
/* The worker's rows of numbers that hold for the whole sequence: drawn once, and then read. */
void gk_masks_draw(const struct gk_worker *worker);

/* Dropout's mask (t, position i) on the values [begin, end) of a row; y may be x. */
void gk_mask_drop(const struct gk_run *run, gk_mask mask, int layer, int direction, int64_t t, int64_t i,
                  size_t begin, size_t end, const float *x, float *y);
/* The first layer's inputs of the internal steps [begin, end), masked, where backward finds them. */
void gk_mask_inputs(const struct gk_worker *worker, int64_t begin, int64_t end);

/* Recurrent dropout: the worker's units of the state before step s, masked for its product. */
void gk_mask_state(const struct gk_worker *worker, int layer, int direction, int64_t s);
/* The same for an operand that the cell made of the state, in a block of its gates rows. */
void gk_mask_operand(const struct gk_worker *worker, int layer, int direction, int64_t s, int block);
/* What the backward product of step s left in drh, masked; to_h: then added to dh. */
void gk_mask_gradient(const struct gk_worker *worker, int layer, int direction, int64_t s, size_t rows,
                      size_t begin, size_t end, bool to_h);

/* Zoneout (Krueger et al. 2016): of step s's new states, in place and saved; the worker's units. */
void gk_zone_out(const struct gk_worker *worker, int layer, int direction, int64_t s);
/* Before the cell's backward arithmetic of step s: dh (dy is added to it) and dc lose what stayed, in the
 * units of `cell`... */
void gk_zone_out_backward_h(const struct gk_worker *worker, int layer, int direction, int64_t s,
                            struct gk_cell_backward *cell);
void gk_zone_out_backward_c(const struct gk_worker *worker, int layer, int direction, int64_t s,
                            const struct gk_cell_backward *cell);
/* ... and after its last product they get it back, as gradients of the step before. */
void gk_zone_out_return_h(const struct gk_worker *worker, size_t rows, size_t begin, size_t end);
void gk_zone_out_return_c(const struct gk_worker *worker, size_t rows, size_t begin, size_t end);

/* Weight dropout (DropConnect; Merity et al. 2017): `count` values from column `first` of a row of weight_hh;
 * y may be x. */
void gk_mask_weights(const struct gk_rnn *rnn, const struct gk_random_stream *stream, size_t row,
                     size_t first, size_t count, const float *x, float *y);
/* What gk_matrix_pack makes of the dropped weights, for forward and for backward (weight_dropout.c). */
void gk_pack_dropped_transposed(const struct gk_rnn *rnn, const struct gk_random_stream *stream,
                                const struct gk_matrix *matrix, const float *source, size_t begin, size_t end,
                                float *packed);
void gk_pack_dropped_rows(const struct gk_rnn *rnn, const struct gk_random_stream *stream,
                          const struct gk_matrix *matrix, const float *source, size_t gate_count,
                          size_t begin, size_t end, float *packed);
/* What the header of a buffer says that was dropped with this key. */
struct gk_packed_size gk_packed_dropped(const struct gk_rnn *rnn, const gk_random_key *key);

#endif
