/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers, directions, lengths. Inside, everything is batch-first: row n * T + t. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/reference/reference.h"

const struct gk_reference_cell *gk_reference_cell_of(gk_cell cell) {
  static const struct gk_reference_cell *const cells[] = {
#define GK_CELL(constant, identifier, name) [GK_CELL_##constant] = &gk_reference_##identifier,
#include "kernels/cells.def"
#undef GK_CELL
  };
  return (size_t)cell < sizeof cells / sizeof *cells ? cells[cell] : NULL;
}

int64_t gk_reference_gates(const gk_rnn_desc *desc) {
  return gk_reference_cell_of(desc->cell)->gates - (desc->options.coupled ? 1 : 0);
}

int64_t gk_reference_directions(const gk_rnn_desc *desc) {
  return desc->direction == GK_BIDIRECTIONAL ? 2 : 1;
}

/* Places the tensors of the part after `before`. */
static struct gk_reference_layout next_layout(const gk_rnn_desc *desc, int64_t layer, int64_t direction,
                                              const struct gk_reference_layout *before) {
  int64_t D = gk_reference_directions(desc);
  struct gk_reference_layout at = {.input_size = before->width};
  at.hidden = desc->hidden_sizes ? desc->hidden_sizes[layer] : desc->hidden_size;
  at.output = desc->projection_size > 0 ? desc->projection_size : at.hidden;
  at.width = D == 2 && desc->merge == GK_MERGE_CONCATENATE ? 2 * at.output : at.output;
  at.column = at.width > at.output ? direction * at.output : 0;
  if (direction == 1)
    at.input_size = before->input_size;
  at.h_offset = before->h_offset + before->output;
  at.unit_offset = before->unit_offset + before->hidden;
  int64_t gates = gk_reference_gates(desc), rows = gates * at.hidden;
  bool memory = gk_cell_has_memory(desc->cell);
  at.weight_ih = before->end;
  at.weight_hh = at.weight_ih + rows * at.input_size;
  at.bias_ih = at.weight_hh + (desc->recurrence == GK_RECURRENCE_NONE ? 0 : rows * at.output);
  at.bias_hh = at.bias_ih + rows;
  at.weight_hr = at.bias_hh + rows;
  at.peephole = at.weight_hr + (desc->projection_size > 0 ? at.output * at.hidden : 0);
  bool normalised = desc->options.layer_norm;
  at.ln_ih = at.peephole + (desc->options.peephole ? (gates - 1) * at.hidden : 0);
  at.ln_hh = at.ln_ih + (normalised ? rows : 0);
  at.ln_c = at.ln_hh + (normalised ? rows : 0);
  at.bias_ln_c = at.ln_c + (normalised ? at.hidden : 0);
  at.h0 = at.bias_ln_c + (normalised ? at.hidden : 0);
  at.c0 = at.h0 + (desc->trained_states ? at.output : 0);
  at.end = at.c0 + (desc->trained_states && memory ? at.hidden : 0);
  return at;
}

struct gk_reference_layout gk_reference_layout_of(const gk_rnn_desc *desc, int64_t layer, int64_t direction) {
  int64_t D = gk_reference_directions(desc);
  struct gk_reference_layout at = {.width = desc->input_size, .end = desc->vocabulary * desc->input_size};
  for (int64_t part = 0; part <= layer * D + direction; part++)
    at = next_layout(desc, part / D, part % D, &at);
  return at;
}

int64_t gk_reference_parameter_count(const gk_rnn_desc *desc) {
  return gk_reference_layout_of(desc, desc->layers - 1, gk_reference_directions(desc) - 1).end;
}

/* What forward leaves for backward. */
struct tape {
  const gk_rnn_desc *desc;
  const struct gk_reference_call *call;
  const struct gk_reference_cell *cell;
  int64_t D;
  struct gk_reference_layout *layouts; /* (L*D) */
  gk_rnn_desc *descs;                  /* (L*D): hidden_size of the layer */
  int64_t widest;                      /* the largest hidden or output size */
  double **inputs;  /* (L + 1) arrays: inputs[l] (N*T, I of l), inputs[L] the outputs of the last layer */
  double **dinputs; /* their gradients */
  double *h, *c;    /* (L*D, N, T+1, H): state number s is the one after s steps of the walk */
  double *kept;     /* (L*D, N, T, kept * H) */
  double *whole_h;  /* (L*D, N, T, H): h before its projection */
  double *gradients;
  double *scratch;
  double *zeros;                   /* as many as the widest state has */
  double *weight_hh, *d_weight_hh; /* (G*H, P) as a step with masks sees it, and its gradient */
};

