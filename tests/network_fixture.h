/* SPDX-License-Identifier: Apache-2.0
 *
 * Networks as tests use them: a case (description, call, seed), its random data, one run through the
 * public API, the same run through the float64 reference, and comparisons that say everything that
 * is needed to repeat a failure. Include cmocka.h first. */
#ifndef GK_TESTS_NETWORK_FIXTURE_H
#define GK_TESTS_NETWORK_FIXTURE_H

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "include/gatekern.h"
#include "src/reference/reference.h"
#include "src/sequence/rnn.h"
#include "tests/buffers.h"
#include "tests/cell_variants.h"
#include "tests/network_tiers.h"
#include "tests/random_values.h"

/* ---- Cases ----------------------------------------------------------------------------------- */

struct network_case {
  gk_rnn_desc desc;
  int64_t time, batch;
  bool ragged;        /* lengths 0..T, unsorted; else all T */
  bool resets;        /* sequences begin inside others */
  bool states;        /* initial states given, and gradients of final states */
  bool small;         /* among the data are -0, denormal numbers, and such whose products underflow */
  unsigned unpacked;  /* GK_PACK_: whose weights are read from the parameters, if they may be */
  bool gates_turned;  /* weight gradients read gates as on other CPUs of this tier, if there are any */
  bool uneven;        /* slices as if threads were not equally fast, in forward other ones than in backward */
  float weight_scale; /* parameters are uniform in +-weight_scale/sqrt(H); 0: 1 */
  uint64_t seed;      /* of parameters and inputs */
};

static inline void describe(const struct network_case *c, char *text, size_t size) {
  const gk_rnn_desc *d = &c->desc;
  static const char *const unpacked[] = {"", ", forward unpacked", ", backward unpacked", ", unpacked"};
  char masks[120], options[200];
  describe_options(d, options, sizeof options);
  snprintf(masks, sizeof masks, " (input %g, recurrent %g, weight %g, zoneout %g and %g, each %s)",
           (double)d->input_dropout, (double)d->recurrent_dropout, (double)d->weight_dropout,
           (double)d->zoneout_h, (double)d->zoneout_c, gk_dropout_masks_name(d->dropout_masks));
  snprintf(text, size,
           "cell %s%s, isa %s, I %" PRId64 ", H %" PRId64 ", L %" PRId64 ", V %" PRId64 ", %s, %s, T %" PRId64
           ", N %" PRId64 "%s%s%s%s%s%s, projection %" PRId64
           "%s%s%s, merge %s, dropout %g%s, schedule %s, threads %d, seed %" PRIu64,
           gk_cell_name(d->cell), options, gk_isa_name(d->isa), d->input_size, d->hidden_size, d->layers,
           d->vocabulary, gk_direction_name(d->direction), gk_layout_name(d->layout), c->time, c->batch,
           c->ragged ? ", ragged" : "", c->resets ? ", resets" : "", c->states ? ", states given" : "",
           c->small ? ", small values" : "", d->hidden_sizes ? ", sizes differ" : "",
           d->trained_states ? ", states trained" : "", d->projection_size, unpacked[c->unpacked],
           c->gates_turned ? ", gates turned" : "", c->uneven ? ", uneven" : "", gk_merge_name(d->merge),
           (double)d->dropout, masks, gk_schedule_name(d->schedule), d->threads, c->seed);
}

/* The command that runs only the case that is being run. */
struct repeat_command {
  const char *program;
  const char *test; /* of cmocka: a filter */
  int number;       /* of the case within the test */
};
static struct repeat_command repeat_command __attribute__((unused)) = {.program = "test"};

/* GATEKERN_TEST_CASE=n runs only case n. Call it once a case; false: leave this one out. */
static inline bool case_wanted(const char *test) {
  if (!repeat_command.test || strcmp(repeat_command.test, test) != 0)
    repeat_command.number = -1;
  repeat_command.test = test;
  repeat_command.number++;
  const char *only = getenv("GATEKERN_TEST_CASE");
  return !only || atoi(only) == repeat_command.number;
}

