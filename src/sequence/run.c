/* SPDX-License-Identifier: Apache-2.0
 * Setting up a call: the order of samples, the cut of memory, each thread's share. */
#include "src/sequence/masks.h"
#include "src/sequence/pace.h"
#include "src/sequence/reserve.h"
#include "src/sequence/rows.h"

#include <stddef.h>
#include <string.h>

#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/sequence/denormals.h"
#include "src/sequence/feedback.h"

/* A reserve beyond this does not stay in the caches until backward: written past them, it costs half the
 * traffic and leaves them to the weights (LSTM 512, batch 64, 25 steps: 5 % of the training step). */
enum { STREAM_BYTES = 4 << 20 };

#define ARRAY(name) offsetof(struct gk_worker, name)
/* Row pointers of struct gk_worker: a pointer a row of a step, and a pointer a row of a chunk. */
static const size_t step_arrays[] = {
    ARRAY(pre),       ARRAY(h),       ARRAY(c),          ARRAY(saved_gates),
    ARRAY(saved_h),   ARRAY(saved_c), ARRAY(whole_h),    ARRAY(saved_whole_h),
    ARRAY(scales),    ARRAY(d_pre),   ARRAY(d_pre_copy), ARRAY(d_h),
    ARRAY(d_whole_h), ARRAY(dh),      ARRAY(dc),         ARRAY(drh),
    ARRAY(h_prev),    ARRAY(c_prev),  ARRAY(operand),    ARRAY(from),
    ARRAY(dy)};
static const size_t chunk_arrays[] = {ARRAY(chunk_a), ARRAY(chunk_from), ARRAY(chunk_c)};
#undef ARRAY
enum {
  STEP_ARRAYS = sizeof step_arrays / sizeof *step_arrays,
  CHUNK_ARRAYS = sizeof chunk_arrays / sizeof *chunk_arrays
};

/* Does position a come after position b? Longest first, ties by the caller's index. */
static bool comes_after(const struct gk_run *run, int64_t a, int64_t b) {
  return run->length[a] < run->length[b] ||
         (run->length[a] == run->length[b] && run->order[a] > run->order[b]);
}

static void sift_down(struct gk_run *run, int64_t root, int64_t end) {
  for (int64_t child; (child = 2 * root + 1) < end; root = child) {
    if (child + 1 < end && comes_after(run, child + 1, child))
      child++;
    if (!comes_after(run, child, root))
      return;
    const int64_t order = run->order[root], length = run->length[root];
    run->order[root] = run->order[child];
    run->length[root] = run->length[child];
    run->order[child] = order;
    run->length[child] = length;
  }
}

static void sort_samples(struct gk_run *run, const int64_t *lengths) {
  bool sorted = true;
  for (int64_t n = 0; n < run->batch; n++) {
    run->order[n] = n;
    run->length[n] = lengths ? lengths[n] : run->time;
    sorted &= n == 0 || run->length[n] <= run->length[n - 1];
  }
  if (sorted)
    return;
  for (int64_t root = run->batch / 2; root-- > 0;)
    sift_down(run, root, run->batch);
  for (int64_t end = run->batch; end-- > 1;) { /* heap sort: in place, and never slow */
    const int64_t order = run->order[0], length = run->length[0];
    run->order[0] = run->order[end];
    run->length[0] = run->length[end];
    run->order[end] = order;
    run->length[end] = length;
    sift_down(run, 0, end);
  }
}

void gk_worker_split(const struct gk_worker *worker, size_t count, size_t *begin, size_t *end) {
  if (!worker->uneven) {
    gk_split(count, 1, worker->thread, worker->threads, begin, end);
    return;
  }
  const double *share = worker->run->share + worker->thread;
  *begin = (size_t)((double)count * share[0] + 0.5);
  *end = (size_t)((double)count * share[1] + 0.5);
}

