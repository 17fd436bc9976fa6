/* SPDX-License-Identifier: Apache-2.0
 *
 * Decoders as tests use them: a case, its random data, one run through the public API, the same run through
 * the float64 reference. What lies past a length holds NaN or tokens that do not exist. Include cmocka.h
 * first. */
#ifndef GK_TESTS_DECODER_FIXTURE_H
#define GK_TESTS_DECODER_FIXTURE_H

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "include/gatekern.h"
#include "src/reference/reference_decoder.h"
#include "tests/buffers.h"
#include "tests/cell_variants.h"
#include "tests/network_tiers.h"
#include "tests/random_values.h"

struct decoder_case {
  gk_decoder_desc desc; /* `output` is filled in by run_decoder */
  int64_t sizes[2];     /* of the hidden layers */
  int64_t output_size;  /* O, or V */
  int64_t time, batch, source_time;
  bool ragged, states, chosen;
  float sampling, temperature;
  gk_choice choice;
  uint64_t seed;
};

/* Tensors of a result, and of the data that some of them are gradients of. */
enum decoder_tensor {
  D_Y,
  D_OUTPUTS,
  D_WEIGHTS,
  D_HN,
  D_CN,
  D_FEEDN,
  D_DX,
  D_DPREVIOUS,
  D_DSOURCE,
  D_DH0,
  D_DC0,
  D_DFEED0,
  D_GRADIENTS,
  D_OUTPUT_GRADIENTS,
  D_DH_NORMS, /* no gradient of a tensor */
  D_TENSORS
};
static const char *const decoder_tensor_names[D_TENSORS]
    __attribute__((unused)) = {"y",         "outputs",          "weights", "hn",  "cn",  "feedn",
                               "dx",        "dprevious",        "dsource", "dh0", "dc0", "dfeed0",
                               "gradients", "output_gradients", "dh_norms"};

struct decoder_sizes {
  int64_t count[D_TENSORS]; /* 0: the case does not have it */
  int64_t top, fed;
  bool memory;
};

static inline struct decoder_sizes decoder_sizes_of(const struct decoder_case *c) {
  const gk_decoder_desc *d = &c->desc;
  const int64_t rows = c->time * c->batch, L = d->rnn.layers, P = d->rnn.projection_size;
  const int64_t H = P ? P : c->sizes[L - 1];
  const bool attends = d->attention != GK_ATTENTION_NONE, output = d->feedback == GK_FEEDBACK_OUTPUT;
  const int64_t all = c->sizes[0] + (L > 1 ? c->sizes[1] : 0);
  struct decoder_sizes s = {.memory = gk_cell_has_memory(d->rnn.cell)};
  s.top = attends && d->attention_size ? d->attention_size : H;
  s.fed = output ? c->output_size : d->embedding_size;
  s.count[D_Y] = rows * s.top;
  s.count[D_OUTPUTS] = s.count[D_DPREVIOUS] = output ? rows * s.fed : 0;
  s.count[D_WEIGHTS] = attends ? rows * c->source_time : 0;
  s.count[D_HN] = s.count[D_DH0] = (P ? L * P : all) * c->batch;
  s.count[D_CN] = s.count[D_DC0] = s.memory ? all * c->batch : 0;
  s.count[D_FEEDN] = s.count[D_DFEED0] = d->input_feeding ? c->batch * s.top : 0;
  s.count[D_DX] = rows * d->rnn.input_size;
  s.count[D_DSOURCE] = attends ? c->source_time * c->batch * d->source_size : 0;
  s.count[D_DH_NORMS] = L * rows;
  s.count[D_OUTPUT_GRADIENTS] = output ? s.fed * (s.top + 1) : 0;
  return s;
}

