/* SPDX-License-Identifier: Apache-2.0
 *
 * x_t | fed | h~_{t-1} -> the stack -> attention -> output, for one sample after the other. */
#include "src/reference/reference_decoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sizes, and what forward of one sample leaves for backward; everything in one allocation. */
struct tape {
  const struct gk_reference_decoder *call;
  const gk_decoder_desc *desc;
  const struct gk_reference_cell *cell;
  int64_t L, I, fed, top, H, S, J, width, widest;
  int64_t P;                              /* of an LSTM's projection; 0: none */
  gk_rnn_desc *layers;                    /* [L]: hidden_size of each */
  int64_t *at;                            /* [L + 1]: where its parameters start */
  int64_t *state;                         /* [L + 1]: units before it, of one sample */
  int64_t *room;                          /* [L + 1]: the same with room for h and c */
  double *in, *d_in;                      /* (T, width) */
  double *h, *c, *kept;                   /* (T + 1, all H), (T, 5 kept H) */
  double *whole;                          /* (T, all H): h before its projection */
  double *query, *alpha, *joined, *y, *o; /* (T, .) */
  double *dh, *dc;                        /* (all H) carries */
  double *zeros, *sink;                   /* weight_hh of a stack without recurrence, its gradient */
  double *scratch;
  double *gradients, *output_gradients;
};

enum { STEP_SCRATCH = 32 }; /* widest rows that one step needs */

static int64_t row_of(const struct tape *tape, int64_t t, int64_t n) {
  const struct gk_reference_decoder *call = tape->call;
  return tape->desc->rnn.layout == GK_BATCH_FIRST ? n * call->time + t : t * call->batch + n;
}

static int64_t source_row(const struct tape *tape, int64_t j, int64_t n) {
  const struct gk_reference_decoder *call = tape->call;
  return tape->desc->rnn.layout == GK_BATCH_FIRST ? n * call->source_time + j : j * call->batch + n;
}

static int64_t h_size(const struct tape *tape, int64_t l) {
  return tape->P ? tape->P : tape->layers[l].hidden_size;
}

static int64_t layer_input(const struct tape *tape, int64_t l) {
  return l == 0 ? tape->width : h_size(tape, l - 1);
}

/* Where the tensors of a layer stand. */
struct offsets {
  int64_t weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, peephole, ln_ih, ln_hh, ln_c, bias_ln_c, end;
};

static struct offsets offsets_of(const struct tape *tape, int64_t l) {
  const gk_rnn_desc *desc = &tape->desc->rnn;
  const int64_t H = tape->layers[l].hidden_size, gates = gk_reference_gates(desc), rows = gates * H;
  const bool none = desc->recurrence == GK_RECURRENCE_NONE, normalised = desc->options.layer_norm;
  struct offsets at = {.weight_ih = tape->at[l]};
  at.weight_hh = at.weight_ih + rows * layer_input(tape, l);
  at.bias_ih = at.weight_hh + (none ? 0 : rows * h_size(tape, l));
  at.bias_hh = at.bias_ih + rows;
  at.weight_hr = at.bias_hh + rows;
  at.peephole = at.weight_hr + tape->P * H;
  at.ln_ih = at.peephole + (desc->options.peephole ? (gates - 1) * H : 0);
  at.ln_hh = at.ln_ih + (normalised ? rows : 0);
  at.ln_c = at.ln_hh + (normalised ? rows : 0);
  at.bias_ln_c = at.ln_c + (normalised ? H : 0);
  at.end = at.bias_ln_c + (normalised ? H : 0);
  return at;
}

