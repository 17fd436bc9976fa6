/* SPDX-License-Identifier: Apache-2.0
 *
 * The float64 reference against itself: every gradient it returns against central differences of its own
 * forward pass. (Its forward pass is compared with PyTorch in test_pytorch_vectors.c.) */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/reference/reference.h"
#include "tests/cell_variants.h"
#include "tests/random_values.h"

#define TOLERANCE 1e-7

/* Seven-point stencil: truncation about step^6, rounding about 1e-16 * |loss| / step. ReLU is linear on
 * both sides of its kink, so that a short step costs no accuracy there and seldom meets the kink. */
#define STEP_SMOOTH 1e-3
#define STEP_RELU   2e-5
/* Layer normalisation of a few values bends sharply, and magnifies the rounding of a loss. */
#define STEP_NORM      2e-5
#define MAGNIFIED_NORM 50
static double magnified = 1;

struct derivative {
  double value;
  double rounding; /* what the sums' rounding may have done to it */
};

static struct derivative central_difference(double (*loss)(void *context), void *context, double step,
                                            double *value) {
  static const double weights[3] = {45, -9, 1};
  double centre = *value, difference = 0, largest = 0;
  for (int i = 0; i < 3; i++) {
    *value = centre + (i + 1) * step;
    double above = loss(context);
    *value = centre - (i + 1) * step;
    double below = loss(context);
    difference += weights[i] * (above - below);
    largest = fmax(largest, fmax(fabs(above), fabs(below)));
  }
  *value = centre;
  return (struct derivative){difference / (60 * step), magnified * 0x1p-51 * largest / step};
}

/* Fails unless gradient[i] is the derivative of `loss` by values[i] for every i. The error is relative to
 * the element itself, or to a hundredth of the tensor's largest where the element is smaller than that. */
static void check_tensor(const char *what, const char *tensor, double step, int64_t count, double *values,
                         const double *gradient, double (*loss)(void *context), void *context) {
  double largest = 0;
  for (int64_t i = 0; i < count; i++)
    largest = fmax(largest, fabs(gradient[i]));
  for (int64_t i = 0; i < count; i++) {
    struct derivative wanted = central_difference(loss, context, step, &values[i]);
    double scale = fmax(fmax(fabs(gradient[i]), fabs(wanted.value)), 1e-2 * largest);
    double error = fabs(gradient[i] - wanted.value);
    if (!(error <= TOLERANCE * scale + wanted.rounding))
      fail_msg("%s, %s[%lld]: gradient %.17g, difference quotient %.17g, relative error %.3g", what, tensor,
               (long long)i, gradient[i], wanted.value, error / scale);
  }
}

/* ---- Networks -------------------------------------------------------------------------------- */

#define T              4
#define N              4
#define I              2
#define H              3
#define V              5
#define WIDEST         5 /* where sizes differ */
#define MAX_PARAMETERS 1500
#define MAX_STATE      (2 * 2 * N * WIDEST)
#define MAX_OUTPUT     (T * N * 2 * WIDEST)

struct network {
  gk_rnn_desc desc;
  struct gk_reference_call call;
  double parameters[MAX_PARAMETERS], x[T * N * I], h0[MAX_STATE], c0[MAX_STATE], masks[MAX_OUTPUT];
  double y[MAX_OUTPUT], hn[MAX_STATE], cn[MAX_STATE];
  double dy[MAX_OUTPUT], dhn[MAX_STATE], dcn[MAX_STATE];
  double factors[5][MAX_PARAMETERS]; /* of input, recurrent, parameter masks, of zoneout in h and c */
  double gradients[MAX_PARAMETERS], dx[T * N * I], dh0[MAX_STATE], dc0[MAX_STATE];
};

static const int64_t ragged[N] = {2, 4, 0, 3};
static const bool reset[T * N] = {0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0};
static const int32_t tokens[T * N] = {1, 4, 2, 0, 1, 1, 4, 3, 0, 2, 2, 1, 4, 4, 0, 1};

static struct gk_reference_layout last_layout(const gk_rnn_desc *desc) {
  return gk_reference_layout_of(desc, desc->layers - 1, gk_reference_directions(desc) - 1);
}