static inline void describe_decoder(const struct decoder_case *c, char *text, size_t size) {
  const gk_decoder_desc *d = &c->desc;
  char options[200];
  describe_options(&d->rnn, options, sizeof options);
  snprintf(
      text, size,
      "cell %s%s, isa %s, feedback %s, attention %s%s, function %s, recurrence %s, L %d (%d, %d), I %d, O "
      "%d, "
      "E %d, "
      "S %d, A %d, %s, T %d, N %d, Ts %d%s, sampling %g, choice %s, schedule %s, threads %d, seed %" PRIu64,
      gk_cell_name(d->rnn.cell), options, gk_isa_name(d->rnn.isa), gk_feedback_name(d->feedback),
      gk_attention_name(d->attention), d->input_feeding ? " (input feeding)" : "",
      gk_output_function_name(d->output_function), gk_recurrence_name(d->rnn.recurrence), (int)d->rnn.layers,
      (int)c->sizes[0], (int)c->sizes[1], (int)d->rnn.input_size, (int)c->output_size, (int)d->embedding_size,
      (int)d->source_size, (int)d->attention_size,
      d->rnn.layout == GK_BATCH_FIRST ? "batch-first" : "time-major", (int)c->time, (int)c->batch,
      (int)c->source_time, c->ragged ? ", ragged" : "", (double)c->sampling, gk_choice_name(c->choice),
      gk_schedule_name(d->rnn.schedule), d->rnn.threads, c->seed);
}

#define fail_decoder(c, ...)                                                                                 \
  do {                                                                                                       \
    char decoder_text[700];                                                                                  \
    describe_decoder(c, decoder_text, sizeof decoder_text);                                                  \
    print_error(__VA_ARGS__);                                                                                \
    print_error("\n  %s\n", decoder_text);                                                                   \
    fail();                                                                                                  \
  } while (0)

static inline void decoder_ok(const struct decoder_case *c, gk_status status, const char *call) {
  if (status != GK_OK)
    fail_decoder(c, "%s: %s: %s", call, gk_status_name(status), gk_last_error());
}

/* The next number of a case, below `bound`. */
struct picks {
  uint64_t seed, count;
};
static inline int64_t pick(struct picks *picks, int64_t bound) {
  return random_integer(picks->seed, picks->count++, bound);
}
/* 0, or 1..most */
static inline int64_t pick_or_zero(struct picks *picks, int64_t most) {
  const bool some = pick(picks, 2) > 0;
  return some ? 1 + pick(picks, most) : 0;
}

/* A case of everything, small enough for the reference. */
static inline struct decoder_case random_decoder(uint64_t seed) {
  struct decoder_case c = {.desc = GK_DECODER_DESC_INIT, .seed = seed};
  struct picks p = {.seed = seed * 7 + 3};
  gk_decoder_desc *d = &c.desc;
  d->rnn.cell = (gk_cell)(seed % (uint64_t)gk_cell_count());
  d->rnn.layers = 1 + pick(&p, 2);
  d->rnn.layout = (gk_layout)pick(&p, 2);
  d->rnn.recurrence = pick(&p, 4) == 0 ? GK_RECURRENCE_NONE : GK_RECURRENCE_HIDDEN;
  c.sizes[0] = 2 + pick(&p, 40);
  c.sizes[1] = pick(&p, 2) ? c.sizes[0] : 2 + pick(&p, 40);
  d->rnn.hidden_size = c.sizes[d->rnn.layers - 1];
  d->feedback = (gk_feedback)pick(&p, 3);
  d->attention = (gk_attention)pick(&p, 3);
  d->rnn.input_size = d->feedback == GK_FEEDBACK_NONE ? 1 + pick(&p, 20) : pick_or_zero(&p, 20);
  c.output_size = 2 + pick(&p, 20);
  if (d->feedback == GK_FEEDBACK_TOKEN) {
    d->vocabulary = c.output_size;
    d->embedding_size = 1 + pick(&p, 20);
  }
  if (d->feedback == GK_FEEDBACK_OUTPUT)
    d->output_function = (gk_output_function)pick(&p, 4);
  if (d->attention != GK_ATTENTION_NONE) {
    d->source_size = d->attention == GK_ATTENTION_DOT ? d->rnn.hidden_size : 1 + pick(&p, 40);
    d->attention_size = pick_or_zero(&p, 40);
    d->input_feeding = pick(&p, 2) > 0;
    c.source_time = 1 + pick(&p, 15);
  }
  c.time = 1 + pick(&p, 20);
  c.batch = 1 + pick(&p, 9);
  c.ragged = pick(&p, 3) > 0;
  c.states = pick(&p, 3) > 0;
  c.chosen = d->feedback == GK_FEEDBACK_TOKEN;
  c.sampling = d->feedback == GK_FEEDBACK_NONE ? 0 : 0.5f * (float)pick(&p, 3);
  c.choice = (gk_choice)pick(&p, 2);
  return c;
}

