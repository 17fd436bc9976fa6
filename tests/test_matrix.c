/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed matrices: lanes are all units once, and so are strips, walked in either order; weights packed for
 * both passes at once, an output layer's too, are those packed for one after the other; gates of a product
 * are neighbours.
 * ctest labels: edges */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "src/cells/cell.h"
#include "src/core/matrix.h"
#include "tests/kernel_tiers.h"
#include "tests/network_walk.h"

enum { MOST_UNITS = 200 };

static void check_walk(const struct gk_matrix *matrix, size_t rows, size_t begin, size_t end,
                       bool descending) {
  enum { FLOATS = 4096 }; /* what a strip of several panels may leave behind */
  size_t at = descending ? end : begin, count = 0;
  struct gk_strips strips = gk_matrix_strips(matrix, rows, begin, end, descending);
  for (; gk_strips_next(&strips); count++) {
    const size_t first = strips.unit_begin, last = strips.unit_end;
    assert_true(first < last && first >= begin && last <= end);
    assert_int_equal(descending ? last : first, at);
    if (matrix->interleaved && last < end) /* strips end where panels do */
      assert_int_equal(last / matrix->lanes * matrix->gates % matrix->tile_vectors + last % matrix->lanes, 0);
    if (matrix->interleaved && last - first > matrix->width) /* more than a granule */
      assert_true(rows * matrix->gates * (last - first) <= FLOATS || rows == 0);
    at = descending ? first : last;
  }
  assert_int_equal(at, descending ? begin : end);
  assert_int_equal(count, strips.count);
  assert_false(gk_strips_next(&strips));
}

static void strips_are_all_units_once_in_either_order(void **state) {
  static const int block[GK_MAX_GATES] = {0, 1, 2, 3};
  (void)state;
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t units = 1; units <= MOST_UNITS; units += units % 7 + 1)
      for (size_t gates = 1; gates <= GK_MAX_GATES; gates++)
        for (int interleaves = 0; interleaves < 2; interleaves++) {
          struct gk_matrix matrix;
          assert_int_equal(gk_matrix_create(&matrix, tier->kernels, 3, units, gates, block, interleaves),
                           GK_OK);
          for (size_t rows = 0; rows < 300; rows = 2 * rows + 1)
            for (int threads = 1; threads <= 16; threads += threads < 3 ? 1 : 13)
              for (int thread = 0; thread < threads; thread++) {
                size_t begin, end;
                gk_matrix_share(&matrix, thread, threads, &begin, &end);
                check_walk(&matrix, rows, begin, end, false);
                check_walk(&matrix, rows, begin, end, true);
              }
          gk_matrix_destroy(&matrix);
        }
}

/* Lanes of all vectors are each unit of each gate once, and stand in C where the gate's block says; no two
 * vectors have lanes to spare. */
static void check_lanes(struct gk_matrix *matrix, const int *block) {
  static const int gate[GK_MAX_GATES] = {2, 0, 3, 1};
  matrix->gate = gate;
  bool seen[GK_MAX_GATES * MOST_UNITS] = {false};
  for (size_t q = 0; q < matrix->vectors; q++) {
    const struct gk_column *column = &matrix->columns[q];
    for (size_t lane = 0, part = 0; lane < column->lanes; lane++) {
      while (column->parts && column->parts[part].end == lane)
        part++;
      const size_t in_c = column->parts ? column->parts[part].offset + lane - column->parts[part].begin
                                        : column->offset + lane;
      size_t of, unit;
      assert_true(gk_matrix_neighbours(matrix, q, lane, &of, &unit) <= column->lanes - lane);
      assert_int_equal(in_c, (size_t)block[of] * matrix->units + unit);
      assert_int_equal(gk_matrix_source_row(matrix, q, lane),
                       (size_t)matrix->gate[of] * matrix->units + unit);
      assert_false(seen[of * matrix->units + unit]);
      seen[of * matrix->units + unit] = true;
    }
  }
  for (size_t i = 0; i < matrix->gates * matrix->units; i++)
    assert_true(seen[i]);
  assert_true(matrix->vectors * matrix->lanes < matrix->gates * matrix->units + matrix->lanes);
}