/* Neighbours, or if lengths differ dealt like cards, so that every thread gets long ones and short ones. */
void gk_worker_take_slice(struct gk_worker *worker) {
  const struct gk_run *run = worker->run;
  if (gk_run_has_one_length(run)) {
    size_t begin, end;
    gk_worker_split(worker, (size_t)run->batch, &begin, &end);
    worker->first = (int64_t)begin;
    worker->stride = 1;
    worker->count = (int64_t)(end - begin);
    return;
  }
  worker->first = worker->thread;
  worker->stride = worker->threads;
  worker->count = (run->batch - worker->thread + worker->threads - 1) / worker->threads;
}

/* As slices would be cut evenly: forward and backward must agree, whatever the pace of their threads. */
static void place_samples(struct gk_run *run) {
  const int slices = run->plan.schedule == GK_SCHEDULE_SLICES ? run->plan.threads : 1;
  int64_t before = 0;
  for (int thread = 0; thread < slices; thread++) {
    struct gk_worker worker = {.run = run, .thread = thread, .threads = slices};
    gk_worker_take_slice(&worker);
    for (int64_t j = 0; j < worker.count; j++)
      run->places[gk_worker_position(&worker, j)] = (struct gk_place){before, worker.count, j};
    before += worker.count;
  }
}

/* Does the output of an inner layer need a buffer of its own? */
static bool has_output(const struct gk_run *run, int layer) {
  const gk_rnn_desc *d = &run->rnn->desc;
  return layer + 1 < d->layers && (run->rnn->directions == 2 || (run->training && d->dropout > 0));
}

static void cut_outputs(struct gk_run *run, struct gk_arena *arena) {
  for (int layer = 0; layer < run->rnn->desc.layers; layer++) {
    float *output = NULL;
    if (has_output(run, layer))
      output = gk_arena_take(arena, sizeof(float), run->time, run->batch,
                             (int64_t)gk_run_layer(run, layer, 0)->output_width);
    if (run->outputs)
      run->outputs[layer] = output;
  }
}

/* (steps, N, width) floats. */
static float *take_rows(const struct gk_run *run, struct gk_arena *arena, int64_t steps, size_t width) {
  return gk_arena_take(arena, sizeof(float), steps, run->batch, (int64_t)width);
}

void gk_run_cut_reserve(struct gk_run *run, struct gk_arena *reserve) {
  for (int i = 0; i < run->rnn->layer_count; i++) {
    const struct gk_rnn_layer *layer = &run->rnn->layers[i];
    struct gk_saved saved = {.gates_width = (size_t)run->rnn->cell->blocks * layer->hidden,
                             .h_width = layer->output,
                             .c_width = layer->hidden};
    saved.gates = take_rows(run, reserve, run->time, saved.gates_width);
    saved.h = take_rows(run, reserve, run->time, saved.h_width);
    if (run->rnn->cell->memory)
      saved.c = take_rows(run, reserve, run->time, saved.c_width);
    gk_masks_cut_saved(run, layer, &saved, reserve);
    if (run->rnn->cell->normalised)
      saved.scales = take_rows(run, reserve, run->time, 4);
    if (gk_run_projects(run)) {
      saved.whole_h = take_rows(run, reserve, run->time, saved.c_width);
      saved.d_h = take_rows(run, reserve, run->time, saved.h_width);
    }
    if (run->saved)
      run->saved[i] = saved;
  }
  cut_outputs(run, reserve);
  if (run->rnn->desc.input_dropout > 0)
    run->masked_x = take_rows(run, reserve, run->time, gk_padded((size_t)run->rnn->desc.input_size));
}

/* Pointers of all arrays for each row that a thread may have. */
static int64_t pointers_a_row(const struct gk_run *run) {
  return STEP_ARRAYS + CHUNK_ARRAYS * run->plan.chunk;
}

/* Slices of one length have N rows together, however they are cut; dealt ones ceil(N / threads) at most,
 * teams all. */
static void cut_pointers(struct gk_run *run, struct gk_arena *workspace) {
  size_t rows = (size_t)run->batch;
  const int threads = run->plan.threads;
  const bool teams = run->plan.schedule != GK_SCHEDULE_SLICES; /* a wavefront may yet become teams */
  if (!(teams ? gk_size_multiply(&rows, threads) : gk_size_add(&rows, (size_t)threads)) || rows > INT64_MAX) {
    workspace->overflow = true;
    return;
  }
  run->pointers = gk_arena_take(workspace, sizeof(void *), (int64_t)rows, pointers_a_row(run), 1);
}