/* A random case of a kind of network (cell_variants.h). */
static inline struct decoder_case variant_decoder(int kind, uint64_t seed) {
  struct decoder_case c = random_decoder(seed);
  gk_rnn_desc *rnn = &c.desc.rnn;
  for (int l = 0; l < 2; l++) /* layer normalisation of few values hardly depends on them */
    c.sizes[l] += 8;
  rnn->hidden_size = c.sizes[rnn->layers - 1];
  if (set_network_kind(rnn, kind) != GK_OK)
    fail_msg("kind %d: %s", kind, gk_last_error());
  if (c.desc.attention == GK_ATTENTION_DOT)
    c.desc.source_size = rnn->projection_size ? rnn->projection_size : rnn->hidden_size;
  return c;
}

/* Each kind of random mask that the stack can have or not, by a bit of `bits`. */
static inline void add_decoder_masks(struct decoder_case *c, uint64_t bits) {
  gk_rnn_desc *rnn = &c->desc.rnn;
  const bool recurrent = rnn->recurrence == GK_RECURRENCE_HIDDEN;
  rnn->dropout = bits & 1 ? 0.25f : 0;
  rnn->input_dropout = bits & 2 ? 0.3f : 0;
  rnn->recurrent_dropout = bits & 4 && recurrent ? 0.2f : 0;
  rnn->zoneout_h = bits & 8 ? 0.15f : 0;
  rnn->zoneout_c = bits & 16 && gk_cell_has_memory(rnn->cell) ? 0.4f : 0;
  rnn->weight_dropout = bits & 32 && recurrent ? 0.35f : 0;
  rnn->dropout_masks = bits & 64 ? GK_DROPOUT_EACH_SEQUENCE : GK_DROPOUT_EACH_STEP;
}

/* ---- Data ---- */

struct decoder_data {
  int64_t *lengths, *source_lengths;
  int32_t *tokens;
  float *x, *previous, *source, *h0, *c0, *feed0, *parameters, *output_parameters;
  float *dy, *doutputs, *dhn, *dcn, *dfeedn;
  int64_t parameter_count;
};

static inline int64_t decoder_row(const struct decoder_case *c, int64_t time, int64_t t, int64_t n) {
  return c->desc.rnn.layout == GK_BATCH_FIRST ? n * time + t : t * c->batch + n;
}

static inline float *decoder_random(struct buffers *b, const struct decoder_case *c, uint64_t stream,
                                    float scale, int64_t count) {
  float *values = take_floats(b, count);
  random_floats(c->seed * 32 + stream, scale, count, values);
  return values;
}

/* Rows (time, N, width), NaN past the lengths. */
static inline float *decoder_rows(struct buffers *b, const struct decoder_case *c, uint64_t stream,
                                  const int64_t *lengths, int64_t time, int64_t width) {
  float *values = decoder_random(b, c, stream, 1, time * c->batch * width);
  for (int64_t n = 0; n < c->batch && lengths; n++)
    for (int64_t t = lengths[n]; t < time; t++)
      for (int64_t k = 0; k < width; k++)
        values[decoder_row(c, time, t, n) * width + k] = NAN;
  return values;
}

static inline int64_t *decoder_lengths(struct buffers *b, const struct decoder_case *c, uint64_t stream,
                                       int64_t time) {
  int64_t *lengths = buffers_take(b, (size_t)c->batch * sizeof(int64_t), sizeof(int64_t));
  for (int64_t n = 0; n < c->batch; n++)
    lengths[n] = n == 0 ? time : n == 1 ? 0 : random_integer(c->seed * 32 + stream, (uint64_t)n, time + 1);
  return lengths;
}

