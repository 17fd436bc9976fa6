/* SPDX-License-Identifier: Apache-2.0
 * gk_bridge: from an encoder's final states to a decoder's initial ones. One linear map a decoder layer and
 * state, over both directions joined. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/core/arena.h"
#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/core/names.h"
#include "src/core/parallel.h"
#include "src/core/random.h"
#include "src/layers/linear.h"
#include "src/sequence/rnn.h"

/* Where a layer's state stands in a (L*D, N, H) tensor: `offset` * N floats in, `size` a row. */
struct state {
  int64_t offset, size;
};

/* One state of one decoder layer. */
struct link {
  bool cell;      /* c, else h */
  bool from_cell; /* reads c of the encoder */
  bool zero;      /* copy of a memory that the encoder does not have */
  int directions;
  struct state from[2], to;
  int64_t joined;          /* floats of both directions, D_e*H_e */
  struct gk_linear linear; /* but for copy */
  int64_t weight, bias;    /* offsets in the parameters */
};

struct gk_bridge {
  gk_bridge_kind kind;
  const struct gk_kernels *kernels;
  int count;
  struct link *links;
  int64_t parameter_count, widest;
  int64_t h_values, c_values; /* of one sample, in all layers and directions of the encoder */
  struct gk_packed_size packed;
};

static struct state state_of(const gk_rnn *rnn, int64_t index, bool cell) {
  const struct gk_rnn_layer *layer = &rnn->layers[index];
  return cell ? (struct state){layer->c_offset, (int64_t)layer->hidden}
              : (struct state){layer->h_offset, (int64_t)layer->output};
}

static gk_status make_link(gk_bridge *bridge, const gk_rnn *encoder, const gk_rnn *decoder, int64_t layer,
                           bool cell) {
  struct link *link = &bridge->links[bridge->count++];
  const int64_t lowest = encoder->desc.layers - decoder->desc.layers + layer, below = lowest > 0 ? lowest : 0;
  *link = (struct link){
      .cell = cell, .from_cell = cell && encoder->cell->memory, .directions = encoder->directions};
  link->to = state_of(decoder, layer, cell);
  for (int d = 0; d < link->directions; d++) {
    link->from[d] = state_of(encoder, below * encoder->directions + d, link->from_cell);
    link->joined += link->from[d].size;
  }
  const int64_t in = link->joined;
  if (in > bridge->widest)
    bridge->widest = in;
  if (bridge->kind == GK_BRIDGE_COPY) {
    link->zero = cell && !encoder->cell->memory;
    if (!link->zero && in != link->to.size)
      return gk_fail(
          GK_ERROR_ARGUMENT,
          "bridge copy: decoder layer %lld has %lld values of %s, the encoder's layer %lld has %lld",
          (long long)layer, (long long)link->to.size, cell ? "c" : "h", (long long)below, (long long)in);
    return GK_OK;
  }
  link->weight = bridge->parameter_count;
  link->bias = link->weight + link->to.size * in;
  bridge->parameter_count = link->bias + link->to.size;
  return gk_linear_create(&link->linear, bridge->kernels, in, link->to.size, true, &bridge->packed);
}

gk_status gk_bridge_create(gk_bridge_kind kind, const gk_rnn *encoder, const gk_rnn *decoder,
                           gk_bridge **bridge) {
  if (!bridge)
    return gk_fail(GK_ERROR_ARGUMENT, "bridge is NULL");
  *bridge = NULL;
  gk_status status = GK_CHECK_POINTERS({"encoder", encoder}, {"decoder", decoder});
  if (!status)
    status = gk_check_choice("kind", (int)kind, gk_bridge_count());
  if (status)
    return status;
  if (decoder->directions != 1)
    return gk_fail(GK_ERROR_UNSUPPORTED, "the decoder has two directions: a bridge leads to one");
  gk_bridge *made = calloc(1, sizeof *made);
  if (made)
    made->links = calloc((size_t)decoder->layer_count * 2, sizeof *made->links);
  if (!made || !made->links) {
    free(made);
    return gk_fail(GK_ERROR_MEMORY, "no memory for a bridge");
  }
  made->kind = kind;
  made->kernels = decoder->kernels;
  made->h_values = encoder->hidden_values;
  made->c_values = encoder->cell_values;
  made->packed.fingerprint = (uint64_t)kind + 7;
  for (int64_t layer = 0; layer < decoder->layer_count && !status; layer++) {
    status = make_link(made, encoder, decoder, layer, false);
    if (!status && decoder->cell->memory)
      status = make_link(made, encoder, decoder, layer, true);
  }
  for (int i = 0; i < made->count; i++)
    gk_linear_close(&made->links[i].linear, &made->packed);
  if (status)
    gk_bridge_destroy(made);
  else
    *bridge = made;
  return status;
}

