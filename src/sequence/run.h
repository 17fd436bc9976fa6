/* SPDX-License-Identifier: Apache-2.0
 *
 * One call of forward or backward: what all threads share (struct gk_run) and what one thread owns (struct
 * gk_worker). Samples are walked in sorted order, the longest first, so that those of a step are the first of
 * them: i is the position in that order everywhere inside. A shape that begins with steps and N, as
 * (T, N, H), counts rows; where they stand says rows.h. Internal step s runs 0 ... length-1; the reverse
 * direction maps it to time length-1-s. */
#ifndef GK_SEQUENCE_RUN_H
#define GK_SEQUENCE_RUN_H

#include "src/core/parallel.h"
#include "src/core/random.h"
#include "src/layers/embedding.h"
#include "src/sequence/rnn.h"

/* What forward keeps for backward, of one direction of one layer: rows (s, i), dense. */
struct gk_saved {
  size_t gates_width, h_width, c_width; /* floats from row to row */
  float *gates;                         /* (T, N, blocks * H) */
  float *h, *c;                         /* (T, N, H) */
  float *own_h, *own_c; /* zoneout: (T, N, H) what the cell made of them, before it; else NULL */
  size_t operand_width;
  float *operand; /* recurrent dropout: (T, N, padded H) the state before each step as products read it */
  float *whole_h; /* (T, N, H): h before its projection, c_width from row to row; or NULL */
  float *scales;  /* (T, N, 4): layer normalisation's, of a step's rows; or NULL */
  float *d_h;     /* (T, N, P): with a projection, the gradient of h, all of it; backward fills it */
};

/* Embedding rows that are folded into input weights at once, a multiple of all tiles' rows. */
enum { GK_FOLD_ROWS = 48 };

/* The states while forward walks, padded rows (s modulo kept_steps + 1, i); of c (copies, s ..., i). */
struct gk_ring {
  size_t h_width, c_width;
  float *h, *c;
};

/* Backward: gradients of the pre-activations of a layer, padded rows. */
struct gk_gradient_ring {
  size_t width;
  float *rows;
};

/* A walk over all rows in the order of the backward sweep, which begins with s = length[0]: of the `samples`
 * of step s those from i on are still to come, then those of the step before. */
struct gk_sweep {
  int64_t s, i, samples;
};

/* Where the rows of a sample stand in a buffer of so many steps: those of a slice together, step after
 * step. What a core asks for ahead while it walks through memory must not be what another one is about to
 * write: forward of small networks 1.02 to 1.15 times as fast; 1.1 to 2.0 where what one core wrote reaches
 * the other at 26 GB/s instead of 73, as on virtual CPUs that share no cache. */
struct gk_place {
  int64_t before;   /* samples of the slices before its own */
  int64_t rows, at; /* samples of its slice, and which of them it is */
};

/* How far the weight gradients of one direction of a layer have come. */
struct gk_gradient_walk {
  struct gk_sweep next;
  int64_t rows; /* taken */
};

/* Floats from row to row of a buffer that products read: an odd number of lines of cache, so that rows of
 * a tile do not all fall into the same set of L1. */
static inline size_t gk_padded(size_t width) {
  return ((width + GK_LINE_FLOATS - 1) / GK_LINE_FLOATS | 1) * GK_LINE_FLOATS;
}

/* Floats of the widest h or c of any layer. */
static inline size_t gk_widest_state(const struct gk_rnn *rnn) {
  return rnn->widest_hidden > rnn->widest_output ? rnn->widest_hidden : rnn->widest_output;
}

struct gk_run {
  const gk_rnn *rnn;
  struct gk_rnn_plan plan;
  int64_t time, batch;
  bool training;
  bool stream;           /* saved rows go past the caches */
  bool keep;             /* backward: the reserve must be left as it is */
  bool stream_gradients; /* backward: those of weights go past the caches, where rows begin lines of it */
  const float *packed;
  const float *unpacked; /* the parameters, where packed lacks the pass's weights; else NULL */
  const float *parameters;
  const float *x;
  const int32_t *tokens;
  const float *h0, *c0;
  const bool *reset;
  gk_random_key random;
  const struct gk_feed *feed; /* what goes from step to step besides the states, or NULL */