static struct gk_reference_weights weights_of(const struct tape *tape, int64_t l, const struct offsets *at) {
  const bool none = tape->desc->rnn.recurrence == GK_RECURRENCE_NONE;
  const double *p = tape->call->parameters;
  return (struct gk_reference_weights){.desc = &tape->layers[l],
                                       .input_size = layer_input(tape, l),
                                       .output = h_size(tape, l),
                                       .weight_ih = p + at->weight_ih,
                                       .weight_hh = none ? tape->zeros : p + at->weight_hh,
                                       .bias_ih = p + at->bias_ih,
                                       .bias_hh = p + at->bias_hh,
                                       .peephole = tape->desc->rnn.options.peephole ? p + at->peephole : NULL,
                                       .ln_ih = tape->desc->rnn.options.layer_norm ? p + at->ln_ih : NULL,
                                       .ln_hh = p + at->ln_hh,
                                       .ln_c = p + at->ln_c,
                                       .bias_ln_c = p + at->bias_ln_c};
}

static double *h_of(const struct tape *tape, double *states, int64_t t, int64_t l) {
  return states + t * tape->room[tape->L] + tape->room[l];
}

static double *kept_of(const struct tape *tape, int64_t t, int64_t l) {
  return tape->kept + (t * tape->room[tape->L] + tape->room[l]) * tape->cell->kept;
}

static const double *query_weight(const struct tape *tape) {
  return tape->call->parameters + tape->at[tape->L];
}
static int64_t combine_offset(const struct tape *tape) {
  return tape->at[tape->L] + (tape->desc->attention == GK_ATTENTION_GENERAL ? tape->S * tape->H : 0);
}

static void join(const struct tape *tape, int64_t t, int64_t n) {
  const struct gk_reference_decoder *call = tape->call;
  const int64_t r = row_of(tape, t, n);
  double *in = tape->in + t * tape->width;
  for (int64_t k = 0; k < tape->I; k++)
    in[k] = call->x[r * tape->I + k];
  in += tape->I;
  for (int64_t k = 0; k < tape->fed; k++)
    if (tape->desc->feedback == GK_FEEDBACK_TOKEN)
      in[k] = call->parameters[call->fed[r] * tape->fed + k];
    else
      in[k] = call->fed[r] ? tape->o[(t - 1) * tape->fed + k] : call->previous[r * tape->fed + k];
  in += tape->fed;
  for (int64_t k = 0; tape->desc->input_feeding && k < tape->top; k++)
    in[k] = t > 0 ? tape->y[(t - 1) * tape->top + k] : call->feed0 ? call->feed0[n * tape->top + k] : 0;
}

static void attend(const struct tape *tape, int64_t t, int64_t n) {
  const struct gk_reference_decoder *call = tape->call;
  const double *h = h_of(tape, tape->h, t + 1, tape->L - 1);
  double *y = tape->y + t * tape->top, *query = tape->query + t * tape->S, *joined, *alpha;
  const int64_t J = call->source_lengths ? call->source_lengths[n] : call->source_time;
  if (tape->desc->attention == GK_ATTENTION_NONE) {
    memcpy(y, h, (size_t)tape->H * sizeof *y);
    return;
  }
  joined = tape->joined + t * (tape->S + tape->H);
  alpha = tape->alpha + t * tape->J;
  memset(query, 0, (size_t)tape->S * sizeof *query);
  if (tape->desc->attention == GK_ATTENTION_GENERAL)
    gk_reference_product(tape->S, tape->H, query_weight(tape), h, query);
  else
    gk_reference_add(tape->S, h, query);
  for (int64_t j = 0; j < J; j++) {
    alpha[j] = 0;
    for (int64_t k = 0; k < tape->S; k++)
      alpha[j] += query[k] * call->source[source_row(tape, j, n) * tape->S + k];
  }
  if (J > 0)
    gk_reference_softmax(J, 1, alpha, alpha);
  memset(joined, 0, (size_t)tape->S * sizeof *joined);
  for (int64_t j = 0; j < J; j++)
    for (int64_t k = 0; k < tape->S; k++)
      joined[k] += alpha[j] * call->source[source_row(tape, j, n) * tape->S + k];
  memcpy(joined + tape->S, h, (size_t)tape->H * sizeof *h);
  memset(y, 0, (size_t)tape->top * sizeof *y);
  gk_reference_product(tape->top, tape->S + tape->H, call->parameters + combine_offset(tape), joined, y);
  for (int64_t k = 0; k < tape->top; k++)
    y[k] = tanh(y[k]);
}