/* The loss is the sum of y dy + hn dhn + cn dcn, so that dy, dhn, dcn are its gradients. */
static double network_loss(void *context) {
  struct network *network = context;
  struct gk_reference_call forward = network->call;
  forward.backward = false;
  assert_int_equal(gk_reference_run(&network->desc, &forward), GK_OK);
  struct gk_reference_layout last = last_layout(&network->desc);
  double loss = 0;
  for (int64_t i = 0; i < T * N * last.width; i++)
    loss += network->y[i] * network->dy[i];
  for (int64_t i = 0; i < N * (last.h_offset + last.output); i++)
    loss += network->hn[i] * network->dhn[i];
  for (int64_t i = 0; i < N * (last.unit_offset + last.hidden) && network->call.cn; i++)
    loss += network->cn[i] * network->dcn[i];
  return loss;
}

static void fill_network(struct network *network, const gk_rnn_desc *desc, bool is_ragged, uint64_t seed) {
  memset(network, 0, sizeof *network);
  network->desc = *desc;
  bool memory = desc->cell == GK_CELL_LSTM;
  network->call = (struct gk_reference_call){.time = T,
                                             .batch = N,
                                             .lengths = is_ragged ? ragged : NULL,
                                             .x = network->x,
                                             .tokens = tokens,
                                             .h0 = desc->trained_states ? NULL : network->h0,
                                             .c0 = memory && !desc->trained_states ? network->c0 : NULL,
                                             .parameters = network->parameters,
                                             .masks = network->masks,
                                             .y = network->y,
                                             .hn = network->hn,
                                             .cn = memory ? network->cn : NULL,
                                             .backward = true,
                                             .dy = network->dy,
                                             .dhn = network->dhn,
                                             .dcn = memory ? network->dcn : NULL,
                                             .dx = network->dx,
                                             .dh0 = network->dh0,
                                             .dc0 = memory ? network->dc0 : NULL,
                                             .gradients = network->gradients};
  assert_true(gk_reference_parameter_count(desc) <= MAX_PARAMETERS);
  random_doubles(seed, 0.9, MAX_PARAMETERS, network->parameters);
  random_doubles(seed + 1, 1.5, T * N * I, network->x);
  random_doubles(seed + 2, 1, MAX_STATE, network->h0);
  random_doubles(seed + 3, 1, MAX_STATE, network->c0);
  random_doubles(seed + 4, 1, MAX_OUTPUT, network->dy);
  random_doubles(seed + 5, 1, MAX_STATE, network->dhn);
  random_doubles(seed + 6, 1, MAX_STATE, network->dcn);
  for (int64_t i = 0; i < MAX_OUTPUT; i++)
    network->masks[i] = random_value(seed + 7, (uint64_t)i) < -0.5f ? 0 : 1 / 0.75;
}

/* Everything that regularisation multiplies with, and sequences that begin inside others. */
static void add_masks(struct network *network, uint64_t seed) {
  static const double dropped[4] = {0, 1.25, 1.25, 1.25}, stays[4] = {0, 1, 0.3, 0};
  for (int k = 0; k < 5; k++)
    for (int64_t i = 0; i < MAX_PARAMETERS; i++)
      network->factors[k][i] = (k < 3 ? dropped : stays)[random_integer(seed + (uint64_t)k, (uint64_t)i, 4)];
  network->call.input_masks = network->factors[0];
  network->call.recurrent_masks = network->factors[1];
  network->call.parameter_masks = network->factors[2];
  network->call.zoneout_h = network->factors[3];
  network->call.zoneout_c = network->desc.cell == GK_CELL_LSTM ? network->factors[4] : NULL;
  network->call.reset = reset;
}

/* Padding holds NaN in every input that has padding: nothing may read it. */
static void poison_padding(struct network *network) {
  int64_t width = last_layout(&network->desc).width;
  for (int64_t n = 0; n < N; n++)
    for (int64_t t = ragged[n]; t < T; t++) {
      int64_t row = network->desc.layout == GK_BATCH_FIRST ? n * T + t : t * N + n;
      for (int64_t i = 0; i < I; i++)
        network->x[row * I + i] = NAN;
      for (int64_t i = 0; i < width; i++)
        network->dy[row * width + i] = NAN;
    }
}

