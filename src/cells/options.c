/* SPDX-License-Identifier: Apache-2.0
 * What may differ from a cell's usual arithmetic: functions with their defaults, bounds, the LSTM's options.
 */
#include <math.h>

#include "src/cells/cell.h"
#include "src/core/names.h"

/* Names and ONNX's defaults of alpha and beta. Where both are 0 the function has neither: to give 0 and 0 is
 * to ask for the defaults. */
static const struct {
  const char *name;
  float alpha, beta;
  int parameters; /* 1: alpha, 2: beta too */
} functions[] = {
    [GK_ACTIVATION_DEFAULT] = {"default", 0, 0, 0},
    [GK_ACTIVATION_TANH] = {"tanh", 0, 0, 0},
    [GK_ACTIVATION_RELU] = {"relu", 0, 0, 0},
    [GK_ACTIVATION_SIGMOID] = {"sigmoid", 0, 0, 0},
    [GK_ACTIVATION_AFFINE] = {"affine", 1, 0, 2},
    [GK_ACTIVATION_LEAKY_RELU] = {"leaky-relu", 0.01f, 0, 1},
    [GK_ACTIVATION_THRESHOLDED_RELU] = {"thresholded-relu", 1, 0, 1},
    [GK_ACTIVATION_SCALED_TANH] = {"scaled-tanh", 1, 1, 2},
    [GK_ACTIVATION_HARD_SIGMOID] = {"hard-sigmoid", 0.2f, 0.5f, 2},
    [GK_ACTIVATION_ELU] = {"elu", 1, 0, 1},
    [GK_ACTIVATION_SOFTSIGN] = {"softsign", 0, 0, 0},
    [GK_ACTIVATION_SOFTPLUS] = {"softplus", 0, 0, 0},
    [GK_ACTIVATION_IDENTITY] = {"identity", 0, 0, 0},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

int gk_activation_count(void) {
  return FUNCTIONS;
}

const char *gk_activation_name(gk_activation activation) {
  return (unsigned)activation < FUNCTIONS ? functions[activation].name : "unknown";
}

gk_status gk_activation_from_name(const char *name, gk_activation *activation) {
  const int found = gk_find_name("activation", &functions[0].name, sizeof *functions, FUNCTIONS, name,
                                 activation, "activation");
  if (found < 0)
    return GK_ERROR_ARGUMENT;
  *activation = (gk_activation)found;
  return GK_OK;
}

int gk_activation_parameters(gk_activation activation, float *alpha, float *beta) {
  *alpha = functions[activation].alpha;
  *beta = functions[activation].beta;
  return functions[activation].parameters;
}

/* A function of a description: its fields, and what messages call them. */
struct function_at {
  gk_activation *kind;
  float *alpha, *beta;
  const char *name, *alphas, *index;
};

/* That of a place in a direction; only the reverse one of two has functions of its own. */
static struct function_at function_at(gk_rnn_desc *desc, int place, bool reverse) {
  static const char *const names[] = {"activation", "options.gate_activation", "options.output_activation"};
  static const char *const reverse_names[] = {"options.reverse_activation[GK_CANDIDATE]",
                                              "options.reverse_activation[GK_GATE]",
                                              "options.reverse_activation[GK_OUTPUT]"};
  static const char *const indices[] = {"GK_CANDIDATE", "GK_GATE", "GK_OUTPUT"};
  gk_cell_options *o = &desc->options;
  if (reverse)
    return (struct function_at){
        &o->reverse_activation[place], &o->reverse_alpha[place], &o->reverse_beta[place],
        reverse_names[place],          "options.reverse_",       indices[place]};
  gk_activation *const kinds[] = {&desc->activation, &o->gate_activation, &o->output_activation};
  return (struct function_at){kinds[place], &o->alpha[place], &o->beta[place],
                              names[place], "options.",       indices[place]};
}

static bool has_place(const gk_rnn_desc *desc, int place) {
  const struct gk_cell_info *cell = gk_cell_find(desc->cell);
  return place == GK_CANDIDATE || (place == GK_GATE && cell->gates > 1) ||
         (place == GK_OUTPUT && cell->memory);
}

static gk_status check_function(const gk_rnn_desc *desc, int place, const struct function_at *at,
                                bool reverse) {
  const gk_activation kind = *at->kind;
  const float alpha = *at->alpha, beta = *at->beta;
  if ((unsigned)kind >= FUNCTIONS)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is %d, must be 0..%d", at->name, (int)kind, FUNCTIONS - 1);
  if (!isfinite(alpha) || !isfinite(beta))
    return gk_fail(GK_ERROR_ARGUMENT, "%s%s[%s], of %s, is %g, must be finite", at->alphas,
                   isfinite(alpha) ? "beta" : "alpha", at->index, at->name,
                   (double)(isfinite(alpha) ? beta : alpha));
  if (!has_place(desc, place) && kind != GK_ACTIVATION_DEFAULT)
    return gk_fail(GK_ERROR_UNSUPPORTED, "%s is %s, and the cell %s has none", at->name, functions[kind].name,
                   gk_cell_name(desc->cell));
  if ((alpha != 0 || beta != 0) && functions[kind].parameters == 0)
    return gk_fail(GK_ERROR_ARGUMENT,
                   "%s is %s, which has no alpha and beta: %salpha[%s] is %g, %sbeta[%s] is %g", at->name,
                   functions[kind].name, at->alphas, at->index, (double)alpha, at->alphas, at->index,
                   (double)beta);
  if (beta != 0 && functions[kind].parameters == 1)
    return gk_fail(GK_ERROR_ARGUMENT, "%s is %s, which has no beta: %sbeta[%s] is %g", at->name,
                   functions[kind].name, at->alphas, at->index, (double)beta);
  if (reverse && kind != GK_ACTIVATION_DEFAULT && desc->direction != GK_BIDIRECTIONAL)
    return gk_fail(GK_ERROR_UNSUPPORTED,
                   "%s is %s and direction is not bidirectional: there is no second one", at->name,
                   functions[kind].name);
  return GK_OK;
}

static gk_status check_functions(const gk_rnn_desc *desc) {
  gk_rnn_desc copy = *desc;
  gk_status status = GK_OK;
  for (int reverse = 0; reverse < 2; reverse++)
    for (int place = 0; place < GK_ACTIVATION_PLACES && !status; place++) {
      const struct function_at at = function_at(&copy, place, reverse);
      status = check_function(desc, place, &at, reverse);
    }
  return status;
}

gk_status gk_cell_check_options(const gk_rnn_desc *desc) {
  const gk_cell_options *o = &desc->options;
  gk_status status = check_functions(desc);
  if (status)
    return status;
  if (!(o->preactivation_clip >= 0) || isinf(o->preactivation_clip))
    return gk_fail(GK_ERROR_ARGUMENT, "options.preactivation_clip is %g, must be finite and not negative",
                   (double)o->preactivation_clip);
  if (!(o->cell_clip >= 0) || isinf(o->cell_clip))
    return gk_fail(GK_ERROR_ARGUMENT, "options.cell_clip is %g, must be finite and not negative",
                   (double)o->cell_clip);
  const char *lstm = o->peephole        ? "peephole"
                     : o->coupled       ? "coupled"
                     : o->layer_norm    ? "layer_norm"
                     : o->cell_clip > 0 ? "cell_clip"
                                        : NULL;
  if (desc->projection_size && desc->cell != GK_CELL_LSTM)
    return gk_fail(GK_ERROR_UNSUPPORTED,
                   "projection_size is %lld and cell is %s: only the cell lstm has a projection",
                   (long long)desc->projection_size, gk_cell_name(desc->cell));
  if (lstm && desc->cell != GK_CELL_LSTM)
    return gk_fail(GK_ERROR_UNSUPPORTED, "options.%s is set and cell is %s: only the cell lstm has it", lstm,
                   gk_cell_name(desc->cell));
  return GK_OK;
}

void gk_cell_resolve_options(gk_rnn_desc *desc) {
  for (int place = 0; place < GK_ACTIVATION_PLACES; place++)
    for (int reverse = 0; reverse < (desc->direction == GK_BIDIRECTIONAL ? 2 : 1); reverse++) {
      const struct function_at at = function_at(desc, place, reverse);
      if (*at.kind == GK_ACTIVATION_DEFAULT && reverse) {
        const struct function_at forward = function_at(desc, place, false);
        *at.kind = *forward.kind;
        *at.alpha = *forward.alpha;
        *at.beta = *forward.beta;
      } else if (*at.kind == GK_ACTIVATION_DEFAULT && has_place(desc, place)) {
        *at.kind = place == GK_GATE ? GK_ACTIVATION_SIGMOID : GK_ACTIVATION_TANH;
      }
      if (*at.alpha != 0 || *at.beta != 0)
        continue;
      *at.alpha = functions[*at.kind].alpha;
      *at.beta = functions[*at.kind].beta;
    }
}

bool gk_cell_variant_of(const gk_rnn_desc *desc, bool reverse, struct gk_cell_variant *variant) {
  const gk_cell_options *o = &desc->options;
  gk_rnn_desc copy = *desc;
  *variant = (struct gk_cell_variant){.clip = o->preactivation_clip > 0 ? o->preactivation_clip : INFINITY,
                                      .cell_clip = o->cell_clip > 0 ? o->cell_clip : INFINITY,
                                      .coupled = o->coupled};
  bool general = o->preactivation_clip > 0 || o->cell_clip > 0 || o->coupled || o->peephole || o->layer_norm;
  for (int place = 0; place < GK_ACTIVATION_PLACES; place++) {
    const struct function_at at = function_at(&copy, place, reverse);
    const gk_activation kind = *at.kind;
    const bool usual = kind == (place == GK_GATE ? GK_ACTIVATION_SIGMOID : GK_ACTIVATION_TANH);
    const bool rnn_relu = desc->cell == GK_CELL_RNN && kind == GK_ACTIVATION_RELU;
    general |= has_place(desc, place) && !usual && !rnn_relu;
    variant->function[place] = (struct gk_activation_function){
        .kind = kind,
        .alpha = *at.alpha,
        .beta = *at.beta,
        .from_output = usual && o->preactivation_clip == 0 && desc->cell != GK_CELL_RNN};
  }
  return general;
}
