/* SPDX-License-Identifier: Apache-2.0
 * Greedy and beam search: the decoder's one step on all hypotheses of all samples, then each sample's
 * ranking. */
#include <math.h>
#include <string.h>

#include "src/core/arguments.h"
#include "src/core/choice.h"
#include "src/core/float_environment.h"
#include "src/sequence/decoder_call.h"

/* A continuation of a live hypothesis. */
struct candidate {
  double score; /* log probability of the whole */
  int32_t hypothesis, token;
};

/* A finished hypothesis: its last token, and the row that it continued. */
struct finished {
  double score; /* normalised */
  int64_t length;
  int32_t row, token;
};

/* Rows are n * B + hypothesis. States exist twice: hypotheses change places. */
struct search {
  const gk_decoder *decoder;
  const gk_search_args *args;
  int64_t rows, step;
  float *h[2], *c[2], *feed[2];
  float *y, *logits;
  double *score, *next_score; /* (N, B) of live hypotheses */
  int32_t *token;             /* (N, B): fed next */
  int32_t *live, *finished;   /* (N): how many */
  int32_t *parent, *said;     /* (most, N, B): the row before, the token */
  struct finished *done;      /* (N, B) */
  struct candidate *ranking;  /* (N, 2 B) */
  struct candidate *best;     /* (N, 2 B): of one hypothesis; score is a logit */
  void *decoder_workspace, *output_workspace;
};

static gk_status cut(struct search *search, struct gk_arena *arena, int64_t batch, int64_t beam, int64_t most,
                     int64_t source_time) {
  const gk_decoder *decoder = search->decoder;
  const int64_t V = decoder->desc.vocabulary, top = decoder->top;
  gk_rnn_memory memory;
  size_t output = 0, rows = 1;
  if (!gk_size_array(&rows, 1, batch, beam, 2) || rows > INT32_MAX)
    return gk_fail(GK_ERROR_OVERFLOW, "batch %lld x beam %lld: too many hypotheses", (long long)batch,
                   (long long)beam);
  search->rows = batch * beam;
  gk_status status = gk_decoder_memory_needed(decoder, 1, search->rows, source_time, &memory);
  if (!status)
    status = gk_output_workspace_bytes(decoder->desc.output, search->rows, &output);
  if (status)
    return status;
  for (int i = 0; i < 2; i++) {
    search->h[i] = gk_arena_take(arena, sizeof(float), search->rows, decoder->rnn->hidden_values, 1);
    search->c[i] = gk_arena_take(arena, sizeof(float), search->rows, decoder->rnn->cell_values, 1);
    search->feed[i] = gk_arena_take(arena, sizeof(float), search->rows, top, 1);
  }
  search->y = gk_arena_take(arena, sizeof(float), search->rows, top, 1);
  search->logits = gk_arena_take(arena, sizeof(float), search->rows, V, 1);
  search->score = gk_arena_take(arena, sizeof(double), search->rows, 1, 1);
  search->next_score = gk_arena_take(arena, sizeof(double), search->rows, 1, 1);
  search->token = gk_arena_take(arena, sizeof(int32_t), search->rows, 1, 1);
  search->live = gk_arena_take(arena, sizeof(int32_t), batch, 1, 1);
  search->finished = gk_arena_take(arena, sizeof(int32_t), batch, 1, 1);
  search->parent = gk_arena_take(arena, sizeof(int32_t), most, search->rows, 1);
  search->said = gk_arena_take(arena, sizeof(int32_t), most, search->rows, 1);
  search->done = gk_arena_take(arena, sizeof *search->done, search->rows, 1, 1);
  search->ranking = gk_arena_take(arena, sizeof *search->ranking, search->rows, 2, 1);
  search->best = gk_arena_take(arena, sizeof *search->best, search->rows, 2, 1);
  search->decoder_workspace = gk_arena_take(arena, memory.inference_workspace_bytes, 1, 1, 1);
  search->output_workspace = gk_arena_take(arena, output, 1, 1, 1);
  return GK_OK;
}

