/* SPDX-License-Identifier: Apache-2.0
 *
 * What tests of wrong arguments have in common. */
#ifndef GK_TESTS_ARGUMENTS_FIXTURE_H
#define GK_TESTS_ARGUMENTS_FIXTURE_H

#include "tests/network_fixture.h"

/* Fails unless `status` is the wanted one and the message holds every word of the list, which NULL ends. */
static inline void expect(int line, gk_status status, gk_status wanted, ...) {
  const char *message = gk_last_error(), *word;
  va_list words;
  if (status != wanted) {
    print_error("line %d: %s (%s), wanted %s\n", line, gk_status_name(status), status ? message : "",
                gk_status_name(wanted));
    _fail(__FILE__, line);
  }
  va_start(words, wanted);
  while ((word = va_arg(words, const char *)))
    if (!strstr(message, word)) {
      print_error("line %d: the message \"%s\" does not have \"%s\"\n", line, message, word);
      va_end(words);
      _fail(__FILE__, line);
    }
  va_end(words);
}

/* What every test changes one thing of. */
static inline gk_rnn_desc good_desc(void) {
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.input_size = 5;
  desc.hidden_size = 6;
  desc.layers = 2;
  return desc;
}

static const int64_t huge[] = {INT64_C(1) << 31, INT64_C(1) << 32, (INT64_C(1) << 32) + 1,
                               INT64_C(1) << 61, INT64_C(1) << 62, INT64_MAX};
enum { HUGE_SIZES = sizeof huge / sizeof *huge };

#endif