static void cut_rings(struct gk_run *run, struct gk_arena *workspace) {
  for (int i = 0; i < run->rnn->layer_count; i++) {
    const struct gk_rnn_layer *layer = &run->rnn->layers[i];
    struct gk_ring ring = {.h_width = gk_padded(layer->output), .c_width = gk_padded(layer->hidden)};
    ring.h = take_rows(run, workspace, run->plan.kept_steps + 1, ring.h_width);
    if (run->rnn->cell->memory)
      ring.c = take_rows(run, workspace, gk_run_copies(run) * (run->plan.kept_steps + 1), ring.c_width);
    if (run->rings)
      run->rings[i] = ring;
  }
}

static void cut_spare(struct gk_run *run, struct gk_arena *workspace) {
  const struct gk_rnn *rnn = run->rnn;
  run->spare_gates = gk_arena_take(workspace, 2 * sizeof(float), run->time, run->batch,
                                   (int64_t)((size_t)rnn->cell->blocks * rnn->widest_hidden));
  if (rnn->desc.layers > 1)
    run->spare_output = take_rows(run, workspace, run->time, rnn->widest_output);
}

/* Layer 0 of a network with a vocabulary. */
static void cut_embedding(struct gk_run *run, struct gk_arena *workspace, bool backward) {
  const struct gk_rnn *rnn = run->rnn;
  const gk_rnn_desc *d = &rnn->desc;
  size_t inputs = 1;
  if (!gk_size_array(&inputs, 1, run->time, run->batch, 1) || inputs > INT64_MAX)
    workspace->overflow = true;
  gk_embedding_cut(&run->embedding, workspace, d->vocabulary, (int64_t)inputs,
                   (int64_t)gk_padded((size_t)rnn->cell->blocks * rnn->layers[0].hidden), run->plan.threads,
                   backward);
  if (!backward)
    return;
  const int64_t most_distinct = (int64_t)inputs < d->vocabulary ? (int64_t)inputs : d->vocabulary;
  run->embedding_gradient =
      gk_arena_take(workspace, sizeof *run->embedding_gradient, most_distinct, d->input_size, 1);
  if (gk_rnn_folds(rnn, run->training))
    return;
  run->embedding_block =
      gk_arena_take(workspace, sizeof *run->embedding_block, most_distinct, d->input_size, 1);
  run->embedding_dx = take_rows(run, workspace, run->time, (size_t)d->input_size);
}

/* What flows backward from step to step and from layer to layer. */
static void cut_flows(struct gk_run *run, struct gk_arena *workspace) {
  const struct gk_rnn *rnn = run->rnn;
  run->dh = take_rows(run, workspace, 1, (size_t)rnn->hidden_values);
  run->dc = rnn->cell->memory ? take_rows(run, workspace, 1, (size_t)rnn->cell_values) : NULL;
  if (rnn->directions == 2 && run->keep)
    cut_spare(run, workspace);
  if (rnn->directions == 1 && rnn->desc.layers > 1) {
    run->d_output_layers = run->plan.schedule == GK_SCHEDULE_WAVEFRONT ? (int)rnn->desc.layers : 2;
    run->d_output =
        gk_arena_take(workspace, sizeof *run->d_output, run->d_output_layers * run->plan.kept_steps,
                      run->batch, (int64_t)rnn->widest_output);
  }
}