static inline int64_t decoder_parameters_of(const struct decoder_case *c) {
  gk_decoder *decoder;
  gk_decoder_desc desc = c->desc;
  gk_output *output = NULL;
  gk_output_desc o = GK_OUTPUT_DESC_INIT;
  o.input_size = decoder_sizes_of(c).top;
  o.output_size = c->output_size;
  desc.rnn.hidden_sizes = c->sizes;
  decoder_ok(c, gk_output_create(&o, &output), "gk_output_create");
  desc.output = output;
  decoder_ok(c, gk_decoder_create(&desc, &decoder), "gk_decoder_create");
  const int64_t count = gk_decoder_parameter_count(decoder);
  gk_decoder_destroy(decoder);
  gk_output_destroy(output);
  return count;
}

static inline struct decoder_data take_decoder_data(struct buffers *b, const struct decoder_case *c) {
  const struct decoder_sizes s = decoder_sizes_of(c);
  const float scale = (float)(1 / sqrt((double)c->sizes[0]));
  struct decoder_data d = {.parameter_count = decoder_parameters_of(c)};
  if (c->ragged) {
    d.lengths = decoder_lengths(b, c, 1, c->time);
    d.source_lengths = c->source_time ? decoder_lengths(b, c, 2, c->source_time) : NULL;
    if (d.source_lengths && c->batch > 2) /* an empty source for a sample that has steps */
      d.source_lengths[1] = c->source_time, d.source_lengths[2] = 0;
  }
  d.tokens = buffers_take(b, (size_t)(c->time * c->batch) * sizeof(int32_t), sizeof(int32_t));
  for (int64_t n = 0; n < c->batch; n++)
    for (int64_t t = 0; t < c->time; t++) {
      const int64_t r = decoder_row(c, c->time, t, n);
      const bool read = t < (d.lengths ? d.lengths[n] : c->time) && (t == 0 || c->sampling < 1);
      d.tokens[r] = read ? (int32_t)random_integer(c->seed * 32 + 3, (uint64_t)r, c->output_size) : INT32_MIN;
    }
  d.x = c->desc.rnn.input_size ? decoder_rows(b, c, 4, d.lengths, c->time, c->desc.rnn.input_size) : NULL;
  if (c->desc.feedback == GK_FEEDBACK_OUTPUT) {
    d.previous = decoder_rows(b, c, 5, d.lengths, c->time, s.fed);
    d.doutputs = decoder_rows(b, c, 6, d.lengths, c->time, s.fed);
  }
  d.source =
      c->source_time ? decoder_rows(b, c, 7, d.source_lengths, c->source_time, c->desc.source_size) : NULL;
  d.dy = decoder_rows(b, c, 8, d.lengths, c->time, s.top);
  d.parameters = decoder_random(b, c, 9, scale, d.parameter_count);
  d.output_parameters =
      decoder_random(b, c, 10, (float)(1 / sqrt((double)s.top)), c->output_size * (s.top + 1));
  if (!c->states)
    return d;
  d.h0 = decoder_random(b, c, 11, 1, s.count[D_HN]);
  d.dhn = decoder_random(b, c, 12, 1, s.count[D_HN]);
  d.c0 = s.memory ? decoder_random(b, c, 13, 1, s.count[D_CN]) : NULL;
  d.dcn = s.memory ? decoder_random(b, c, 14, 1, s.count[D_CN]) : NULL;
  d.feed0 = c->desc.input_feeding ? decoder_random(b, c, 15, 1, s.count[D_FEEDN]) : NULL;
  d.dfeedn = c->desc.input_feeding ? decoder_random(b, c, 16, 1, s.count[D_FEEDN]) : NULL;
  return d;
}

/* ---- A run through the public API ---- */

struct decoder_results {
  float *tensor[D_TENSORS]; /* NULL: the case does not have it */
  int64_t count[D_TENSORS];
  int32_t *chosen, *fed;
};

