/* SPDX-License-Identifier: Apache-2.0
 * gk_decoder: a stack, what is fed to it, what stands on top. Its parts, parameters, packing. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/core/arguments.h"
#include "src/core/float_environment.h"
#include "src/core/names.h"
#include "src/core/random.h"
#include "src/sequence/feedback.h"

enum { INIT_EMBEDDING = (int)GK_INIT_DECODER, INIT_QUERY, INIT_COMBINE };

static gk_status check_sizes(const gk_decoder_desc *desc) {
  const bool token = desc->feedback == GK_FEEDBACK_TOKEN, attends = desc->attention != GK_ATTENTION_NONE;
  const int64_t most = INT32_MAX / 16;
  const struct {
    const char *name;
    int64_t value, least;
    bool needed;
  } sizes[] = {{"rnn.input_size", desc->rnn.input_size, 0, true},
               {"vocabulary", desc->vocabulary, token, token},
               {"embedding_size", desc->embedding_size, token, token},
               {"source_size", desc->source_size, attends, attends},
               {"attention_size", desc->attention_size, 0, attends}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    if (!sizes[i].needed && sizes[i].value != 0)
      return gk_fail(GK_ERROR_ARGUMENT, "%s is %lld with feedback %s and attention %s, must be 0",
                     sizes[i].name, (long long)sizes[i].value, gk_feedback_name(desc->feedback),
                     gk_attention_name(desc->attention));
    const gk_status status =
        gk_check_range(sizes[i].name, sizes[i].value, sizes[i].least, most, GK_ERROR_OVERFLOW);
    if (status)
      return status;
  }
  return GK_OK;
}

static gk_status check_description(const gk_decoder_desc *desc) {
  if (!desc)
    return gk_fail(GK_ERROR_ARGUMENT, "desc is NULL");
  gk_status status = gk_check_size_field("desc", desc->size, sizeof *desc, "GK_DECODER_DESC_INIT");
  if (!status)
    status = gk_check_choice("feedback", (int)desc->feedback, gk_feedback_count());
  if (!status)
    status = gk_check_choice("attention", (int)desc->attention, gk_attention_count());
  if (!status)
    status = gk_check_choice("output_function", (int)desc->output_function, gk_output_function_count());
  if (status)
    return status;
  if (desc->rnn.direction != GK_FORWARD)
    return gk_fail(GK_ERROR_UNSUPPORTED,
                   "rnn.direction is %s, must be forward: a decoder's next input is not known yet",
                   gk_direction_name(desc->rnn.direction));
  if (desc->rnn.vocabulary)
    return gk_fail(GK_ERROR_ARGUMENT,
                   "rnn.vocabulary is %lld, must be 0: tokens are the decoder's (vocabulary)",
                   (long long)desc->rnn.vocabulary);
  if (desc->input_feeding && desc->attention == GK_ATTENTION_NONE)
    return gk_fail(GK_ERROR_ARGUMENT, "input_feeding is set and attention is none: there is no h~ to feed");
  if (desc->output_function != GK_OUTPUT_IDENTITY && desc->feedback != GK_FEEDBACK_OUTPUT)
    return gk_fail(GK_ERROR_ARGUMENT,
                   "output_function is %s and feedback is %s: only feedback output has one",
                   gk_output_function_name(desc->output_function), gk_feedback_name(desc->feedback));
  if (desc->feedback == GK_FEEDBACK_OUTPUT && !desc->output)
    return gk_fail(GK_ERROR_ARGUMENT, "output is NULL and feedback is output");
  if (desc->feedback == GK_FEEDBACK_OUTPUT && desc->output->desc.tied)
    return gk_fail(GK_ERROR_UNSUPPORTED,
                   "output is tied and feedback is output: there is no embedding to tie it to");
  return check_sizes(desc);
}

static gk_status create_stack(struct gk_decoder *decoder) {
  const gk_decoder_desc *desc = &decoder->desc;
  gk_rnn_desc rnn = desc->rnn;
  rnn.input_size = 1; /* the sizes that its real one follows from are to be valid first */
  gk_status status = gk_rnn_check_description(&rnn);
  if (status)
    return status;
  if (desc->feedback == GK_FEEDBACK_TOKEN)
    decoder->fed = desc->embedding_size;
  else if (desc->feedback == GK_FEEDBACK_OUTPUT)
    decoder->fed = desc->output->desc.output_size;
  int64_t hidden = rnn.hidden_sizes ? rnn.hidden_sizes[rnn.layers - 1] : rnn.hidden_size;
  if (rnn.projection_size > 0)
    hidden = rnn.projection_size;
  decoder->top = desc->attention != GK_ATTENTION_NONE && desc->attention_size ? desc->attention_size : hidden;
  decoder->width = desc->rnn.input_size + decoder->fed + (desc->input_feeding ? decoder->top : 0);
  if (decoder->width == 0)
    return gk_fail(GK_ERROR_ARGUMENT,
                   "rnn.input_size is 0, feedback none, no input_feeding: there is no input");
  rnn.input_size = decoder->width;
  status = gk_rnn_create(&rnn, &decoder->rnn);
  if (status)
    return status;
  decoder->hidden = (int64_t)decoder->rnn->layers[decoder->rnn->layer_count - 1].output;
  if (desc->attention == GK_ATTENTION_NONE || desc->attention_size == 0)
    decoder->top = decoder->hidden;
  if (desc->attention == GK_ATTENTION_DOT && desc->source_size != decoder->hidden)
    return gk_fail(GK_ERROR_ARGUMENT, "source_size is %lld, must be %lld, the size of h, with attention dot",
                   (long long)desc->source_size, (long long)decoder->hidden);
  if (desc->output && desc->output->desc.input_size != decoder->top)
    return gk_fail(GK_ERROR_ARGUMENT, "output's input_size is %lld, must be %lld, the size of y",
                   (long long)desc->output->desc.input_size, (long long)decoder->top);
  if (desc->output && desc->feedback == GK_FEEDBACK_TOKEN &&
      desc->output->desc.output_size != desc->vocabulary)
    return gk_fail(GK_ERROR_ARGUMENT, "output's output_size is %lld, must be %lld (vocabulary)",
                   (long long)desc->output->desc.output_size, (long long)desc->vocabulary);
  return GK_OK;
}

