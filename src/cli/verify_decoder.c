/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_job.h"

#include <math.h>
#include <string.h>

enum { BEAM = 2, MOST_TOKENS = 5 };

/* One way of computing it. */
struct decoder_way {
  verify_job *job;
  gk_decoder *decoder;
  gk_output *output;
  struct pool pool;
  void *packed, *output_packed, *reserve, *forward, *backward;
};

static bool feeds_outputs(const verify_case *c) {
  return c->decoder.feedback == GK_FEEDBACK_OUTPUT;
}

static gk_status create_decoder(const verify_job *job, const verify_plan *plan, gk_decoder **decoder,
                                gk_output **output) {
  const verify_case *c = job->kase;
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  gk_decoder_desc desc = GK_DECODER_DESC_INIT;
  output_desc.input_size = c->decoder.attention_size ? c->decoder.attention_size : c->hidden;
  output_desc.output_size = OUTPUT_SIZE;
  output_desc.isa = plan->isa;
  output_desc.math = GK_MATH_OWN;
  output_desc.threads = plan->threads;
  desc.rnn.cell = job->cell;
  desc.rnn.input_size = c->input;
  desc.rnn.hidden_size = c->hidden;
  desc.rnn.layers = c->layers;
  desc.rnn.layout = c->layout;
  desc.rnn.dropout = c->dropout;
  desc.rnn.isa = plan->isa;
  desc.rnn.math = GK_MATH_OWN;
  desc.rnn.schedule = plan->schedule;
  desc.rnn.threads = plan->threads;
  desc.feedback = c->decoder.feedback;
  desc.vocabulary = c->decoder.embedding ? OUTPUT_SIZE : 0;
  desc.embedding_size = c->decoder.embedding;
  desc.output_function = c->decoder.output_function;
  desc.attention = c->decoder.attention;
  desc.source_size = c->decoder.source;
  desc.attention_size = c->decoder.attention_size;
  desc.input_feeding = c->decoder.input_feeding;
  gk_status status = gk_rnn_options_set(&desc.rnn, c->options);
  if (status == GK_OK)
    status = gk_output_create(&output_desc, output);
  desc.output = *output;
  return status == GK_OK ? gk_decoder_create(&desc, decoder) : status;
}

/* ---- Data ---- */

static void make_source_lengths(verify_job *job) {
  const verify_case *c = job->kase;
  const int32_t *random = verify_take_integers(job, c->batch, 0, (int32_t)c->decoder.source_time);
  int64_t *lengths = verify_take_bytes(&job->data, (size_t)c->batch * sizeof *lengths);
  job->decoder.source_lengths = lengths;
  for (int64_t n = 0; n < c->batch && !job->data.out_of_memory; n++) {
    lengths[n] = n == 0 ? 0 : n == 2 ? c->decoder.source_time : random[n];
    for (int64_t t = lengths[n]; t < c->decoder.source_time; t++)
      for (int64_t i = 0; i < c->decoder.source; i++) {
        const int64_t row = c->layout == GK_BATCH_FIRST ? n * c->decoder.source_time + t : t * c->batch + n;
        job->decoder.source[row * c->decoder.source + i] = NAN;
      }
  }
}

static void make_lengths(verify_job *job) {
  const verify_case *c = job->kase;
  const int32_t *random = verify_take_integers(job, c->batch, 0, (int32_t)c->time);
  job->lengths = verify_take_bytes(&job->data, (size_t)c->batch * sizeof *job->lengths);
  if (job->data.out_of_memory)
    return;
  for (int64_t n = 0; n < c->batch; n++)
    job->lengths[n] = n == 1 ? 0 : n == 2 ? c->time : random[n];
  if (job->x)
    verify_poison_padding(job, job->x, c->input);
  verify_poison_padding(job, job->decoder.dy, job->decoder.top);
  if (job->decoder.previous) {
    verify_poison_padding(job, job->decoder.previous, job->decoder.fed);
    verify_poison_padding(job, job->decoder.doutputs, job->decoder.fed);
  }
}