#define fail_case(c, ...) fail_case_at(c, __FILE__, __LINE__, __VA_ARGS__)
__attribute__((format(printf, 4, 5))) static inline void
fail_case_at(const struct network_case *c, const char *file, int line, const char *format, ...) {
  char text[600], message[600];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  describe(c, text, sizeof text);
  print_error("%s\n  %s\n  repeat: GATEKERN_TEST_CASE=%d GATEKERN_TEST_ISA=%s %s %s\n", message, text,
              repeat_command.number, gk_isa_name(c->desc.isa), repeat_command.program,
              repeat_command.test ? repeat_command.test : "");
  _fail(file, line);
}

/* A network of a kind (cell_variants.h). */
static inline void set_kind(struct network_case *c, int kind) {
  if (set_network_kind(&c->desc, kind) != GK_OK)
    fail_case(c, "kind %d: %s", kind, gk_last_error());
}

/* Every kind of mask that the case's network can have. */
static inline void add_all_masks(struct network_case *c) {
  c->desc.dropout = 0.25f;
  c->desc.input_dropout = 0.3f;
  c->desc.recurrent_dropout = 0.2f;
  c->desc.weight_dropout = 0.35f;
  c->desc.zoneout_h = 0.15f;
  c->desc.zoneout_c = gk_cell_has_memory(c->desc.cell) ? 0.4f : 0;
}

/* ---- Data ------------------------------------------------------------------------------------ */

struct network_sizes {
  int64_t directions, width; /* D, D*H */
  int64_t states, cells;     /* L*D*N*H: of h, and of c */
  int64_t inputs;            /* T*N*I */
  int64_t outputs;           /* T*N*D*H */
  int64_t norms;             /* L*D*T*N */
  int64_t parameters;
};

static inline struct network_sizes sizes_of(const struct network_case *c) {
  struct network_sizes s = {.directions = c->desc.direction == GK_BIDIRECTIONAL ? 2 : 1};
  struct gk_reference_layout last = gk_reference_layout_of(&c->desc, c->desc.layers - 1, s.directions - 1);
  s.width = last.width;
  s.states = (last.h_offset + last.output) * c->batch;
  s.cells = gk_cell_has_memory(c->desc.cell) ? (last.unit_offset + last.hidden) * c->batch : 0;
  s.inputs = c->time * c->batch * c->desc.input_size;
  s.outputs = c->time * c->batch * s.width;
  s.norms = c->desc.layers * s.directions * c->time * c->batch;
  s.parameters = gk_reference_parameter_count(&c->desc);
  return s;
}

static inline bool has_memory(const struct network_case *c) {
  return gk_cell_has_memory(c->desc.cell);
}

/* Values of a sample's h and c in a layer and direction of a stack whose layers have one size. */
static inline int64_t h_size(const struct network_case *c) {
  return c->desc.projection_size > 0 ? c->desc.projection_size : c->desc.hidden_size;
}
static inline int64_t c_size(const struct network_case *c) {
  return c->desc.hidden_size;
}

/* Row of (t, n) in x, y and tokens. */
static inline int64_t row_of(const struct network_case *c, int64_t t, int64_t n) {
  return c->desc.layout == GK_BATCH_FIRST ? n * c->time + t : t * c->batch + n;
}

struct network_data {
  int64_t *lengths; /* NULL: all T */
  bool *reset;      /* NULL: none */
  int32_t *tokens;  /* with a vocabulary */
  float *x;         /* without */
  float *h0, *c0;   /* NULL unless given */
  float *parameters;
  float *dy, *dhn, *dcn;
};

static inline int64_t length_of(const struct network_case *c, const struct network_data *d, int64_t n) {
  return d->lengths ? d->lengths[n] : c->time;
}

static inline float *take_random(struct buffers *b, uint64_t stream, float scale, int64_t count) {
  float *values = take_floats(b, count);
  random_floats(stream, scale, count, values);
  return values;
}

/* Every fifth value. */
static inline void make_small(uint64_t stream, int64_t count, float *values) {
  static const float small[] = {-0.0f, 1e-40f, -0x1.2p-94f, 0x1.9p-97f, 0x1.5p-90f};
  for (int64_t i = 0; values && i < count; i++)
    if (random_integer(stream, (uint64_t)i, 5) == 0)
      values[i] = small[random_integer(stream + 1, (uint64_t)i, 5)];
}

