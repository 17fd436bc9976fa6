/* SPDX-License-Identifier: Apache-2.0
 *
 * ctest labels: edges
 *
 * What a network is made of beyond one cell and one size: projection, layers of different sizes, directions
 * added, trained initial states, alone and together: against the float64 reference on every tier, the same
 * bits however the work is cut, and what each must equal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/reference_fixture.h"

#define TOLERANCE 1e-5

static gk_isa tiers[MAX_TIERS];
static int tier_count;

/* ---- Cases ----------------------------------------------------------------------------------- */

enum { LAYERS = 3, STRUCTURES = 64 };

/* Structure `number` of a cell at random; false: this cell has no such one. */
static bool structure_case(gk_cell cell, uint64_t number, int64_t sizes[LAYERS], struct network_case *c) {
  const uint64_t seed = 5000 + 100 * (uint64_t)cell + number;
  *c = (struct network_case){.desc = GK_RNN_DESC_INIT, .seed = seed};
  gk_rnn_desc *d = &c->desc;
  d->cell = cell;
  d->input_size = 1 + random_integer(seed, 0, 40);
  d->hidden_size = 2 + random_integer(seed, 1, 40);
  d->layers = 1 + random_integer(seed, 2, LAYERS);
  for (int l = 0; l < LAYERS; l++)
    sizes[l] = 2 + random_integer(seed, 3 + (uint64_t)l, 40);
  d->hidden_sizes = random_integer(seed, 6, 2) ? sizes : NULL;
  d->direction = (gk_direction)random_integer(seed, 7, 3);
  d->merge =
      d->direction == GK_BIDIRECTIONAL && random_integer(seed, 8, 2) ? GK_MERGE_SUM : GK_MERGE_CONCATENATE;
  d->layout = (gk_layout)random_integer(seed, 9, 2);
  d->vocabulary = random_integer(seed, 10, 3) ? 0 : 1 + random_integer(seed, 11, 60);
  d->dropout = random_integer(seed, 12, 3) ? 0 : 0.3f;
  d->trained_states = random_integer(seed, 13, 2);
  if (random_integer(seed, 16, 3) == 0) {
    d->input_dropout = 0.2f;
    d->recurrent_dropout = 0.3f;
    d->zoneout_h = 0.1f;
    d->zoneout_c = gk_cell_has_memory(cell) ? 0.4f : 0;
    d->weight_dropout = random_integer(seed, 17, 2) ? 0.5f : 0;
  }
  if (cell == GK_CELL_LSTM && random_integer(seed, 14, 3))
    d->projection_size = 1 + random_integer(seed, 15, 40);
  if (cell == GK_CELL_LSTM) {
    d->options.layer_norm = random_integer(seed, 30, 2);
    for (int l = 0; l < LAYERS && d->options.layer_norm; l++) /* of few values N hardly depends on them */
      sizes[l] += 10;
    d->hidden_size += d->options.layer_norm ? 10 : 0;
    d->options.peephole = random_integer(seed, 31, 2);
    d->options.coupled = random_integer(seed, 32, 2);
    d->options.preactivation_clip = random_integer(seed, 33, 3) ? 0 : 1.5f;
    d->options.cell_clip = random_integer(seed, 34, 3) ? 0 : 0.5f;
  }
  c->time = 1 + random_integer(seed, 20, 12);
  c->batch = 1 + random_integer(seed, 21, 9);
  c->ragged = random_integer(seed, 22, 2);
  c->resets = random_integer(seed, 23, 3) == 0;
  c->states = random_integer(seed, 24, 2);
  return d->projection_size || d->hidden_sizes || d->merge || d->trained_states;
}

/* Every case of every cell; the LSTM has the most of them. */
static void for_each_structure(const char *test, void (*check)(struct network_case *c)) {
  for (int cell = 0; cell < gk_cell_count(); cell++)
    for (uint64_t k = 0; k < (cell == GK_CELL_LSTM ? STRUCTURES : STRUCTURES / 8); k++) {
      struct network_case c;
      int64_t sizes[LAYERS];
      if (structure_case((gk_cell)cell, k, sizes, &c) && case_wanted(test))
        check(&c);
    }
}

