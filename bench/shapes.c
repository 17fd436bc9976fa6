/* SPDX-License-Identifier: Apache-2.0 */
#include "shapes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_FILE (1 << 20)
#define FIELDS       7

static bool read_size(const char *word, int64_t *value) {
  char *end;
  errno = 0;
  long long number = strtoll(word, &end, 10);
  *value = number;
  return end != word && !*end && !errno && number >= 1 && number <= BENCH_LARGEST_SIZE;
}

/* One line without its comment. Returns NULL, or what is wrong with it. */
static const char *parse_line(char *line, bench_shape *shape) {
  char *word[FIELDS], *rest = NULL;
  int words = 0;
  for (char *w = strtok_r(line, " \t\r", &rest); w; w = strtok_r(NULL, " \t\r", &rest)) {
    if (words == FIELDS)
      return "more than the seven fields: name cell input hidden batch time layers";
    word[words++] = w;
  }
  if (words != FIELDS)
    return "fewer than the seven fields: name cell input hidden batch time layers";
  if (strlen(word[0]) >= sizeof shape->name)
    return "the name is longer than 63 characters";
  for (const char *c = word[0]; *c; c++)
    if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", *c))
      return "a name is made of letters, digits, '-', '_' and '.'";
  strcpy(shape->name, word[0]);
  if (gk_cell_from_name(word[1], &shape->cell) != GK_OK)
    return gk_last_error();
  int64_t *size[] = {&shape->input, &shape->hidden, &shape->batch, &shape->time, &shape->layers};
  for (int i = 0; i < 5; i++)
    if (!read_size(word[2 + i], size[i]))
      return "a size is not a whole number from 1 to 1048576";
  return NULL;
}

static bool append(bench_shapes *shapes, const bench_shape *shape) {
  bench_shape *larger = realloc(shapes->shape, (shapes->count + 1) * sizeof *larger);
  if (!larger)
    return false;
  shapes->shape = larger;
  shapes->shape[shapes->count++] = *shape;
  return true;
}

bool bench_shapes_parse(const char *text, bench_shapes *shapes, char *message, size_t message_size) {
  *shapes = (bench_shapes){0};
  for (int number = 1; *text; number++) {
    char line[256];
    size_t length = strcspn(text, "\n");
    size_t used = strcspn(text, "\n#");
    const char *problem = NULL;
    if (used >= sizeof line) {
      problem = "longer than 255 characters";
    } else {
      memcpy(line, text, used);
      line[used] = 0;
      bench_shape shape = {.name = ""};
      if (line[strspn(line, " \t\r")] && !(problem = parse_line(line, &shape)) && !append(shapes, &shape))
        problem = "out of memory";
    }
    if (problem) {
      snprintf(message, message_size, "line %d: %s", number, problem);
      bench_shapes_free(shapes);
      return false;
    }
    text += length + (text[length] == '\n');
  }
  if (!shapes->count)
    snprintf(message, message_size, "no shape in it");
  return shapes->count > 0;
}

/* The whole file with a 0 after it; NULL and errno if it cannot be read. */
static char *read_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file)
    return NULL;
  char *text = malloc(LARGEST_FILE + 1);
  size_t count = text ? fread(text, 1, LARGEST_FILE + 1, file) : 0;
  int error = !text ? ENOMEM : ferror(file) ? errno : count > LARGEST_FILE ? EFBIG : 0;
  fclose(file);
  if (error) {
    free(text);
    errno = error;
    return NULL;
  }
  text[count] = 0;
  return text;
}

bool bench_shapes_load(const char *list, bench_shapes *shapes, char *message, size_t message_size) {
  char problem[160];
  for (const bench_list *known = bench_lists; known->name; known++)
    if (!strcmp(known->name, list))
      return bench_shapes_parse(known->text, shapes, message, message_size);
  char *text = read_file(list);
  if (!text) {
    int used = snprintf(message, message_size, "%s: %s; the built-in lists are", list, strerror(errno));
    for (const bench_list *known = bench_lists; known->name; known++)
      if (used >= 0 && (size_t)used < message_size)
        used += snprintf(message + used, message_size - (size_t)used, "%s %s",
                         known == bench_lists ? "" : ",", known->name);
    return false;
  }
  bool fine = bench_shapes_parse(text, shapes, problem, sizeof problem);
  if (!fine)
    snprintf(message, message_size, "%s: %s", list, problem);
  free(text);
  return fine;
}

void bench_shapes_free(bench_shapes *shapes) {
  free(shapes->shape);
  *shapes = (bench_shapes){0};
}

gk_rnn_desc bench_shape_description(const bench_shape *shape) {
  gk_rnn_desc desc = shape->options;
  desc.size = sizeof desc;
  desc.cell = shape->cell;
  desc.input_size = shape->input;
  desc.hidden_size = shape->hidden;
  desc.layers = shape->layers;
  return desc;
}

double bench_shape_flop(const bench_shape *shape) {
  const gk_rnn_desc *desc = &shape->options;
  const double gates = gk_cell_gates(shape->cell) - (desc->options.coupled ? 1 : 0);
  const double directions = desc->direction == GK_BIDIRECTIONAL ? 2 : 1;
  double input = (double)shape->input, products = 0;
  for (int64_t l = 0; l < shape->layers; l++) {
    const double hidden = (double)(desc->hidden_sizes ? desc->hidden_sizes[l] : shape->hidden);
    const double output = desc->projection_size ? (double)desc->projection_size : hidden;
    const double read = desc->recurrence == GK_RECURRENCE_NONE ? 0 : output;
    products += directions * gates * hidden * (input + read);
    products += desc->projection_size ? directions * output * hidden : 0;
    input = desc->merge == GK_MERGE_SUM ? output : directions * output;
  }
  return 2.0 * (double)shape->batch * (double)shape->time * products;
}