gk_status verify_decoder_data(verify_job *job) {
  const verify_case *c = job->kase;
  const verify_plan any = {.isa = GK_ISA_SCALAR, .threads = 1};
  gk_decoder *decoder = NULL;
  gk_output *output = NULL;
  gk_status status = create_decoder(job, &any, &decoder, &output);
  if (status == GK_OK) {
    const int64_t sources = c->decoder.source_time * c->batch * c->decoder.source;
    const int64_t cells = gk_cell_has_memory(job->cell) ? job->states : 0;
    const int64_t feeds = c->decoder.input_feeding ? c->batch * gk_decoder_size(decoder) : 0;
    job->parameter_count = gk_decoder_parameter_count(decoder);
    job->output_parameter_count = gk_output_parameter_count(output);
    job->decoder.top = gk_decoder_size(decoder);
    job->decoder.fed = feeds_outputs(c) ? OUTPUT_SIZE : 0;
    job->parameters = verify_take_random(job, job->parameter_count, 1 / sqrtf((float)c->hidden));
    job->output_parameters = verify_take_random(job, job->output_parameter_count, 0.25f);
    job->tokens = verify_take_integers(job, job->pairs, 0, OUTPUT_SIZE - 1);
    job->x = c->input ? verify_take_random(job, job->pairs * c->input, 1) : NULL;
    job->h0 = verify_take_random(job, job->states, 1);
    job->c0 = verify_take_random(job, cells, 1);
    job->dhn = verify_take_random(job, job->states, 0.125f);
    job->dcn = verify_take_random(job, cells, 0.125f);
    job->decoder.feed0 = verify_take_random(job, feeds, 1);
    job->decoder.dfeedn = verify_take_random(job, feeds, 0.125f);
    job->decoder.source = verify_take_random(job, sources, 1);
    job->decoder.dy = verify_take_random(job, job->pairs * job->decoder.top, 0.5f);
    if (feeds_outputs(c)) {
      job->decoder.previous = verify_take_random(job, job->pairs * OUTPUT_SIZE, 1);
      job->decoder.doutputs = verify_take_random(job, job->pairs * OUTPUT_SIZE, 0.5f);
    }
    if (c->ragged && sources)
      make_source_lengths(job);
    if (c->ragged)
      make_lengths(job);
    status = job->data.out_of_memory ? GK_ERROR_MEMORY : GK_OK;
  }
  gk_decoder_destroy(decoder);
  gk_output_destroy(output);
  return status;
}

/* ---- One way ---- */

static gk_status pack(struct decoder_way *way) {
  const verify_job *job = way->job;
  const verify_case *c = job->kase;
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  gk_rnn_memory memory;
  size_t packed, output_packed;
  gk_status status = gk_decoder_packed_bytes(way->decoder, both, &packed);
  if (status == GK_OK)
    status = gk_output_packed_bytes(way->output, both, &output_packed);
  if (status == GK_OK)
    status = gk_decoder_memory_needed(way->decoder, c->time, c->batch, c->decoder.source_time, &memory);
  if (status != GK_OK)
    return status;
  way->packed = verify_take_bytes(&way->pool, packed);
  way->output_packed = verify_take_bytes(&way->pool, output_packed);
  way->reserve = verify_take_bytes(&way->pool, memory.reserve_bytes);
  way->forward = verify_take_bytes(&way->pool, memory.forward_workspace_bytes);
  way->backward = verify_take_bytes(&way->pool, memory.backward_workspace_bytes);
  if (way->pool.out_of_memory)
    return GK_ERROR_MEMORY;
  status = gk_decoder_pack(way->decoder, both, job->parameters, way->packed);
  return status == GK_OK ? gk_output_pack(way->output, both, job->output_parameters, way->output_packed)
                         : status;
}