/* Data of a seed does not depend on anything of the plan. The first samples' lengths are T and 0. */
static inline struct network_data take_data(struct buffers *b, const struct network_case *c) {
  struct network_sizes s = sizes_of(c);
  uint64_t stream = c->seed * 16;
  struct network_data d = {0};
  float scale = c->weight_scale > 0 ? c->weight_scale : 1;
  d.parameters = take_random(b, stream, (float)(scale / sqrt((double)c->desc.hidden_size)), s.parameters);
  if (c->desc.vocabulary) {
    d.tokens = buffers_take(b, (size_t)(c->time * c->batch) * sizeof(int32_t), sizeof(int32_t));
    for (int64_t i = 0; i < c->time * c->batch; i++)
      d.tokens[i] = (int32_t)random_integer(stream + 7, (uint64_t)i, c->desc.vocabulary);
  } else {
    d.x = take_random(b, stream + 1, 1, s.inputs);
  }
  d.dy = take_random(b, stream + 4, 1, s.outputs);
  if (c->states) {
    d.h0 = take_random(b, stream + 2, 1, s.states);
    d.dhn = take_random(b, stream + 5, 1, s.states);
  }
  if (c->states && has_memory(c)) {
    d.c0 = take_random(b, stream + 3, 1, s.cells);
    d.dcn = take_random(b, stream + 6, 1, s.cells);
  }
  if (c->ragged) {
    d.lengths = buffers_take(b, (size_t)c->batch * sizeof(int64_t), sizeof(int64_t));
    for (int64_t n = 0; n < c->batch; n++)
      d.lengths[n] = n == 0 ? c->time : n == 1 ? 0 : random_integer(stream + 8, (uint64_t)n, c->time + 1);
  }
  if (c->resets) {
    d.reset = buffers_take(b, (size_t)(c->time * c->batch) * sizeof(bool), 1);
    for (int64_t i = 0; i < c->time * c->batch; i++)
      d.reset[i] = random_integer(stream + 9, (uint64_t)i, 4) == 0;
  }
  const float above = c->seed % 2 ? 0x1p-92f : 1; /* so that gradients are small from step to step */
  for (int64_t i = 0; c->small && i < s.outputs; i++)
    d.dy[i] *= above;
  for (int64_t i = 0; c->small && d.dhn && i < s.states; i++)
    d.dhn[i] *= above;
  if (c->small) {
    make_small(stream, s.parameters, d.parameters);
    make_small(stream + 1, s.inputs, d.x);
    make_small(stream + 2, s.states, d.h0);
    make_small(stream + 3, s.cells, d.c0);
    make_small(stream + 4, s.outputs, d.dy);
    make_small(stream + 5, s.states, d.dhn);
    make_small(stream + 6, s.cells, d.dcn);
  }
  return d;
}

/* ---- Results --------------------------------------------------------------------------------- */

/* NULL: not asked for. */
struct network_results {
  float *y, *hn, *cn, *dx, *dh0, *dc0, *gradients, *dh_norms;
};

static inline struct network_results take_results(struct buffers *b, const struct network_case *c) {
  struct network_sizes s = sizes_of(c);
  struct network_results r = {.y = take_floats(b, s.outputs),
                              .hn = take_floats(b, s.states),
                              .dh0 = take_floats(b, s.states),
                              .gradients = take_floats(b, s.parameters),
                              .dh_norms = take_floats(b, s.norms)};
  if (!c->desc.vocabulary)
    r.dx = take_floats(b, s.inputs);
  if (has_memory(c)) {
    r.cn = take_floats(b, s.cells);
    r.dc0 = take_floats(b, s.cells);
  }
  return r;
}

/* ---- One run through the public API ---------------------------------------------------------- */

struct network {
  const struct network_case *c;
  gk_rnn *rnn;
  gk_rnn_memory memory;
  void *packed, *reserve, *forward_workspace, *inference_workspace, *backward_workspace;
};

static inline void check_status(const struct network_case *c, gk_status status, const char *call) {
  if (status != GK_OK)
    fail_case(c, "%s: %s: %s", call, gk_status_name(status), gk_last_error());
}