static void lanes_are_all_units_of_all_gates_once(void **state) {
  static const int blocks[][GK_MAX_GATES] = {{0, 1, 2, 3}, {2, 0, 1, 3}, {3, 1, 0, 5}};
  (void)state;
  for (const struct kernel_tier *tier = kernel_tiers(GK_MATH_OWN); tier->kernels; tier++)
    for (size_t units = 1; units <= MOST_UNITS; units++)
      for (size_t gates = 1; gates <= GK_MAX_GATES; gates++)
        for (int interleaves = 0; interleaves < 2; interleaves++) {
          const int *block = blocks[units % 3];
          struct gk_matrix matrix;
          assert_int_equal(gk_matrix_create(&matrix, tier->kernels, 2, units, gates, block, interleaves),
                           GK_OK);
          check_lanes(&matrix, block);
          gk_matrix_destroy(&matrix);
        }
}

static void *packed_with(const struct network_case *c, const gk_rnn *rnn, const float *parameters,
                         size_t bytes, const unsigned *flags, int calls) {
  unsigned char *packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
  assert_non_null(packed);
  memset(packed, 0xa5, bytes);
  for (int i = 0; i < calls; i++)
    check_status(c, gk_rnn_pack(rnn, flags[i], parameters, packed), "gk_rnn_pack");
  return packed;
}

/* What a part holds does not depend on the other one; only the header says which are there. */
static void check_packing(struct network_case *c) {
  enum { HEADER = 64 };
  const unsigned both[] = {GK_PACK_FORWARD | GK_PACK_BACKWARD}, each[] = {GK_PACK_BACKWARD, GK_PACK_FORWARD};
  struct buffers b = {0};
  const struct network_data d = take_data(&b, c);
  gk_rnn *rnn;
  size_t bytes;
  check_status(c, gk_rnn_create(&c->desc, &rnn), "gk_rnn_create");
  check_status(c, gk_rnn_packed_bytes(rnn, both[0], &bytes), "gk_rnn_packed_bytes");
  void *at_once = packed_with(c, rnn, d.parameters, bytes, both, 1);
  void *in_turn = packed_with(c, rnn, d.parameters, bytes, each, 2);
  if (memcmp((char *)at_once + HEADER, (char *)in_turn + HEADER, bytes - HEADER))
    fail_case(c, "weights packed for both passes differ from those packed for each");
  free(at_once);
  free(in_turn);
  gk_rnn_destroy(rnn);
  buffers_release(&b);
}

/* Threads share the work from a hundred thousand floats on. */
static void make_large(struct network_case *c, int shape) {
  c->desc.threads = 1 + shape;
  if (shape > 1) {
    c->desc.input_size = 90 + c->desc.input_size;
    c->desc.hidden_size = 130 + c->desc.hidden_size;
  }
  if (c->desc.cell == GK_CELL_LSTM && shape % 2 && !c->desc.options.layer_norm)
    c->desc.projection_size = 3 + 9 * shape;
}

static void both_passes_are_packed_as_each_alone(void **state) {
  (void)state;
  for_each_case("both_passes_are_packed_as_each_alone", make_large, check_packing);
}

/* Weights so large that both halves together go past the caches, each alone not; and that forward's does
 * alone. Sizes that neither lanes nor threads divide. */
static void large_weights_are_packed_as_each_alone(void **state) {
  static const struct {
    gk_cell cell;
    int64_t input, hidden, projection;
  } large[] = {{GK_CELL_LSTM, 701, 643, 0},
               {GK_CELL_LSTM, 701, 695, 333},
               {GK_CELL_GRU_RESET_BEFORE, 701, 803, 0},
               {GK_CELL_RNN, 2301, 1403, 0}};
  (void)state;
  for (int tier = 0; tier < tier_count; tier++)
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
      for (int threads = 1; threads <= 3; threads++) {
        struct network_case c = {.desc = GK_RNN_DESC_INIT, .time = 1, .batch = 1, .seed = 7};
        c.desc.isa = tiers[tier];
        c.desc.cell = large[i].cell;
        c.desc.input_size = large[i].input;
        c.desc.hidden_size = large[i].hidden;
        c.desc.projection_size = large[i].projection;
        c.desc.threads = threads;
        check_packing(&c);
      }
}

