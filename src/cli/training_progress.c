/* SPDX-License-Identifier: Apache-2.0 */
#include "training_progress.h"
#include "json_number.h"
#include "runner_clock.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const double forget = 0.98;           /* a step's weight in the averages a step later */
static const double terminal_interval = 0.2; /* seconds between lines */
static const double file_interval = 5;
static const double first_line = 0.2; /* a first step alone is no average */
static const char log_begins[] = "{\"step\":";

bool progress_check_log(struct training_progress *progress, const char *log_path, bool resumed) {
  char first[sizeof log_begins - 1];
  struct stat status;
  if (!log_path || stat(log_path, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0)
    return true;
  FILE *found = fopen(log_path, "rb");
  /* A run that was killed may have written no more of it. */
  const size_t read = found ? fread(first, 1, sizeof first, found) : 0;
  const bool is_log = read > 0 && memcmp(first, log_begins, read) == 0;
  if (!found)
    cli_error(progress->command, "--log %s: exists and cannot be read: %s", log_path, strerror(errno));
  else if (!is_log)
    cli_error(progress->command,
              "--log %s: exists and is not a log of this program, whose first line begins with %s: not "
              "overwritten",
              log_path, log_begins);
  if (found)
    fclose(found);
  progress->log_replaces = is_log && !resumed;
  return is_log;
}

/* The bytes of a log but for those at its end that belong to later steps than `done`, or to half a line,
 * which a run that was killed left. -1: it cannot be read. */
static off_t kept_of_log(FILE *log, int64_t done) {
  char *line = NULL;
  size_t capacity = 0;
  off_t kept = 0;
  ssize_t length;
  while ((length = getline(&line, &capacity, log)) > 0) {
    int64_t step;
    const bool again = sscanf(line, "{\"step\": %" SCNd64, &step) == 1 && step > done;
    if (line[length - 1] == '\n' && !again)
      kept = ftello(log);
  }
  const bool complete = feof(log);
  free(line);
  return complete ? kept : -1;
}

bool progress_cut_log(struct training_progress *progress, const char *log_path, int64_t done) {
  struct stat status;
  if (!log_path || stat(log_path, &status) != 0 || !S_ISREG(status.st_mode))
    return true;
  FILE *log = fopen(log_path, "r+");
  const off_t kept = log ? kept_of_log(log, done) : -1;
  const bool cut = kept == status.st_size || (kept >= 0 && ftruncate(fileno(log), kept) == 0);
  if (!cut)
    cli_error(progress->command, "--log %s: cannot go on with it: %s", log_path, strerror(errno));
  if (log)
    fclose(log);
  return cut;
}

bool progress_open_log(struct training_progress *progress, const char *log_path) {
  progress->log_path = log_path;
  if (!log_path)
    return true;
  progress->log = fopen(log_path, "a");
  if (!progress->log) {
    cli_error(progress->command, "--log %s: cannot write: %s", log_path, strerror(errno));
    return false;
  }
  setvbuf(progress->log, NULL, _IOLBF, 0);
  return true;
}

void progress_begin(struct training_progress *progress) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  progress_line_begin(&progress->line, stdout, terminal_interval);
  if (!progress->line.terminal)
    progress->line.interval = file_interval;
}

void progress_start(struct training_progress *progress, int64_t done) {
  char text[64];
  snprintf(text, sizeof text, "step %" PRId64 "/%" PRId64, done, progress->steps);
  progress_line_draw(&progress->line, text);
  progress->line.next = clock_seconds() + first_line;
}

static void close_log(struct training_progress *progress, bool written) {
  FILE *log = progress->log;
  int error = written ? 0 : errno;
  progress->log = NULL;
  if (fclose(log) != 0 && written)
    error = errno;
  if (!error)
    return;
  progress->log_failed = true;
  progress_line_end(&progress->line);
  cli_error(progress->command, "--log %s: cannot write: %s", progress->log_path, strerror(error));
}

void progress_end(struct training_progress *progress) {
  progress_line_end(&progress->line);
  if (progress->log)
    close_log(progress, true);
}