/* What a wavefront's threads have in common. */
static void cut_shared(struct gk_run *run, struct gk_arena *workspace, bool backward) {
  const struct gk_rnn *rnn = run->rnn;
  const gk_rnn_desc *d = &rnn->desc;
  run->saved = gk_arena_take(workspace, sizeof *run->saved, rnn->layer_count, 1, 1);
  run->rings = gk_arena_take(workspace, sizeof *run->rings, rnn->layer_count, 1, 1);
  run->outputs = gk_arena_take(workspace, sizeof *run->outputs, d->layers, 1, 1);
  gk_masks_cut_workspace(run, workspace);
  run->barrier = gk_arena_take(workspace, sizeof *run->barrier, 1, 1, 1);
  run->order = gk_arena_take(workspace, sizeof *run->order, run->batch, 1, 1);
  run->length = gk_arena_take(workspace, sizeof *run->length, run->batch, 1, 1);
  run->share = gk_arena_take(workspace, sizeof *run->share, run->plan.threads + 1, 1, 1);
  run->places = gk_arena_take(workspace, sizeof *run->places, run->batch, 1, 1);
  run->given_h = take_rows(run, workspace, 1, (size_t)rnn->hidden_values);
  if (rnn->cell->memory)
    run->given_c = take_rows(run, workspace, 1, (size_t)rnn->cell_values);
  run->zero = gk_arena_take(workspace, sizeof *run->zero, (int64_t)gk_widest_state(rnn), 1, 1);
  if (d->vocabulary)
    cut_embedding(run, workspace, backward);
  if (!backward)
    cut_rings(run, workspace);
  if (!run->training)
    cut_outputs(run, workspace);
  if (!backward)
    return;
  cut_flows(run, workspace);
  run->finished = gk_arena_take(workspace, sizeof *run->finished, rnn->parameter_count, 1, 1);
  if (gk_run_projects(run))
    gk_projection_cut(run, workspace);
}

void gk_run_cut_own(struct gk_run *run, struct gk_arena *workspace, bool backward) {
  const struct gk_rnn *rnn = run->rnn;
  if (gk_run_projects(run))
    run->whole_h = take_rows(run, workspace, 1, gk_padded(rnn->widest_hidden));
  cut_pointers(run, workspace);
  if (!backward) {
    run->pre = take_rows(run, workspace, gk_run_copies(run) * run->plan.chunk,
                         gk_padded((size_t)rnn->cell->blocks * rnn->widest_hidden));
    const int64_t input = (int64_t)gk_padded((size_t)rnn->desc.input_size);
    if (rnn->desc.vocabulary && gk_rnn_folds(rnn, run->training))
      run->fold_x = gk_arena_take(workspace, sizeof *run->fold_x, run->plan.threads, GK_FOLD_ROWS, input);
    else
      run->chunk_x = take_rows(run, workspace, run->plan.chunk, (size_t)input);
    return;
  }
  if (rnn->cell->phases > 1 || run->drops_state)
    run->drh = take_rows(run, workspace, 1, gk_widest_state(rnn));
  for (int k = 0; k < 2 && run->zones_out; k++)
    run->stayed[k] = take_rows(run, workspace, 1, gk_widest_state(rnn));
  run->flow = take_rows(run, workspace, 2, gk_padded(rnn->widest_output));
  gk_weight_gradient_cut(run, workspace);
}

void gk_run_cut_workspace(struct gk_run *run, struct gk_arena *workspace, bool backward) {
  cut_shared(run, workspace, backward);
  gk_run_cut_own(run, workspace, backward);
  run->wavefront_at = workspace->used;
  gk_wavefront_cut(run, workspace, backward);
}

gk_status gk_run_check(const gk_rnn *rnn, int64_t time, int64_t batch, const int64_t *lengths, const float *x,
                       const int32_t *tokens, const float *parameters) {
  const int64_t vocabulary = rnn->desc.vocabulary;
  gk_status status = gk_check_time_and_batch(time, batch);
  if (!status)
    status = gk_check_sequence("", time, batch, vocabulary ? 1 : rnn->desc.input_size);
  if (!status)
    status = gk_check_lengths("", lengths, batch, time);
  if (status || time == 0 || batch == 0)
    return status;
  if (vocabulary == 0)
    return x ? GK_OK : gk_fail(GK_ERROR_ARGUMENT, "x is NULL");
  if (!tokens)
    return gk_fail(GK_ERROR_ARGUMENT, "tokens is NULL, and the network has a vocabulary of %lld",
                   (long long)vocabulary);
  if (!parameters)
    return gk_fail(GK_ERROR_ARGUMENT, "parameters is NULL: a vocabulary needs its embedding");
  return gk_check_tokens(tokens, vocabulary, rnn->desc.layout, time, batch, lengths, time);
}

