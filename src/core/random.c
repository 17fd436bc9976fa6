/* SPDX-License-Identifier: Apache-2.0 */
#include "src/core/random.h"

#include <Random123/philox.h>

static float unit_interval(uint32_t bits) {
  return (float)(bits >> 8) * 0x1p-24f;
}

static uint32_t low(uint64_t value) {
  return (uint32_t)value;
}

static uint32_t high(uint64_t value) {
  return (uint32_t)(value >> 32);
}

float gk_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
  philox4x32_key_t key = {{low(seed), high(seed)}};
  philox4x32_ctr_t counter = {{low(index / 4), high(index / 4), low(stream), high(stream)}};
  return unit_interval(philox4x32(counter, key).v[index % 4]);
}

struct gk_random_stream gk_random_stream_of(const struct gk_random_counter *counter) {
  philox4x32_key_t seed = {{low(counter->seed), high(counter->seed)}};
  philox4x32_ctr_t fields = {
      {low(counter->step), high(counter->step), counter->layer, counter->purpose * 256 + counter->direction}};
  philox4x32_ctr_t derived = philox4x32(fields, seed);
  return (struct gk_random_stream){{derived.v[0], derived.v[1]}, {derived.v[2], derived.v[3]}};
}

void gk_random_uniforms(const struct gk_random_counter *counter, size_t first, size_t count, float *u) {
  const struct gk_random_stream stream = gk_random_stream_of(counter);
  const struct gk_uniforms named = gk_random_row(&stream, counter->sample, counter->time);
  philox4x32_key_t key = {{named.key[0], named.key[1]}};
  philox4x32_ctr_t row = {{named.counter[0], named.counter[1], named.counter[2], 0}};
  for (size_t i = 0; i < count;) {
    size_t unit = first + i;
    row.v[3] = (uint32_t)(unit / 4);
    philox4x32_ctr_t four = philox4x32(row, key);
    for (size_t lane = unit % 4; lane < 4 && i < count; lane++)
      u[i++] = unit_interval(four.v[lane]);
  }
}

void gk_random_weights(uint64_t seed, uint32_t tensor, int64_t first, int64_t rows, int64_t columns,
                       double bound, float *weights) {
  for (int64_t r = 0; r < rows; r++) {
    const struct gk_random_counter counter = {
        .seed = seed, .purpose = GK_RANDOM_INIT, .layer = tensor, .sample = (uint64_t)(first + r)};
    float *row = weights + (size_t)(r * columns);
    gk_random_uniforms(&counter, 0, (size_t)columns, row);
    for (int64_t j = 0; j < columns; j++)
      row[j] = (float)((2.0 * (double)row[j] - 1.0) * bound);
  }
}