/* ---- Ranking ---- */

static bool comes_before(const struct candidate *a, const struct candidate *b) {
  if (a->score != b->score)
    return a->score > b->score;
  return a->hypothesis != b->hypothesis ? a->hypothesis < b->hypothesis : a->token < b->token;
}

/* Keeps the first `most` of what is offered, in order. */
static int64_t offer(struct candidate *list, int64_t count, int64_t most, struct candidate candidate) {
  if (count == most && !comes_before(&candidate, &list[count - 1]))
    return count;
  int64_t at = count < most ? count++ : count - 1;
  for (; at > 0 && comes_before(&candidate, &list[at - 1]); at--)
    list[at] = list[at - 1];
  list[at] = candidate;
  return count;
}

/* Logits that are not finite stand for limits: -inf and NaN are tokens of no probability, all +inf share it,
 * and so do all -inf where there is nothing else. */
static float limit_of(float logit, float largest) {
  if (isfinite(largest))
    return logit <= largest ? logit : -INFINITY;
  return logit == largest ? 0 : -INFINITY;
}

/* The first 2 B continuations of sample n, none of them impossible. */
static int64_t rank(const struct search *search, int64_t n) {
  const int64_t beam = search->args->beam, most = 2 * beam, V = search->decoder->desc.vocabulary;
  struct candidate *ranking = search->ranking + n * most, *best = search->best + n * most;
  int64_t count = 0;
  for (int32_t k = 0; k < search->live[n]; k++) {
    float *logits = search->logits + (n * beam + k) * V;
    const float top = logits[gk_index_of_largest(logits, V)];
    int64_t kept = 0;
    for (int64_t v = 0; v < V; v++) {
      logits[v] = limit_of(logits[v], top);
      if (logits[v] > -INFINITY)
        kept = offer(best, kept, most, (struct candidate){(double)logits[v], k, (int32_t)v});
    }
    if (kept == 0)
      continue;
    const float largest = (float)best[0].score;
    const float log_sum = search->decoder->rnn->kernels->softmax_loss(
        &(struct gk_loss_row){.count = (size_t)V, .x = logits, .target = (size_t)best[0].token});
    for (int64_t i = 0; i < kept; i++) {
      const float log_p = ((float)best[i].score - largest) - log_sum;
      if (log_p > -INFINITY)
        count = offer(ranking, count, most,
                      (struct candidate){search->score[n * beam + k] + (double)log_p, k, best[i].token});
    }
  }
  return count;
}

static void finish(const struct search *search, int64_t n, int32_t row, int32_t token, double score) {
  const int64_t length = search->step + 1, beam = search->args->beam;
  const float norm = (float)pow((5.0 + (double)length) / 6.0, (double)search->args->length_penalty);
  /* A certain hypothesis stays one; the norm of an extreme penalty may be 0. */
  const struct finished hypothesis = {score == 0 ? 0 : score / (double)norm, length, row, token};
  struct finished *done = search->done + n * beam;
  int32_t at = search->finished[n]++;
  for (; at > 0 && done[at - 1].score < hypothesis.score; at--)
    done[at] = done[at - 1];
  done[at] = hypothesis;
}

/* Sample n's hypotheses after this step's logits. */
static void advance(const struct search *search, int64_t n) {
  const int64_t beam = search->args->beam, first = n * beam;
  const bool last = search->step + 1 == search->args->most;
  const struct candidate *ranking = search->ranking + n * 2 * beam;
  int32_t *parent = search->parent + search->step * search->rows + first;
  int32_t *said = search->said + search->step * search->rows + first;
  const int64_t count = rank(search, n);
  int32_t live = 0;
  for (int32_t k = 0; k < (int32_t)beam; k++) {
    parent[k] = (int32_t)first + k;
    said[k] = 0;
  }
  for (int64_t i = 0; i < count && live < beam && search->finished[n] < beam; i++) {
    const int32_t row = (int32_t)first + ranking[i].hypothesis;
    const bool ends = ranking[i].token == search->args->end;
    if (ends && i >= beam)
      continue;
    if (ends || last) {
      finish(search, n, row, ranking[i].token, ranking[i].score);
      continue;
    }
    parent[live] = row;
    said[live] = ranking[i].token;
    search->next_score[first + live++] = ranking[i].score;
  }
  search->live[n] = last || search->finished[n] == beam ? 0 : live;
  for (int32_t k = 0; k < (int32_t)beam; k++) {
    search->score[first + k] = search->next_score[first + k];
    search->token[first + k] = said[k];
  }
}

