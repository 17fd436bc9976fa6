/* SPDX-License-Identifier: Apache-2.0
 *
 * Enums whose values have names: what a binding lists is all there is, and reads back. check_exports.sh
 * proves that no such enum of the headers is without these functions. And names of gates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "include/gatekern-train.h"

#define ENUM(what, type, last)                                                                               \
  static const char *name_of_##what(int value) {                                                             \
    return gk_##what##_name((type)value);                                                                    \
  }                                                                                                          \
  static gk_status read_##what(const char *name, int *value) {                                               \
    type found = (type)-1;                                                                                   \
    const gk_status status = gk_##what##_from_name(name, value ? &found : NULL);                             \
    if (value)                                                                                               \
      *value = (int)found;                                                                                   \
    return status;                                                                                           \
  }                                                                                                          \
  static void every_##what##_has_a_name_that_reads_back(void **state) {                                      \
    (void)state;                                                                                             \
    assert_int_equal(gk_##what##_count(), (int)last + 1);                                                    \
    check(gk_##what##_count(), name_of_##what, read_##what);                                                 \
  }

static void check(int count, const char *(*name_of)(int value),
                  gk_status (*read)(const char *name, int *value)) {
  int value;
  for (int i = 0; i < count; i++) {
    assert_int_equal(read(name_of(i), &value), GK_OK);
    assert_int_equal(value, i); /* so no two have one name */
  }
  assert_string_equal(name_of(count), "unknown");
  assert_string_equal(name_of(-1), "unknown");
  assert_int_equal(read("unknown", &value), GK_ERROR_ARGUMENT);
  assert_int_equal(value, -1);
  for (int i = 0; i < count; i++)
    assert_non_null(strstr(gk_last_error(), name_of(i)));
  assert_int_equal(read(NULL, &value), GK_ERROR_ARGUMENT);
  assert_int_equal(read(name_of(0), NULL), GK_ERROR_ARGUMENT);
}

ENUM(activation, gk_activation, GK_ACTIVATION_IDENTITY)
ENUM(attention, gk_attention, GK_ATTENTION_GENERAL)
ENUM(bridge, gk_bridge_kind, GK_BRIDGE_TANH)
ENUM(cell, gk_cell, GK_CELL_MGU)
ENUM(choice, gk_choice, GK_CHOICE_SAMPLE)
ENUM(decay, gk_decay, GK_DECAY_PLATEAU)
ENUM(direction, gk_direction, GK_BIDIRECTIONAL)
ENUM(dropout_masks, gk_dropout_masks, GK_DROPOUT_EACH_SEQUENCE)
ENUM(dtype, gk_dtype, GK_DTYPE_U8)
ENUM(feedback, gk_feedback, GK_FEEDBACK_OUTPUT)
ENUM(init, gk_init, GK_INIT_ORTHOGONAL)
ENUM(layout, gk_layout, GK_BATCH_FIRST)
ENUM(loss, gk_loss_kind, GK_LOSS_HUBER)
ENUM(mask, gk_mask, GK_MASK_ZONEOUT_C)
ENUM(math, gk_math, GK_MATH_SLEEF)
ENUM(merge, gk_merge, GK_MERGE_SUM)
ENUM(optimizer, gk_optimizer_kind, GK_OPTIMIZER_ADAMW)
ENUM(output_function, gk_output_function, GK_OUTPUT_SOFTMAX)
ENUM(pool, gk_pool, GK_POOL_MAX)
ENUM(recurrence, gk_recurrence, GK_RECURRENCE_NONE)
ENUM(schedule, gk_schedule, GK_SCHEDULE_WAVEFRONT)
ENUM(teacher, gk_teacher, GK_TEACHER_INVERSE_SIGMOID)
ENUM(training_part, gk_training_part, GK_PART_PACK)

