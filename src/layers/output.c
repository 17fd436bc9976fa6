/* SPDX-License-Identifier: Apache-2.0
 * Output layer and its loss. Rows are taken in blocks of GK_SUM_BLOCK from the last to the
 * first: logits of one block become its gradients in cache, which give dh and one block of the weight
 * gradient. */
#include <stdlib.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "src/core/arena.h"
#include "src/core/arguments.h"
#include "src/core/choice.h"
#include "src/core/float_environment.h"
#include "src/core/parallel.h"
#include "src/core/random.h"
#include "src/core/threads.h"
#include "src/layers/loss.h"
#include "src/layers/output.h"

enum { GRADIENT_COLUMNS = 64 }; /* rows of the weight gradient formed together */
/* Of a product, fewer than which one thread does in less time than others take to come. */
enum { SHARED_FLOP = 100000 };

static gk_status check_description(const gk_output_desc *desc) {
  if (!desc)
    return gk_fail(GK_ERROR_ARGUMENT, "desc is NULL");
  const int64_t most = INT32_MAX / 8;
  gk_status status = gk_check_size_field("desc", desc->size, sizeof *desc, "GK_OUTPUT_DESC_INIT");
  if (!status)
    status = gk_check_range("input_size", desc->input_size, 1, most, GK_ERROR_OVERFLOW);
  if (!status)
    status = gk_check_range("output_size", desc->output_size, 1, most, GK_ERROR_OVERFLOW);
  return status ? status : gk_check_threads(desc->threads);
}

static gk_status create(struct gk_output *output) {
  gk_output_desc *desc = &output->desc;
  gk_status status = gk_kernels_for(desc->isa, desc->math, &output->kernels);
  if (status)
    return status;
  desc->isa = output->kernels->isa;
  desc->math = output->kernels->math;
  desc->threads = gk_resolve_threads(desc->threads);
  status = gk_linear_create(&output->linear, output->kernels, desc->input_size, desc->output_size, true,
                            &output->packed);
  gk_linear_close(&output->linear, &output->packed);
  return status;
}

gk_status gk_output_create(const gk_output_desc *desc, gk_output **output) {
  if (!output)
    return gk_fail(GK_ERROR_ARGUMENT, "output is NULL");
  *output = NULL;
  gk_status status = check_description(desc);
  if (status)
    return status;
  struct gk_output *made = calloc(1, sizeof *made);
  if (!made)
    return gk_fail(GK_ERROR_MEMORY, "no memory for an output layer");
  made->desc = *desc;
  status = create(made);
  if (status)
    gk_output_destroy(made);
  else
    *output = made;
  return status;
}

void gk_output_destroy(gk_output *output) {
  if (!output)
    return;
  gk_linear_destroy(&output->linear);
  free(output);
}

int gk_output_tensor_count(const gk_output *output) {
  return !output ? 0 : output->desc.tied ? 1 : 2;
}

gk_status gk_output_tensor(const gk_output *output, int index, gk_tensor *tensor) {
  gk_status status = GK_CHECK_POINTERS({"output", output}, {"tensor", tensor});
  if (!status)
    status = gk_check_choice("index", index, gk_output_tensor_count(output));
  if (status)
    return status;
  const int last = output->desc.tied ? 0 : 1;
  const int64_t h = output->desc.input_size, v = output->desc.output_size;
  *tensor = index != last ? (gk_tensor){"weight", 2, {v, h}, 0, v * h}
                          : (gk_tensor){"bias", 1, {v}, output->desc.tied ? 0 : v * h, v};
  return GK_OK;
}

int64_t gk_output_parameter_count(const gk_output *output) {
  const int64_t columns = !output ? 0 : output->desc.tied ? 1 : output->desc.input_size + 1;
  return output ? output->desc.output_size * columns : 0;
}

gk_status gk_output_packed_bytes(const gk_output *output, unsigned flags, size_t *bytes) {
  if (!output)
    return gk_fail(GK_ERROR_ARGUMENT, "output is NULL");
  return gk_packed_bytes(output->packed, flags, bytes);
}

struct packing {
  const gk_output *output;
  struct gk_packing matrix;
  const float *weight, *bias;
};