void gk_bridge_destroy(gk_bridge *bridge) {
  if (!bridge)
    return;
  for (int i = 0; i < bridge->count; i++)
    gk_linear_destroy(&bridge->links[i].linear);
  free(bridge->links);
  free(bridge);
}

int gk_bridge_tensor_count(const gk_bridge *bridge) {
  return bridge && bridge->kind != GK_BRIDGE_COPY ? 2 * bridge->count : 0;
}
int64_t gk_bridge_parameter_count(const gk_bridge *bridge) {
  return bridge ? bridge->parameter_count : 0;
}

gk_status gk_bridge_tensor(const gk_bridge *bridge, int index, gk_tensor *tensor) {
  gk_status status = GK_CHECK_POINTERS({"bridge", bridge}, {"tensor", tensor});
  if (!status)
    status = gk_check_choice("index", index, gk_bridge_tensor_count(bridge));
  if (status)
    return status;
  const struct link *link = &bridge->links[index / 2];
  const int64_t out = link->to.size, in = link->joined;
  int layer = 0;
  for (int i = 0; i < index / 2; i++)
    layer += !bridge->links[i + 1].cell;
  *tensor = index % 2 ? (gk_tensor){.rank = 1, .shape = {out}, .offset = link->bias, .count = out}
                      : (gk_tensor){.rank = 2, .shape = {out, in}, .offset = link->weight, .count = out * in};
  snprintf(tensor->name, sizeof tensor->name, "%s.%s_l%d", link->cell ? "c" : "h",
           index % 2 ? "bias" : "weight", layer);
  return GK_OK;
}

/* Copy has none. */
static gk_status check_parameters(const gk_bridge *bridge, const float *parameters) {
  const gk_status status = GK_CHECK_POINTERS({"bridge", bridge});
  return status || !bridge->parameter_count ? status : GK_CHECK_POINTERS({"parameters", parameters});
}

gk_status gk_bridge_init(const gk_bridge *bridge, uint64_t seed, float *parameters) {
  const gk_status status = check_parameters(bridge, parameters);
  if (status)
    return status;
  const uint64_t callers = gk_float_environment_pin();
  for (int i = 0; i < bridge->count && bridge->kind != GK_BRIDGE_COPY; i++) {
    const struct link *link = &bridge->links[i];
    const double bound = 1 / sqrt((double)link->joined);
    gk_random_weights(seed, GK_INIT_BRIDGE + (uint32_t)(2 * i), 0, link->to.size, link->joined, bound,
                      parameters + link->weight);
    gk_random_weights(seed, GK_INIT_BRIDGE + (uint32_t)(2 * i + 1), 0, 1, link->to.size, bound,
                      parameters + link->bias);
  }
  gk_float_environment_restore(callers);
  return GK_OK;
}

gk_status gk_bridge_packed_bytes(const gk_bridge *bridge, unsigned flags, size_t *bytes) {
  if (!bridge)
    return gk_fail(GK_ERROR_ARGUMENT, "bridge is NULL");
  return gk_packed_bytes(bridge->packed, flags, bytes);
}