static inline struct decoder_results take_decoder_results(struct buffers *b, const struct decoder_case *c,
                                                          const struct decoder_data *d) {
  const struct decoder_sizes s = decoder_sizes_of(c);
  struct decoder_results r = {0};
  memcpy(r.count, s.count, sizeof r.count);
  r.count[D_GRADIENTS] = d->parameter_count;
  for (int i = 0; i < D_TENSORS; i++)
    r.tensor[i] = r.count[i] ? take_floats(b, r.count[i]) : NULL;
  if (r.tensor[D_OUTPUT_GRADIENTS])
    memset(r.tensor[D_OUTPUT_GRADIENTS], 0, (size_t)r.count[D_OUTPUT_GRADIENTS] * sizeof(float));
  const size_t tokens = (size_t)(c->time * c->batch) * sizeof(int32_t);
  r.chosen = c->chosen ? buffers_take(b, tokens, sizeof(int32_t)) : NULL;
  r.fed = c->desc.feedback != GK_FEEDBACK_NONE ? buffers_take(b, tokens, sizeof(int32_t)) : NULL;
  return r;
}

struct open_decoder {
  gk_decoder *decoder;
  gk_output *output;
  void *packed, *output_packed, *reserve, *forward, *inference, *backward;
};

static inline struct open_decoder open_decoder(struct buffers *b, const struct decoder_case *c,
                                               const struct decoder_data *d) {
  struct open_decoder o = {0};
  gk_decoder_desc desc = c->desc;
  gk_output_desc output = GK_OUTPUT_DESC_INIT;
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  gk_rnn_memory memory;
  size_t bytes;
  output.input_size = decoder_sizes_of(c).top;
  output.output_size = c->output_size;
  output.isa = desc.rnn.isa;
  output.threads = 1;
  desc.rnn.hidden_sizes = c->sizes;
  decoder_ok(c, gk_output_create(&output, &o.output), "gk_output_create");
  desc.output = o.output;
  decoder_ok(c, gk_decoder_create(&desc, &o.decoder), "gk_decoder_create");
  decoder_ok(c, gk_output_packed_bytes(o.output, both, &bytes), "gk_output_packed_bytes");
  o.output_packed = buffers_take(b, bytes, 1);
  decoder_ok(c, gk_output_pack(o.output, both, d->output_parameters, o.output_packed), "gk_output_pack");
  decoder_ok(c, gk_decoder_packed_bytes(o.decoder, both, &bytes), "gk_decoder_packed_bytes");
  o.packed = buffers_take(b, bytes, 1);
  if (desc.rnn.weight_dropout > 0)
    decoder_ok(c,
               gk_decoder_pack_dropped(o.decoder, both, &(gk_random_key){.seed = c->seed, .step = 3},
                                       d->parameters, o.packed),
               "gk_decoder_pack_dropped");
  else
    decoder_ok(c, gk_decoder_pack(o.decoder, both, d->parameters, o.packed), "gk_decoder_pack");
  decoder_ok(c, gk_decoder_memory_needed(o.decoder, c->time, c->batch, c->source_time, &memory),
             "gk_decoder_memory_needed");
  o.reserve = buffers_take(b, memory.reserve_bytes, 1);
  o.forward = buffers_take(b, memory.forward_workspace_bytes, 1);
  o.inference = buffers_take(b, memory.inference_workspace_bytes, 1);
  o.backward = buffers_take(b, memory.backward_workspace_bytes, 1);
  return o;
}

static inline void close_decoder(struct open_decoder *o) {
  gk_decoder_destroy(o->decoder);
  gk_output_destroy(o->output);
}

