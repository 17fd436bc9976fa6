/* SPDX-License-Identifier: Apache-2.0
 * The options of a training: the list that command lines and files read. */
#include <stddef.h>

#include "gatekern-train.h"

static const char *init(int index) {
  return index < gk_init_count() ? gk_init_name((gk_init)index) : NULL;
}
static const char *optimizer(int index) {
  return index < gk_optimizer_count() ? gk_optimizer_name((gk_optimizer_kind)index) : NULL;
}
static const char *decay(int index) {
  return index < gk_decay_count() ? gk_decay_name((gk_decay)index) : NULL;
}

static const char model[] = "Model", text[] = "Text", training[] = "Training",
                  clipping[] = "Gradients that are too large";

#define FIELD(name)        #name, offsetof(gk_training_desc, name), sizeof(((gk_training_desc *)0)->name)
#define RANGE(least, most) .minimum = (least), .maximum = (most)
#define RATE(name)         .rate_offset = offsetof(gk_learning_rate_desc, name)
static const gk_training_option options[] = {
    {FIELD(init), GK_OPTION_CHOICE, "init", model, "initial weights, uniform as PyTorch's", .choice = init},
    {FIELD(forget_bias), GK_OPTION_FLOAT, "forget-bias", model,
     "added to the bias of the LSTM's forget gate at the start", "B", RANGE(-100, 100)},
    {FIELD(validation), GK_OPTION_DOUBLE, "validation", text,
     "share of FILE, its end, that is never trained on and measures progress", "SHARE", RANGE(0, 0.9)},
    {FIELD(steps), GK_OPTION_INTEGER, RATE(steps)},
    {FIELD(batch), GK_OPTION_INTEGER, "batch", training,
     "streams that the text is cut into, read side by side", "N", RANGE(1, 1 << 20)},
    {FIELD(time), GK_OPTION_INTEGER, "time", training,
     "characters of each stream in a step, k1 of truncated BPTT", "T", RANGE(1, 1 << 20)},
    {FIELD(backward_time), GK_OPTION_INTEGER, "backward-time", training,
     "characters that a gradient goes back, k2 of truncated BPTT: at least --time, and read again in each "
     "step; 0: --time",
     "T", RANGE(0, 1 << 20)},
    {FIELD(label_smoothing), GK_OPTION_FLOAT, "label-smoothing", training,
     "share of the wanted probability that all symbols have alike", "SHARE", RANGE(0, 1)},
    {FIELD(optimizer), GK_OPTION_CHOICE, "optimizer", training, "how gradients change weights",
     .choice = optimizer},
    {FIELD(learning_rate), GK_OPTION_DOUBLE, "lr", training, "learning rate", "RATE", RANGE(1e-12, 1e6),
     RATE(learning_rate)},
    {FIELD(decay), GK_OPTION_CHOICE, "lr-schedule", training,
     "the learning rate over the steps: cosine falls to --lr-min at the last, step falls by --lr-factor "
     "every --lr-every steps, plateau by --lr-factor where the validation loss no longer falls",
     .choice = decay, RATE(decay)},
    {FIELD(warmup), GK_OPTION_INTEGER, "lr-warmup", training,
     "steps over which the rate first rises from 0 to --lr; the schedule starts after them", "STEPS",
     RANGE(0, 1e12), RATE(warmup)},
    {FIELD(decay_period), GK_OPTION_INTEGER, "lr-every", training, "of --lr-schedule step", "STEPS",
     RANGE(1, 1e9), RATE(period)},
    {FIELD(decay_factor), GK_OPTION_DOUBLE, "lr-factor", training, "of step and plateau", "F",
     RANGE(1e-12, 1), RATE(factor)},
    {FIELD(decay_patience), GK_OPTION_INTEGER, "lr-patience", training,
     "of plateau: validations without a lower loss that are waited for", "N", RANGE(0, 1e9), RATE(patience)},
    {FIELD(decay_threshold), GK_OPTION_DOUBLE, RATE(threshold)},
    {FIELD(decay_interval), GK_OPTION_INTEGER, RATE(interval)},
    {FIELD(minimum_learning_rate), GK_OPTION_DOUBLE, "lr-min", training,
     "where cosine ends, and below which step and plateau do not go", "RATE", RANGE(0, 1e6),
     RATE(minimum_learning_rate)},
    {FIELD(momentum), GK_OPTION_FLOAT, "momentum", training, "of the optimizer sgd", "X", RANGE(0, 1)},
    {FIELD(nesterov), GK_OPTION_FLAG, "nesterov", training,
     .help = "look ahead by the momentum, of the optimizer sgd"},
    {FIELD(weight_decay), GK_OPTION_FLOAT, "weight-decay", training,
     "pulls weights towards 0: joins the gradient, with adamw it shrinks them (there 0.01 unless given)", "W",
     RANGE(0, 1e6)},
    {FIELD(seed), GK_OPTION_SEED, "seed", training,
     "of initial weights and dropout: the same seed gives the same weights on every machine", .value = "N"},
    {FIELD(clip_norm), GK_OPTION_DOUBLE, "clip-norm", clipping,
     "bound of the gradient's norm over all weights; 0: none", "NORM", RANGE(0, 1e12)},
    {FIELD(clip_tensor_norm), GK_OPTION_DOUBLE, "clip-tensor-norm", clipping,
     "bound of the norm of each tensor's gradient, before that; 0: none", "NORM", RANGE(0, 1e12)},
    {FIELD(clip_value), GK_OPTION_DOUBLE, "clip-value", clipping,
     "bound of each single value of the gradient, before both; 0: none", "X", RANGE(0, 1e12)},
    {0}};

const gk_training_option *gk_training_option_after(const gk_training_option *option) {
  const gk_training_option *next = option ? option + 1 : options;
  return next->field ? next : NULL;
}