static int64_t width_of(const struct tape *tape, int64_t layer) {
  return layer == 0 ? tape->desc->input_size : tape->layouts[(layer - 1) * tape->D].width;
}

static int64_t length_of(const struct tape *tape, int64_t n) {
  return tape->call->lengths ? tape->call->lengths[n] : tape->call->time;
}

/* The time that step s of the walk visits. */
static int64_t time_of(const struct tape *tape, int64_t direction, int64_t n, int64_t s) {
  bool reversed = tape->desc->direction == GK_REVERSE || direction == 1;
  return reversed ? length_of(tape, n) - 1 - s : s;
}

/* Row of (n, t) in the caller's layout. */
static int64_t caller_row(const struct tape *tape, int64_t n, int64_t t) {
  return tape->desc->layout == GK_BATCH_FIRST ? n * tape->call->time + t : t * tape->call->batch + n;
}

/* Does the walk enter another sequence with step s? Backward in time it does where the step that it comes
 * from was the first of one. */
static bool resets(const struct tape *tape, int64_t direction, int64_t n, int64_t s) {
  if (!tape->call->reset)
    return false;
  int64_t t = time_of(tape, direction, n, s);
  if (tape->desc->direction == GK_REVERSE || direction == 1)
    return s > 0 && tape->call->reset[caller_row(tape, n, t + 1)];
  return tape->call->reset[caller_row(tape, n, t)];
}

static double *h_of(const struct tape *tape, int64_t part, int64_t n, int64_t s) {
  const struct gk_reference_layout *at = &tape->layouts[part];
  int64_t N = tape->call->batch, T = tape->call->time;
  return tape->h + at->h_offset * N * (T + 1) + (n * (T + 1) + s) * at->output;
}

static double *c_of(const struct tape *tape, int64_t part, int64_t n, int64_t s) {
  const struct gk_reference_layout *at = &tape->layouts[part];
  int64_t N = tape->call->batch, T = tape->call->time;
  return tape->c + at->unit_offset * N * (T + 1) + (n * (T + 1) + s) * at->hidden;
}

/* Of a step: `size` arrays of H values. */
static double *step_of(const struct tape *tape, double *values, int64_t size, int64_t part, int64_t n,
                       int64_t s) {
  const struct gk_reference_layout *at = &tape->layouts[part];
  int64_t N = tape->call->batch, T = tape->call->time;
  return values + size * (at->unit_offset * N * T + (n * T + s) * at->hidden);
}

static double *kept_of(const struct tape *tape, int64_t part, int64_t n, int64_t s) {
  return step_of(tape, tape->kept, tape->cell->kept, part, n, s);
}

/* Factor of value `column` of a layer's output. */
static double mask_of(const struct tape *tape, int64_t layer, int64_t n, int64_t t, int64_t column) {
  int64_t N = tape->call->batch, T = tape->call->time;
  const double *masks = tape->call->masks;
  if (!masks || layer == tape->desc->layers - 1)
    return 1;
  for (int64_t l = 0; l < layer; l++)
    masks += T * N * width_of(tape, l + 1);
  return masks[(t * N + n) * width_of(tape, layer + 1) + column];
}

static void copy(double *to, const double *from, int64_t count) {
  if (from)
    memcpy(to, from, (size_t)count * sizeof(double));
  else
    memset(to, 0, (size_t)count * sizeof(double));
}

static struct gk_reference_weights weights_of(const struct tape *tape, int64_t part) {
  const struct gk_reference_layout *at = &tape->layouts[part];
  const double *p = tape->call->parameters;
  return (struct gk_reference_weights){.desc = &tape->descs[part],
                                       .input_size = at->input_size,
                                       .output = at->output,
                                       .weight_ih = p + at->weight_ih,
                                       .weight_hh = p + at->weight_hh,
                                       .bias_ih = p + at->bias_ih,
                                       .bias_hh = p + at->bias_hh,
                                       .peephole = tape->desc->options.peephole ? p + at->peephole : NULL,
                                       .ln_ih = tape->desc->options.layer_norm ? p + at->ln_ih : NULL,
                                       .ln_hh = p + at->ln_hh,
                                       .ln_c = p + at->ln_c,
                                       .bias_ln_c = p + at->bias_ln_c};
}