static void pack_body(void *context, int thread, int threads) {
  struct packing p = *(const struct packing *)context;
  p.matrix.thread = thread;
  p.matrix.threads = threads;
  gk_linear_pack(&p.output->linear, &p.matrix, p.weight, p.bias);
  if (p.matrix.stream)
    p.matrix.kernels->stream_end();
}

static gk_status pack(const gk_output *output, unsigned flags, const float *weight, const float *bias,
                      void *packed) {
  struct packing packing = {.output = output,
                            .matrix = {.kernels = output->kernels,
                                       .flags = flags,
                                       .stream = gk_packed_streams(output->packed, flags)},
                            .weight = weight,
                            .bias = bias};
  gk_status status =
      gk_packed_start(output->packed, flags, output->kernels->isa, packed, &packing.matrix.packed);
  if (status)
    return status;
  gk_parallel(output->packed.forward < GK_PACK_SHARED_FLOATS ? 1 : output->desc.threads, pack_body, &packing);
  return GK_OK;
}

gk_status gk_output_pack(const gk_output *output, unsigned flags, const float *parameters, void *packed) {
  const gk_status status = GK_CHECK_POINTERS({"output", output}, {"parameters", parameters});
  if (status)
    return status;
  if (output->desc.tied)
    return gk_fail(GK_ERROR_ARGUMENT, "output is tied: gk_output_pack_tied takes its weight");
  return pack(output, flags, parameters, parameters + output->desc.output_size * output->desc.input_size,
              packed);
}

gk_status gk_output_pack_tied(const gk_output *output, unsigned flags, const float *weight, const float *bias,
                              void *packed) {
  const gk_status status = GK_CHECK_POINTERS({"output", output}, {"weight", weight}, {"bias", bias});
  if (status)
    return status;
  if (!output->desc.tied)
    return gk_fail(GK_ERROR_ARGUMENT, "output is not tied: gk_output_pack takes its parameters");
  return pack(output, flags, weight, bias, packed);
}

/* One thread's own memory. */
struct share {
  const float **a;   /* [block] */
  float **c;         /* [block] */
  float *panels;     /* packed rows of h; before, flushed ones */
  float *transposed; /* (GRADIENT_COLUMNS, GK_TRANSPOSED_STRIDE) */
};

struct loss_call {
  const gk_output *output;
  gk_output_loss_args args;
  const float *packed;
  struct gk_barrier *barrier;
  struct gk_loss_rows rows;
  float *dweight, *dbias; /* NULL: not computed */
  float *logits;          /* (block, V) */
  float *losses;          /* (block) */
  float *zero;            /* (H): stands for a row of h that does not count, which may hold anything */
  struct share *shares;
};

static void cut_workspace(struct loss_call *call, struct gk_arena *arena) {
  const int threads = call->output->desc.threads;
  const int64_t v = call->output->desc.output_size;
  const struct gk_matrix *backward = &call->output->linear.backward;
  call->barrier = gk_arena_take(arena, sizeof *call->barrier, 1, 1, 1);
  call->logits = gk_arena_take(arena, sizeof(float), GK_SUM_BLOCK, v, 1);
  call->losses = gk_arena_take(arena, sizeof(float), GK_SUM_BLOCK, 1, 1);
  call->zero = gk_arena_take(arena, sizeof(float), call->output->desc.input_size, 1, 1);
  call->shares = gk_arena_take(arena, sizeof *call->shares, threads, 1, 1);
  for (int thread = 0; thread < threads; thread++) {
    const struct share share = {
        .a = gk_arena_take(arena, sizeof(void *), GK_SUM_BLOCK, 1, 1),
        .c = gk_arena_take(arena, sizeof(void *), GK_SUM_BLOCK, 1, 1),
        .panels = gk_arena_take(arena, sizeof(float), GK_SUM_BLOCK,
                                (int64_t)(backward->panels * backward->width), 1),
        .transposed = gk_arena_take(arena, sizeof(float), GK_TRANSPOSED_STRIDE, GRADIENT_COLUMNS, 1)};
    if (call->shares)
      call->shares[thread] = share;
  }
}

/* Of h and of the logits. */
static gk_status check_rows(const gk_output *output, int64_t rows) {
  const gk_status status = gk_check_rows(rows, "input_size", output->desc.input_size);
  return status ? status : gk_check_rows(rows, "output_size", output->desc.output_size);
}