  int64_t *order;          /* [N] caller's index of a position */
  int64_t *length;         /* [N] by position, descending */
  struct gk_place *places; /* [N] by position */
  bool paced, uneven;      /* slices: threads are measured; their shares differ (pace.h) */
  double *share;           /* [threads + 1] if uneven where in 0 ... 1 the part of each begins */
  struct gk_saved *saved;  /* [L * D], training */
  struct gk_ring *rings;   /* [L * D], forward */
  float *pre;              /* forward: (copies, chunk, N, padded blocks * H): pre-activations of a chunk */
  float *chunk_x;          /* forward: (chunk, N, padded I): inputs of layer 0 that had to be flushed */
  float *fold_x;   /* forward: (threads, GK_FOLD_ROWS, padded I): embedding rows, flushed, to be folded */
  float **outputs; /* [L] (T, N, output width) in time order: inner layers whose output is not just their h
                      (dropout, two directions); else NULL */
  struct gk_random_stream *streams[GK_MASK_COUNT]; /* [L * D] of the masks that are on, else NULL */
  float *drawn[GK_MASK_COUNT]; /* masks of whole sequences: (L * D, N, widest) uniform numbers, else NULL */
  bool drops_state, zones_out; /* recurrent dropout is on; zoneout, in inference as well */
  float *masked_x;             /* input dropout: (T, N, padded I) in time order, else NULL */
  float *whole_h; /* (N, padded widest H): with a projection, h before it of one step, or its gradient */
  float *given_h, *given_c;      /* (L*D, N, H): h0 and c0, flushed */
  float *zero;                   /* zeros, as many as the widest state has */
  bool folded;                   /* there are tokens, and layer 0 starts from the folded table of them */
  struct gk_embedding embedding; /* layer 0 of a network with a vocabulary */
  float *embedding_gradient;     /* backward: (U, I) */
  float *embedding_block,
      *embedding_dx; /* where it is not folded: (U, I) sums of the current blocks; dx, as the caller's */
  struct gk_barrier *barrier;
  struct gk_run *lanes; /* wavefront: each thread's own view of the run, with scratch of its own */
  size_t wavefront_at;  /* where they begin in the workspace */
  void *pointers;       /* row pointers of all threads */

  /* forward */
  float *y, *hn, *cn;

  /* backward */
  const float *dy, *dhn, *dcn;
  float *dx, *dh0, *dc0;
  float *gradients;
  bool accumulate;
  float *dh, *dc, *drh; /* (L*D, N, H) carries; drh (N, widest H) */
  float *d_output; /* (d_output_layers, kept_steps, N, widest output): gradients of inner layers' outputs,
                      layer and step modulo these */
  int d_output_layers;
  /* Two directions leave gradients where forward left gates and outputs; with keep here instead: (2, T, N,
   * blocks * widest H) and (T, N, widest output) of the layer at hand. Else NULL. */
  float *spare_gates, *spare_output;
  float *stayed[2]; /* zoneout: (N, widest H) gradients of h' and c' that go past the cell of a step */
  float *dh_norms;  /* (L*D, T, N) of the caller, or NULL */
  /* Gradients of pre-activations, rows numbered in the order of the sweep modulo d_pre_rows: of each layer
   * of a stack; one for all where directions finish one after the other. */
  struct gk_gradient_ring *d_pre;
  int64_t d_pre_rows;
  int late_chunks;                /* of a wavefront: so many wait for their weight gradients */
  int64_t *chunk_rows;            /* [threads][chunk] */
  struct gk_gradient_walk *walks; /* [threads][L * D] */
  /* Packed rows of x and of the recurrent operands of a block: panel_floats each, one for all threads or one
   * for each. */
  float *panels[1 + GK_MAX_PHASES];
  size_t panel_floats[1 + GK_MAX_PHASES];
  bool own_panels;
  float *finished;           /* accumulate: gradients until they are finished, laid out as parameters */
  float *scratch;            /* scratch_floats a thread */
  float *projection_scratch; /* projection_floats a thread: blocks of the gradient of W_hr */
  size_t projection_floats;
  size_t scratch_floats;
  float *flow; /* (2, N, padded widest output): whole gradients of h of a step, alternating between steps */
};