/* Row of masks of a step of one layer and direction, of h or of c; NULL if there are none. */
static const double *h_mask(const struct tape *tape, const double *masks, int64_t part, int64_t n,
                            int64_t t) {
  const struct gk_reference_layout *at = &tape->layouts[part];
  int64_t N = tape->call->batch, T = tape->call->time;
  return masks ? masks + at->h_offset * T * N + (t * N + n) * at->output : NULL;
}
static const double *c_mask(const struct tape *tape, const double *masks, int64_t part, int64_t n,
                            int64_t t) {
  const struct gk_reference_layout *at = &tape->layouts[part];
  int64_t N = tape->call->batch, T = tape->call->time;
  return masks ? masks + at->unit_offset * T * N + (t * N + n) * at->hidden : NULL;
}

static double weight_factor(const struct tape *tape, const double *mask, const struct gk_reference_layout *at,
                            int64_t row, int64_t column) {
  const double *masks = tape->call->parameter_masks;
  double factor = masks ? masks[at->weight_hh + row * at->output + column] : 1;
  return mask ? factor * mask[column] : factor;
}

/* Masks on the state that a product reads, or on the weights, are masks on the weights of this one step. */
static void mask_weights(const struct tape *tape, struct gk_reference_weights *w, int64_t part, int64_t n,
                         int64_t t) {
  const double *mask = h_mask(tape, tape->call->recurrent_masks, part, n, t);
  const struct gk_reference_layout *at = &tape->layouts[part];
  int64_t P = at->output, rows = gk_reference_gates(tape->desc) * at->hidden;
  if (tape->desc->recurrence == GK_RECURRENCE_NONE)
    w->weight_hh = tape->weight_hh; /* zeros */
  if (tape->desc->recurrence == GK_RECURRENCE_NONE || (!mask && !tape->call->parameter_masks))
    return;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t k = 0; k < P; k++)
      tape->weight_hh[r * P + k] =
          tape->call->parameters[at->weight_hh + r * P + k] * weight_factor(tape, mask, at, r, k);
  w->weight_hh = tape->weight_hh;
}

/* What the step gave to the masked weights goes through the masks. */
static void mask_weight_gradient(const struct tape *tape, int64_t part, int64_t n, int64_t t) {
  const double *mask = h_mask(tape, tape->call->recurrent_masks, part, n, t);
  const struct gk_reference_layout *at = &tape->layouts[part];
  int64_t P = at->output, rows = gk_reference_gates(tape->desc) * at->hidden;
  for (int64_t r = 0; r < rows && tape->desc->recurrence == GK_RECURRENCE_HIDDEN; r++)
    for (int64_t k = 0; k < P; k++)
      tape->gradients[at->weight_hh + r * P + k] +=
          tape->d_weight_hh[r * P + k] * weight_factor(tape, mask, at, r, k);
}

/* Zoneout of a new state: a share of the one before stays. */
static void zone_out(const double *share, int64_t count, const double *before, double *state) {
  for (int64_t j = 0; share && j < count; j++)
    state[j] += share[j] * (before[j] - state[j]);
}

/* Of its gradient: the share that stays is taken out. */
static void zone_out_backward(const double *share, int64_t count, double *d, double *stays) {
  for (int64_t j = 0; j < count; j++) {
    stays[j] = share ? share[j] * d[j] : 0;
    d[j] -= stays[j];
  }
}

/* inputs[0] from x or the embedding. Steps past a sample's length stay zero and are never read. */
static void read_inputs(struct tape *tape) {
  int64_t I = tape->desc->input_size, T = tape->call->time;
  for (int64_t n = 0; n < tape->call->batch; n++)
    for (int64_t t = 0; t < length_of(tape, n); t++) {
      int64_t row = caller_row(tape, n, t);
      double *to = tape->inputs[0] + (n * T + t) * I;
      if (tape->desc->vocabulary)
        gk_reference_embedding(1, I, tape->call->parameters, tape->call->tokens + row, to);
      else
        copy(to, tape->call->x + row * I, I);
      for (int64_t i = 0; tape->call->input_masks && i < I; i++)
        to[i] *= tape->call->input_masks[(t * tape->call->batch + n) * I + i];
    }
}

/* The state before the first step: the caller's, the trained one, or zero. */
static const double *initial_of(const struct tape *tape, const double *given, int64_t offset, int64_t trained,
                                int64_t n, int64_t size) {
  if (given)
    return given + offset * tape->call->batch + n * size;
  return tape->desc->trained_states ? tape->call->parameters + trained : NULL;
}

