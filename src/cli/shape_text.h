/* SPDX-License-Identifier: Apache-2.0 */
/* A named shape in what programs print. */
#ifndef GATEKERN_CLI_SHAPE_TEXT_H
#define GATEKERN_CLI_SHAPE_TEXT_H

#include "bench/shapes.h"

/* The first option that was given of those that describe a shape, where no list does; or NULL. */
const char *shape_option_given(void);

/* "lstm I512 H512 N64 T25", and the layers where there are more than one. */
enum { SHAPE_TEXT = 640 };
void shape_text(const bench_shape *shape, char text[SHAPE_TEXT]);
/* "name" (where it has one), "cell" ... "layers", each with ", " behind it; they hold nothing that JSON
 * escapes. */
void shape_print_json(const bench_shape *shape);

#endif