static bool add_count(int64_t *count, int64_t rows, int64_t columns) {
  size_t more;
  if (!gk_size_array(&more, 1, rows, columns, 1) || more > (size_t)(INT64_MAX / 64 - *count))
    return false;
  *count += (int64_t)more;
  return true;
}

static gk_status create_top(struct gk_decoder *decoder) {
  const gk_decoder_desc *desc = &decoder->desc;
  const struct gk_kernels *kernels = decoder->rnn->kernels;
  gk_status status = GK_OK;
  decoder->packed.fingerprint = (uint64_t)desc->attention + 3;
  if (desc->attention == GK_ATTENTION_GENERAL)
    status = gk_linear_create(&decoder->query, kernels, decoder->hidden, desc->source_size, false,
                              &decoder->packed);
  if (!status && desc->attention != GK_ATTENTION_NONE)
    status = gk_linear_create(&decoder->combine, kernels, desc->source_size + decoder->hidden, decoder->top,
                              false, &decoder->packed);
  gk_linear_close(&decoder->query, &decoder->packed);
  gk_linear_close(&decoder->combine, &decoder->packed);
  bool fits = add_count(&decoder->parameter_count, desc->vocabulary, desc->embedding_size);
  decoder->rnn_offset = decoder->parameter_count;
  fits &= add_count(&decoder->parameter_count, gk_rnn_parameter_count(decoder->rnn), 1);
  decoder->query_offset = decoder->parameter_count;
  if (desc->attention == GK_ATTENTION_GENERAL)
    fits &= add_count(&decoder->parameter_count, desc->source_size, decoder->hidden);
  decoder->combine_offset = decoder->parameter_count;
  if (desc->attention != GK_ATTENTION_NONE)
    fits &= add_count(&decoder->parameter_count, decoder->top, desc->source_size + decoder->hidden);
  if (!status && !fits)
    status = gk_fail(GK_ERROR_OVERFLOW, "vocabulary %lld x embedding_size %lld: too many parameters",
                     (long long)desc->vocabulary, (long long)desc->embedding_size);
  return status;
}

