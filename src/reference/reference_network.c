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

int64_t gk_reference_directions(const gk_rnn_desc *desc) {
  return desc->direction == GK_BIDIRECTIONAL ? 2 : 1;
}

struct gk_reference_layout gk_reference_layout_of(const gk_rnn_desc *desc, int64_t layer, int64_t direction) {
  int64_t D = gk_reference_directions(desc), H = desc->hidden_size;
  int64_t rows = gk_reference_cell_of(desc->cell)->gates * H;
  struct gk_reference_layout layout = {.end = desc->vocabulary * desc->input_size};
  for (int64_t l = 0; l <= layer; l++)
    for (int64_t d = 0; d < D && (l < layer || d <= direction); d++) {
      layout.input_size = l == 0 ? desc->input_size : D * H;
      layout.weight_ih = layout.end;
      layout.weight_hh = layout.weight_ih + rows * layout.input_size;
      layout.bias_ih = layout.weight_hh + (desc->recurrence == GK_RECURRENCE_NONE ? 0 : rows * H);
      layout.bias_hh = layout.bias_ih + rows;
      layout.end = layout.bias_hh + rows;
    }
  return layout;
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
  double **inputs;  /* (L + 1) arrays: inputs[l] (N*T, I of l), inputs[L] the outputs of the last layer */
  double **dinputs; /* their gradients */
  double *h, *c;    /* (L*D, N, T+1, H): state number s is the one after s steps of the walk */
  double *kept;     /* (L*D, N, T, kept * H) */
  double *gradients;
  double *scratch;
  double *zeros;                   /* (H) */
  double *weight_hh, *d_weight_hh; /* (G*H, H) as a step with masks sees it, and its gradient */
};

static int64_t width_of(const struct tape *tape, int64_t layer) {
  return layer == 0 ? tape->desc->input_size : tape->D * tape->desc->hidden_size;
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

static double *state_of(const struct tape *tape, double *states, int64_t part, int64_t n, int64_t s) {
  int64_t N = tape->call->batch, T = tape->call->time;
  return states + ((part * N + n) * (T + 1) + s) * tape->desc->hidden_size;
}

static double *kept_of(const struct tape *tape, int64_t part, int64_t n, int64_t s) {
  int64_t N = tape->call->batch, T = tape->call->time;
  return tape->kept + ((part * N + n) * T + s) * tape->cell->kept * tape->desc->hidden_size;
}

static double mask_of(const struct tape *tape, int64_t layer, int64_t n, int64_t t, int64_t unit) {
  int64_t N = tape->call->batch, T = tape->call->time, width = tape->D * tape->desc->hidden_size;
  if (!tape->call->masks || layer == tape->desc->layers - 1)
    return 1;
  return tape->call->masks[((layer * T + t) * N + n) * width + unit];
}

static void copy(double *to, const double *from, int64_t count) {
  if (from)
    memcpy(to, from, (size_t)count * sizeof(double));
  else
    memset(to, 0, (size_t)count * sizeof(double));
}

static struct gk_reference_weights weights_of(const struct tape *tape, int64_t layer, int64_t direction) {
  struct gk_reference_layout at = gk_reference_layout_of(tape->desc, layer, direction);
  const double *p = tape->call->parameters;
  return (struct gk_reference_weights){.desc = tape->desc,
                                       .input_size = at.input_size,
                                       .weight_ih = p + at.weight_ih,
                                       .weight_hh = p + at.weight_hh,
                                       .bias_ih = p + at.bias_ih,
                                       .bias_hh = p + at.bias_hh};
}

/* Row of masks of a step of one layer and direction; NULL if there are none. */
static const double *step_mask(const struct tape *tape, const double *masks, int64_t part, int64_t n,
                               int64_t t) {
  int64_t N = tape->call->batch, T = tape->call->time;
  return masks ? masks + ((part * T + t) * N + n) * tape->desc->hidden_size : NULL;
}

static double weight_factor(const struct tape *tape, const double *mask, int64_t weight_hh, int64_t row,
                            int64_t column) {
  int64_t H = tape->desc->hidden_size;
  double factor = tape->call->parameter_masks ? tape->call->parameter_masks[weight_hh + row * H + column] : 1;
  return mask ? factor * mask[column] : factor;
}

/* Masks on the state that a product reads, or on the weights, are masks on the weights of this one step. */
static void mask_weights(const struct tape *tape, struct gk_reference_weights *w, int64_t part, int64_t n,
                         int64_t t) {
  const double *mask = step_mask(tape, tape->call->recurrent_masks, part, n, t);
  int64_t H = tape->desc->hidden_size, rows = tape->cell->gates * H;
  int64_t at = gk_reference_layout_of(tape->desc, part / tape->D, part % tape->D).weight_hh;
  if (tape->desc->recurrence == GK_RECURRENCE_NONE)
    w->weight_hh = tape->weight_hh; /* zeros */
  if (tape->desc->recurrence == GK_RECURRENCE_NONE || (!mask && !tape->call->parameter_masks))
    return;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t k = 0; k < H; k++)
      tape->weight_hh[r * H + k] =
          tape->call->parameters[at + r * H + k] * weight_factor(tape, mask, at, r, k);
  w->weight_hh = tape->weight_hh;
}