/* ---- Against the reference ------------------------------------------------------------------- */

static double largest_error;

static void check_near(struct network_case *c) {
  largest_error = fmax(largest_error, check_tiers_near_reference(c, TOLERANCE, tiers, tier_count));
}

static void every_structure_is_near_the_reference(void **state) {
  (void)state;
  largest_error = 0;
  for_each_structure(__func__, check_near);
  print_message("%s: largest error %.2g of a tensor's largest magnitude\n", __func__, largest_error);
}

/* ---- The same bits --------------------------------------------------------------------------- */

static void check_plans(struct network_case *c) {
  static const int threads[] = {1, 2, 3, 5};
  struct buffers data_buffers = {0};
  c->desc.isa = tiers[0];
  c->desc.threads = 1;
  c->desc.schedule = GK_SCHEDULE_SLICES;
  struct network_data d = take_data(&data_buffers, c);
  struct network_results wanted = run_case(&data_buffers, c, &d);
  for (int i = 0; i < tier_count; i++)
    for (size_t p = 0; p < sizeof threads / sizeof *threads; p++)
      for (int schedule = GK_SCHEDULE_SLICES; schedule < gk_schedule_count(); schedule++) {
        struct buffers buffers = {0};
        char what[64];
        c->desc.isa = tiers[i];
        c->desc.threads = threads[p];
        c->desc.schedule = (gk_schedule)schedule;
        snprintf(what, sizeof what, "against %s on one thread", gk_isa_name(tiers[0]));
        struct network_results got = run_case(&buffers, c, &d);
        check_same_results(c, what, &got, &wanted);
        buffers_release(&buffers);
      }
  buffers_release(&data_buffers);
}

static void every_structure_has_the_same_bits_everywhere(void **state) {
  (void)state;
  for_each_structure(__func__, check_plans);
}

/* ---- What is refused ------------------------------------------------------------------------- */

static void check_refused(gk_rnn_desc desc, const char *first, const char *second) {
  gk_rnn *rnn = NULL;
  desc.input_size = 3;
  desc.hidden_size = desc.hidden_sizes ? 0 : 4;
  assert_int_not_equal(gk_rnn_create(&desc, &rnn), GK_OK);
  assert_null(rnn);
  if (!strstr(gk_last_error(), first) || !strstr(gk_last_error(), second))
    fail_msg("the message '%s' names neither %s nor %s", gk_last_error(), first, second);
}

static void wrong_structures_are_refused_by_name(void **state) {
  (void)state;
  static const int64_t sizes[] = {4, 0};
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.cell = GK_CELL_GRU;
  desc.projection_size = 2;
  check_refused(desc, "projection_size is 2", "gru");
  desc = (gk_rnn_desc)GK_RNN_DESC_INIT;
  desc.projection_size = -1;
  check_refused(desc, "projection_size", "-1");
  desc = (gk_rnn_desc)GK_RNN_DESC_INIT;
  desc.merge = GK_MERGE_SUM;
  check_refused(desc, "merge is sum", "direction");
  desc.merge = (gk_merge)7;
  check_refused(desc, "merge", "7");
  desc = (gk_rnn_desc)GK_RNN_DESC_INIT;
  desc.layers = 2;
  desc.hidden_sizes = sizes;
  check_refused(desc, "hidden_sizes[1]", "0");
  desc = (gk_rnn_desc)GK_RNN_DESC_INIT;
  desc.cell = GK_CELL_MGU;
  desc.options.layer_norm = true;
  check_refused(desc, "layer_norm", "mgu");
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_structure_is_near_the_reference),
      cmocka_unit_test(every_structure_has_the_same_bits_everywhere),
      cmocka_unit_test(wrong_structures_are_refused_by_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