/* States follow their hypotheses. */
static void move_states(const struct search *search, int64_t row) {
  const gk_rnn *rnn = search->decoder->rnn;
  const int64_t from = search->parent[search->step * search->rows + row], top = search->decoder->top;
  for (int l = 0; l < rnn->layer_count; l++) {
    const struct gk_rnn_layer *layer = &rnn->layers[l];
    const int64_t h = layer->h_offset * search->rows, c = layer->c_offset * search->rows;
    const int64_t H = (int64_t)layer->output, M = (int64_t)layer->hidden;
    memcpy(search->h[1] + h + row * H, search->h[0] + h + from * H, (size_t)H * sizeof(float));
    if (rnn->cell->memory)
      memcpy(search->c[1] + c + row * M, search->c[0] + c + from * M, (size_t)M * sizeof(float));
  }
  memcpy(search->feed[1] + row * top, search->feed[0] + from * top, (size_t)top * sizeof(float));
}

static void advance_body(void *context, int thread, int threads) {
  const struct search *search = context;
  size_t begin, end;
  gk_split((size_t)search->args->batch, 1, thread, threads, &begin, &end);
  for (int64_t n = (int64_t)begin; n < (int64_t)end; n++) {
    advance(search, n);
    for (int64_t k = 0; k < search->args->beam; k++)
      move_states(search, n * search->args->beam + k);
  }
}

/* ---- The walk ---- */

/* The initial state of a sample, or the trained one, or zeros. */
static float initial(const float *given, int64_t at, bool trained, const float *row, int64_t unit) {
  return given ? given[at + unit] : trained ? row[unit] : 0;
}

/* One initial state for each hypothesis of a sample; `packed` is the stack's. */
static void start(const struct search *search, const float *packed) {
  const gk_search_args *args = search->args;
  const gk_rnn *rnn = search->decoder->rnn;
  const int64_t N = args->batch, B = args->beam, top = search->decoder->top;
  for (int64_t row = 0; row < search->rows; row++) {
    const int64_t n = row / B;
    search->token[row] = args->start[n];
    search->score[row] = search->next_score[row] = 0;
    for (int l = 0; l < rnn->layer_count; l++) {
      const struct gk_rnn_layer *layer = &rnn->layers[l];
      const int64_t H = (int64_t)layer->output, M = rnn->cell->memory ? (int64_t)layer->hidden : 0;
      float *h = search->h[0] + layer->h_offset * search->rows + row * H;
      float *c = search->c[0] + layer->c_offset * search->rows + row * M;
      for (int64_t u = 0; u < H; u++)
        h[u] = initial(args->h0, layer->h_offset * N + n * H, rnn->desc.trained_states,
                       packed + layer->h0_row, u);
      for (int64_t u = 0; u < M; u++)
        c[u] = initial(args->c0, layer->c_offset * N + n * M, rnn->desc.trained_states,
                       packed + layer->c0_row, u);
    }
    for (int64_t u = 0; u < top; u++)
      search->feed[0][row * top + u] = args->feed0 ? args->feed0[n * top + u] : 0;
  }
  for (int64_t n = 0; n < N; n++) {
    search->live[n] = 1;
    search->finished[n] = 0;
  }
}