/* h of a step, before and after a projection. */
static void project(const struct tape *tape, const struct gk_reference_layout *at, const double *whole,
                    double *h) {
  copy(h, NULL, at->output);
  if (tape->desc->projection_size > 0)
    gk_reference_product(at->output, at->hidden, tape->call->parameters + at->weight_hr, whole, h);
  else
    gk_reference_add(at->hidden, whole, h);
}

static void forward_step(struct tape *tape, int64_t part, int64_t n, int64_t s) {
  const struct gk_reference_layout *at = &tape->layouts[part];
  const struct gk_reference_call *call = tape->call;
  struct gk_reference_weights w = weights_of(tape, part);
  int64_t layer = part / tape->D, t = time_of(tape, part % tape->D, n, s), row = n * call->time + t;
  bool reset = resets(tape, part % tape->D, n, s);
  double *h = h_of(tape, part, n, s), *c = c_of(tape, part, n, s);
  double *h_next = h + at->output, *c_next = c + at->hidden,
         *whole = step_of(tape, tape->whole_h, 1, part, n, s);
  if (reset)
    h = c = tape->zeros;
  mask_weights(tape, &w, part, n, t);
  tape->cell->forward(&w, tape->inputs[layer] + row * at->input_size, h, c, whole, c_next,
                      kept_of(tape, part, n, s), tape->scratch);
  project(tape, at, whole, h_next);
  zone_out(h_mask(tape, call->zoneout_h, part, n, t), at->output, h, h_next);
  zone_out(c_mask(tape, call->zoneout_c, part, n, t), at->hidden, c, c_next);
  for (int64_t j = 0; j < at->output; j++)
    tape->inputs[layer + 1][row * at->width + at->column + j] +=
        h_next[j] * mask_of(tape, layer, n, t, at->column + j);
}

static void forward_direction(struct tape *tape, int64_t part) {
  const struct gk_reference_call *call = tape->call;
  const struct gk_reference_layout *at = &tape->layouts[part];
  int64_t N = call->batch, P = at->output, H = at->hidden;
  for (int64_t n = 0; n < N; n++) {
    int64_t length = length_of(tape, n);
    copy(h_of(tape, part, n, 0), initial_of(tape, call->h0, at->h_offset, at->h0, n, P), P);
    if (gk_cell_has_memory(tape->desc->cell))
      copy(c_of(tape, part, n, 0), initial_of(tape, call->c0, at->unit_offset, at->c0, n, H), H);
    for (int64_t s = 0; s < length; s++)
      forward_step(tape, part, n, s);
    if (call->hn)
      copy(call->hn + at->h_offset * N + n * P, h_of(tape, part, n, length), P);
    if (call->cn)
      copy(call->cn + at->unit_offset * N + n * H, c_of(tape, part, n, length), H);
  }
}

static double norm(int64_t count, const double *x) {
  double squares = 0;
  for (int64_t i = 0; i < count; i++)
    squares += x[i] * x[i];
  return sqrt(squares);
}

/* Through the projection: dh (P) becomes dh (H), zeros behind. */
static void project_backward(const struct tape *tape, int64_t part, int64_t n, int64_t s, double *dh,
                             double *scratch) {
  const struct gk_reference_layout *at = &tape->layouts[part];
  if (tape->desc->projection_size == 0)
    return;
  copy(scratch, NULL, at->hidden);
  gk_reference_product_backward(at->output, at->hidden, tape->call->parameters + at->weight_hr,
                                step_of(tape, tape->whole_h, 1, part, n, s), dh, scratch,
                                tape->gradients + at->weight_hr);
  copy(dh, NULL, tape->widest);
  copy(dh, scratch, at->hidden);
}

