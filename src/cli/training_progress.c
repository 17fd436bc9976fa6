/* SPDX-License-Identifier: Apache-2.0 */
#include "training_progress.h"
#include "json_number.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static const double forget = 0.98;           /* a step's weight in the averages a step later */
static const double terminal_interval = 0.2; /* seconds between lines */
static const double file_interval = 5;

double progress_clock(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

bool progress_begin(struct training_progress *progress, const char *log_path, bool append) {
  progress->terminal = isatty(STDOUT_FILENO);
  progress->next_line = progress_clock() + terminal_interval;
  progress->log_path = log_path;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (!log_path)
    return true;
  progress->log = fopen(log_path, append ? "a" : "w");
  if (!progress->log) {
    cli_error(progress->command, "--log %s: cannot write: %s", log_path, strerror(errno));
    return false;
  }
  setvbuf(progress->log, NULL, _IOLBF, 0);
  return true;
}

static void end_line(struct training_progress *progress) {
  if (progress->line_open)
    putchar('\n');
  progress->line_open = false;
}

static bool log_failed(struct training_progress *progress) {
  end_line(progress);
  cli_error(progress->command, "--log %s: cannot write: %s", progress->log_path, strerror(errno));
  return false;
}

bool progress_end(struct training_progress *progress) {
  end_line(progress);
  FILE *log = progress->log;
  progress->log = NULL;
  return !log || fclose(log) == 0 || log_failed(progress);
}

static bool write_log(struct training_progress *progress, const gk_training_step *step, double seconds,
                      const gk_language_loss *validation) {
  FILE *log = progress->log;
  const double gflops = step->operations / seconds * 1e-9;
  fprintf(
      log,
      "{\"step\": %" PRId64 ", \"epoch\": %.6f, \"loss\": %.17g, \"bits_per_character\": %.9g"
      ", \"learning_rate\": %.9g, \"gradient_norm\": %.17g, \"clip_scale\": %.9g, \"characters\": %" PRId64
      ", \"seconds\": %.6f, \"characters_per_second\": %.1f, \"gflops\": %.3f",
      step->step, (double)step->step / (double)progress->steps_per_epoch, step->loss, step->loss / M_LN2,
      step->learning_rate, step->gradient_norm, (double)step->clip_scale, step->characters, seconds,
      (double)step->characters / seconds, gflops);
  if (progress->peak_gflops > 0)
    fprintf(log, ", \"percent_of_peak\": %.2f", 100 * gflops / progress->peak_gflops);
  if (validation) {
    fprintf(log, ", ");
    print_json_number(log, "validation_loss", validation->nats);
  }
  fprintf(log, "}\n");
  return !ferror(log);
}

/* H:MM:SS or M:SS */
static void format_time(double left, char *text, size_t size) {
  const int64_t seconds = (int64_t)(left + 0.5);
  const int minute = (int)(seconds / 60 % 60), second = (int)(seconds % 60);
  if (seconds >= 3600)
    snprintf(text, size, "%" PRId64 ":%02d:%02d", seconds / 3600, minute, second);
  else
    snprintf(text, size, "%d:%02d", minute, second);
}

/* Columns of the terminal; a longer line would not be overwritten by the next. */
static int terminal_width(void) {
  struct winsize size;
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79;
}

static void print_line(struct training_progress *progress, int64_t step) {
  const double loss = progress->loss / progress->weight;
  const double gflops = progress->operations / progress->seconds * 1e-9;
  const double left = progress->seconds / progress->weight * (double)(progress->steps - step) +
                      progress->validation_seconds * (double)progress->validations_left;
  const int width = progress->terminal ? terminal_width() : INT_MAX;
  const bool narrow = width < 99;
  char line[256], time[32], share[32] = "";
  format_time(left, time, sizeof time);
  if (progress->peak_gflops > 0)
    snprintf(share, sizeof share, " (%.0f%%%s)", 100 * gflops / progress->peak_gflops,
             narrow ? "" : " of peak");
  snprintf(line, sizeof line,
           narrow ? "%" PRId64 "/%" PRId64 " loss %.3f %.3f bits/char %.0f chars/s %.0f GFLOP/s%s %s left"
                  : "step %" PRId64 "/%" PRId64
                    "  loss %.3f  %.3f bits/char  %.0f chars/s  %.1f GFLOP/s%s  %s left",
           step, progress->steps, loss, loss / M_LN2, progress->characters / progress->seconds, gflops, share,
           time);
  if (!progress->terminal) {
    puts(line);
    return;
  }
  printf("\r%.*s\033[K", width, line); /* the escape erases what a longer line left */
  fflush(stdout);
  progress->line_open = true;
}

bool progress_step(struct training_progress *progress, const gk_training_step *step, double seconds,
                   const gk_language_loss *validation) {
  progress->weight = progress->weight * forget + 1;
  progress->loss = progress->loss * forget + step->loss;
  progress->characters = progress->characters * forget + (double)step->characters;
  progress->operations = progress->operations * forget + step->operations;
  progress->seconds = progress->seconds * forget + seconds;
  if (progress->log && !write_log(progress, step, seconds, validation))
    return log_failed(progress);
  const double now = progress_clock();
  if (now >= progress->next_line || step->step == progress->steps) {
    progress->next_line = now + (progress->terminal ? terminal_interval : file_interval);
    print_line(progress, step->step);
  }
  return true;
}

void progress_note(struct training_progress *progress, const char *format, ...) {
  va_list arguments;
  if (progress->terminal)
    printf("\r\033[K");
  progress->line_open = false;
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  putchar('\n');
}