struct gk_worker {
  const struct gk_run *run;
  int thread, threads;
  bool teams;
  int64_t first, stride, count; /* its positions: first + j * stride */
  bool in_line;                 /* they pass through the slices of the plan one after the other */
  /* The run's, if the region got the threads that were planned; seconds spent on its slice. */
  bool paced, uneven;
  double busy;
  /* In forward, of the layer that gk_worker_enter named: its hidden units, and its part of h (the same but
   * for a projection). */
  size_t unit_begin, unit_end, output_begin, output_end;
  /* Row pointers of one step [count] and of one chunk [count * chunk]; run.c lists them again. */
  float **pre, **h, **c, **saved_gates, **saved_h, **saved_c, **whole_h, **saved_whole_h, **scales;
  float **d_pre, **d_pre_copy, **d_h, **d_whole_h, **dh, **dc, **drh;
  const float **h_prev, **c_prev, **operand, **from, **dy;
  const float **chunk_a, **chunk_from;
  float **chunk_c;
  /* backward */
  int64_t *chunk_row;            /* [chunk] number, in the order of the sweep, of the first row of a step */
  int64_t rows_swept;            /* rows that the sweep has finished, those of the current chunk included */
  struct gk_gradient_walk *walk; /* [L * D] */
  float *scratch;                /* pointers and transposed blocks of the weight gradient */
};

/* Copies of what each thread of a team keeps of its own units alone, pre-activations and c of forward:
 * threads take turns, so that other units than a thread's stand beside them in another copy only (but for the
 * last and the first thread of an odd number). In one copy the hardware would prefetch past the end of a
 * thread's units, in every block of every row, into lines that another thread is writing, as between slices
 * (struct gk_place): forward of LSTM 256 with 4 samples 1.24 times as fast where two threads share no cache,
 * 1.03 times where they do. Where arithmetic reads the units of all threads there is one copy. */
static inline int gk_run_copies(const struct gk_run *run) {
  const struct gk_cell_info *cell = run->rnn->cell;
  return run->plan.schedule == GK_SCHEDULE_TEAMS && cell->phases == 1 && !cell->normalised ? 2 : 1;
}

/* Where the chunk that begins at step `begin` ends, and where the one that ends at `end` begins. */
static inline int64_t gk_chunk_end(const struct gk_run *run, int64_t begin) {
  return run->length[0] - begin < run->plan.chunk ? run->length[0] : begin + run->plan.chunk;
}
static inline int64_t gk_chunk_before(const struct gk_run *run, int64_t end) {
  return (end - 1) / run->plan.chunk * run->plan.chunk;
}

/* ---- Weights (pack.c) ---- */

/* Where the weights of the pass `flag` are, of a run that knows its network, parameters, key and sizes;
 * `packed` is the caller's. */
gk_status gk_run_find_weights(struct gk_run *run, gk_pack_flags flag, const void *packed);

/* ---- Setting up (run.c) ---- */

/* Cuts reserve or workspace (pointers and scratch of the threads included); with NULL bases only measures. */
void gk_run_cut_reserve(struct gk_run *run, struct gk_arena *reserve);
void gk_run_cut_workspace(struct gk_run *run, struct gk_arena *workspace, bool backward);
/* Of the workspace what the threads of a wavefront each have for themselves; all else they share. */
void gk_run_cut_own(struct gk_run *run, struct gk_arena *workspace, bool backward);
/* The common part of both calls' arguments: sizes, lengths, tokens. */
gk_status gk_run_check(const gk_rnn *rnn, int64_t time, int64_t batch, const int64_t *lengths, const float *x,
                       const int32_t *tokens, const float *parameters);
/* Plans and cuts, sorts the samples (longest first, ties by index), finds the distinct tokens; no allocation.
 */
gk_status gk_run_open(struct gk_run *run, const int64_t *lengths, void *workspace, void *reserve,
                      bool backward);
/* The samples of a worker that has a slice: its first, stride and count. */
void gk_worker_take_slice(struct gk_worker *worker);
/* Its part of `count` pieces of which each thread takes some: an even one, or what its pace allows. */
void gk_worker_split(const struct gk_worker *worker, size_t count, size_t *begin, size_t *end);
/* The share of `thread`; the first of them prepares the barrier. To be called by all threads of a region. */
void gk_worker_start(struct gk_worker *worker, const struct gk_run *run, int thread, int threads);
/* The worker's columns of a matrix, and of rows at hand, where arithmetic takes whole ones, its rows: a team
 * shares either. */
void gk_worker_columns(const struct gk_worker *worker, const struct gk_matrix *matrix, size_t *begin,
                       size_t *end);
void gk_worker_whole_rows(const struct gk_worker *worker, size_t rows, size_t *begin, size_t *end);
/* The layer that this thread goes on with in forward. */
void gk_worker_enter(struct gk_worker *worker, int layer, int direction);
/* Numbers the rows of the chunk's steps, which the sweep takes next; or, where no weight gradient follows and
 * so no thread waits for another, so that threads never share a row. */
void gk_worker_enter_chunk(struct gk_worker *worker, int64_t begin, int64_t end);
void gk_worker_enter_lone_chunk(struct gk_worker *worker, int64_t begin, int64_t end);