static void make_output(const struct tape *tape, int64_t t) {
  const struct gk_reference_decoder *call = tape->call;
  double *o = tape->o + t * tape->fed;
  if (tape->desc->feedback != GK_FEEDBACK_OUTPUT)
    return;
  memcpy(o, call->output_parameters + tape->fed * tape->top, (size_t)tape->fed * sizeof *o);
  gk_reference_product(tape->fed, tape->top, call->output_parameters, tape->y + t * tape->top, o);
  if (tape->desc->output_function == GK_OUTPUT_SOFTMAX)
    gk_reference_softmax(tape->fed, 1, o, o);
  for (int64_t k = 0; k < tape->fed; k++)
    if (tape->desc->output_function == GK_OUTPUT_TANH)
      o[k] = tanh(o[k]);
    else if (tape->desc->output_function == GK_OUTPUT_SIGMOID)
      o[k] = gk_reference_sigmoid(o[k]);
}

static void give(double *to, int64_t row, int64_t count, const double *from) {
  if (to && from)
    memcpy(to + row * count, from, (size_t)count * sizeof *to);
  else if (to)
    memset(to + row * count, 0, (size_t)count * sizeof *to);
}

/* Rows of a (L, N, H) tensor, of h or of c: blocks of layers. */
static int64_t h_row(const struct tape *tape, int64_t l, int64_t n) {
  return tape->P ? (l * tape->call->batch + n) * tape->P
                 : tape->state[l] * tape->call->batch + n * tape->layers[l].hidden_size;
}
static int64_t c_row(const struct tape *tape, int64_t l, int64_t n) {
  return tape->state[l] * tape->call->batch + n * tape->layers[l].hidden_size;
}

static void forward(const struct tape *tape, int64_t n, int64_t length) {
  const struct gk_reference_decoder *call = tape->call;
  for (int64_t l = 0; l < tape->L; l++) {
    const int64_t H = tape->layers[l].hidden_size, h = h_row(tape, l, n), c = c_row(tape, l, n);
    give(h_of(tape, tape->h, 0, l), 0, h_size(tape, l), call->h0 ? call->h0 + h : NULL);
    give(h_of(tape, tape->c, 0, l), 0, H, call->c0 ? call->c0 + c : NULL);
  }
  for (int64_t t = 0; t < length; t++) {
    join(tape, t, n);
    for (int64_t l = 0; l < tape->L; l++) {
      const struct offsets at = offsets_of(tape, l);
      const struct gk_reference_weights w = weights_of(tape, l, &at);
      const double *x = l ? h_of(tape, tape->h, t + 1, l - 1) : tape->in + t * tape->width;
      double *h = h_of(tape, tape->h, t + 1, l), *whole = tape->P ? h_of(tape, tape->whole, t, l) : h;
      tape->cell->forward(&w, x, h_of(tape, tape->h, t, l), h_of(tape, tape->c, t, l), whole,
                          h_of(tape, tape->c, t + 1, l), kept_of(tape, t, l), tape->scratch);
      if (tape->P) {
        memset(h, 0, (size_t)tape->P * sizeof *h);
        gk_reference_product(tape->P, tape->layers[l].hidden_size, call->parameters + at.weight_hr, whole, h);
      }
    }
    attend(tape, t, n);
    make_output(tape, t);
  }
  for (int64_t t = 0; t < call->time; t++) {
    const int64_t r = row_of(tape, t, n),
                  J = call->source_lengths ? call->source_lengths[n] : call->source_time;
    give(call->y, r, tape->top, t < length ? tape->y + t * tape->top : NULL);
    give(call->outputs, r, tape->fed, t < length ? tape->o + t * tape->fed : NULL);
    give(call->weights, r, tape->J, NULL);
    if (t < length && call->weights)
      memcpy(call->weights + r * tape->J, tape->alpha + t * tape->J, (size_t)J * sizeof(double));
  }
  for (int64_t l = 0; l < tape->L; l++) {
    const int64_t H = tape->layers[l].hidden_size;
    give(call->hn ? call->hn + h_row(tape, l, n) : NULL, 0, h_size(tape, l), h_of(tape, tape->h, length, l));
    give(call->cn ? call->cn + c_row(tape, l, n) : NULL, 0, H, h_of(tape, tape->c, length, l));
  }
  give(call->feedn, n, tape->top,
       length > 0    ? tape->y + (length - 1) * tape->top
       : call->feed0 ? call->feed0 + n * tape->top
                     : NULL);
}