/* In padding outputs and gradients are exactly 0; a sample of length 0 passes its states through. */
static void check_padding(const struct network *network) {
  int64_t width = last_layout(&network->desc).width, D = gk_reference_directions(&network->desc);
  for (int64_t n = 0; n < N; n++) {
    for (int64_t t = ragged[n]; t < T; t++) {
      int64_t row = network->desc.layout == GK_BATCH_FIRST ? n * T + t : t * N + n;
      for (int64_t i = 0; i < I && !network->desc.vocabulary; i++)
        assert_true(network->dx[row * I + i] == 0);
      for (int64_t i = 0; i < width; i++)
        assert_true(network->y[row * width + i] == 0);
    }
    for (int64_t p = 0; p < network->desc.layers * D && ragged[n] == 0; p++) {
      struct gk_reference_layout at = gk_reference_layout_of(&network->desc, p / D, p % D);
      for (int64_t j = 0; j < at.output; j++) {
        int64_t i = at.h_offset * N + n * at.output + j;
        assert_true(network->hn[i] == (network->call.h0 ? network->h0[i] : network->parameters[at.h0 + j]));
        assert_true(network->dh0[i] == network->dhn[i]);
      }
    }
  }
}

/* Or do its functions and bounds have kinks? */
static bool is_smooth(const gk_rnn_desc *desc) {
  if (desc->cell == GK_CELL_RNN && desc->activation == GK_ACTIVATION_RELU)
    return false;
  for (int i = 0; i < CELL_VARIANTS; i++) {
    gk_rnn_desc other = {.size = sizeof other, .activation = desc->activation};
    if (cell_variants[i].cell == desc->cell && !cell_variants[i].smooth &&
        gk_rnn_options_set(&other, cell_variants[i].options) == GK_OK &&
        other.activation == desc->activation &&
        memcmp(&other.options, &desc->options, sizeof other.options) == 0)
      return false;
  }
  return true;
}

static void check_parameters(const char *what, const gk_rnn_desc *desc, double step,
                             struct network *network) {
  int64_t D = gk_reference_directions(desc);
  for (int64_t l = 0; l < desc->layers; l++)
    for (int64_t d = 0; d < D; d++) {
      struct gk_reference_layout at = gk_reference_layout_of(desc, l, d);
      int64_t begin[] = {at.weight_ih, at.weight_hh, at.bias_ih, at.bias_hh, at.weight_hr,
                         at.peephole,  at.ln_ih,     at.ln_hh,   at.ln_c,    at.bias_ln_c,
                         at.h0,        at.c0,        at.end};
      static const char *const names[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh",
                                          "weight_hr", "peephole",  "ln_ih",   "ln_hh",
                                          "ln_c",      "bias_ln_c", "h0",      "c0"};
      for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        int64_t gates = k < 4 ? gk_reference_gates(desc) : 1;
        for (int64_t g = 0; g < gates; g++) { /* each gate by its own scale */
          int64_t count = (begin[k + 1] - begin[k]) / gates, first = begin[k] + g * count;
          char tensor[64];
          snprintf(tensor, sizeof tensor, "%s_l%d, direction %d, gate %d", names[k], (int)l, (int)d, (int)g);
          check_tensor(what, tensor, step, count, network->parameters + first, network->gradients + first,
                       network_loss, network);
        }
      }
    }
}

static void check_network(const gk_rnn_desc *desc, bool is_ragged, bool is_masked, uint64_t seed) {
  double step = desc->options.layer_norm ? STEP_NORM : is_smooth(desc) ? STEP_SMOOTH : STEP_RELU;
  magnified = desc->options.layer_norm ? MAGNIFIED_NORM : 1;
  struct network *network = malloc(sizeof *network);
  assert_non_null(network);
  fill_network(network, desc, is_ragged, seed);
  if (is_masked)
    add_masks(network, seed);
  if (is_ragged)
    poison_padding(network);
  assert_int_equal(gk_reference_run(desc, &network->call), GK_OK);
  if (is_ragged)
    check_padding(network);

  /* The loss multiplies padding by dy, which may hold NaN from here on no longer. */
  for (int64_t i = 0; i < MAX_OUTPUT; i++)
    network->dy[i] = isnan(network->dy[i]) ? 0 : network->dy[i];
  for (int64_t i = 0; i < T * N * I; i++)
    network->x[i] = isnan(network->x[i]) ? 0 : network->x[i];
  char what[400], options[200];
  describe_options(desc, options, sizeof options);
  snprintf(what, sizeof what,
           "cell %d%s, layers %d, direction %d, layout %d, V %d, P %d, merge %d, %s%s, seed %llu",
           (int)desc->cell, options, (int)desc->layers, (int)desc->direction, (int)desc->layout,
           (int)desc->vocabulary, (int)desc->projection_size, (int)desc->merge, is_ragged ? "ragged" : "full",
           is_masked ? ", masked" : "", (unsigned long long)seed);
  check_parameters(what, desc, step, network);
  struct gk_reference_layout last = last_layout(desc);
  if (desc->vocabulary)
    check_tensor(what, "embedding", step, V * I, network->parameters, network->gradients, network_loss,
                 network);
  else
    check_tensor(what, "x", step, T * N * I, network->x, network->dx, network_loss, network);
  if (network->call.h0)
    check_tensor(what, "h0", step, N * (last.h_offset + last.output), network->h0, network->dh0, network_loss,
                 network);
  if (network->call.c0)
    check_tensor(what, "c0", step, N * (last.unit_offset + last.hidden), network->c0, network->dc0,
                 network_loss, network);
  free(network);
}