static inline gk_decoder_forward_args decoder_forward_args(const struct open_decoder *o,
                                                           const struct decoder_case *c,
                                                           const struct decoder_data *d,
                                                           const struct decoder_results *r) {
  gk_decoder_forward_args args = GK_DECODER_FORWARD_ARGS_INIT;
  args.time = c->time;
  args.batch = c->batch;
  args.lengths = d->lengths;
  args.x = d->x;
  args.tokens = d->tokens;
  args.previous = d->previous;
  args.sampling = c->sampling;
  args.temperature = c->temperature;
  args.choice = c->choice;
  args.source_time = c->source_time;
  args.source_lengths = d->source_lengths;
  args.source = d->source;
  args.h0 = d->h0;
  args.c0 = d->c0;
  args.feed0 = d->feed0;
  args.parameters = d->parameters;
  args.packed = o->packed;
  args.output_packed = o->output_packed;
  args.y = r->tensor[D_Y];
  args.outputs = r->tensor[D_OUTPUTS];
  args.chosen = r->chosen;
  args.fed = r->fed;
  args.weights = r->tensor[D_WEIGHTS];
  args.hn = r->tensor[D_HN];
  args.cn = r->tensor[D_CN];
  args.feedn = r->tensor[D_FEEDN];
  args.random = (gk_random_key){.seed = c->seed, .step = 3, .first_sample = 40};
  args.reserve = o->reserve;
  args.workspace = o->forward;
  return args;
}

static inline gk_decoder_backward_args decoder_backward_args(const struct open_decoder *o,
                                                             const struct decoder_case *c,
                                                             const struct decoder_data *d,
                                                             const struct decoder_results *r) {
  gk_decoder_backward_args args = GK_DECODER_BACKWARD_ARGS_INIT;
  args.time = c->time;
  args.batch = c->batch;
  args.lengths = d->lengths;
  args.source_time = c->source_time;
  args.source_lengths = d->source_lengths;
  args.source = d->source;
  args.h0 = d->h0;
  args.c0 = d->c0;
  args.parameters = d->parameters;
  args.packed = o->packed;
  args.output_packed = o->output_packed;
  args.dy = d->dy;
  args.doutputs = d->doutputs;
  args.dhn = d->dhn;
  args.dcn = d->dcn;
  args.dfeedn = d->dfeedn;
  args.dx = r->tensor[D_DX];
  args.dprevious = r->tensor[D_DPREVIOUS];
  args.dsource = r->tensor[D_DSOURCE];
  args.dh0 = r->tensor[D_DH0];
  args.dc0 = r->tensor[D_DC0];
  args.dfeed0 = r->tensor[D_DFEED0];
  args.gradients = r->tensor[D_GRADIENTS];
  args.output_gradients = r->tensor[D_OUTPUT_GRADIENTS];
  args.dh_norms = r->tensor[D_DH_NORMS];
  args.random = (gk_random_key){.seed = c->seed, .step = 3, .first_sample = 40};
  args.reserve = o->reserve;
  args.workspace = o->backward;
  return args;
}

static inline struct decoder_results run_decoder(struct buffers *b, const struct decoder_case *c,
                                                 const struct decoder_data *d) {
  struct decoder_results r = take_decoder_results(b, c, d);
  struct open_decoder o = open_decoder(b, c, d);
  const gk_decoder_forward_args forward = decoder_forward_args(&o, c, d, &r);
  const gk_decoder_backward_args backward = decoder_backward_args(&o, c, d, &r);
  decoder_ok(c, gk_decoder_forward(o.decoder, &forward), "gk_decoder_forward");
  decoder_ok(c, gk_decoder_backward(o.decoder, &backward), "gk_decoder_backward");
  close_decoder(&o);
  return r;
}

/* ---- The same bits ---- */

static inline int first_other(const struct decoder_results *got, const struct decoder_results *wanted,
                              int tensor) {
  int i = 0;
  while (memcmp(&got->tensor[tensor][i], &wanted->tensor[tensor][i], sizeof(float)) == 0)
    i++;
  print_error("%.9g instead of %.9g\n", (double)got->tensor[tensor][i], (double)wanted->tensor[tensor][i]);
  return i;
}

static inline void check_same_decoder(const struct decoder_case *c, const char *what,
                                      const struct decoder_results *got,
                                      const struct decoder_results *wanted) {
  const size_t rows = (size_t)(c->time * c->batch) * sizeof(int32_t);
  for (int k = 0; k < D_TENSORS; k++)
    if (got->tensor[k] &&
        memcmp(got->tensor[k], wanted->tensor[k], (size_t)got->count[k] * sizeof(float)) != 0)
      fail_decoder(c, "%s: %s[%d] has other bits", what, decoder_tensor_names[k],
                   first_other(got, wanted, k));
  if ((got->chosen && memcmp(got->chosen, wanted->chosen, rows) != 0) ||
      (got->fed && memcmp(got->fed, wanted->fed, rows) != 0))
    fail_decoder(c, "%s: other tokens", what);
}