/* dy (top) on entry: all of it but what comes through o_t; `d_o` is o_t's gradient. */
static void output_backward(const struct tape *tape, int64_t t, double *d_o, double *dy) {
  const double *o = tape->o + t * tape->fed;
  double mean = 0;
  for (int64_t k = 0; k < tape->fed; k++)
    mean += o[k] * d_o[k];
  for (int64_t k = 0; k < tape->fed; k++)
    if (tape->desc->output_function == GK_OUTPUT_TANH)
      d_o[k] *= 1 - o[k] * o[k];
    else if (tape->desc->output_function == GK_OUTPUT_SIGMOID)
      d_o[k] *= o[k] * (1 - o[k]);
    else if (tape->desc->output_function == GK_OUTPUT_SOFTMAX)
      d_o[k] = o[k] * (d_o[k] - mean);
  gk_reference_product_backward(tape->fed, tape->top, tape->call->output_parameters, tape->y + t * tape->top,
                                d_o, dy, tape->output_gradients);
  gk_reference_add(tape->fed, d_o, tape->output_gradients + tape->fed * tape->top);
}

/* From dy (top, destroyed) to dh (H), added to. */
static void attention_backward(const struct tape *tape, int64_t t, int64_t n, double *dy, double *dh) {
  const struct gk_reference_decoder *call = tape->call;
  const int64_t S = tape->S, J = call->source_lengths ? call->source_lengths[n] : call->source_time;
  if (tape->desc->attention == GK_ATTENTION_NONE) {
    gk_reference_add(tape->H, dy, dh);
    return;
  }
  const double *y = tape->y + t * tape->top, *alpha = tape->alpha + t * tape->J, *query = tape->query + t * S;
  double *d_joined = tape->scratch, *d_alpha = d_joined + S + tape->H, *d_query = d_alpha + tape->J, mean = 0;
  memset(d_joined, 0, (size_t)(2 * S + tape->H + tape->J) * sizeof(double));
  for (int64_t k = 0; k < tape->top; k++)
    dy[k] *= 1 - y[k] * y[k];
  gk_reference_product_backward(tape->top, S + tape->H, call->parameters + combine_offset(tape),
                                tape->joined + t * (S + tape->H), dy, d_joined,
                                tape->gradients + combine_offset(tape));
  for (int64_t j = 0; j < J; j++) {
    for (int64_t k = 0; k < S; k++)
      d_alpha[j] += d_joined[k] * call->source[source_row(tape, j, n) * S + k];
    mean += alpha[j] * d_alpha[j];
  }
  for (int64_t j = 0; j < J; j++)
    for (int64_t k = 0; k < S; k++) {
      const double d_score = alpha[j] * (d_alpha[j] - mean);
      d_query[k] += d_score * call->source[source_row(tape, j, n) * S + k];
      if (call->dsource)
        call->dsource[source_row(tape, j, n) * S + k] += alpha[j] * d_joined[k] + d_score * query[k];
    }
  gk_reference_add(tape->H, d_joined + S, dh);
  if (tape->desc->attention == GK_ATTENTION_GENERAL)
    gk_reference_product_backward(S, tape->H, query_weight(tape), h_of(tape, tape->h, t + 1, tape->L - 1),
                                  d_query, dh, tape->gradients + tape->at[tape->L]);
  else
    gk_reference_add(tape->H, d_query, dh);
}