bool progress_failed(const struct training_progress *progress) {
  return progress->log_failed || ferror(stdout);
}

static bool write_log(struct training_progress *progress, const gk_training_step *step, double seconds,
                      const gk_language_loss *validation) {
  FILE *log = progress->log;
  if (progress->log_replaces && ftruncate(fileno(log), 0) != 0)
    return false;
  progress->log_replaces = false;
  const double gflops = step->operations / seconds * 1e-9;
  fprintf(
      log,
      "%s %" PRId64 ", \"epoch\": %.6f, \"loss\": %.17g, \"bits_per_character\": %.9g"
      ", \"learning_rate\": %.9g, \"gradient_norm\": %.17g, \"clip_scale\": %.9g, \"characters\": %" PRId64
      ", \"seconds\": %.6f, \"characters_per_second\": %.1f, \"gflops\": %.3f",
      log_begins, step->step, (double)step->step / (double)progress->steps_per_epoch, step->loss,
      step->loss / M_LN2, step->learning_rate, step->gradient_norm, (double)step->clip_scale,
      step->characters, seconds, (double)step->characters / seconds, gflops);
  if (progress->peak_gflops > 0)
    fprintf(log, ", \"percent_of_peak\": %.2f", 100 * gflops / progress->peak_gflops);
  if (validation) {
    fprintf(log, ", ");
    print_json_number(log, "validation_loss", validation->nats);
  }
  fprintf(log, "}\n");
  return !ferror(log);
}

/* All validations together often take as long as the steps: before the first one is measured it is taken to
 * need a step's time for its forward part, a third. */
static double validation_seconds(const struct training_progress *progress) {
  return progress->validation_seconds > 0
             ? progress->validation_seconds
             : (double)progress->validation_characters * progress->seconds / progress->characters / 3;
}

static void print_line(struct training_progress *progress, int64_t step) {
  const double loss = progress->loss / progress->weight;
  const double gflops = progress->operations / progress->seconds * 1e-9;
  const double left = progress->seconds / progress->weight * (double)(progress->steps - step) +
                      validation_seconds(progress) * (double)progress->validations_left;
  const bool narrow = progress->line.terminal && progress_line_width(&progress->line) < 109;
  char line[256], time[PROGRESS_TIME], share[32] = "", bits[32] = "";
  progress_time_text(left, time);
  if (progress->peak_gflops > 0)
    snprintf(share, sizeof share, " (%.0f%%%s)", 100 * gflops / progress->peak_gflops,
             narrow ? "" : " of peak");
  if (!narrow)
    snprintf(bits, sizeof bits, "  %.3f bits/char", loss / M_LN2);
  snprintf(line, sizeof line,
           narrow ? "%" PRId64 "/%" PRId64 " loss %.3f nats/char%s %.0f chars/s %.0f GFLOP/s%s %s left"
                  : "step %" PRId64 "/%" PRId64
                    "  loss %.3f nats/char%s  %.0f chars/s  %.1f GFLOP/s%s  %s left",
           step, progress->steps, loss, bits, progress->characters / progress->seconds, gflops, share, time);
  if (progress->line.terminal)
    progress_line_draw(&progress->line, line);
  else
    puts(line);
}

void progress_log(struct training_progress *progress, const gk_training_step *step, double seconds,
                  const gk_language_loss *validation) {
  if (progress->log && !write_log(progress, step, seconds, validation))
    close_log(progress, false);
}

void progress_step(struct training_progress *progress, const gk_training_step *step, double seconds) {
  progress->weight = progress->weight * forget + 1;
  progress->loss = progress->loss * forget + step->loss;
  progress->characters = progress->characters * forget + (double)step->characters;
  progress->operations = progress->operations * forget + step->operations;
  progress->seconds = progress->seconds * forget + seconds;
  if (progress_line_due(&progress->line) || step->step == progress->steps)
    print_line(progress, step->step);
}

void progress_note(struct training_progress *progress, const char *format, ...) {
  va_list arguments;
  progress_line_clear(&progress->line);
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  putchar('\n');
}