/* One step of one sample: dh, dc are the gradients of the states after it on entry, before it on return. */
static void backward_step(struct tape *tape, int64_t part, int64_t n, int64_t s, double *dh, double *dc,
                          double *scratch) {
  const struct gk_reference_layout *at = &tape->layouts[part];
  const struct gk_reference_call *call = tape->call;
  struct gk_reference_weights w = weights_of(tape, part);
  double *g = tape->gradients;
  struct gk_reference_weight_gradients dw = {g + at->weight_ih, tape->d_weight_hh, g + at->bias_ih,
                                             g + at->bias_hh,   g + at->peephole,  g + at->ln_ih,
                                             g + at->ln_hh,     g + at->ln_c,      g + at->bias_ln_c};
  int64_t layer = part / tape->D, t = time_of(tape, part % tape->D, n, s), row = n * call->time + t;
  bool reset = resets(tape, part % tape->D, n, s);
  const double *h = reset ? tape->zeros : h_of(tape, part, n, s);
  const double *c = reset ? tape->zeros : c_of(tape, part, n, s);
  double *h_stays = scratch, *c_stays = scratch + tape->widest;
  for (int64_t j = 0; j < at->output; j++)
    dh[j] += tape->dinputs[layer + 1][row * at->width + at->column + j] *
             mask_of(tape, layer, n, t, at->column + j);
  if (call->dh_norms)
    call->dh_norms[(part * call->time + t) * call->batch + n] = norm(at->output, dh);
  copy(tape->d_weight_hh, NULL, gk_reference_gates(tape->desc) * at->hidden * at->output);
  mask_weights(tape, &w, part, n, t);
  zone_out_backward(h_mask(tape, call->zoneout_h, part, n, t), at->output, dh, h_stays);
  zone_out_backward(c_mask(tape, call->zoneout_c, part, n, t), at->hidden, dc, c_stays);
  scratch += 2 * tape->widest;
  project_backward(tape, part, n, s, dh, scratch);
  tape->cell->backward(&w, tape->inputs[layer] + row * at->input_size, h, c, kept_of(tape, part, n, s), dh,
                       dc, tape->dinputs[layer] + row * at->input_size, &dw, scratch);
  mask_weight_gradient(tape, part, n, t);
  for (int64_t j = 0; j < at->output; j++)
    dh[j] = reset ? 0 : dh[j] + h_stays[j];
  for (int64_t j = 0; j < at->hidden; j++)
    dc[j] = reset ? 0 : dc[j] + c_stays[j];
}

static void backward_direction(struct tape *tape, int64_t part) {
  const struct gk_reference_call *call = tape->call;
  const struct gk_reference_layout *at = &tape->layouts[part];
  int64_t N = call->batch, P = at->output, H = at->hidden;
  double *dh = tape->scratch, *dc = dh + tape->widest, *scratch = dh + 2 * tape->widest;
  for (int64_t n = 0; n < N; n++) {
    copy(dh, NULL, tape->widest);
    copy(dh, call->dhn ? call->dhn + at->h_offset * N + n * P : NULL, P);
    copy(dc, call->dcn ? call->dcn + at->unit_offset * N + n * H : NULL, H);
    for (int64_t s = length_of(tape, n) - 1; s >= 0; s--)
      backward_step(tape, part, n, s, dh, dc, scratch);
    if (call->dh0)
      copy(call->dh0 + at->h_offset * N + n * P, dh, P);
    if (call->dc0)
      copy(call->dc0 + at->unit_offset * N + n * H, dc, H);
    if (tape->desc->trained_states && !call->h0)
      gk_reference_add(P, dh, tape->gradients + at->h0);
    if (tape->desc->trained_states && !call->c0 && gk_cell_has_memory(tape->desc->cell))
      gk_reference_add(H, dc, tape->gradients + at->c0);
  }
}

static void write_outputs(const struct tape *tape) {
  int64_t T = tape->call->time, width = width_of(tape, tape->desc->layers);
  for (int64_t n = 0; tape->call->y && n < tape->call->batch; n++)
    for (int64_t t = 0; t < T; t++)
      copy(tape->call->y + caller_row(tape, n, t) * width,
           tape->inputs[tape->desc->layers] + (n * T + t) * width, width);
}

static void read_output_gradients(struct tape *tape) {
  int64_t T = tape->call->time, width = width_of(tape, tape->desc->layers);
  for (int64_t n = 0; tape->call->dy && n < tape->call->batch; n++)
    for (int64_t t = 0; t < length_of(tape, n); t++)
      copy(tape->dinputs[tape->desc->layers] + (n * T + t) * width,
           tape->call->dy + caller_row(tape, n, t) * width, width);
}

static void write_input_gradients(struct tape *tape) {
  int64_t T = tape->call->time, I = tape->desc->input_size;
  for (int64_t n = 0; n < tape->call->batch; n++)
    for (int64_t t = 0; t < T; t++) {
      int64_t row = caller_row(tape, n, t);
      double *from = tape->dinputs[0] + (n * T + t) * I;
      for (int64_t i = 0; tape->call->input_masks && i < I; i++)
        from[i] *= tape->call->input_masks[(t * tape->call->batch + n) * I + i];
      if (tape->call->dx)
        copy(tape->call->dx + row * I, from, I);
      if (tape->desc->vocabulary && t < length_of(tape, n))
        gk_reference_embedding_backward(1, I, tape->call->tokens + row, from, tape->gradients);
    }
}