gk_status gk_bridge_pack(const gk_bridge *bridge, unsigned flags, const float *parameters, void *packed) {
  gk_status status = check_parameters(bridge, parameters);
  if (status)
    return status;
  struct gk_packing packing = {.kernels = bridge->kernels, .flags = flags, .threads = 1};
  status = gk_packed_start(bridge->packed, flags, bridge->kernels->isa, packed, &packing.packed);
  for (int i = 0; i < bridge->count && !status && bridge->kind != GK_BRIDGE_COPY; i++)
    gk_linear_pack(&bridge->links[i].linear, &packing, parameters + bridge->links[i].weight,
                   parameters + bridge->links[i].bias);
  return status;
}

/* ---- Calls ---- */

/* What one call shares; memory is the caller's workspace. */
struct call {
  const gk_bridge *bridge;
  const gk_bridge_backward_args *args; /* backward */
  int64_t batch;
  const float *packed, *hn, *cn;
  float *h0, *c0;
  float *joined, *d_joined; /* (N, widest): e or m, both directions; its gradient */
  float *d;                 /* (N, widest): gradient before tanh */
  const float **a, **from;  /* [N] */
  float **c;
  float *scratch;
};

static int64_t widest_of(const gk_bridge *bridge) {
  int64_t widest = bridge->widest;
  for (int i = 0; i < bridge->count; i++)
    if (bridge->links[i].to.size > widest)
      widest = bridge->links[i].to.size;
  return widest;
}

static bool cut(struct call *call, struct gk_arena *arena) {
  const int64_t widest = widest_of(call->bridge);
  size_t scratch = 0;
  call->joined = gk_arena_take(arena, sizeof(float), call->batch, widest, 1);
  call->d_joined = gk_arena_take(arena, sizeof(float), call->batch, widest, 1);
  call->d = gk_arena_take(arena, sizeof(float), call->batch, widest, 1);
  call->a = gk_arena_take(arena, sizeof(void *), call->batch, 1, 1);
  call->from = gk_arena_take(arena, sizeof(void *), call->batch, 1, 1);
  call->c = gk_arena_take(arena, sizeof(void *), call->batch, 1, 1);
  for (int i = 0; i < call->bridge->count; i++) {
    const struct gk_linear *linear = &call->bridge->links[i].linear;
    if (linear->out && !gk_linear_scratch(&linear->backward, &scratch))
      return false;
  }
  if (scratch > INT64_MAX)
    return false;
  call->scratch = gk_arena_take(arena, sizeof(float), (int64_t)scratch, 1, 1);
  return !arena->overflow;
}

gk_status gk_bridge_workspace_bytes(const gk_bridge *bridge, int64_t batch, size_t *bytes) {
  gk_status status = GK_CHECK_POINTERS({"bridge", bridge}, {"bytes", bytes});
  if (!status)
    status = gk_check_not_negative("batch", batch);
  if (status)
    return status;
  struct call call = {.bridge = bridge, .batch = batch};
  struct gk_arena arena = gk_arena_start(NULL);
  if (!cut(&call, &arena) || !gk_arena_bytes(&arena, bytes))
    return gk_fail(GK_ERROR_OVERFLOW, "workspace of batch %lld does not fit in memory", (long long)batch);
  return GK_OK;
}

/* joined (N, D_e*H_e): h or c of both directions of an encoder's layer. */
static void join(const struct call *call, const struct link *link, const float *state, float *joined) {
  const struct gk_kernels *kernels = call->bridge->kernels;
  for (int d = 0; d < link->directions; d++) {
    const struct state *from = &link->from[d];
    const float *source = state + from->offset * call->batch;
    for (int64_t n = 0; n < call->batch; n++) {
      float *row = joined + n * link->joined + (d ? link->from[0].size : 0);
      kernels->flush((size_t)from->size, source + n * from->size, row);
    }
  }
}

/* The way back. Decoder layers that read the same encoder layer add up. */
static void add_parted(const struct call *call, const struct link *link, const float *d_joined,
                       float *d_state) {
  for (int d = 0; d < link->directions; d++) {
    const struct state *from = &link->from[d];
    for (int64_t n = 0; n < call->batch; n++)
      call->bridge->kernels->add((size_t)from->size,
                                 d_joined + n * link->joined + (d ? link->from[0].size : 0),
                                 d_state + from->offset * call->batch + n * from->size);
  }
}