static void check_cell(gk_cell cell, gk_activation activation) {
  uint64_t seed = 1000 * (uint64_t)cell + 500 * (uint64_t)activation + 100;
  for (int64_t layers = 1; layers <= 2; layers++)
    for (int direction = GK_FORWARD; direction <= GK_BIDIRECTIONAL; direction++)
      for (int is_ragged = 0; is_ragged < 2; is_ragged++)
        for (int vocabulary = 0; vocabulary <= V; vocabulary += V) {
          gk_rnn_desc desc = {.cell = cell,
                              .activation = activation,
                              .input_size = I,
                              .hidden_size = H,
                              .layers = layers,
                              .direction = (gk_direction)direction,
                              .vocabulary = vocabulary,
                              .layout = (layers + direction) % 2 ? GK_BATCH_FIRST : GK_TIME_MAJOR};
          check_network(&desc, is_ragged, (direction + is_ragged) % 2 && layers == 2, seed += 10);
        }
}

/* One test a cell. */
#define GK_CELL(constant, identifier, name)                                                                  \
  static void gradients_of_##identifier##_are_difference_quotients(void **state) {                           \
    (void)state;                                                                                             \
    check_cell(GK_CELL_##constant, GK_ACTIVATION_TANH);                                                      \
  }
#include "kernels/cells.def"
#undef GK_CELL

static void gradients_of_rnn_with_relu_are_difference_quotients(void **state) {
  (void)state;
  check_cell(GK_CELL_RNN, GK_ACTIVATION_RELU);
}

static void gradients_of_every_option_are_difference_quotients(void **state) {
  (void)state;
  uint64_t seed = 70000;
  for (int i = 0; i < CELL_VARIANTS; i++)
    for (int direction = needs_two_directions(&cell_variants[i]) ? GK_BIDIRECTIONAL : GK_FORWARD;
         direction <= GK_BIDIRECTIONAL; direction++) {
      gk_rnn_desc desc = {.size = sizeof desc,
                          .cell = cell_variants[i].cell,
                          .input_size = I,
                          .hidden_size = H,
                          .layers = 2,
                          .direction = (gk_direction)direction,
                          .vocabulary = direction == GK_REVERSE ? V : 0,
                          .projection_size = cell_variants[i].cell == GK_CELL_LSTM && direction ? 2 : 0};
      assert_int_equal(gk_rnn_options_set(&desc, cell_variants[i].options), GK_OK);
      check_network(&desc, direction != GK_REVERSE, direction == GK_REVERSE, seed += 10);
    }
}

/* Projection, sizes, merging and trained states, alone and together. */
static void gradients_of_every_structure_are_difference_quotients(void **state) {
  (void)state;
  static const int64_t sizes[2] = {WIDEST, 2};
  uint64_t seed = 50000;
  for (int set = 1; set < 16; set++)
    for (int cell = 0; cell < gk_cell_count(); cell++)
      for (int direction = GK_FORWARD; direction <= GK_BIDIRECTIONAL; direction++) {
        gk_rnn_desc desc = {.cell = (gk_cell)cell,
                            .input_size = I,
                            .hidden_size = H,
                            .layers = 2,
                            .direction = (gk_direction)direction,
                            .vocabulary = set % 3 == 1 ? V : 0,
                            .layout = direction ? GK_BATCH_FIRST : GK_TIME_MAJOR,
                            .hidden_sizes = set & 1 ? sizes : NULL,
                            .trained_states = set & 2,
                            .merge = set & 4 && direction == GK_BIDIRECTIONAL ? GK_MERGE_SUM
                                                                              : GK_MERGE_CONCATENATE,
                            .projection_size = set & 8 ? 1 + direction + set / 4 % 2 * 2 : 0};
        if (desc.projection_size && cell != GK_CELL_LSTM)
          continue;
        check_network(&desc, set % 2, set % 4 == 3, seed += 10);
        if (cell != GK_CELL_LSTM)
          continue;
        /* N of two or three values hardly depends on them: what is left of a gradient is rounding. */
        static const int64_t wider[2] = {WIDEST, 4};
        desc.options.layer_norm = desc.options.peephole = desc.options.coupled = true;
        desc.hidden_size = 4;
        desc.hidden_sizes = desc.hidden_sizes ? wider : NULL;
        desc.projection_size = desc.projection_size ? 3 : 0;
        check_network(&desc, set % 2, set % 4 == 3, seed += 10);
      }
}