/* Whole numbers as floats, which is what results are. */
static gk_status add_integers(struct decoder_way *way, const char *name, const int32_t *values,
                              int64_t count) {
  float *floats = verify_take(&way->pool, count);
  if (!floats)
    return GK_ERROR_MEMORY;
  for (int64_t i = 0; i < count; i++)
    floats[i] = (float)values[i];
  return verify_add_floats(way->job, name, floats, count);
}

static gk_status check_forward(struct decoder_way *way) {
  verify_job *job = way->job;
  const verify_case *c = job->kase;
  const bool tokens = c->decoder.feedback == GK_FEEDBACK_TOKEN;
  const int64_t cells = gk_cell_has_memory(job->cell) ? job->states : 0;
  const int64_t feeds = c->decoder.input_feeding ? c->batch * job->decoder.top : 0;
  const int64_t weights = job->pairs * c->decoder.source_time, outputs = job->pairs * job->decoder.fed;
  gk_decoder_forward_args args = GK_DECODER_FORWARD_ARGS_INIT;
  args.time = c->time;
  args.batch = c->batch;
  args.lengths = job->lengths;
  args.x = job->x;
  args.tokens = tokens ? job->tokens : NULL;
  args.previous = job->decoder.previous;
  args.sampling = 0.5f;
  args.choice = GK_CHOICE_SAMPLE;
  args.source_time = c->decoder.source_time;
  args.source_lengths = job->decoder.source_lengths;
  args.source = c->decoder.source ? job->decoder.source : NULL;
  args.h0 = job->h0;
  args.c0 = cells ? job->c0 : NULL;
  args.feed0 = feeds ? job->decoder.feed0 : NULL;
  args.parameters = job->parameters;
  args.packed = way->packed;
  args.output_packed = way->output_packed;
  args.y = verify_take(&way->pool, job->pairs * job->decoder.top);
  args.outputs = outputs ? verify_take(&way->pool, outputs) : NULL;
  args.chosen = tokens ? verify_take_bytes(&way->pool, (size_t)job->pairs * sizeof(int32_t)) : NULL;
  args.fed = verify_take_bytes(&way->pool, (size_t)job->pairs * sizeof(int32_t));
  args.weights = weights ? verify_take(&way->pool, weights) : NULL;
  args.hn = verify_take(&way->pool, job->states);
  args.cn = cells ? verify_take(&way->pool, cells) : NULL;
  args.feedn = feeds ? verify_take(&way->pool, feeds) : NULL;
  args.random = verify_key(job);
  args.reserve = way->reserve;
  args.workspace = way->forward;
  if (way->pool.out_of_memory)
    return GK_ERROR_MEMORY;
  gk_status status = gk_decoder_forward(way->decoder, &args);
  const struct {
    const char *name;
    const float *values;
    int64_t count;
  } results[] = {{"y", args.y, job->pairs * job->decoder.top},
                 {"outputs", args.outputs, outputs},
                 {"weights", args.weights, weights},
                 {"hn", args.hn, job->states},
                 {"cn", args.cn, cells},
                 {"feedn", args.feedn, feeds}};
  for (size_t i = 0; i < sizeof results / sizeof *results && status == GK_OK; i++)
    if (results[i].count)
      status = verify_add_floats(job, results[i].name, results[i].values, results[i].count);
  if (status == GK_OK && tokens)
    status = add_integers(way, "chosen", args.chosen, job->pairs);
  return status == GK_OK ? add_integers(way, "fed", args.fed, job->pairs) : status;
}