/* What the step gave to the masked weights goes through the masks. */
static void mask_weight_gradient(const struct tape *tape, int64_t part, int64_t n, int64_t t) {
  const double *mask = step_mask(tape, tape->call->recurrent_masks, part, n, t);
  int64_t H = tape->desc->hidden_size, rows = tape->cell->gates * H;
  int64_t at = gk_reference_layout_of(tape->desc, part / tape->D, part % tape->D).weight_hh;
  for (int64_t r = 0; r < rows && tape->desc->recurrence == GK_RECURRENCE_HIDDEN; r++)
    for (int64_t k = 0; k < H; k++)
      tape->gradients[at + r * H + k] += tape->d_weight_hh[r * H + k] * weight_factor(tape, mask, at, r, k);
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

static void forward_direction(struct tape *tape, int64_t layer, int64_t direction) {
  const struct gk_reference_call *call = tape->call;
  int64_t H = tape->desc->hidden_size, N = call->batch, T = call->time;
  int64_t part = layer * tape->D + direction, in = width_of(tape, layer), out = width_of(tape, layer + 1);
  struct gk_reference_weights w = weights_of(tape, layer, direction);
  for (int64_t n = 0; n < N; n++) {
    int64_t length = length_of(tape, n), state = (part * N + n) * H;
    copy(state_of(tape, tape->h, part, n, 0), call->h0 ? call->h0 + state : NULL, H);
    copy(state_of(tape, tape->c, part, n, 0), call->c0 ? call->c0 + state : NULL, H);
    for (int64_t s = 0; s < length; s++) {
      int64_t t = time_of(tape, direction, n, s);
      bool reset = resets(tape, direction, n, s);
      double *h = state_of(tape, tape->h, part, n, s), *c = state_of(tape, tape->c, part, n, s);
      const double *h_prev = reset ? tape->zeros : h, *c_prev = reset ? tape->zeros : c;
      mask_weights(tape, &w, part, n, t);
      tape->cell->forward(&w, tape->inputs[layer] + (n * T + t) * in, h_prev, c_prev, h + H, c + H,
                          kept_of(tape, part, n, s), tape->scratch);
      zone_out(step_mask(tape, call->zoneout_h, part, n, t), H, h_prev, h + H);
      zone_out(step_mask(tape, call->zoneout_c, part, n, t), H, c_prev, c + H);
      for (int64_t j = 0; j < H; j++)
        tape->inputs[layer + 1][(n * T + t) * out + direction * H + j] =
            h[H + j] * mask_of(tape, layer, n, t, direction * H + j);
    }
    if (call->hn)
      copy(call->hn + state, state_of(tape, tape->h, part, n, length), H);
    if (call->cn)
      copy(call->cn + state, state_of(tape, tape->c, part, n, length), H);
  }
}

static double norm(int64_t count, const double *x) {
  double squares = 0;
  for (int64_t i = 0; i < count; i++)
    squares += x[i] * x[i];
  return sqrt(squares);
}

/* One step of one sample: dh, dc are the gradients of the states after it on entry, before it on return. */
static void backward_step(struct tape *tape, int64_t part, int64_t n, int64_t s, double *dh, double *dc,
                          double *scratch) {
  const struct gk_reference_call *call = tape->call;
  int64_t layer = part / tape->D, direction = part % tape->D, H = tape->desc->hidden_size;
  int64_t t = time_of(tape, direction, n, s), in = width_of(tape, layer), row = n * call->time + t;
  struct gk_reference_weights w = weights_of(tape, layer, direction);
  struct gk_reference_layout at = gk_reference_layout_of(tape->desc, layer, direction);
  struct gk_reference_weight_gradients dw = {tape->gradients + at.weight_ih, tape->d_weight_hh,
                                             tape->gradients + at.bias_ih, tape->gradients + at.bias_hh};
  bool reset = resets(tape, direction, n, s);
  const double *h = reset ? tape->zeros : state_of(tape, tape->h, part, n, s);
  const double *c = reset ? tape->zeros : state_of(tape, tape->c, part, n, s);
  double *h_stays = scratch, *c_stays = scratch + H;
  memset(tape->d_weight_hh, 0, (size_t)(tape->cell->gates * H * H) * sizeof(double));
  mask_weights(tape, &w, part, n, t);
  zone_out_backward(step_mask(tape, call->zoneout_h, part, n, t), H, dh, h_stays);
  zone_out_backward(step_mask(tape, call->zoneout_c, part, n, t), H, dc, c_stays);
  tape->cell->backward(&w, tape->inputs[layer] + row * in, h, c, kept_of(tape, part, n, s), dh, dc,
                       tape->dinputs[layer] + row * in, &dw, scratch + 2 * H);
  mask_weight_gradient(tape, part, n, t);
  for (int64_t j = 0; j < H; j++) {
    dh[j] = reset ? 0 : dh[j] + h_stays[j];
    dc[j] = reset ? 0 : dc[j] + c_stays[j];
  }
}

static void backward_direction(struct tape *tape, int64_t layer, int64_t direction) {
  const struct gk_reference_call *call = tape->call;
  int64_t H = tape->desc->hidden_size, N = call->batch, T = call->time;
  int64_t part = layer * tape->D + direction, out = width_of(tape, layer + 1);
  double *dh = tape->scratch, *dc = dh + H;
  for (int64_t n = 0; n < N; n++) {
    int64_t state = (part * N + n) * H;
    copy(dh, call->dhn ? call->dhn + state : NULL, H);
    copy(dc, call->dcn ? call->dcn + state : NULL, H);
    for (int64_t s = length_of(tape, n) - 1; s >= 0; s--) {
      int64_t t = time_of(tape, direction, n, s);
      for (int64_t j = 0; j < H; j++)
        dh[j] += tape->dinputs[layer + 1][(n * T + t) * out + direction * H + j] *
                 mask_of(tape, layer, n, t, direction * H + j);
      if (call->dh_norms)
        call->dh_norms[(part * T + t) * N + n] = norm(H, dh);
      backward_step(tape, part, n, s, dh, dc, dc + H);
    }
    if (call->dh0)
      copy(call->dh0 + state, dh, H);
    if (call->dc0)
      copy(call->dc0 + state, dc, H);
  }
}

static void write_outputs(const struct tape *tape) {
  int64_t T = tape->call->time, width = width_of(tape, 1);
  for (int64_t n = 0; tape->call->y && n < tape->call->batch; n++)
    for (int64_t t = 0; t < T; t++)
      copy(tape->call->y + caller_row(tape, n, t) * width,
           tape->inputs[tape->desc->layers] + (n * T + t) * width, width);
}

static void read_output_gradients(struct tape *tape) {
  int64_t T = tape->call->time, width = width_of(tape, 1);
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
      forward_direction(tape, l, d);
  write_outputs(tape);
  if (!tape->call->backward)
    return;
  read_output_gradients(tape);
  for (int64_t l = tape->desc->layers - 1; l >= 0; l--)
    for (int64_t d = 0; d < tape->D; d++)
      backward_direction(tape, l, d);
  write_input_gradients(tape);
  if (tape->call->gradients)
    copy(tape->call->gradients, tape->gradients, gk_reference_parameter_count(tape->desc));
}

gk_status gk_reference_run(const gk_rnn_desc *desc, const struct gk_reference_call *call) {
  struct tape tape = {.desc = desc, .call = call, .cell = gk_reference_cell_of(desc->cell)};
  tape.D = gk_reference_directions(desc);
  int64_t L = desc->layers, H = desc->hidden_size, N = call->batch, T = call->time;
  int64_t parts = L * tape.D;
  int64_t states = parts * N * (T + 1) * H;
  int64_t kept = parts * N * T * tape.cell->kept * H;
  int64_t parameters = gk_reference_parameter_count(desc);
  int64_t scratch = (GK_REFERENCE_SCRATCH + 4) * H, recurrent = tape.cell->gates * H * H;
  int64_t inputs = 0;
  for (int64_t l = 0; l <= L; l++)
    inputs += N * T * width_of(&tape, l);

  double *values = calloc((size_t)(2 * inputs + 2 * states + kept + parameters + scratch + H + 2 * recurrent),
                          sizeof(double));
  double **rows = calloc((size_t)(2 * (L + 1)), sizeof(double *));
  if (values && rows) {
    tape.inputs = rows;
    tape.dinputs = rows + L + 1;
    double *next = values;
    for (int64_t l = 0; l <= L; l++) {
      tape.inputs[l] = next;
      tape.dinputs[l] = next + inputs;
      next += N * T * width_of(&tape, l);
    }
    tape.h = values + 2 * inputs;
    tape.c = tape.h + states;
    tape.kept = tape.c + states;
    tape.gradients = tape.kept + kept;
    tape.scratch = tape.gradients + parameters;
    tape.zeros = tape.scratch + scratch;
    tape.weight_hh = tape.zeros + H;
    tape.d_weight_hh = tape.weight_hh + recurrent;
    walk(&tape);
  }
  gk_status status = values && rows ? GK_OK : GK_ERROR_MEMORY;
  free(rows);
  free(values);
  return status;
}