/* ---- Output layer and loss ------------------------------------------------------------------- */

#define R       6
#define CLASSES 7

struct output {
  struct gk_reference_loss args;
  double h[R * H], weight[CLASSES * H], bias[CLASSES], scratch[2 * CLASSES];
  double dh[R * H], dweight[CLASSES * H], dbias[CLASSES];
};

static double output_loss(void *context) {
  struct output *output = context;
  struct gk_reference_loss args = output->args;
  args.dh = args.dweight = args.dbias = NULL;
  return args.scale * gk_reference_output_loss(&args);
}

static void gradients_of_an_output_loss_are_difference_quotients(void **state) {
  (void)state;
  static const int32_t targets[R] = {3, 0, -1, 6, 3, 2};
  struct output output;
  output.args = (struct gk_reference_loss){.rows = R,
                                           .input_size = H,
                                           .output_size = CLASSES,
                                           .h = output.h,
                                           .weight = output.weight,
                                           .bias = output.bias,
                                           .targets = targets,
                                           .scale = 0.2,
                                           .dh = output.dh,
                                           .dweight = output.dweight,
                                           .dbias = output.dbias,
                                           .scratch = output.scratch};
  random_doubles(1, 2, R * H, output.h);
  random_doubles(2, 1, CLASSES * H, output.weight);
  random_doubles(3, 1, CLASSES, output.bias);
  gk_reference_output_loss(&output.args);
  check_tensor("output", "h", STEP_SMOOTH, R * H, output.h, output.dh, output_loss, &output);
  check_tensor("output", "weight", STEP_SMOOTH, CLASSES * H, output.weight, output.dweight, output_loss,
               &output);
  check_tensor("output", "bias", STEP_SMOOTH, CLASSES, output.bias, output.dbias, output_loss, &output);
}

/* Written out by hand for one logit pair: -log(e^a / (e^a + e^b)) = log(1 + e^(b - a)). */
static void the_loss_of_two_classes_is_that_by_hand(void **state) {
  (void)state;
  double h = 1, weight[2] = {300, 298.5}, bias[2] = {0.25, 0.5}, scratch[4];
  int32_t target = 0;
  struct gk_reference_loss args = {.rows = 1,
                                   .input_size = 1,
                                   .output_size = 2,
                                   .h = &h,
                                   .weight = weight,
                                   .bias = bias,
                                   .targets = &target,
                                   .scale = 1,
                                   .scratch = scratch};
  assert_true(fabs(gk_reference_output_loss(&args) - log1p(exp(-1.25))) < 1e-13);
  double p[2], logits[2] = {1000, 1003};
  gk_reference_softmax(2, 2, logits, p);
  assert_true(fabs(p[0] - 1 / (1 + exp(1.5))) < 1e-12 && fabs(p[0] + p[1] - 1) < 1e-12);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define GK_CELL(constant, identifier, name)                                                                  \
  cmocka_unit_test(gradients_of_##identifier##_are_difference_quotients),
#include "kernels/cells.def"
#undef GK_CELL
      cmocka_unit_test(gradients_of_rnn_with_relu_are_difference_quotients),
      cmocka_unit_test(gradients_of_every_option_are_difference_quotients),
      cmocka_unit_test(gradients_of_every_structure_are_difference_quotients),
      cmocka_unit_test(gradients_of_an_output_loss_are_difference_quotients),
      cmocka_unit_test(the_loss_of_two_classes_is_that_by_hand),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