/* Of the whole gradient of h of a layer, which its carry holds before the cell's backward step. */
static void keep_norm(const struct tape *tape, int64_t l, int64_t t, int64_t n) {
  const struct gk_reference_decoder *call = tape->call;
  double squares = 0;
  for (int64_t i = 0; i < h_size(tape, l); i++)
    squares += tape->dh[tape->room[l] + i] * tape->dh[tape->room[l] + i];
  if (call->dh_norms)
    call->dh_norms[(l * call->time + t) * call->batch + n] = sqrt(squares);
}

static void stack_backward(const struct tape *tape, int64_t t, int64_t n, double *dh) {
  double *dx = tape->scratch, *scratch = dx + tape->widest;
  gk_reference_add(tape->H, dh, tape->dh + tape->room[tape->L - 1]);
  for (int64_t l = tape->L - 1; l >= 0; l--) {
    const struct offsets at = offsets_of(tape, l);
    const struct gk_reference_weights w = weights_of(tape, l, &at);
    double *const d = tape->gradients, *dh_l = tape->dh + tape->room[l];
    const struct gk_reference_weight_gradients dw = {
        .weight_ih = d + at.weight_ih,
        .weight_hh = w.weight_hh == tape->zeros ? tape->sink : d + at.weight_hh,
        .bias_ih = d + at.bias_ih,
        .bias_hh = d + at.bias_hh,
        .peephole = d + at.peephole,
        .ln_ih = d + at.ln_ih,
        .ln_hh = d + at.ln_hh,
        .ln_c = d + at.ln_c,
        .bias_ln_c = d + at.bias_ln_c};
    keep_norm(tape, l, t, n);
    if (tape->P) { /* dh of the whole h takes the place of the projected one's */
      const int64_t H = tape->layers[l].hidden_size;
      memset(scratch, 0, (size_t)H * sizeof *scratch);
      gk_reference_product_backward(tape->P, H, tape->call->parameters + at.weight_hr,
                                    h_of(tape, tape->whole, t, l), dh_l, scratch, d + at.weight_hr);
      memset(dh_l, 0, (size_t)tape->P * sizeof *dh_l);
      memcpy(dh_l, scratch, (size_t)H * sizeof *dh_l);
    }
    const double *x = l ? h_of(tape, tape->h, t + 1, l - 1) : tape->in + t * tape->width;
    memset(dx, 0, (size_t)tape->widest * sizeof *dx);
    tape->cell->backward(&w, x, h_of(tape, tape->h, t, l), h_of(tape, tape->c, t, l), kept_of(tape, t, l),
                         dh_l, tape->dc + tape->room[l], dx, &dw, scratch);
    gk_reference_add(layer_input(tape, l), dx,
                     l ? tape->dh + tape->room[l - 1] : tape->d_in + t * tape->width);
  }
}