static gk_status refuse(const struct gk_run *run, const char *argument, bool overflow, bool backward) {
  gk_rnn_memory needed;
  gk_status status = gk_rnn_memory_needed(run->rnn, run->time, run->batch, &needed);
  if (status || overflow)
    return status ? status : gk_fail(GK_ERROR_OVERFLOW, "%s does not fit in memory", argument);
  const size_t bytes = backward && run->keep ? needed.keep_workspace_bytes
                       : backward            ? needed.backward_workspace_bytes
                       : run->training       ? needed.forward_workspace_bytes
                                             : needed.inference_workspace_bytes;
  return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL, must have %zu bytes", argument, bytes);
}

/* Gradients which would not stay in the caches until they are clipped go past them, if they are written once:
 * LSTM and GRU of 6 to 19 million weights take 1.15 to 1.25 times as long without it in a step of 1 to 4
 * samples, 1.06 to 1.08 with 16 rows, 1.01 to 1.02 with 64. (2 million, which stay: 1.1 to 1.2, 1.05 and
 * 1.01.) */
static bool streams_gradients(const struct gk_run *run) {
  return run->gradients && !run->accumulate && !run->feed && run->rnn->packed.backward > GK_STREAM_FLOATS &&
         !(run->rnn->desc.weight_dropout > 0) &&                 /* which then zeroes some of them */
         (double)run->time * (double)run->batch <= GK_SUM_BLOCK; /* one block of them */
}

/* Always, so that a -0 does not depend on what other samples hold. */
static void flush_states(struct gk_run *run) {
  const gk_rnn *rnn = run->rnn;
  const size_t batch = (size_t)run->batch;
  const uint64_t callers = gk_float_environment_pin(); /* which may take denormal numbers for zeros */
  if (run->h0) {
    rnn->kernels->flush((size_t)rnn->hidden_values * batch, run->h0, run->given_h);
    run->h0 = run->given_h;
  }
  if (run->c0 && rnn->cell->memory) {
    rnn->kernels->flush((size_t)rnn->cell_values * batch, run->c0, run->given_c);
    run->c0 = run->given_c;
  }
  gk_float_environment_restore(callers);
}

/* Of what decides how the arrays of a reserve of so many bytes stand, and which rows are whose. */
static uint64_t reserve_fingerprint(const struct gk_run *run, size_t bytes) {
  const int64_t values[] = {(int64_t)bytes, run->plan.schedule, run->plan.threads};
  uint64_t print = run->rnn->packed.fingerprint;
  for (size_t i = 0; i < sizeof values / sizeof *values; i++)
    print = gk_packed_fingerprint(print, values[i]);
  return print;
}

static gk_status open_reserve(struct gk_run *run, void *base, bool backward, size_t *bytes) {
  struct gk_arena reserve = gk_reserve_start(base);
  gk_run_cut_reserve(run, &reserve);
  if (!gk_arena_bytes(&reserve, bytes) || run->time == 0)
    return GK_OK; /* sizes are known to fit; without steps there may be no reserve */
  const uint64_t fingerprint = reserve_fingerprint(run, *bytes);
  gk_status status = GK_OK;
  if (!backward)
    gk_reserve_mark(base, fingerprint, run->time, run->batch);
  else if (!(status = gk_reserve_check(base, fingerprint, run->time, run->batch)))
    gk_reserve_settle(base, *bytes);
  return status;
}