static gk_status step(struct search *search) {
  const gk_search_args *args = search->args;
  const gk_decoder *decoder = search->decoder;
  const bool memory = decoder->rnn->cell->memory, feeds = decoder->desc.input_feeding;
  gk_decoder_forward_args run = GK_DECODER_FORWARD_ARGS_INIT;
  run.time = 1;
  run.batch = search->rows;
  run.tokens = search->token;
  run.source_time = args->source_time;
  run.source_lengths = args->source_lengths;
  run.source = args->source;
  run.h0 = run.hn = search->h[0];
  run.c0 = run.cn = memory ? search->c[0] : NULL;
  run.feed0 = run.feedn = feeds ? search->feed[0] : NULL;
  run.parameters = args->parameters;
  run.packed = args->packed;
  run.y = search->y;
  run.workspace = search->decoder_workspace;
  gk_status status = gk_decoder_forward_beams(decoder, &run, args->beam);
  if (!status)
    status = gk_output_forward(decoder->desc.output, search->rows, search->y, args->output_packed,
                               search->logits, search->output_workspace);
  if (status)
    return status;
  const bool small = (double)search->rows * (double)decoder->desc.vocabulary < GK_SHARED_VALUES;
  gk_parallel(small ? 1 : decoder->rnn->desc.threads, advance_body, search);
  float *const h = search->h[0], *const c = search->c[0], *const feed = search->feed[0];
  search->h[0] = search->h[1];
  search->c[0] = search->c[1];
  search->feed[0] = search->feed[1];
  search->h[1] = h;
  search->c[1] = c;
  search->feed[1] = feed;
  return GK_OK;
}

static void write_hypotheses(const struct search *search) {
  const gk_search_args *args = search->args;
  const uint64_t callers = gk_float_environment_pin();
  for (int64_t n = 0; n < args->batch; n++)
    for (int64_t k = 0; k < args->beam; k++) {
      const int64_t out = n * args->beam + k;
      const bool exists = k < search->finished[n];
      const struct finished *done = &search->done[out];
      int32_t *tokens = args->tokens + out * args->most;
      const int64_t length = exists ? done->length : 0;
      for (int64_t t = length; t < args->most; t++)
        tokens[t] = -1;
      if (args->lengths)
        args->lengths[out] = length;
      if (args->scores)
        args->scores[out] = exists ? (float)done->score : -INFINITY;
      if (!exists)
        continue;
      tokens[length - 1] = done->token;
      int32_t row = done->row;
      for (int64_t t = length - 1; t-- > 0; row = search->parent[t * search->rows + row])
        tokens[t] = search->said[t * search->rows + row];
    }
  gk_float_environment_restore(callers);
}

/* ---- Arguments ---- */

static gk_status check_decoder(const gk_decoder *decoder) {
  if (!decoder)
    return gk_fail(GK_ERROR_ARGUMENT, "decoder is NULL");
  if (decoder->desc.feedback != GK_FEEDBACK_TOKEN || !decoder->desc.output || decoder->desc.rnn.input_size)
    return gk_fail(GK_ERROR_UNSUPPORTED,
                   "search needs feedback token (is %s), an output%s, input_size 0 (is %lld)",
                   gk_feedback_name(decoder->desc.feedback), decoder->desc.output ? "" : " (is NULL)",
                   (long long)decoder->desc.rnn.input_size);
  return GK_OK;
}

static gk_status check_sizes(const gk_decoder *decoder, int64_t batch, int64_t beam, int64_t most,
                             int64_t source_time) {
  gk_status status = gk_check_range("batch", batch, 0, INT32_MAX, GK_ERROR_OVERFLOW);
  if (!status)
    status = gk_check_range("beam", beam, 1, decoder->desc.vocabulary, GK_ERROR_ARGUMENT);
  if (!status)
    status = gk_check_range("most", most, 1, INT32_MAX, GK_ERROR_OVERFLOW);
  return status ? status : gk_check_not_negative("source_time", source_time);
}