gk_status gk_decoder_create(const gk_decoder_desc *desc, gk_decoder **decoder) {
  if (!decoder)
    return gk_fail(GK_ERROR_ARGUMENT, "decoder is NULL");
  *decoder = NULL;
  gk_status status = check_description(desc);
  if (status)
    return status;
  struct gk_decoder *made = calloc(1, sizeof *made);
  if (!made)
    return gk_fail(GK_ERROR_MEMORY, "no memory for a decoder");
  made->desc = *desc;
  status = create_stack(made);
  if (!status)
    status = create_top(made);
  if (status) {
    gk_decoder_destroy(made);
    return status;
  }
  made->desc.rnn.hidden_sizes = NULL; /* the caller's; the stack has a copy */
  *decoder = made;
  return GK_OK;
}

void gk_decoder_destroy(gk_decoder *decoder) {
  if (!decoder)
    return;
  gk_linear_destroy(&decoder->query);
  gk_linear_destroy(&decoder->combine);
  gk_rnn_destroy(decoder->rnn);
  free(decoder);
}

const gk_rnn *gk_decoder_rnn(const gk_decoder *decoder) {
  return decoder ? decoder->rnn : NULL;
}
int64_t gk_decoder_size(const gk_decoder *decoder) {
  return decoder ? decoder->top : 0;
}
int64_t gk_decoder_parameter_count(const gk_decoder *decoder) {
  return decoder ? decoder->parameter_count : 0;
}

int gk_decoder_tensor_count(const gk_decoder *decoder) {
  if (!decoder)
    return 0;
  return gk_rnn_tensor_count(decoder->rnn) + (decoder->desc.feedback == GK_FEEDBACK_TOKEN) +
         (decoder->desc.attention == GK_ATTENTION_GENERAL) + (decoder->desc.attention != GK_ATTENTION_NONE);
}

static gk_tensor matrix_tensor(const char *name, int64_t offset, int64_t rows, int64_t columns) {
  gk_tensor tensor = {.rank = 2, .shape = {rows, columns}, .offset = offset, .count = rows * columns};
  snprintf(tensor.name, sizeof tensor.name, "%s", name);
  return tensor;
}

gk_status gk_decoder_tensor(const gk_decoder *decoder, int index, gk_tensor *tensor) {
  gk_status status = GK_CHECK_POINTERS({"decoder", decoder}, {"tensor", tensor});
  if (!status)
    status = gk_check_choice("index", index, gk_decoder_tensor_count(decoder));
  if (status)
    return status;
  const gk_decoder_desc *desc = &decoder->desc;
  const int stack = gk_rnn_tensor_count(decoder->rnn);
  if (desc->feedback == GK_FEEDBACK_TOKEN && index-- == 0) {
    *tensor = matrix_tensor("embedding.weight", 0, desc->vocabulary, desc->embedding_size);
    return GK_OK;
  }
  if (index < stack) {
    status = gk_rnn_tensor(decoder->rnn, index, tensor);
    tensor->offset += decoder->rnn_offset;
    return status;
  }
  if (desc->attention == GK_ATTENTION_GENERAL && index == stack)
    *tensor =
        matrix_tensor("attention.query.weight", decoder->query_offset, desc->source_size, decoder->hidden);
  else
    *tensor = matrix_tensor("attention.combine.weight", decoder->combine_offset, decoder->top,
                            desc->source_size + decoder->hidden);
  return GK_OK;
}

gk_status gk_decoder_init(const gk_decoder *decoder, const gk_init_desc *desc, float *parameters) {
  gk_status status = GK_CHECK_POINTERS({"decoder", decoder}, {"parameters", parameters});
  if (!status)
    status = gk_rnn_init(decoder->rnn, desc, parameters + decoder->rnn_offset);
  if (status)
    return status;
  const gk_decoder_desc *d = &decoder->desc;
  const uint64_t callers = gk_float_environment_pin();
  if (d->feedback == GK_FEEDBACK_TOKEN)
    gk_random_weights(desc->seed, INIT_EMBEDDING, 0, d->vocabulary, d->embedding_size, sqrt(3.0), parameters);
  const struct {
    const struct gk_linear *linear;
    int64_t offset;
    uint32_t tensor;
  } matrices[2] = {{&decoder->query, decoder->query_offset, INIT_QUERY},
                   {&decoder->combine, decoder->combine_offset, INIT_COMBINE}};
  for (int i = 0; i < 2; i++) {
    const double in = (double)matrices[i].linear->in, out = (double)matrices[i].linear->out;
    if (out > 0)
      gk_random_weights(desc->seed, matrices[i].tensor, 0, (int64_t)out, (int64_t)in,
                        desc->init == GK_INIT_UNIFORM ? 1 / sqrt(in) : sqrt(6 / (in + out)),
                        parameters + matrices[i].offset);
  }
  gk_float_environment_restore(callers);
  return GK_OK;
}