gk_status gk_run_open(struct gk_run *run, const int64_t *lengths, void *workspace_base, void *reserve_base,
                      bool backward) {
  const gk_rnn_desc *d = &run->rnn->desc;
  run->plan = gk_rnn_plan_for(run->rnn, run->time, run->batch, run->training, run->feed != NULL);
  if (run->feed && run->feed->in_turn)
    run->plan.chunk = run->plan.kept_steps = 1; /* less memory than was asked for */
  if (!workspace_base)
    return refuse(run, "workspace", false, backward);
  struct gk_arena workspace = gk_arena_start(workspace_base);
  size_t reserve_bytes = 0;
  struct gk_run measured = *run; /* nothing is written before all sizes are known to fit */
  struct gk_arena measure = gk_arena_start(NULL);
  gk_run_cut_workspace(&measured, &measure, backward);
  if (run->training)
    gk_run_cut_reserve(&measured, &measure);
  if (measure.overflow)
    return refuse(run, "workspace", true, backward);
  gk_run_cut_workspace(run, &workspace, backward);
  const gk_status status = run->training ? open_reserve(run, reserve_base, backward, &reserve_bytes) : GK_OK;
  if (status)
    return status;
  run->stream = reserve_bytes > STREAM_BYTES;
  run->stream_gradients = streams_gradients(run);
  memset(run->zero, 0, gk_widest_state(run->rnn) * sizeof *run->zero);
  flush_states(run);
  sort_samples(run, lengths);
  place_samples(run);
  gk_pace_open(run);
  gk_masks_open(run);
  run->folded = run->tokens && gk_rnn_folds(run->rnn, run->training);
  if (d->vocabulary && !gk_rnn_folds(run->rnn, run->training) && run->gradients)
    run->dx = run->embedding_dx;
  if (run->tokens) {
    const bool batch_first = d->layout == GK_BATCH_FIRST;
    gk_embedding_distinct(&run->embedding, run->tokens, run->time, run->batch, lengths,
                          batch_first ? 1 : run->batch, batch_first ? run->time : 1);
  } else if (d->vocabulary) { /* no step, no token: every row of the embedding's gradient is zero */
    gk_embedding_distinct(&run->embedding, NULL, 0, 0, NULL, 0, 0);
  }
  workspace.used = run->wavefront_at; /* the views again, of a run that is complete now */
  gk_wavefront_cut(run, &workspace, backward);
  return GK_OK;
}

/* The arrays that `list` names begin one after the other, `length` pointers each; where the last one ends. */
static char *point_at_arrays(struct gk_worker *worker, const size_t *list, size_t arrays, int64_t length,
                             char *begin) {
  for (size_t k = 0; k < arrays; k++, begin += (size_t)length * sizeof(void *))
    memcpy((char *)worker + list[k], &begin, sizeof begin);
  return begin;
}

void gk_worker_columns(const struct gk_worker *worker, const struct gk_matrix *matrix, size_t *begin,
                       size_t *end) {
  *begin = 0;
  *end = matrix->units;
  if (worker->teams)
    gk_matrix_share(matrix, worker->thread, worker->threads, begin, end);
}

void gk_worker_whole_rows(const struct gk_worker *worker, size_t rows, size_t *begin, size_t *end) {
  *begin = 0;
  *end = rows;
  if (worker->teams)
    gk_split(rows, 1, worker->thread, worker->threads, begin, end);
}

/* All matrices of the layer are cut as W_x is, though one of a single gate could be cut elsewhere. */
void gk_worker_enter(struct gk_worker *worker, int layer, int direction) {
  const struct gk_rnn_layer *weights = gk_run_layer(worker->run, layer, direction);
  const struct gk_matrix *output = gk_run_projects(worker->run) ? &weights->p : &weights->x;
  gk_worker_columns(worker, &weights->x, &worker->unit_begin, &worker->unit_end);
  gk_worker_columns(worker, output, &worker->output_begin, &worker->output_end);
}