gk_status gk_output_workspace_bytes(const gk_output *output, int64_t rows, size_t *bytes) {
  gk_status status = GK_CHECK_POINTERS({"output", output}, {"bytes", bytes});
  if (!status)
    status = check_rows(output, rows);
  if (status)
    return status;
  struct loss_call call = {.output = output};
  struct gk_arena arena = gk_arena_start(NULL);
  cut_workspace(&call, &arena);
  if (!gk_arena_bytes(&arena, bytes))
    return gk_fail(GK_ERROR_OVERFLOW, "workspace of output_size %lld does not fit in memory",
                   (long long)output->desc.output_size);
  return GK_OK;
}

/* logits = bias + h W^T. What is given below 2^-95 counts as 0: rows with such values are copied. */
static void logits_of_rows(const gk_output *output, const float *packed, const float *h, float *logits,
                           size_t rows, const struct share *share) {
  const struct gk_kernels *kernels = output->kernels;
  const size_t width = (size_t)output->desc.output_size, size = (size_t)output->desc.input_size;
  const bool tiny = kernels->needs_flush(rows * size, h);
  const float *from[GK_SUM_BLOCK];
  for (size_t r = 0; r < rows; r++) {
    float *copy = share->panels + r * size;
    share->a[r] = h + r * size;
    share->c[r] = logits + r * width;
    from[r] = packed + output->linear.bias;
    if (!tiny || !kernels->needs_flush(size, share->a[r]))
      continue;
    kernels->flush(size, share->a[r], copy);
    share->a[r] = copy;
  }
  gk_matrix_product(&output->linear.forward, kernels, (struct gk_weights){.packed = packed}, 0, width, rows,
                    share->a, share->c, (struct gk_start){.rows = from});
}

/* Logits, losses, gradients of the logits and dh of the thread's rows of the block that starts at `first`. */
static void block_rows(const struct loss_call *call, const struct share *share, int64_t first, size_t begin,
                       size_t end) {
  const gk_output *output = call->output;
  const size_t v = (size_t)output->desc.output_size, h = (size_t)output->desc.input_size;
  logits_of_rows(output, call->packed, call->args.h + ((size_t)first + begin) * h, call->logits + begin * v,
                 end - begin, share);
  for (size_t r = begin; r < end; r++) {
    float *logits = call->logits + r * v;
    call->losses[r] = gk_loss_of_row(&call->rows, first + (int64_t)r, logits, logits);
  }
  if (!call->args.dh)
    return;
  for (size_t r = begin; r < end; r++) {
    share->a[r - begin] = call->logits + r * v;
    share->c[r - begin] = call->args.dh + ((size_t)first + r) * h;
  }
  gk_matrix_product(&output->linear.backward, output->kernels, (struct gk_weights){.packed = call->packed}, 0,
                    h, end - begin, share->a, share->c, GK_START_ZERO);
}

/* One block of the weight gradient, the thread's rows of W. The sum takes the block's rows from the last on.
 */
static void block_gradient(const struct loss_call *call, const struct share *share, int64_t first,
                           size_t rows, bool overwrite, int thread, int threads) {
  const gk_output *output = call->output;
  const struct gk_kernels *kernels = output->kernels;
  const size_t v = (size_t)output->desc.output_size, h = (size_t)output->desc.input_size;
  const float *source[GK_SUM_BLOCK];
  size_t begin, end;
  gk_split(v, 1, thread, threads, &begin, &end);
  if (begin == end)
    return;
  for (size_t r = 0; r < rows; r++) {
    const size_t row = (size_t)first + rows - 1 - r;
    source[r] = gk_loss_row_counts(&call->rows, (int64_t)row) ? call->args.h + row * h : call->zero;
  }
  gk_matrix_pack_block(&output->linear.backward, kernels, rows, source, share->panels);
  for (size_t r = 0; r < rows; r++)
    source[r] = call->logits + (rows - 1 - r) * v + begin;
  if (call->dbias)
    kernels->column_sum(rows, end - begin, source, call->dbias + begin, overwrite);
  for (size_t column = begin; column < end && call->dweight; column += GRADIENT_COLUMNS) {
    const size_t columns = end - column < GRADIENT_COLUMNS ? end - column : GRADIENT_COLUMNS;
    for (size_t r = 0; r < rows; r++)
      source[r] = call->logits + (rows - 1 - r) * v + column;
    gk_linear_gradient_block(&output->linear.backward, kernels, rows, columns, source, share->panels,
                             share->transposed, call->dweight + column * h, overwrite);
  }
}