static void backward(const struct tape *tape, int64_t n, int64_t length) {
  const struct gk_reference_decoder *call = tape->call;
  double *dy = tape->scratch + STEP_SCRATCH * tape->widest, *d_o = dy + tape->top, *dh = d_o + tape->fed;
  const int64_t fed_at = tape->I, feed_at = tape->I + tape->fed;
  memset(tape->d_in, 0, (size_t)(call->time * tape->width) * sizeof(double));
  for (int64_t l = 0; l < tape->L; l++) {
    const int64_t H = tape->layers[l].hidden_size, h = h_row(tape, l, n), c = c_row(tape, l, n);
    give(tape->dh + tape->room[l], 0, h_size(tape, l), call->dhn ? call->dhn + h : NULL);
    give(tape->dc + tape->room[l], 0, H, call->dcn ? call->dcn + c : NULL);
  }
  for (int64_t t = length - 1; t >= 0; t--) {
    const int64_t r = row_of(tape, t, n);
    const double *later = t + 1 < length ? tape->d_in + (t + 1) * tape->width : NULL;
    give(dy, 0, tape->top, call->dy ? call->dy + r * tape->top : NULL);
    if (tape->desc->input_feeding && later)
      gk_reference_add(tape->top, later + feed_at, dy);
    else if (tape->desc->input_feeding && call->dfeedn)
      gk_reference_add(tape->top, call->dfeedn + n * tape->top, dy);
    if (tape->desc->feedback == GK_FEEDBACK_OUTPUT) {
      give(d_o, 0, tape->fed, call->doutputs ? call->doutputs + r * tape->fed : NULL);
      if (later && call->fed[row_of(tape, t + 1, n)])
        gk_reference_add(tape->fed, later + fed_at, d_o);
      output_backward(tape, t, d_o, dy);
    }
    memset(dh, 0, (size_t)tape->H * sizeof *dh);
    attention_backward(tape, t, n, dy, dh);
    stack_backward(tape, t, n, dh);
  }
  for (int64_t t = length; t < call->time && call->dh_norms; t++)
    for (int64_t l = 0; l < tape->L; l++)
      call->dh_norms[(l * call->time + t) * call->batch + n] = 0;
  for (int64_t t = 0; t < call->time; t++) {
    const int64_t r = row_of(tape, t, n);
    const double *d = tape->d_in + t * tape->width;
    const bool own = t < length && tape->desc->feedback == GK_FEEDBACK_OUTPUT && call->fed[r];
    give(call->dx, r, tape->I, d);
    give(call->dprevious, r, tape->fed, own ? NULL : d + fed_at);
    if (t < length && tape->desc->feedback == GK_FEEDBACK_TOKEN)
      gk_reference_add(tape->fed, d + fed_at, tape->gradients + call->fed[r] * tape->fed);
  }
  for (int64_t l = 0; l < tape->L; l++) {
    const int64_t H = tape->layers[l].hidden_size, h = h_row(tape, l, n), c = c_row(tape, l, n);
    give(call->dh0 ? call->dh0 + h : NULL, 0, h_size(tape, l), tape->dh + tape->room[l]);
    give(call->dc0 ? call->dc0 + c : NULL, 0, H, tape->dc + tape->room[l]);
  }
  give(call->dfeed0, n, tape->top,
       length > 0     ? tape->d_in + feed_at
       : call->dfeedn ? call->dfeedn + n * tape->top
                      : NULL);
}

/* ---- Sizes and memory ---- */

static void measure(struct tape *tape) {
  const gk_decoder_desc *desc = tape->desc;
  tape->I = desc->rnn.input_size;
  tape->fed = desc->feedback == GK_FEEDBACK_TOKEN    ? desc->embedding_size
              : desc->feedback == GK_FEEDBACK_OUTPUT ? tape->call->output_size
                                                     : 0;
  tape->S = desc->source_size;
  tape->J = tape->call->source_time;
  tape->P = desc->rnn.projection_size;
  for (int64_t l = 0; l < tape->L; l++) {
    tape->layers[l] = desc->rnn;
    tape->layers[l].hidden_size = desc->rnn.hidden_sizes ? desc->rnn.hidden_sizes[l] : desc->rnn.hidden_size;
    /* Room for h too, which a projection may make wider than c. */
    const int64_t most = tape->P > tape->layers[l].hidden_size ? tape->P : tape->layers[l].hidden_size;
    tape->room[l + 1] = tape->room[l] + most;
    tape->state[l + 1] = tape->state[l] + tape->layers[l].hidden_size;
  }
  tape->H = h_size(tape, tape->L - 1);
  tape->top = desc->attention != GK_ATTENTION_NONE && desc->attention_size ? desc->attention_size : tape->H;
  tape->width = tape->I + tape->fed + (desc->input_feeding ? tape->top : 0);
  tape->at[0] = desc->vocabulary * desc->embedding_size;
  for (int64_t l = 0; l < tape->L; l++)
    tape->at[l + 1] = offsets_of(tape, l).end;
  tape->widest = tape->width + tape->room[tape->L] + tape->S * 2 + tape->J + tape->top + tape->fed;
}