/* A network of the case, its parameters packed, with the memory of a call over (time, batch). */
static inline struct network open_network(struct buffers *b, const struct network_case *c,
                                          const float *parameters) {
  struct network net = {.c = c};
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  const unsigned flags = c->desc.weight_dropout == 0 ? both & ~c->unpacked : both;
  size_t packed;
  check_status(c, gk_rnn_create(&c->desc, &net.rnn), "gk_rnn_create");
  if (c->gates_turned && net.rnn->kernels->reads_across)
    net.rnn->reads_across = !net.rnn->reads_across;
  check_status(c, gk_rnn_packed_bytes(net.rnn, flags, &packed), "gk_rnn_packed_bytes");
  check_status(c, gk_rnn_memory_needed(net.rnn, c->time, c->batch, &net.memory), "gk_rnn_memory_needed");
  net.packed = buffers_take(b, packed, 1);
  net.reserve = buffers_take(b, net.memory.reserve_bytes, 1);
  net.forward_workspace = buffers_take(b, net.memory.forward_workspace_bytes, 1);
  net.inference_workspace = buffers_take(b, net.memory.inference_workspace_bytes, 1);
  net.backward_workspace = buffers_take(b, net.memory.backward_workspace_bytes, 1);
  if (c->desc.weight_dropout > 0)
    check_status(c,
                 gk_rnn_pack_dropped(net.rnn, flags, &(gk_random_key){.seed = c->seed, .step = 3}, parameters,
                                     net.packed),
                 "gk_rnn_pack_dropped");
  else
    check_status(c, gk_rnn_pack(net.rnn, flags, parameters, net.packed), "gk_rnn_pack");
  return net;
}

static inline void close_network(struct network *net) {
  gk_rnn_destroy(net->rnn);
  net->rnn = NULL;
}

static inline gk_rnn_forward_args forward_args(const struct network *net, const struct network_data *d,
                                               const struct network_results *r) {
  gk_rnn_forward_args args = GK_RNN_FORWARD_ARGS_INIT;
  args.time = net->c->time;
  args.batch = net->c->batch;
  args.lengths = d->lengths;
  args.reset = d->reset;
  args.x = d->x;
  args.tokens = d->tokens;
  args.h0 = d->h0;
  args.c0 = d->c0;
  args.parameters = d->parameters;
  args.packed = net->packed;
  args.y = r->y;
  args.hn = r->hn;
  args.cn = r->cn;
  args.random = (gk_random_key){.seed = net->c->seed, .step = 3, .first_sample = 40};
  args.reserve = net->reserve;
  args.workspace = net->forward_workspace;
  return args;
}

static inline gk_rnn_backward_args backward_args(const struct network *net, const struct network_data *d,
                                                 const struct network_results *r) {
  gk_rnn_forward_args forward = forward_args(net, d, r);
  gk_rnn_backward_args args = GK_RNN_BACKWARD_ARGS_INIT;
  args.time = forward.time;
  args.batch = forward.batch;
  args.lengths = forward.lengths;
  args.reset = forward.reset;
  args.x = forward.x;
  args.tokens = forward.tokens;
  args.h0 = forward.h0;
  args.c0 = forward.c0;
  args.parameters = forward.parameters;
  args.packed = forward.packed;
  args.dy = d->dy;
  args.dhn = d->dhn;
  args.dcn = d->dcn;
  args.dx = r->dx;
  args.dh0 = r->dh0;
  args.dc0 = r->dc0;
  args.gradients = r->gradients;
  args.dh_norms = r->dh_norms;
  args.random = forward.random;
  args.reserve = net->reserve;
  args.workspace = net->backward_workspace;
  return args;
}

/* As if some threads had been faster, so much that what a call adds to that tells them apart no more. */
static inline void set_paces(const struct network *net, int first) {
  for (int i = 0; i < net->rnn->desc.threads && net->c->uneven; i++)
    net->rnn->pace[i] = (struct gk_pace){1e25f * (float)(1 + (first + i) % 3), INFINITY};
}

static inline void run_network(const struct network *net, const struct network_data *d,
                               const struct network_results *r) {
  gk_rnn_forward_args forward = forward_args(net, d, r);
  gk_rnn_backward_args backward = backward_args(net, d, r);
  set_paces(net, 0);
  check_status(net->c, gk_rnn_forward(net->rnn, &forward), "gk_rnn_forward");
  set_paces(net, 1);
  check_status(net->c, gk_rnn_backward(net->rnn, &backward), "gk_rnn_backward");
}