/* The same of output layers, plain and tied: one that several threads pack, and one that goes past the caches
 * as a whole. */
static void output_layers_are_packed_as_each_alone(void **state) {
  enum { HEADER = 64, MOST = 701 * 3701 + 3701 };
  static const int64_t sizes[][2] = {{331, 403}, {701, 3701}};
  static float parameters[MOST];
  (void)state;
  kernel_random(3, 1, MOST, parameters);
  for (int tier = 0; tier < tier_count; tier++)
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
      for (int threads = 1; threads <= 3; threads++)
        for (int tied = 0; tied < 2; tied++) {
          gk_output_desc desc = GK_OUTPUT_DESC_INIT;
          desc.input_size = sizes[i][0];
          desc.output_size = sizes[i][1];
          desc.isa = tiers[tier];
          desc.threads = threads;
          desc.tied = tied;
          gk_output *output;
          size_t bytes;
          assert_int_equal(gk_output_create(&desc, &output), GK_OK);
          assert_int_equal(gk_output_packed_bytes(output, GK_PACK_FORWARD | GK_PACK_BACKWARD, &bytes), GK_OK);
          unsigned char *packed[2];
          for (int each = 0; each < 2; each++) {
            packed[each] = aligned_alloc(64, (bytes + 63) / 64 * 64);
            assert_non_null(packed[each]);
            memset(packed[each], 0xa5, bytes);
            const float *bias = parameters + sizes[i][0] * sizes[i][1];
            for (unsigned flags = each ? GK_PACK_BACKWARD : GK_PACK_FORWARD | GK_PACK_BACKWARD; flags;
                 flags = flags == GK_PACK_BACKWARD ? GK_PACK_FORWARD : 0)
              assert_int_equal(tied ? gk_output_pack_tied(output, flags, parameters, bias, packed[each])
                                    : gk_output_pack(output, flags, parameters, packed[each]),
                               GK_OK);
          }
          assert_memory_equal(packed[0] + HEADER, packed[1] + HEADER, bytes - HEADER);
          free(packed[0]);
          free(packed[1]);
          gk_output_destroy(output);
        }
}

/* So that backward may read rows of the parameters as they stand, beginning with any gate. */
static void gates_of_a_product_follow_one_another_in_the_parameters(void **state) {
  const struct gk_cell_info *cells[GK_CELL_COUNT + 3] = {&gk_cell_lstm_coupled, &gk_cell_lstm_normalised,
                                                         &gk_cell_lstm_coupled_normalised};
  (void)state;
  for (int i = 0; i < GK_CELL_COUNT; i++)
    cells[3 + i] = gk_cell_find((gk_cell)i);
  for (int i = 0; i < GK_CELL_COUNT + 3; i++) {
    const struct gk_cell_info *cell = cells[i];
    for (int g = 0; g < cell->gates; g++)
      assert_int_equal(cell->input_order[g], (cell->input_order[0] + g) % cell->gates);
    for (int p = 0; p < cell->phases; p++)
      for (int g = 0; g < cell->phase[p].gate_count; g++)
        assert_int_equal(cell->phase[p].gate[g], cell->phase[p].gate[0] + g);
  }
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lanes_are_all_units_of_all_gates_once),
      cmocka_unit_test(strips_are_all_units_once_in_either_order),
      cmocka_unit_test(both_passes_are_packed_as_each_alone),
      cmocka_unit_test(large_weights_are_packed_as_each_alone),
      cmocka_unit_test(output_layers_are_packed_as_each_alone),
      cmocka_unit_test(gates_of_a_product_follow_one_another_in_the_parameters)};
  return start_walk(argc, argv) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