static void loss_body(void *context, int thread, int threads) {
  struct loss_call *call = context;
  const struct share *share = &call->shares[thread];
  gk_barrier_open(call->barrier, thread, threads);
  double loss = 0;
  for (int64_t end = call->args.rows; end > 0; end -= GK_SUM_BLOCK) {
    const int64_t first = end > GK_SUM_BLOCK ? end - GK_SUM_BLOCK : 0;
    const size_t rows = (size_t)(end - first);
    size_t begin, stop;
    gk_split(rows, 1, thread, threads, &begin, &stop);
    block_rows(call, share, first, begin, stop);
    if (threads > 1)
      gk_barrier_wait(call->barrier);
    if (call->dweight || call->dbias)
      block_gradient(call, share, first, rows, end == call->args.rows, thread, threads);
    for (size_t r = rows; r-- > 0 && thread == 0;)
      loss += (double)call->losses[r];
    if (threads > 1)
      gk_barrier_wait(call->barrier);
  }
  if (thread == 0 && call->args.loss)
    *call->args.loss = loss;
}

static gk_status check_loss(const gk_output *output, const gk_output_loss_args *args) {
  gk_status status = GK_CHECK_POINTERS({"output", output}, {"args", args});
  if (!status)
    status = gk_check_size_field("args", args->size, sizeof *args, "GK_OUTPUT_LOSS_ARGS_INIT");
  if (!status)
    status = check_rows(output, args->rows);
  if (status)
    return status;
  if (!args->workspace)
    return gk_fail(GK_ERROR_ARGUMENT, "workspace is NULL");
  if (args->rows && !args->h)
    return gk_fail(GK_ERROR_ARGUMENT, "h is NULL");
  if (args->dweight && !output->desc.tied)
    return gk_fail(GK_ERROR_ARGUMENT, "dweight is given, and output is not tied: gradients holds its weight");
  return GK_OK;
}

static struct loss_call describe_call(const gk_output *output, const gk_output_loss_args *args) {
  const size_t v = (size_t)output->desc.output_size, h = (size_t)output->desc.input_size;
  const bool tied = output->desc.tied;
  return (struct loss_call){.output = output,
                            .args = *args,
                            .rows = {.kernels = output->kernels,
                                     .kind = args->kind,
                                     .rows = args->rows,
                                     .columns = output->desc.output_size,
                                     .targets = args->targets,
                                     .ignored_target = args->ignored_target,
                                     .values = args->values,
                                     .row_weights = args->row_weights,
                                     .label_smoothing = args->label_smoothing,
                                     .positive_weight = args->positive_weight,
                                     .huber_delta = args->huber_delta,
                                     .scale = args->gradient_scale},
                            .dweight = tied ? args->dweight : args->gradients,
                            .dbias = tied || !args->gradients ? args->gradients : args->gradients + v * h};
}

gk_status gk_output_loss(const gk_output *output, const gk_output_loss_args *args) {
  gk_status status = check_loss(output, args);
  if (status)
    return status;
  struct loss_call call = describe_call(output, args);
  status = gk_loss_check(&call.rows);
  if (status)
    return status;
  call.packed =
      gk_packed_open(output->packed, args->dh ? GK_PACK_FORWARD | GK_PACK_BACKWARD : GK_PACK_FORWARD,
                     output->kernels->isa, args->packed);
  if (!call.packed)
    return GK_ERROR_ARGUMENT;
  if (args->rows == 0) {
    const size_t v = (size_t)output->desc.output_size;
    if (call.dweight)
      memset(call.dweight, 0, v * (size_t)output->desc.input_size * sizeof(float));
    if (call.dbias)
      memset(call.dbias, 0, v * sizeof(float));
    if (args->loss)
      *args->loss = 0;
    return GK_OK;
  }
  struct gk_arena arena = gk_arena_start(args->workspace);
  cut_workspace(&call, &arena);
  memset(call.zero, 0, (size_t)output->desc.input_size * sizeof *call.zero);
  const double flop =
      2.0 * (double)args->rows * (double)output->desc.input_size * (double)output->desc.output_size;
  gk_parallel(flop < SHARED_FLOP ? 1 : output->desc.threads, loss_body, &call);
  return GK_OK;
}

