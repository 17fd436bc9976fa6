/* SPDX-License-Identifier: Apache-2.0 */
#include "shape_text.h"

#include <stdio.h>

#include "options.h"

const char *shape_option_given(void) {
  static const char *const options[] = {"cell", "input", "hidden", "batch", "time", "layers"};
  for (size_t i = 0; i < sizeof options / sizeof *options; i++)
    if (cli_given(options[i]))
      return options[i];
  return NULL;
}

void shape_text(const bench_shape *s, char text[SHAPE_TEXT]) {
  const gk_rnn_desc desc = bench_shape_description(s);
  char hidden[CLI_HIDDEN_TEXT], layers[32] = "";
  cli_hidden_text(&desc, hidden);
  if (s->layers > 1)
    snprintf(layers, sizeof layers, " L%lld", (long long)s->layers);
  snprintf(text, SHAPE_TEXT, "%s I%lld H%s N%lld T%lld%s", gk_cell_name(s->cell), (long long)s->input, hidden,
           (long long)s->batch, (long long)s->time, layers);
}

void shape_print_json(const bench_shape *s) {
  const gk_rnn_desc desc = bench_shape_description(s);
  char hidden[CLI_HIDDEN_TEXT];
  cli_hidden_text(&desc, hidden);
  if (*s->name)
    printf("\"name\": \"%s\", ", s->name);
  printf("\"cell\": \"%s\", \"input\": %lld, \"hidden\": %s%s%s, \"batch\": %lld, \"time\": %lld, "
         "\"layers\": %lld, ",
         gk_cell_name(s->cell), (long long)s->input, desc.hidden_sizes ? "[" : "", hidden,
         desc.hidden_sizes ? "]" : "", (long long)s->batch, (long long)s->time, (long long)s->layers);
}