void gk_worker_start(struct gk_worker *worker, const struct gk_run *run, int thread, int threads) {
  gk_barrier_open(run->barrier, thread, threads);
  *worker = (struct gk_worker){.run = run, .thread = thread, .threads = threads};
  worker->teams = run->plan.schedule != GK_SCHEDULE_SLICES && threads > 1;
  worker->paced = run->paced && threads == run->plan.threads;
  worker->uneven = worker->paced && run->uneven;
  if (worker->teams) {
    worker->stride = 1;
    worker->count = run->batch;
  } else {
    gk_worker_take_slice(worker);
  }
  worker->in_line =
      gk_run_has_one_length(run) || threads == run->plan.threads || run->plan.schedule != GK_SCHEDULE_SLICES;
  const int64_t longest = worker->teams ? run->batch : (run->batch + threads - 1) / threads;
  const int64_t before = worker->teams || worker->stride > 1 ? thread * longest : worker->first;
  char *arrays = (char *)run->pointers + (size_t)before * (size_t)pointers_a_row(run) * sizeof(void *);
  arrays = point_at_arrays(worker, step_arrays, STEP_ARRAYS, worker->count, arrays);
  point_at_arrays(worker, chunk_arrays, CHUNK_ARRAYS, worker->count * run->plan.chunk, arrays);
  if (!run->scratch)
    return;
  worker->scratch = run->scratch + (size_t)thread * run->scratch_floats;
  worker->chunk_row = run->chunk_rows + thread * run->plan.chunk;
  worker->walk = run->walks + thread * run->rnn->layer_count;
  for (int k = 0; k < run->rnn->layer_count; k++)
    worker->walk[k] = (struct gk_gradient_walk){.next.s = run->length[0]};
}

void gk_worker_enter_chunk(struct gk_worker *worker, int64_t begin, int64_t end) {
  const int64_t chunk = worker->run->plan.chunk;
  for (int64_t s = end; s-- > begin;) {
    worker->chunk_row[s % chunk] = worker->rows_swept;
    worker->rows_swept += gk_run_rows(worker->run, s);
  }
}

void gk_worker_enter_lone_chunk(struct gk_worker *worker, int64_t begin, int64_t end) {
  const int64_t chunk = worker->run->plan.chunk;
  for (int64_t s = begin; s < end; s++)
    worker->chunk_row[s % chunk] = s % chunk * worker->run->batch;
}

void gk_run_clear_padding(const struct gk_run *run, int64_t i, size_t width, float *rows) {
  for (int64_t t = run->length[i]; t < run->time; t++)
    memset(rows + (size_t)gk_run_caller_row(run, t, run->order[i]) * width, 0, width * sizeof *rows);
}

/* How many of the `count` positions from `first` on, `stride` apart, have a step s: their lengths descend. */
static int64_t rows_at(const struct gk_run *run, int64_t first, int64_t stride, int64_t count, int64_t s) {
  int64_t low = 0, high = count;
  if (high && run->length[first + (high - 1) * stride] > s)
    return high;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (run->length[first + middle * stride] > s)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

int64_t gk_run_rows(const struct gk_run *run, int64_t s) {
  return rows_at(run, 0, 1, run->batch, s);
}

int64_t gk_worker_rows(const struct gk_worker *worker, int64_t s) {
  return rows_at(worker->run, worker->first, worker->stride, worker->count, s);
}

int64_t gk_sweep_next(const struct gk_run *run, struct gk_sweep *sweep, int64_t most, int64_t *s,
                      int64_t *i) {
  if (sweep->i == sweep->samples) {
    if (sweep->s == 0)
      return 0;
    sweep->s--;
    sweep->i = 0;
    sweep->samples = gk_run_rows(run, sweep->s);
  }
  const int64_t left = sweep->samples - sweep->i, count = left < most ? left : most;
  *s = sweep->s;
  *i = sweep->i;
  sweep->i += count;
  return count;
}

struct gk_sweep_rows gk_sweep_rows_of(const struct gk_run *run, bool callers) {
  return (struct gk_sweep_rows){.run = run, .callers = callers, .next = {.s = run->length[0]}};
}

size_t gk_sweep_next_rows(void *sweep_rows, int64_t rows[GK_SUM_BLOCK]) {
  struct gk_sweep_rows *of = sweep_rows;
  const struct gk_run *run = of->run;
  size_t count = 0;
  for (int64_t s, i; count < GK_SUM_BLOCK && gk_sweep_next(run, &of->next, 1, &s, &i); count++)
    rows[count] =
        of->callers ? gk_run_caller_row(run, s, run->order[i]) : (int64_t)gk_run_row(run, run->time, s, i);
  if (count == 0)
    *of = gk_sweep_rows_of(run, of->callers);
  return count;
}