static void forward_link(const struct call *call, const struct link *link) {
  const gk_bridge *bridge = call->bridge;
  const struct gk_kernels *kernels = bridge->kernels;
  const size_t out = (size_t)link->to.size;
  float *to = (link->cell ? call->c0 : call->h0) + link->to.offset * call->batch;
  const float *state = link->from_cell ? call->cn : call->hn;
  if (link->zero)
    memset(to, 0, (size_t)call->batch * out * sizeof *to);
  else
    join(call, link, state, bridge->kind == GK_BRIDGE_COPY ? to : call->joined);
  if (bridge->kind == GK_BRIDGE_COPY)
    return;
  for (int64_t n = 0; n < call->batch; n++) {
    call->a[n] = call->joined + n * link->joined;
    call->c[n] = to + n * link->to.size;
    call->from[n] = call->packed + link->linear.bias;
  }
  gk_matrix_product(&link->linear.forward, kernels, (struct gk_weights){.packed = call->packed}, 0, out,
                    (size_t)call->batch, call->a, call->c, (struct gk_start){.rows = call->from});
  if (bridge->kind == GK_BRIDGE_TANH)
    kernels->tanh((size_t)call->batch * out, to, to);
  kernels->flush((size_t)call->batch * out, to, to);
}

static void forward_body(void *context, int thread, int threads) {
  const struct call *call = context;
  (void)thread;
  (void)threads;
  for (int i = 0; i < call->bridge->count; i++)
    forward_link(call, &call->bridge->links[i]);
}

/* The states that the links read and write must be there. */
static gk_status check_states(const gk_bridge *bridge, const float *hn, const float *cn, const float *h0,
                              const float *c0) {
  const gk_status status = GK_CHECK_POINTERS({"hn", hn}, {"h0", h0});
  if (status)
    return status;
  for (int i = 0; i < bridge->count; i++) {
    if (bridge->links[i].cell && !c0)
      return gk_fail(GK_ERROR_ARGUMENT, "c0 is NULL, and the decoder has a cell state");
    if (bridge->links[i].from_cell && !cn)
      return gk_fail(GK_ERROR_ARGUMENT, "cn is NULL, and the encoder has a cell state");
  }
  return GK_OK;
}

static gk_status open_call(struct call *call, unsigned flags, const void *packed, void *workspace) {
  const gk_bridge *bridge = call->bridge;
  size_t bytes;
  gk_status status = gk_bridge_workspace_bytes(bridge, call->batch, &bytes);
  if (status)
    return status;
  if (!workspace)
    return gk_fail(GK_ERROR_ARGUMENT, "workspace is NULL, must have %zu bytes", bytes);
  if (bridge->kind != GK_BRIDGE_COPY &&
      !(call->packed = gk_packed_open(bridge->packed, flags, bridge->kernels->isa, packed)))
    return GK_ERROR_ARGUMENT;
  struct gk_arena arena = gk_arena_start(workspace);
  cut(call, &arena);
  return GK_OK;
}

gk_status gk_bridge_forward(const gk_bridge *bridge, int64_t batch, const float *hn, const float *cn,
                            const void *packed, float *h0, float *c0, void *workspace) {
  if (!bridge)
    return gk_fail(GK_ERROR_ARGUMENT, "bridge is NULL");
  struct call call = {.bridge = bridge, .batch = batch, .hn = hn, .cn = cn, .h0 = h0, .c0 = c0};
  gk_status status = batch ? check_states(bridge, hn, cn, h0, c0) : GK_OK;
  if (!status)
    status = open_call(&call, GK_PACK_FORWARD, packed, workspace);
  if (!status && batch)
    gk_parallel(1, forward_body, &call);
  return status;
}

/* Rows N-1 ... 0 of a sum, as the output layer's. */
struct countdown {
  int64_t rows, next;
};