static inline void gk_worker_wait(const struct gk_worker *worker) {
  if (worker->threads > 1)
    gk_barrier_wait(worker->run->barrier);
}
/* Between the stages of a step: only teams share rows. */
static inline void gk_worker_meet(const struct gk_worker *worker) {
  if (worker->teams)
    gk_worker_wait(worker);
}
/* Zeros in a tensor of the caller's at all times that position i does not have. */
void gk_run_clear_padding(const struct gk_run *run, int64_t i, size_t width, float *rows);
/* Samples that exist at step s, and those of them that are the worker's. */
int64_t gk_run_rows(const struct gk_run *run, int64_t s);
int64_t gk_worker_rows(const struct gk_worker *worker, int64_t s);
/* The next rows of a sweep that are of one step, at most `most` (at least 1): the positions from i on; how
 * many, 0 after the last. */
int64_t gk_sweep_next(const struct gk_run *run, struct gk_sweep *sweep, int64_t most, int64_t *s, int64_t *i);
/* The rows of a sweep as numbers of the reserve's rows or of the caller's, and the next ones: GK_SUM_BLOCK of
 * them or what is left, 0 after the last, and then from the first on again (gk_row_list, layers/linear.h). */
struct gk_sweep_rows {
  const struct gk_run *run;
  bool callers;
  struct gk_sweep next;
};
struct gk_sweep_rows gk_sweep_rows_of(const struct gk_run *run, bool callers);
size_t gk_sweep_next_rows(void *sweep_rows, int64_t rows[GK_SUM_BLOCK]);

/* Rows whose vectors begin no line of cache would be written to the caches after all: they are saved, and go
 * past the caches, when the step is finished (1 to 3 % of a training step on AVX-512, GRU of 229 to 504 units
 * and 49 to 234 samples; nothing on AVX2). Until then what plain arithmetic saves stands in pre, h and c. */
static inline bool gk_run_saves_late(const struct gk_run *run, size_t hidden) {
  const struct gk_rnn *rnn = run->rnn;
  return run->stream && hidden % rnn->kernels->lanes && !rnn->general;
}

static inline int64_t gk_worker_position(const struct gk_worker *worker, int64_t j) {
  return worker->first + j * worker->stride;
}
/* Of its positions those whose whole rows are its to fill, of which a team's threads take turns: from
 * row_begin on, row_step apart. */
static inline int64_t gk_worker_row_begin(const struct gk_worker *worker) {
  return worker->teams ? worker->thread : 0;
}
static inline int64_t gk_worker_row_step(const struct gk_worker *worker) {
  return worker->teams ? worker->threads : 1;
}
/* Have all samples the same length? */
static inline bool gk_run_has_one_length(const struct gk_run *run) {
  return run->batch == 0 || run->length[0] == run->length[run->batch - 1];
}
/* Does it do what is done once for its positions? */
static inline bool gk_worker_leads(const struct gk_worker *worker) {
  return !worker->teams || worker->thread == 0;
}

/* ---- Wavefront (wavefront.c) ---- */

/* Each thread's view of the run: what passes between layers is the run's, all scratch its own. */
void gk_wavefront_cut(struct gk_run *run, struct gk_arena *workspace, bool backward);
/* Is this call one, on the threads that it got? Then `lane` becomes a worker that walks all samples alone. */
bool gk_wavefront_enter(const struct gk_worker *worker, struct gk_worker *lane);
/* Its layers of a stack. */
void gk_wavefront_layers(const struct gk_worker *worker, int *begin, int *end);

/* ---- What belongs to a layer ---- */

static inline const struct gk_rnn_layer *gk_run_layer(const struct gk_run *run, int layer, int direction) {
  return &run->rnn->layers[layer * run->rnn->directions + direction];
}
static inline const struct gk_saved *gk_run_saved(const struct gk_run *run, int layer, int direction) {
  return &run->saved[layer * run->rnn->directions + direction];
}
static inline const struct gk_ring *gk_run_ring(const struct gk_run *run, int layer, int direction) {
  return &run->rings[layer * run->rnn->directions + direction];
}

/* Where products read weights. */
static inline struct gk_weights gk_run_weights(const struct gk_run *run) {
  return (struct gk_weights){run->packed, run->unpacked};
}
static inline bool gk_run_projects(const struct gk_run *run) {
  return run->rnn->desc.projection_size > 0;
}

/* ---- Gradient flow (gradient_flow.c), where the caller asks for dh_norms ---- */

