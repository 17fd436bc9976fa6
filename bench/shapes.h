/* SPDX-License-Identifier: Apache-2.0 */
/* Named shapes: text files in bench/shapes, one shape a line: name cell input hidden batch time layers.
 * '#' starts a comment. The lists of that folder are built into the programs; others are read from files. */
#ifndef GATEKERN_BENCH_SHAPES_H
#define GATEKERN_BENCH_SHAPES_H

#include <gatekern.h>

/* Of input, hidden, batch, time and layers: no product of three overflows. */
#define BENCH_LARGEST_SIZE (1 << 20)

typedef struct bench_shape {
  char name[64];
  gk_cell cell;
  int64_t input, hidden, batch, time, layers;
  gk_rnn_desc options; /* of it are read: options (gk_rnn_option_name), layout, hidden_sizes; zeros: none */
} bench_shape;

typedef struct bench_shapes {
  bench_shape *shape;
  size_t count;
} bench_shapes;

/* A list that is built in. The table is generated from the folder and ends with a NULL name. */
typedef struct bench_list {
  const char *name; /* of the file, without .txt */
  const char *text;
} bench_list;
extern const bench_list bench_lists[];

/* Reads the built-in list of this name, else the file. On failure nothing is kept, and `message` says what
 * is wrong and in which line. */
bool bench_shapes_load(const char *list, bench_shapes *shapes, char *message, size_t message_size);
bool bench_shapes_parse(const char *text, bench_shapes *shapes, char *message, size_t message_size);
void bench_shapes_free(bench_shapes *shapes);

/* All of the network; its plan is left to the library. */
gk_rnn_desc bench_shape_description(const bench_shape *shape);
/* FLOP of one forward pass: 2 N T G (I_l + H) H summed over layers and directions, I_l being what the layer
 * below hands on; with a projection 2 N T (G (I_l + P) H + P H). Backward is twice that. */
double bench_shape_flop(const bench_shape *shape);

#endif