static gk_status check(const gk_decoder *decoder, const gk_search_args *args) {
  gk_status status = check_decoder(decoder);
  if (status)
    return status;
  if (!args)
    return gk_fail(GK_ERROR_ARGUMENT, "args is NULL");
  status = gk_check_size_field("args", args->size, sizeof *args, "GK_SEARCH_ARGS_INIT");
  if (status)
    return status;
  status = check_sizes(decoder, args->batch, args->beam, args->most, args->source_time);
  if (!status)
    status = gk_check_range("end", args->end, -1, decoder->desc.vocabulary - 1, GK_ERROR_ARGUMENT);
  if (status)
    return status;
  if (!isfinite(args->length_penalty))
    return gk_fail(GK_ERROR_ARGUMENT, "length_penalty is %g, must be finite", (double)args->length_penalty);
  if (args->feed0 && !decoder->desc.input_feeding)
    return gk_fail(GK_ERROR_ARGUMENT, "feed0 is given, and the decoder's input_feeding is not set");
  if (args->batch)
    status =
        GK_CHECK_POINTERS({"start", args->start}, {"tokens", args->tokens}, {"workspace", args->workspace});
  return status;
}

static gk_status check_start(const gk_decoder *decoder, const gk_search_args *args) {
  for (int64_t n = 0; n < args->batch; n++)
    if (args->start[n] < 0 || args->start[n] >= decoder->desc.vocabulary)
      return gk_fail(GK_ERROR_ARGUMENT, "start[%lld] is %ld, must be 0..%lld", (long long)n,
                     (long)args->start[n], (long long)decoder->desc.vocabulary - 1);
  return GK_OK;
}

gk_status gk_decoder_search_bytes(const gk_decoder *decoder, int64_t batch, int64_t beam, int64_t most,
                                  int64_t source_time, size_t *bytes) {
  gk_status status = check_decoder(decoder);
  if (status)
    return status;
  if (!bytes)
    return gk_fail(GK_ERROR_ARGUMENT, "bytes is NULL");
  status = check_sizes(decoder, batch, beam, most, source_time);
  if (status)
    return status;
  struct search search = {.decoder = decoder};
  struct gk_arena arena = gk_arena_start(NULL);
  status = cut(&search, &arena, batch, beam, most, source_time);
  if (!status && !gk_arena_bytes(&arena, bytes))
    status =
        gk_fail(GK_ERROR_OVERFLOW, "workspace of batch %lld, beam %lld, most %lld does not fit in memory",
                (long long)batch, (long long)beam, (long long)most);
  return status;
}

gk_status gk_decoder_search(const gk_decoder *decoder, const gk_search_args *args) {
  size_t bytes;
  gk_status status = check(decoder, args);
  if (!status)
    status = gk_decoder_search_bytes(decoder, args->batch, args->beam, args->most, args->source_time, &bytes);
  if (!status) /* whose number is now known to fit */
    status = check_start(decoder, args);
  if (status || args->batch == 0)
    return status;
  struct search search = {.decoder = decoder, .args = args};
  struct gk_arena arena = gk_arena_start(args->workspace);
  status = cut(&search, &arena, args->batch, args->beam, args->most, args->source_time);
  if (status)
    return status;
  const gk_rnn *rnn = decoder->rnn;
  if (!gk_packed_open(decoder->packed, GK_PACK_FORWARD, rnn->kernels->isa, args->packed))
    return GK_ERROR_ARGUMENT; /* before the stack's part is looked for */
  const float *packed = gk_packed_open(rnn->packed, GK_PACK_FORWARD, rnn->kernels->isa,
                                       gk_decoder_stack_packed(decoder, args->packed));
  if (!packed)
    return GK_ERROR_ARGUMENT;
  start(&search, packed);
  bool alive = true;
  for (search.step = 0; search.step < args->most && alive; search.step++) {
    status = step(&search);
    if (status)
      return status;
    alive = false;
    for (int64_t n = 0; n < args->batch; n++)
      alive |= search.live[n] > 0;
  }
  write_hypotheses(&search);
  return GK_OK;
}