static gk_status check_backward(struct decoder_way *way) {
  verify_job *job = way->job;
  const verify_case *c = job->kase;
  const int64_t cells = gk_cell_has_memory(job->cell) ? job->states : 0;
  const int64_t feeds = c->decoder.input_feeding ? c->batch * job->decoder.top : 0;
  const int64_t outputs = job->pairs * job->decoder.fed, inputs = job->pairs * c->input;
  const int64_t sources = c->decoder.source_time * c->batch * c->decoder.source;
  const int64_t of_output = feeds_outputs(c) ? job->output_parameter_count : 0;
  gk_decoder_backward_args args = GK_DECODER_BACKWARD_ARGS_INIT;
  args.time = c->time;
  args.batch = c->batch;
  args.lengths = job->lengths;
  args.source_time = c->decoder.source_time;
  args.source_lengths = job->decoder.source_lengths;
  args.source = c->decoder.source ? job->decoder.source : NULL;
  args.h0 = job->h0;
  args.c0 = cells ? job->c0 : NULL;
  args.parameters = job->parameters;
  args.packed = way->packed;
  args.output_packed = way->output_packed;
  args.dy = job->decoder.dy;
  args.doutputs = job->decoder.doutputs;
  args.dhn = job->dhn;
  args.dcn = cells ? job->dcn : NULL;
  args.dfeedn = feeds ? job->decoder.dfeedn : NULL;
  args.random = verify_key(job);
  args.reserve = way->reserve;
  args.workspace = way->backward;
  const struct {
    const char *name;
    float **values;
    int64_t count;
  } results[] = {{"dx", &args.dx, inputs},
                 {"dprevious", &args.dprevious, outputs},
                 {"dsource", &args.dsource, sources},
                 {"dh0", &args.dh0, job->states},
                 {"dc0", &args.dc0, cells},
                 {"dfeed0", &args.dfeed0, feeds},
                 {"gradients", &args.gradients, job->parameter_count},
                 {"output gradients", &args.output_gradients, of_output}};
  for (size_t i = 0; i < sizeof results / sizeof *results; i++)
    *results[i].values = results[i].count ? verify_take(&way->pool, results[i].count) : NULL;
  if (way->pool.out_of_memory)
    return GK_ERROR_MEMORY;
  gk_status status = gk_decoder_backward(way->decoder, &args);
  for (size_t i = 0; i < sizeof results / sizeof *results && status == GK_OK; i++)
    if (results[i].count)
      status = verify_add_floats(job, results[i].name, *results[i].values, results[i].count);
  return status;
}

/* Beams from one token; only what is fed by nothing but tokens can be searched. */
static gk_status check_search(struct decoder_way *way) {
  verify_job *job = way->job;
  const verify_case *c = job->kase;
  const int64_t count = c->batch * BEAM * MOST_TOKENS;
  size_t bytes;
  gk_status status =
      gk_decoder_search_bytes(way->decoder, c->batch, BEAM, MOST_TOKENS, c->decoder.source_time, &bytes);
  if (status != GK_OK)
    return status;
  gk_search_args args = GK_SEARCH_ARGS_INIT;
  args.batch = c->batch;
  args.beam = BEAM;
  args.most = MOST_TOKENS;
  args.start = job->tokens;
  args.source_time = c->decoder.source_time;
  args.source_lengths = job->decoder.source_lengths;
  args.source = job->decoder.source;
  args.parameters = job->parameters;
  args.packed = way->packed;
  args.output_packed = way->output_packed;
  args.tokens = verify_take_bytes(&way->pool, (size_t)count * sizeof(int32_t));
  args.workspace = verify_take_bytes(&way->pool, bytes);
  if (way->pool.out_of_memory)
    return GK_ERROR_MEMORY;
  memset(args.tokens, 0, (size_t)count * sizeof(int32_t));
  status = gk_decoder_search(way->decoder, &args);
  return status == GK_OK ? add_integers(way, "search", args.tokens, count) : status;
}

gk_status verify_decoder_compute(verify_job *job, const verify_plan *plan) {
  struct decoder_way way = {.job = job};
  gk_status status = create_decoder(job, plan, &way.decoder, &way.output);
  if (status == GK_OK)
    status = pack(&way);
  if (status == GK_OK)
    status = check_forward(&way);
  if (status == GK_OK)
    status = check_backward(&way);
  if (status == GK_OK && job->kase->decoder.feedback == GK_FEEDBACK_TOKEN && !job->kase->input)
    status = check_search(&way);
  verify_release(&way.pool);
  gk_decoder_destroy(way.decoder);
  gk_output_destroy(way.output);
  return status;
}
