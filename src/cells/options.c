/* SPDX-License-Identifier: Apache-2.0
 * What may differ from a cell's usual arithmetic: functions with their defaults, bounds, the LSTM's options.
 */
#include <math.h>
#include <string.h>

#include "src/cells/cell.h"
#include "src/core/status.h"

/* Names and ONNX's defaults of alpha and beta. */
static const struct {
  const char *name;
  float alpha, beta;
} functions[] = {
    [GK_ACTIVATION_DEFAULT] = {"default", 0, 0},
    [GK_ACTIVATION_TANH] = {"tanh", 0, 0},
    [GK_ACTIVATION_RELU] = {"relu", 0, 0},
    [GK_ACTIVATION_SIGMOID] = {"sigmoid", 0, 0},
    [GK_ACTIVATION_AFFINE] = {"affine", 1, 0},
    [GK_ACTIVATION_LEAKY_RELU] = {"leaky-relu", 0.01f, 0},
    [GK_ACTIVATION_THRESHOLDED_RELU] = {"thresholded-relu", 1, 0},
    [GK_ACTIVATION_SCALED_TANH] = {"scaled-tanh", 1, 1},
    [GK_ACTIVATION_HARD_SIGMOID] = {"hard-sigmoid", 0.2f, 0.5f},
    [GK_ACTIVATION_ELU] = {"elu", 1, 0},
    [GK_ACTIVATION_SOFTSIGN] = {"softsign", 0, 0},
    [GK_ACTIVATION_SOFTPLUS] = {"softplus", 0, 0},
    [GK_ACTIVATION_IDENTITY] = {"identity", 0, 0},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

int gk_activation_count(void) {
  return FUNCTIONS;
}

const char *gk_activation_name(gk_activation activation) {
  return (unsigned)activation < FUNCTIONS ? functions[activation].name : "unknown";
}

gk_status gk_activation_from_name(const char *name, gk_activation *activation) {
  char names[256] = "";
  if (!name || !activation)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is NULL", name ? "activation" : "name");
  for (int i = 0; i < FUNCTIONS; i++) {
    if (strcmp(name, functions[i].name) == 0) {
      *activation = (gk_activation)i;
      return GK_OK;
    }
    strcat(strcat(names, " "), functions[i].name);
  }
  return gk_fail(GK_ERROR_ARGUMENT, "activation is '%s', must be one of:%s", name, names);
}

/* The kind at a place, and where it stands. */
static gk_activation *kind_of(gk_rnn_desc *desc, int place) {
  return place == GK_CANDIDATE ? &desc->activation
         : place == GK_GATE    ? &desc->options.gate_activation
                               : &desc->options.output_activation;
}

static bool has_place(const gk_rnn_desc *desc, int place) {
  const struct gk_cell_info *cell = gk_cell_find(desc->cell);
  return place == GK_CANDIDATE || (place == GK_GATE && cell->gates > 1) ||
         (place == GK_OUTPUT && cell->memory);
}

static gk_status check_functions(const gk_rnn_desc *desc) {
  static const char *const places[] = {"activation", "options.gate_activation", "options.output_activation"};
  static const char *const indices[] = {"GK_CANDIDATE", "GK_GATE", "GK_OUTPUT"};
  gk_rnn_desc copy = *desc;
  for (int place = 0; place < GK_ACTIVATION_PLACES; place++) {
    const gk_activation kind = *kind_of(&copy, place);
    const float alpha = desc->options.alpha[place], beta = desc->options.beta[place];
    if ((unsigned)kind >= FUNCTIONS)
      return gk_fail(GK_ERROR_ARGUMENT, "%s is %d, must be 0..%d", places[place], (int)kind, FUNCTIONS - 1);
    if (!isfinite(alpha) || !isfinite(beta))
      return gk_fail(GK_ERROR_ARGUMENT, "options.%s[%s], of %s, is %g, must be finite",
                     isfinite(alpha) ? "beta" : "alpha", indices[place], places[place],
                     (double)(isfinite(alpha) ? beta : alpha));
    if (!has_place(desc, place) && kind != GK_ACTIVATION_DEFAULT)
      return gk_fail(GK_ERROR_UNSUPPORTED, "%s is %s, and the cell %s has none", places[place],
                     functions[kind].name, gk_cell_name(desc->cell));
    if ((alpha != 0 || beta != 0) && functions[kind].alpha == 0)
      return gk_fail(GK_ERROR_ARGUMENT,
                     "%s is %s, which has no alpha and beta: options.alpha[%s] is %g, options.beta[%s] is %g",
                     places[place], functions[kind].name, indices[place], (double)alpha, indices[place],
                     (double)beta);
  }
  return GK_OK;
}

gk_status gk_cell_check_options(const gk_rnn_desc *desc) {
  const gk_cell_options *o = &desc->options;
  gk_status status = check_functions(desc);
  if (status)
    return status;
  if (!(o->clip >= 0) || isinf(o->clip))
    return gk_fail(GK_ERROR_ARGUMENT, "options.clip is %g, must be finite and not negative", (double)o->clip);
  if (!(o->cell_clip >= 0) || isinf(o->cell_clip))
    return gk_fail(GK_ERROR_ARGUMENT, "options.cell_clip is %g, must be finite and not negative",
                   (double)o->cell_clip);
  const char *lstm = o->peephole        ? "peephole"
                     : o->coupled       ? "coupled"
                     : o->layer_norm    ? "layer_norm"
                     : o->cell_clip > 0 ? "cell_clip"
                                        : NULL;
  if (lstm && desc->cell != GK_CELL_LSTM)
    return gk_fail(GK_ERROR_UNSUPPORTED, "options.%s is set and cell is %s: only the cell lstm has it", lstm,
                   gk_cell_name(desc->cell));
  return GK_OK;
}

void gk_cell_resolve_options(gk_rnn_desc *desc) {
  for (int place = 0; place < GK_ACTIVATION_PLACES; place++) {
    gk_activation *kind = kind_of(desc, place);
    float *alpha = &desc->options.alpha[place], *beta = &desc->options.beta[place];
    if (*kind == GK_ACTIVATION_DEFAULT && has_place(desc, place))
      *kind = place == GK_GATE ? GK_ACTIVATION_SIGMOID : GK_ACTIVATION_TANH;
    if (*alpha != 0 || *beta != 0)
      continue;
    *alpha = functions[*kind].alpha;
    *beta = functions[*kind].beta;
  }
}

bool gk_cell_variant_of(const gk_rnn_desc *desc, struct gk_cell_variant *variant) {
  const gk_cell_options *o = &desc->options;
  gk_rnn_desc copy = *desc;
  *variant = (struct gk_cell_variant){.clip = o->clip > 0 ? o->clip : INFINITY,
                                      .cell_clip = o->cell_clip > 0 ? o->cell_clip : INFINITY,
                                      .coupled = o->coupled};
  bool general = o->clip > 0 || o->cell_clip > 0 || o->coupled || o->peephole || o->layer_norm;
  for (int place = 0; place < GK_ACTIVATION_PLACES; place++) {
    const gk_activation kind = *kind_of(&copy, place);
    const bool usual = kind == (place == GK_GATE ? GK_ACTIVATION_SIGMOID : GK_ACTIVATION_TANH);
    const bool rnn_relu = desc->cell == GK_CELL_RNN && kind == GK_ACTIVATION_RELU;
    general |= has_place(desc, place) && !usual && !rnn_relu;
    variant->function[place] =
        (struct gk_activation_function){.kind = kind,
                                        .alpha = o->alpha[place],
                                        .beta = o->beta[place],
                                        .from_output = usual && o->clip == 0 && desc->cell != GK_CELL_RNN};
  }
  return general;
}