static void forward_body(void *context, int thread, int threads) {
  struct loss_call *call = context;
  const struct share *share = &call->shares[thread];
  const size_t v = (size_t)call->output->desc.output_size, h = (size_t)call->output->desc.input_size;
  size_t begin, end;
  gk_split((size_t)call->args.rows, 1, thread, threads, &begin, &end);
  for (size_t r = begin; r < end; r += GK_SUM_BLOCK)
    logits_of_rows(call->output, call->packed, call->args.h + r * h, call->logits + r * v,
                   end - r < GK_SUM_BLOCK ? end - r : GK_SUM_BLOCK, share);
}

gk_status gk_output_forward(const gk_output *output, int64_t rows, const float *h, const void *packed,
                            float *logits, void *workspace) {
  gk_status status = GK_CHECK_POINTERS({"output", output});
  if (!status)
    status = check_rows(output, rows);
  if (status)
    return status;
  struct loss_call call = {.output = output, .args = {.rows = rows, .h = h}};
  call.packed = gk_packed_open(output->packed, GK_PACK_FORWARD, output->kernels->isa, packed);
  if (!call.packed)
    return GK_ERROR_ARGUMENT;
  if (rows == 0)
    return GK_OK;
  status = GK_CHECK_POINTERS({"h", h}, {"logits", logits}, {"workspace", workspace});
  if (status)
    return status;
  struct gk_arena arena = gk_arena_start(workspace);
  cut_workspace(&call, &arena);
  call.logits = logits;
  const double flop = 2.0 * (double)rows * (double)output->desc.input_size * (double)output->desc.output_size;
  const int threads = rows < output->desc.threads ? (int)rows : output->desc.threads; /* they share rows */
  gk_parallel(flop < SHARED_FLOP ? 1 : threads, forward_body, &call);
  return GK_OK;
}

static void init(const gk_output *output, uint64_t seed, float *weight, float *bias) {
  const uint64_t callers = gk_float_environment_pin();
  const float bound = (float)(1.0 / __builtin_sqrt((double)output->desc.input_size));
  const int64_t h = output->desc.input_size, v = output->desc.output_size;
  if (weight)
    gk_random_weights(seed, GK_INIT_OUTPUT, 0, v, h, (double)bound, weight);
  gk_random_weights(seed, GK_INIT_OUTPUT, v, 1, v, (double)bound, bias);
  gk_float_environment_restore(callers);
}

gk_status gk_output_init(const gk_output *output, uint64_t seed, float *parameters) {
  const gk_status status = GK_CHECK_POINTERS({"output", output}, {"parameters", parameters});
  if (status)
    return status;
  if (output->desc.tied) /* its weight has been initialised elsewhere */
    init(output, seed, NULL, parameters);
  else
    init(output, seed, parameters, parameters + output->desc.output_size * output->desc.input_size);
  return GK_OK;
}

gk_status gk_output_init_tied(const gk_output *output, uint64_t seed, float *weight, float *bias) {
  const gk_status status = GK_CHECK_POINTERS({"output", output}, {"weight", weight}, {"bias", bias});
  if (status)
    return status;
  init(output, seed, weight, bias);
  return GK_OK;
}

static GK_PINNED gk_status softmax(gk_isa isa, int64_t count, float temperature, const float *logits,
                                   float *p) {
  const struct gk_kernels *kernels;
  gk_status status = gk_kernels_for(isa, GK_MATH_OWN, &kernels);
  if (!status)
    status = gk_check_count("count", count);
  if (!status && count)
    status = GK_CHECK_POINTERS({"logits", logits}, {"p", p});
  if (status)
    return status;
  if (!(temperature > 0))
    return gk_fail(GK_ERROR_ARGUMENT, "temperature is %g, must be positive", (double)temperature);
  if (count)
    kernels->softmax((size_t)count, gk_softmax_scale(temperature), logits, p);
  return GK_OK;
}

gk_status gk_softmax(gk_isa isa, int64_t count, float temperature, const float *logits, float *p) {
  const uint64_t callers = gk_float_environment_pin();
  const gk_status status = softmax(isa, count, temperature, logits, p);
  gk_float_environment_restore(callers);
  return status;
}
