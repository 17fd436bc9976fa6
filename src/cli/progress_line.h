/* SPDX-License-Identifier: Apache-2.0
 *
 * A line on a terminal that is rewritten while something takes long; nothing where no terminal is. */
#ifndef GATEKERN_CLI_PROGRESS_LINE_H
#define GATEKERN_CLI_PROGRESS_LINE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress_line {
  FILE *stream;
  bool terminal;
  bool open;       /* there is a line that the next one overwrites */
  double interval; /* seconds between lines */
  double start, next;
};

/* H:MM:SS or M:SS */
enum { PROGRESS_TIME = 32 };
void progress_time_text(double seconds, char text[PROGRESS_TIME]);

/* From now on; the first line may come at once. */
void progress_line_begin(struct progress_line *line, FILE *stream, double interval);
/* Is it time for a new line? Then the next one is an interval away. */
bool progress_line_due(struct progress_line *line);
/* Columns of the terminal; a longer line would not be overwritten by the next. */
int progress_line_width(const struct progress_line *line);
void progress_line_draw(struct progress_line *line, const char *text);
/* "WHAT DONE/TOTAL UNIT  NOTE  0:12 left", if it is due; the rest is taken to be as fast as what is done. */
void progress_line_count(struct progress_line *line, const char *what, int64_t done, int64_t total,
                         const char *unit, const char *note);
/* Takes the line away, so that other output can follow; or leaves it and goes to the next. */
void progress_line_clear(struct progress_line *line);
void progress_line_end(struct progress_line *line);

#endif
