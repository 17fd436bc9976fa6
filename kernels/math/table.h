/* SPDX-License-Identifier: Apache-2.0
 * One tier's table. kernels/ISA/kernels.c includes its vector.h and tile.h, names the tier and includes this:
 * everything below is written once and compiled for each tier, with own activations and with SLEEF's. */
#include "kernels/kernels.h"

#include "kernels/math/activation.h"
#include "kernels/math/attention.h"
#include "kernels/math/gru.h"
#include "kernels/math/gru_reset_before.h"
#include "kernels/math/gru_simplified.h"
#include "kernels/math/limits.h"
#include "kernels/math/loss.h"
#include "kernels/math/lstm.h"
#include "kernels/math/lstm_normalised.h"
#include "kernels/math/masks.h"
#include "kernels/math/mgu.h"
#include "kernels/math/optimizer.h"
#include "kernels/math/packing.h"
#include "kernels/math/product.h"
#include "kernels/math/random.h"
#include "kernels/math/reduction.h"
#include "kernels/math/rnn.h"

#define GK_JOIN3(a, b, c)        a##b##c
#define GK_TABLE_NAME(isa, math) GK_JOIN3(gk_kernels_, isa, math)

#if GK_MATH_USE_SLEEF
#define GK_TABLE GK_TABLE_NAME(GK_TIER, _sleef)
#else
#define GK_TABLE GK_TABLE_NAME(GK_TIER, _own)
#endif

const struct gk_kernels GK_TABLE = {
    .isa = GK_TIER_ISA,
    .math = GK_MATH_USE_SLEEF ? GK_MATH_SLEEF : GK_MATH_OWN,
    .lanes = GK_V,
    .tile_rows = GK_TILE_ROWS,
    .tile_vectors = GK_TILE_VECTORS,
    .reads_across = GK_TILE_READS_ACROSS,
    .product = product,
    .transpose = transpose,
    .pack_columns = pack_columns,
    .pack_rows = pack_rows,
    .pack_flushed = pack_flushed,
    .column_sum = column_sum,
    .column_dot = column_dot,
    .column_max = column_max,
#define GK_CELL(constant, identifier, name) [GK_KERNEL_CELL_##constant] = identifier##_forward_phases,
    .cell_forward =
        {
#include "kernels/cells.def"
        },
#undef GK_CELL
#define GK_CELL(constant, identifier, name) [GK_KERNEL_CELL_##constant] = identifier##_backward_phases,
    .cell_backward =
        {
#include "kernels/cells.def"
        },
#undef GK_CELL
#define GK_CELL(constant, identifier, name) [GK_KERNEL_CELL_##constant] = identifier##_forward_general_phases,
    .cell_forward_general =
        {
#include "kernels/cells.def"
        },
#undef GK_CELL
#define GK_CELL(constant, identifier, name)                                                                  \
  [GK_KERNEL_CELL_##constant] = identifier##_backward_general_phases,
    .cell_backward_general =
        {
#include "kernels/cells.def"
        },
#undef GK_CELL
    .lstm_normalised_forward = lstm_normalised_forward,
    .lstm_normalised_backward = lstm_normalised_backward,
    .stream = stream,
    .stream_end = v_stream_end,
    .sigmoid = sigmoid_array,
    .tanh = tanh_array,
    .uniforms = uniforms,
    .dropout = dropout,
    .zoneout = zoneout,
    .zoneout_mean = zoneout_mean,
    .zoneout_backward = zoneout_backward,
    .clamp = clamp,
    .scale = scale_array,
    .add = add_array,
    .flush = flush_array,
    .needs_flush = needs_flush,
    .softmax = softmax,
    .softmax_loss = softmax_loss,
    .binary_loss = binary_loss,
    .squared_loss = squared_loss,
    .huber_loss = huber_loss,
    .sum_squares = sum_squares,
    .dots = dots,
    .weighted_sum = weighted_sum,
    .softmax_backward = softmax_backward,
    .tanh_backward = tanh_backward,
    .sigmoid_backward = sigmoid_backward,
    .sgd = sgd,
    .rmsprop = rmsprop,
    .adagrad = adagrad,
    .adam = adam,
    .adamw = adamw,
    .fma_loop = fma_loop,
    .read_loop = read_loop,
    .sigmoid_loop = sigmoid_loop,
    .tanh_loop = tanh_loop,
};