/* ---- The reference ---- */

struct decoder_reference {
  double *tensor[D_TENSORS];
};

static inline double *decoder_doubles(struct buffers *b, const float *values, int64_t count) {
  if (!values)
    return NULL;
  double *copy = take_doubles(b, count);
  for (int64_t i = 0; i < count; i++)
    copy[i] = (double)values[i];
  return copy;
}

/* A call of the reference; `fed` is what a run fed. */
static inline struct gk_reference_decoder
decoder_reference_call(struct buffers *b, const struct decoder_case *c, const struct decoder_data *d,
                       const int32_t *fed, double *const tensor[D_TENSORS]) {
  const struct decoder_sizes s = decoder_sizes_of(c);
  return (struct gk_reference_decoder){
      .desc = &c->desc,
      .output_size = c->output_size,
      .time = c->time,
      .batch = c->batch,
      .lengths = d->lengths,
      .x = decoder_doubles(b, d->x, s.count[D_DX]),
      .previous = decoder_doubles(b, d->previous, s.count[D_OUTPUTS]),
      .fed = fed,
      .source_time = c->source_time,
      .source_lengths = d->source_lengths,
      .source = decoder_doubles(b, d->source, s.count[D_DSOURCE]),
      .h0 = decoder_doubles(b, d->h0, s.count[D_HN]),
      .c0 = decoder_doubles(b, d->c0, s.count[D_CN]),
      .feed0 = decoder_doubles(b, d->feed0, s.count[D_FEEDN]),
      .parameters = decoder_doubles(b, d->parameters, d->parameter_count),
      .output_parameters = decoder_doubles(b, d->output_parameters, c->output_size * (s.top + 1)),
      .y = tensor[D_Y],
      .outputs = tensor[D_OUTPUTS],
      .weights = tensor[D_WEIGHTS],
      .hn = tensor[D_HN],
      .cn = tensor[D_CN],
      .feedn = tensor[D_FEEDN],
      .backward = true,
      .dy = decoder_doubles(b, d->dy, s.count[D_Y]),
      .doutputs = decoder_doubles(b, d->doutputs, s.count[D_OUTPUTS]),
      .dhn = decoder_doubles(b, d->dhn, s.count[D_HN]),
      .dcn = decoder_doubles(b, d->dcn, s.count[D_CN]),
      .dfeedn = decoder_doubles(b, d->dfeedn, s.count[D_FEEDN]),
      .dx = tensor[D_DX],
      .dprevious = tensor[D_DPREVIOUS],
      .dsource = tensor[D_DSOURCE],
      .dh0 = tensor[D_DH0],
      .dc0 = tensor[D_DC0],
      .dfeed0 = tensor[D_DFEED0],
      .gradients = tensor[D_GRADIENTS],
      .output_gradients = tensor[D_OUTPUT_GRADIENTS],
      .dh_norms = tensor[D_DH_NORMS]};
}

static inline struct decoder_reference run_decoder_reference(struct buffers *b, struct decoder_case *c,
                                                             const struct decoder_data *d,
                                                             const struct decoder_results *read_back) {
  struct decoder_reference reference = {0};
  c->desc.rnn.hidden_sizes = c->sizes;
  for (int i = 0; i < D_TENSORS; i++)
    reference.tensor[i] = read_back->count[i] ? take_doubles(b, read_back->count[i]) : NULL;
  const struct gk_reference_decoder call = decoder_reference_call(b, c, d, read_back->fed, reference.tensor);
  decoder_ok(c, gk_reference_decoder_run(&call), "gk_reference_decoder_run");
  c->desc.rnn.hidden_sizes = NULL;
  return reference;
}

#endif