static size_t next_rows(void *context, int64_t rows[GK_SUM_BLOCK]) {
  struct countdown *countdown = context;
  size_t count = 0;
  while (count < GK_SUM_BLOCK && countdown->next > 0)
    rows[count++] = --countdown->next;
  if (count == 0)
    countdown->next = countdown->rows;
  return count;
}

static void backward_link(const struct call *call, const struct link *link) {
  const gk_bridge *bridge = call->bridge;
  const gk_bridge_backward_args *args = call->args;
  const struct gk_kernels *kernels = bridge->kernels;
  const size_t out = (size_t)link->to.size, values = (size_t)call->batch * out;
  const float *given = link->cell ? args->dc0 : args->dh0;
  const float *value = (link->cell ? args->c0 : args->h0);
  float *to = link->from_cell ? args->dcn : args->dhn;
  if (link->zero || (!given && bridge->kind == GK_BRIDGE_COPY))
    return;
  if (given)
    memcpy(call->d, given + link->to.offset * call->batch, values * sizeof(float));
  else
    memset(call->d, 0, values * sizeof(float));
  if (bridge->kind == GK_BRIDGE_COPY) {
    if (to)
      add_parted(call, link, call->d, to);
    return;
  }
  if (bridge->kind == GK_BRIDGE_TANH)
    kernels->tanh_backward(values, value + link->to.offset * call->batch, call->d, call->d);
  else
    kernels->flush(values, call->d, call->d);
  for (int64_t n = 0; n < call->batch; n++) {
    call->a[n] = call->d + n * link->to.size;
    call->c[n] = call->d_joined + n * link->joined;
  }
  gk_matrix_product(&link->linear.backward, kernels, (struct gk_weights){.packed = call->packed}, 0,
                    link->linear.in, (size_t)call->batch, call->a, call->c, GK_START_ZERO);
  if (to)
    add_parted(call, link, call->d_joined, to);
  if (!args->gradients)
    return;
  join(call, link, link->from_cell ? args->cn : args->hn, call->joined);
  struct countdown countdown = {.rows = call->batch, .next = call->batch};
  const struct gk_linear_gradient gradient = {.matrix = &link->linear.backward,
                                              .kernels = kernels,
                                              .rows = {.context = &countdown, .next = next_rows},
                                              .dy = call->d,
                                              .dy_stride = out,
                                              .x = call->joined,
                                              .x_stride = link->linear.in,
                                              .weight = args->gradients + link->weight,
                                              .bias = args->gradients + link->bias,
                                              .scratch = call->scratch};
  gk_linear_gradient(&gradient, 0, 1);
}

static void backward_body(void *context, int thread, int threads) {
  const struct call *call = context;
  (void)thread;
  (void)threads;
  for (int i = 0; i < call->bridge->count; i++)
    backward_link(call, &call->bridge->links[i]);
}

gk_status gk_bridge_backward(const gk_bridge *bridge, const gk_bridge_backward_args *args) {
  gk_status status = GK_CHECK_POINTERS({"bridge", bridge}, {"args", args});
  if (!status)
    status = gk_check_size_field("args", args->size, sizeof *args, "GK_BRIDGE_BACKWARD_ARGS_INIT");
  if (status)
    return status;
  struct call call = {.bridge = bridge, .args = args, .batch = args->batch};
  if (args->batch && bridge->kind != GK_BRIDGE_COPY)
    status = check_states(bridge, args->hn, args->cn, args->h0, args->c0);
  if (!status)
    status = open_call(&call, GK_PACK_BACKWARD, args->packed, args->workspace);
  if (status)
    return status;
  if (args->dhn && args->batch)
    memset(args->dhn, 0, (size_t)(args->batch * bridge->h_values) * sizeof(float));
  if (args->dcn && args->batch)
    memset(args->dcn, 0, (size_t)(args->batch * bridge->c_values) * sizeof(float));
  if (args->gradients && !args->batch)
    memset(args->gradients, 0, (size_t)bridge->parameter_count * sizeof(float));
  if (args->batch)
    gk_parallel(1, backward_body, &call);
  return GK_OK;
}