/* Everything: network, memory and results taken from `b`. */
static inline struct network_results run_case(struct buffers *b, const struct network_case *c,
                                              const struct network_data *d) {
  struct network_results r = take_results(b, c);
  struct network net = open_network(b, c, d->parameters);
  run_network(&net, d, &r);
  close_network(&net);
  return r;
}

/* ---- Tensors of a result --------------------------------------------------------------------- */

#define MAX_TENSORS 80

struct named_tensor {
  char name[72];
  int64_t count;
  int64_t offset; /* in its array */
  int array;      /* index into struct network_results as an array of pointers */
};

static inline float *const *result_arrays(const struct network_results *r) {
  return (float *const *)r;
}

static inline int tensors_of(const struct network_case *c, struct named_tensor tensors[MAX_TENSORS]) {
  static const char *const names[] = {"y", "hn", "cn", "dx", "dh0", "dc0"};
  struct network_sizes s = sizes_of(c);
  int64_t counts[] = {s.outputs, s.states, s.cells, c->desc.vocabulary ? 0 : s.inputs, s.states, s.cells};
  int count = 0;
  for (int i = 0; i < 6; i++) {
    struct named_tensor *t = &tensors[count++];
    *t = (struct named_tensor){.count = counts[i], .array = i};
    snprintf(t->name, sizeof t->name, "%s", names[i]);
  }
  tensors[count++] = (struct named_tensor){.name = "dh_norms", .count = s.norms, .array = 7};
  gk_rnn *rnn;
  check_status(c, gk_rnn_create(&c->desc, &rnn), "gk_rnn_create");
  for (int i = 0; i < gk_rnn_tensor_count(rnn) && count < MAX_TENSORS; i++) {
    gk_tensor tensor;
    check_status(c, gk_rnn_tensor(rnn, i, &tensor), "gk_rnn_tensor");
    struct named_tensor *t = &tensors[count++];
    *t = (struct named_tensor){.count = tensor.count, .offset = tensor.offset, .array = 6};
    snprintf(t->name, sizeof t->name, "d%s", tensor.name);
  }
  gk_rnn_destroy(rnn);
  return count;
}

/* ---- Comparisons ----------------------------------------------------------------------------- */

static inline int64_t units_in_last_place(float a, float b) {
  int32_t x, y;
  memcpy(&x, &a, sizeof x);
  memcpy(&y, &b, sizeof y);
  int64_t i = x < 0 ? (int64_t)INT32_MIN - x : x, j = y < 0 ? (int64_t)INT32_MIN - y : y;
  return i > j ? i - j : j - i;
}

/* The same bits; a NaN equals any NaN. Returns the first index that differs, or -1. */
static inline int64_t first_difference(int64_t count, const float *a, const float *b) {
  if (count == 0 || memcmp(a, b, (size_t)count * sizeof(float)) == 0)
    return -1;
  for (int64_t i = 0; i < count; i++)
    if (memcmp(&a[i], &b[i], sizeof(float)) != 0 && !(isnan(a[i]) && isnan(b[i])))
      return i;
  return -1;
}

static inline void check_bits(const struct network_case *c, const char *what, const char *tensor,
                              int64_t count, const float *got, const float *wanted) {
  int64_t i = first_difference(count, got, wanted);
  if (i >= 0)
    fail_case(c, "%s: %s[%" PRId64 "] is %.9g (%a), wanted %.9g (%a), %" PRId64 " ULP apart", what, tensor, i,
              (double)got[i], (double)got[i], (double)wanted[i], (double)wanted[i],
              units_in_last_place(got[i], wanted[i]));
}

/* Every tensor that both results have. */
static inline void check_same_results(const struct network_case *c, const char *what,
                                      const struct network_results *got,
                                      const struct network_results *wanted) {
  struct named_tensor tensors[MAX_TENSORS];
  int count = tensors_of(c, tensors);
  for (int k = 0; k < count; k++) {
    const float *a = result_arrays(got)[tensors[k].array], *b = result_arrays(wanted)[tensors[k].array];
    if (a && b)
      check_bits(c, what, tensors[k].name, tensors[k].count, a + tensors[k].offset, b + tensors[k].offset);
  }
}

#endif