/* In the order of the parameters, for which there are names and no further one. */
static void every_gate_has_the_name_that_the_header_gives_it(void **state) {
  (void)state;
  static const struct {
    gk_cell cell;
    gk_cell_options options;
    const char *gates;
  } cases[] = {{GK_CELL_RNN, {0}, "h"},
               {GK_CELL_GRU, {0}, "r z n"},
               {GK_CELL_GRU_RESET_BEFORE, {0}, "r z n"},
               {GK_CELL_LSTM, {.peephole = true}, "i f g o"},
               {GK_CELL_GRU_SIMPLIFIED, {0}, "z n"},
               {GK_CELL_MGU, {0}, "f n"},
               {GK_CELL_LSTM, {.coupled = true}, "i g o"},
               {GK_CELL_LSTM, {.layer_norm = true}, "i f g o"},
               {GK_CELL_LSTM, {.coupled = true, .layer_norm = true}, "i g o"}};
  for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
    gk_rnn_desc desc = GK_RNN_DESC_INIT;
    gk_rnn *rnn;
    char names[32] = "";
    desc.cell = cases[i].cell;
    desc.options = cases[i].options;
    desc.input_size = desc.hidden_size = 2;
    assert_int_equal(gk_rnn_create(&desc, &rnn), GK_OK);
    for (int gate = 0; gate < gk_rnn_gates(rnn); gate++) {
      strcat(names, gate ? " " : "");
      strcat(names, gk_rnn_gate_name(&desc, gate));
    }
    assert_string_equal(names, cases[i].gates);
    assert_string_equal(gk_rnn_gate_name(&desc, gk_rnn_gates(rnn)), "unknown");
    assert_string_equal(gk_rnn_gate_name(&desc, -1), "unknown");
    gk_rnn_destroy(rnn);
  }
  assert_string_equal(gk_rnn_gate_name(NULL, 0), "unknown");
  for (int cell = 0; cell < gk_cell_count(); cell++) { /* one that is new, too */
    gk_rnn_desc desc = GK_RNN_DESC_INIT;
    desc.cell = (gk_cell)cell;
    for (int gate = 0; gate < gk_cell_gates((gk_cell)cell); gate++)
      assert_true(gk_rnn_gate_name(&desc, gate) && strcmp(gk_rnn_gate_name(&desc, gate), "unknown") != 0);
  }
}

/* What follows the name in a message is what helps. */
static void a_long_name_leaves_room_for_what_may_be_given(void **state) {
  (void)state;
  char name[700];
  memset(name, 'x', sizeof name);
  name[sizeof name - 1] = 0;
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  gk_cell cell;
  assert_int_equal(gk_cell_from_name(name, &cell), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "must be one of rnn, "));
  assert_int_equal(gk_rnn_option_set(&desc, name, "1"), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "must be one of "));
  assert_int_equal(gk_rnn_option_set(&desc, "dropout", name), GK_ERROR_ARGUMENT);
  assert_non_null(strstr(gk_last_error(), "must be a"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_long_name_leaves_room_for_what_may_be_given),
      cmocka_unit_test(every_activation_has_a_name_that_reads_back),
      cmocka_unit_test(every_attention_has_a_name_that_reads_back),
      cmocka_unit_test(every_bridge_has_a_name_that_reads_back),
      cmocka_unit_test(every_cell_has_a_name_that_reads_back),
      cmocka_unit_test(every_choice_has_a_name_that_reads_back),
      cmocka_unit_test(every_decay_has_a_name_that_reads_back),
      cmocka_unit_test(every_direction_has_a_name_that_reads_back),
      cmocka_unit_test(every_dropout_masks_has_a_name_that_reads_back),
      cmocka_unit_test(every_dtype_has_a_name_that_reads_back),
      cmocka_unit_test(every_feedback_has_a_name_that_reads_back),
      cmocka_unit_test(every_init_has_a_name_that_reads_back),
      cmocka_unit_test(every_layout_has_a_name_that_reads_back),
      cmocka_unit_test(every_loss_has_a_name_that_reads_back),
      cmocka_unit_test(every_mask_has_a_name_that_reads_back),
      cmocka_unit_test(every_math_has_a_name_that_reads_back),
      cmocka_unit_test(every_merge_has_a_name_that_reads_back),
      cmocka_unit_test(every_optimizer_has_a_name_that_reads_back),
      cmocka_unit_test(every_output_function_has_a_name_that_reads_back),
      cmocka_unit_test(every_pool_has_a_name_that_reads_back),
      cmocka_unit_test(every_recurrence_has_a_name_that_reads_back),
      cmocka_unit_test(every_schedule_has_a_name_that_reads_back),
      cmocka_unit_test(every_teacher_has_a_name_that_reads_back),
      cmocka_unit_test(every_training_part_has_a_name_that_reads_back),
      cmocka_unit_test(every_gate_has_the_name_that_the_header_gives_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