/* Zeros where no step is. */
void gk_flow_clear(const struct gk_worker *worker);
/* Keeps dy + dh of step s as the cell's arithmetic will take them, before it does. */
void gk_flow_keep(const struct gk_worker *worker, const struct gk_cell_backward *cell, int64_t s);
/* Norms of what is kept of step s, after the threads have met. */
void gk_flow_norms(const struct gk_worker *worker, int layer, int direction, int64_t s);

/* ---- Projection of h, W_hr (projection.c): where the arithmetic of the cell leaves whole_h ---- */

/* h = W_hr whole_h of a step's rows, the worker's part of h. All of whole_h must be there. */
void gk_project(const struct gk_worker *worker, const struct gk_rnn_layer *weights, size_t rows,
                bool descending);
/* Backward: the gradient of h of some rows is whole now: dy (NULL: zero) + dh, columns [begin, end), kept. */
void gk_projection_gather(const struct gk_worker *worker, size_t rows, const float *const *dy, size_t begin,
                          size_t end);
/* d whole_h = d h W_hr, units of a strip. All of d h must be there. */
void gk_projection_backward(const struct gk_worker *worker, const struct gk_rnn_layer *weights, size_t rows,
                            const struct gk_strips *strip);
/* Gradient of W_hr, the worker's share of its rows; all rows of d h must be finished. */
void gk_projection_gradient(const struct gk_worker *worker, int layer, int direction);
/* Its memory in backward. */
void gk_projection_cut(struct gk_run *run, struct gk_arena *workspace);

/* ---- Trained initial states (states.c) ---- */

/* Their gradients, the worker's share, when the carries of all workers have come to the first step. */
void gk_state_gradients(const struct gk_worker *worker);

/* ---- The weight gradient (weight_gradient.c) ---- */

/* Its memory in backward: the ring of gradients it reads, packed panels, scratch. */
void gk_weight_gradient_cut(struct gk_run *run, struct gk_arena *workspace);
/* Before the sweep. */
void gk_weight_gradient_start(const struct gk_worker *worker);
/* The blocks of the sum that are whole among the first `rows` rows of the sweep, which must be finished
 * (`last`: it has come to its end), of the worker's units. To be called by all threads. */
void gk_weight_gradient(const struct gk_worker *worker, int layer, int direction, int64_t rows, bool last);
/* A block of the sum: where its rows stand. */
struct gk_gradient_block {
  size_t rows;
  size_t recurrent_rows; /* the first of them; those after them follow no state */
  const float *gates;    /* gradients of pre-activations, rows that are gates_step floats apart */
  ptrdiff_t gates_step;
  const float *x[GK_SUM_BLOCK], *h_prev[GK_SUM_BLOCK];
  /* Of cells of several phases, whose later operands are among them, or normalised: */
  const float *saved_gates[GK_SUM_BLOCK];
  const float *c_prev[GK_SUM_BLOCK], *c[GK_SUM_BLOCK]; /* with peepholes */
  int32_t slot[GK_SUM_BLOCK]; /* layer 0 of a network with a vocabulary: the distinct token's */
};
static inline const float *gk_gradient_row(const struct gk_gradient_block *block, size_t r) {
  return block->gates + (ptrdiff_t)r * block->gates_step;
}
struct gk_gradient_parts {
  bool inputs, recurrent, vectors; /* vectors: peepholes, layer normalisation */
};
/* Adds one block's share to the weight gradients; `first` begins the sum. By all threads. */
void gk_weight_gradient_block(const struct gk_worker *worker, int layer, int direction,
                              const struct gk_gradient_block *block, struct gk_gradient_parts parts,
                              bool first);
/* After the last block of all layers. */
void gk_weight_gradient_end(const struct gk_worker *worker);

/* ---- The gradient of a folded embedding (embedding_gradient.c), layer 0 ---- */

/* Before the sweep of a direction; with each block of it; after it, by all threads, when the weight gradients
 * of its last rows are formed. */
void gk_embedding_gradient_start(const struct gk_worker *worker);
void gk_embedding_gradient_rows(const struct gk_worker *worker, const struct gk_gradient_block *block);
void gk_embedding_gradient_finish(const struct gk_worker *worker, int direction);
/* Unfolded: the rows of dx of all steps, in the order of the sweep, into the rows of their tokens. */
void gk_embedding_gradient_gather(const struct gk_worker *worker);
/* After the last direction: to the caller's gradients. */
void gk_embedding_gradient_return(const struct gk_worker *worker);

#endif
