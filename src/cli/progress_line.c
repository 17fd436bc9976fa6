/* SPDX-License-Identifier: Apache-2.0 */
#include "progress_line.h"

#include <inttypes.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "runner_clock.h"

void progress_time_text(double left, char text[PROGRESS_TIME]) {
  const int64_t seconds = (int64_t)(left + 0.5);
  const int minute = (int)(seconds / 60 % 60), second = (int)(seconds % 60);
  if (seconds >= 3600)
    snprintf(text, PROGRESS_TIME, "%" PRId64 ":%02d:%02d", seconds / 3600, minute, second);
  else
    snprintf(text, PROGRESS_TIME, "%d:%02d", minute, second);
}

void progress_line_begin(struct progress_line *line, FILE *stream, double interval) {
  const double now = clock_seconds();
  *line = (struct progress_line){
      .stream = stream, .terminal = isatty(fileno(stream)), .interval = interval, .start = now, .next = now};
}

bool progress_line_due(struct progress_line *line) {
  const double now = clock_seconds();
  const bool due = now >= line->next;
  if (due)
    line->next = now + line->interval;
  return due;
}

int progress_line_width(const struct progress_line *line) {
  struct winsize size;
  return ioctl(fileno(line->stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79;
}

void progress_line_draw(struct progress_line *line, const char *text) {
  if (!line->terminal)
    return;
  fprintf(line->stream, "\r%.*s\033[K", progress_line_width(line), text); /* erases what a longer one left */
  fflush(line->stream);
  line->open = true;
}

void progress_line_count(struct progress_line *line, const char *what, int64_t done, int64_t total,
                         const char *unit, const char *note) {
  char text[256], left[PROGRESS_TIME] = "";
  if (!line->terminal || !progress_line_due(line))
    return;
  if (done > 0)
    progress_time_text((clock_seconds() - line->start) / (double)done * (double)(total - done), left);
  snprintf(text, sizeof text, "%s %" PRId64 "/%" PRId64 " %s%s%s%s%s%s", what, done, total, unit,
           *note ? "  " : "", note, *left ? "  " : "", left, *left ? " left" : "");
  progress_line_draw(line, text);
}

void progress_line_clear(struct progress_line *line) {
  if (line->open) {
    fprintf(line->stream, "\r\033[K");
    fflush(line->stream);
  }
  line->open = false;
}

void progress_line_end(struct progress_line *line) {
  if (line->open)
    fputc('\n', line->stream);
  line->open = false;
}