/* Counts, and with a base hands out. */
struct cut {
  double *base;
  int64_t used;
};

static double *take(struct cut *cut, int64_t count) {
  double *start = cut->base ? cut->base + cut->used : NULL;
  cut->used += count;
  return start;
}

static int64_t parameter_count(const struct tape *tape) {
  const bool attends = tape->desc->attention != GK_ATTENTION_NONE;
  return combine_offset(tape) + (attends ? tape->top * (tape->S + tape->H) : 0);
}

static int64_t lay_out(struct tape *tape, double *base) {
  const int64_t T = tape->call->time, all = tape->room[tape->L], top = tape->top;
  struct cut next = {.base = base};
  tape->in = take(&next, T * tape->width);
  tape->d_in = take(&next, T * tape->width);
  tape->h = take(&next, (T + 1) * all);
  tape->c = take(&next, (T + 1) * all);
  tape->whole = take(&next, T * all);
  tape->kept = take(&next, T * all * tape->cell->kept);
  tape->query = take(&next, T * tape->S);
  tape->alpha = take(&next, T * tape->J);
  tape->joined = take(&next, T * (tape->S + tape->H));
  tape->y = take(&next, T * top);
  tape->o = take(&next, T * tape->fed);
  tape->dh = take(&next, all);
  tape->dc = take(&next, all);
  tape->zeros = take(&next, tape->cell->gates * all * all);
  tape->sink = take(&next, tape->cell->gates * all * all);
  tape->scratch = take(&next, (STEP_SCRATCH + 4) * tape->widest + 32 * all);
  tape->gradients = take(&next, parameter_count(tape));
  tape->output_gradients = take(&next, tape->fed * (top + 1));
  return next.used;
}

gk_status gk_reference_decoder_run(const struct gk_reference_decoder *call) {
  struct tape tape = {.call = call,
                      .desc = call->desc,
                      .cell = gk_reference_cell_of(call->desc->rnn.cell),
                      .L = call->desc->rnn.layers};
  const size_t L = (size_t)tape.L;
  tape.layers = calloc(L, sizeof *tape.layers);
  tape.at = calloc(3 * (L + 1), sizeof *tape.at);
  double *values = NULL;
  if (tape.layers && tape.at) {
    tape.state = tape.at + L + 1;
    tape.room = tape.state + L + 1;
    measure(&tape);
    values = calloc((size_t)lay_out(&tape, NULL), sizeof(double));
    if (values)
      lay_out(&tape, values);
  }
  const int64_t sources = call->source_time * call->batch * tape.S;
  if (values && call->backward && call->dsource)
    memset(call->dsource, 0, (size_t)sources * sizeof(double));
  for (int64_t n = 0; values && n < call->batch; n++) {
    const int64_t length = call->lengths ? call->lengths[n] : call->time;
    forward(&tape, n, length);
    if (call->backward)
      backward(&tape, n, length);
  }
  if (values && call->backward && call->gradients)
    memcpy(call->gradients, tape.gradients, (size_t)parameter_count(&tape) * sizeof(double));
  if (values && call->backward && call->output_gradients)
    memcpy(call->output_gradients, tape.output_gradients,
           (size_t)(tape.fed * (tape.top + 1)) * sizeof(double));
  free(values);
  free(tape.at);
  free(tape.layers);
  return values ? GK_OK : GK_ERROR_MEMORY;
}