static void walk(struct tape *tape) {
  read_inputs(tape);
  for (int64_t l = 0; l < tape->desc->layers; l++)
    for (int64_t d = 0; d < tape->D; d++)
      forward_direction(tape, l * tape->D + d);
  write_outputs(tape);
  if (!tape->call->backward)
    return;
  read_output_gradients(tape);
  for (int64_t l = tape->desc->layers - 1; l >= 0; l--)
    for (int64_t d = 0; d < tape->D; d++)
      backward_direction(tape, l * tape->D + d);
  write_input_gradients(tape);
  if (tape->call->gradients)
    copy(tape->call->gradients, tape->gradients, gk_reference_parameter_count(tape->desc));
}

/* Those of the second direction where it has its own. */
static void take_reverse_functions(gk_rnn_desc *desc) {
  gk_cell_options *o = &desc->options;
  gk_activation *kinds[] = {&desc->activation, &o->gate_activation, &o->output_activation};
  for (int place = 0; place < GK_ACTIVATION_PLACES; place++) {
    if (o->reverse_activation[place] == GK_ACTIVATION_DEFAULT)
      continue;
    *kinds[place] = o->reverse_activation[place];
    o->alpha[place] = o->reverse_alpha[place];
    o->beta[place] = o->reverse_beta[place];
  }
}

static void lay_out(struct tape *tape) {
  for (int64_t part = 0; part < tape->desc->layers * tape->D; part++) {
    struct gk_reference_layout *at = &tape->layouts[part];
    *at = gk_reference_layout_of(tape->desc, part / tape->D, part % tape->D);
    tape->descs[part] = *tape->desc;
    if (part % tape->D == 1)
      take_reverse_functions(&tape->descs[part]);
    tape->descs[part].hidden_size = at->hidden;
    tape->widest = at->hidden > tape->widest ? at->hidden : tape->widest;
    tape->widest = at->output > tape->widest ? at->output : tape->widest;
  }
}

/* Cuts the arrays from `values` (NULL: only counts them), zeros. */
static int64_t cut(struct tape *tape, double *values) {
  int64_t N = tape->call->batch, T = tape->call->time, L = tape->desc->layers, used = 0;
  const struct gk_reference_layout *last = &tape->layouts[L * tape->D - 1];
  int64_t h = last->h_offset + last->output, units = last->unit_offset + last->hidden;
  for (int64_t l = 0; l <= L; l++)
    for (int i = 0; i < 2; i++) {
      (i ? tape->dinputs : tape->inputs)[l] = values ? values + used : NULL;
      used += N * T * width_of(tape, l);
    }
  const struct {
    double **array;
    int64_t count;
  } arrays[] = {{&tape->h, h * N * (T + 1)},
                {&tape->c, units * N * (T + 1)},
                {&tape->kept, tape->cell->kept * units * N * T},
                {&tape->whole_h, units * N * T},
                {&tape->gradients, gk_reference_parameter_count(tape->desc)},
                {&tape->scratch, (GK_REFERENCE_SCRATCH + 4) * tape->widest},
                {&tape->zeros, tape->widest},
                {&tape->weight_hh, tape->cell->gates * tape->widest * tape->widest},
                {&tape->d_weight_hh, tape->cell->gates * tape->widest * tape->widest}};
  for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
    *arrays[i].array = values ? values + used : NULL;
    used += arrays[i].count;
  }
  return used;
}

gk_status gk_reference_run(const gk_rnn_desc *desc, const struct gk_reference_call *call) {
  struct tape tape = {.desc = desc, .call = call, .cell = gk_reference_cell_of(desc->cell)};
  tape.D = gk_reference_directions(desc);
  int64_t parts = desc->layers * tape.D;
  double *values = NULL;
  double **rows = calloc((size_t)(2 * (desc->layers + 1)), sizeof *rows);
  tape.layouts = calloc((size_t)parts, sizeof *tape.layouts);
  tape.descs = calloc((size_t)parts, sizeof *tape.descs);
  if (rows && tape.layouts && tape.descs) {
    tape.inputs = rows;
    tape.dinputs = rows + desc->layers + 1;
    lay_out(&tape);
    values = calloc((size_t)cut(&tape, NULL), sizeof(double));
  }
  if (values) {
    cut(&tape, values);
    walk(&tape);
  }
  gk_status status = values ? GK_OK : GK_ERROR_MEMORY;
  free(tape.layouts);
  free(tape.descs);
  free(rows);
  free(values);
  return status;
}
