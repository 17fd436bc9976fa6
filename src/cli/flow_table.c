/* SPDX-License-Identifier: Apache-2.0 */
#include "flow_table.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

enum { DISTANCE_WIDTH = 8, NUMBER_WIDTH = 9 };

bool flow_table_make(struct flow_table *table, int64_t time, int count) {
  *table = (struct flow_table){time, count, calloc((size_t)count, sizeof *table->columns)};
  for (int i = 0; i < count && table->columns; ++i)
    if (!(table->columns[i].norms = calloc((size_t)time, sizeof(double))))
      return false;
  return table->columns != NULL;
}

void flow_table_free(struct flow_table *table) {
  for (int i = 0; i < table->count && table->columns; ++i)
    free(table->columns[i].norms);
  free(table->columns);
}

int flow_gates(const gk_rnn_desc *network) {
  return gk_cell_gates(network->cell) - (network->options.coupled ? 1 : 0);
}

void flow_column_name_gates(struct flow_column *column, const gk_rnn_desc *network) {
  column->gates = flow_gates(network);
  for (int gate = 0; gate < column->gates; ++gate)
    column->gate[gate] = gk_rnn_gate_name(network, gate);
}

/* ---- Norms ---- */

static int width(const struct flow_column *column) {
  const int length = (int)strlen(column->name);
  return length > NUMBER_WIDTH ? length : NUMBER_WIDTH;
}

/* The end of the columns from `first` on that fit into a line, one at least. */
static int end_of_line(const struct flow_table *table, int first) {
  int end = first + 1, used = DISTANCE_WIDTH + 1 + width(&table->columns[first]);
  while (end < table->count && (used += 1 + width(&table->columns[end])) <= CLI_WIDTH)
    ++end;
  return end;
}

/* Where a norm has left the range of floats the ratio would be infinite, 0 or a NaN, whose sign printf shows
 * and machines choose. */
static void print_ratio(double norm, double nearest, int columns) {
  if (!isfinite(norm) || !isfinite(nearest))
    printf(" %*s", columns, "overflow");
  else if (nearest == 0)
    printf(" %*s", columns, "undefined");
  else
    printf(" %*.3g", columns, norm / nearest);
}

/* Columns first..end - 1. */
static void print_distance(const struct flow_table *table, int first, int end, int64_t distance) {
  printf("%-*" PRId64, DISTANCE_WIDTH, distance);
  for (int i = first; i < end; ++i) {
    const double *norms = table->columns[i].norms;
    print_ratio(norms[table->time - 1 - distance], norms[table->time - 1], width(&table->columns[i]));
  }
  printf("\n");
}

static void print_columns(const struct flow_table *table, int first, int end) {
  printf("%-*s", DISTANCE_WIDTH, "distance");
  for (int i = first; i < end; ++i)
    printf(" %*s", width(&table->columns[i]), table->columns[i].name);
  printf("\n");
  int64_t last = 0;
  print_distance(table, first, end, 0);
  for (int64_t ten = 1; ten < table->time; ten *= 10)
    for (int step = 0; step < 3 && ten * (step == 0 ? 1 : step == 1 ? 2 : 5) < table->time; ++step)
      print_distance(table, first, end, last = ten * (step == 0 ? 1 : step == 1 ? 2 : 5));
  if (last < table->time - 1)
    print_distance(table, first, end, table->time - 1);
  printf("\n");
}

/* ---- Spectral radii ---- */

static bool same_gates(const struct flow_column *a, const struct flow_column *b) {
  bool same = a->gates == b->gates;
  for (int gate = 0; gate < a->gates && same; ++gate)
    same = strcmp(a->gate[gate], b->gate[gate]) == 0;
  return same;
}

static void print_radius(double radius) {
  if (isnan(radius))
    printf(" %*s", NUMBER_WIDTH, "overflow");
  else
    printf(radius < 1e4 ? " %*.4f" : " %*.3g", NUMBER_WIDTH, radius);
}

/* Cells differ in their gates: their names stand above the first row of each set. */
static void print_radii(const struct flow_table *table) {
  int names = 0;
  for (int i = 0; i < table->count; ++i)
    if ((int)strlen(table->columns[i].name) > names)
      names = (int)strlen(table->columns[i].name);
  printf("spectral radius of the recurrent matrix, gate by gate\n");
  for (int i = 0; i < table->count; ++i) {
    const struct flow_column *column = &table->columns[i];
    if (i == 0 || !same_gates(column, column - 1)) {
      printf("%*s", names, "");
      for (int gate = 0; gate < column->gates; ++gate)
        printf(" %*s", NUMBER_WIDTH, column->gate[gate]);
      printf("\n");
    }
    printf("%-*s", names, column->name);
    for (int gate = 0; gate < column->gates; ++gate)
      print_radius(column->radii[gate]);
    printf("\n");
  }
}

void flow_table_print(const struct flow_table *table) {
  printf("norm of dL/dh against the distance from the loss, relative to distance 0\n");
  for (int first = 0, end; first < table->count; first = end)
    print_columns(table, first, end = end_of_line(table, first));
  print_radii(table);
}

/* ---- JSON ---- */

static void print_numbers(const char *name, int64_t count, const double *numbers) {
  printf("\"%s\": [", name);
  for (int64_t i = 0; i < count; ++i)
    if (isfinite(numbers[i]))
      printf("%s%.9g", i ? ", " : "", numbers[i]);
    else
      printf("%snull", i ? ", " : "");
  printf("]");
}

void flow_table_print_json(const struct flow_table *table) {
  printf("{\"time\": %" PRId64 ", \"networks\": [", table->time);
  for (int i = 0; i < table->count; ++i) {
    const struct flow_column *column = &table->columns[i];
    printf("%s\n{\"name\": \"%s\", \"gates\": [", i ? "," : "", column->name);
    for (int gate = 0; gate < column->gates; ++gate)
      printf("%s\"%s\"", gate ? ", " : "", column->gate[gate]);
    printf("], ");
    print_numbers("spectral_radius", column->gates, column->radii);
    printf(", ");
    print_numbers("norms", table->time, column->norms);
    printf("}");
  }
  printf("]}\n");
}