/* ---- Packing: what stands on top, and behind it the stack ---- */

static gk_status top_bytes(const gk_decoder *decoder, unsigned flags, size_t *bytes) {
  gk_status status = gk_packed_bytes(decoder->packed, flags, bytes);
  if (!status && !gk_size_align(bytes, GK_CACHE_LINE))
    status = gk_fail(GK_ERROR_OVERFLOW, "packed weights do not fit in memory");
  return status;
}

gk_status gk_decoder_packed_bytes(const gk_decoder *decoder, unsigned flags, size_t *bytes) {
  size_t top, stack = 0;
  gk_status status = GK_CHECK_POINTERS({"decoder", decoder}, {"bytes", bytes});
  /* The backward part of the top always has its place, so that the stack's place does not depend on flags. */
  if (!status)
    status = top_bytes(decoder, flags, &top); /* which the stack alone might do without */
  if (!status)
    status = gk_rnn_packed_bytes(decoder->rnn, flags, &stack);
  if (!status)
    status = top_bytes(decoder, GK_PACK_FORWARD | GK_PACK_BACKWARD, &top);
  if (!status && !gk_size_add(&top, stack))
    status = gk_fail(GK_ERROR_OVERFLOW, "packed weights do not fit in memory");
  if (!status)
    *bytes = top;
  return status;
}

struct packing {
  const gk_decoder *decoder;
  struct gk_packing matrix;
  const float *parameters;
};

static void pack_body(void *context, int thread, int threads) {
  struct packing p = *(const struct packing *)context;
  p.matrix.thread = thread;
  p.matrix.threads = threads;
  if (p.decoder->query.out)
    gk_linear_pack(&p.decoder->query, &p.matrix, p.parameters + p.decoder->query_offset, NULL);
  if (p.decoder->combine.out)
    gk_linear_pack(&p.decoder->combine, &p.matrix, p.parameters + p.decoder->combine_offset, NULL);
}

const void *gk_decoder_stack_packed(const gk_decoder *decoder, const void *packed) {
  size_t top = 0;
  top_bytes(decoder, GK_PACK_FORWARD | GK_PACK_BACKWARD, &top);
  return packed ? (const char *)packed + top : NULL;
}

static gk_status pack(const gk_decoder *decoder, unsigned flags, const gk_random_key *key,
                      const float *parameters, void *packed) {
  gk_status status = GK_CHECK_POINTERS({"decoder", decoder}, {"parameters", parameters});
  if (status)
    return status;
  const struct gk_kernels *kernels = decoder->rnn->kernels;
  struct packing packing = {
      .decoder = decoder, .matrix = {.kernels = kernels, .flags = flags}, .parameters = parameters};
  status = gk_packed_start(decoder->packed, flags, kernels->isa, packed, &packing.matrix.packed);
  if (status)
    return status;
  gk_parallel(decoder->packed.forward < GK_PACK_SHARED_FLOATS ? 1 : decoder->rnn->desc.threads, pack_body,
              &packing);
  size_t top = 0;
  status = top_bytes(decoder, GK_PACK_FORWARD | GK_PACK_BACKWARD, &top);
  if (status)
    return status;
  const float *stack = parameters + decoder->rnn_offset;
  return key ? gk_rnn_pack_dropped(decoder->rnn, flags, key, stack, (char *)packed + top)
             : gk_rnn_pack(decoder->rnn, flags, stack, (char *)packed + top);
}

gk_status gk_decoder_pack(const gk_decoder *decoder, unsigned flags, const float *parameters, void *packed) {
  return pack(decoder, flags, NULL, parameters, packed);
}

gk_status gk_decoder_pack_dropped(const gk_decoder *decoder, unsigned flags, const gk_random_key *key,
                                  const float *parameters, void *packed) {
  if (!key)
    return gk_fail(GK_ERROR_ARGUMENT, "key is NULL");
  return pack(decoder, flags, key, parameters, packed);
}
