/* SPDX-License-Identifier: Apache-2.0 */
/* `gatekern bench --check trainer`: how much of a training step of a character model is not its recurrent
 * layers. */
#include <gatekern-train.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench_check.h"
#include "runner_clock.h"

/* Symbols as many as in tiny Shakespeare. The first steps pay for pages and threads. */
enum { SYMBOLS = 65, FIRST_SYMBOL = 33, FIRST_STEPS = 3, FEWEST_STEPS = 5, MOST_STEPS = 1000 };

/* A text of some steps, of every symbol. */
static char *make_text(const bench_shape *s, size_t *bytes) {
  enum { STEPS = 4 };
  *bytes = (size_t)(s->batch * (STEPS * s->time + 1)) + SYMBOLS;
  char *text = malloc(*bytes);
  for (size_t i = 0; text && i < *bytes; i++)
    text[i] = (char)(FIRST_SYMBOL + (i < SYMBOLS ? i : (size_t)(SYMBOLS * gk_uniform(1, 0, i))));
  return text;
}

static gk_status open_trainer(const struct check_plan *plan, const bench_shape *s,
                              gk_language_trainer **trainer) {
  gk_language_model_desc model = GK_LANGUAGE_MODEL_DESC_INIT;
  gk_training_desc training = GK_TRAINING_DESC_INIT;
  size_t bytes;
  char *text = make_text(s, &bytes);
  if (!text)
    return GK_ERROR_MEMORY;
  model.network = bench_shape_description(s);
  model.network.isa = plan->isa;
  model.network.threads = plan->threads;
  training.batch = s->batch;
  training.time = s->time;
  training.validation = 0;
  const gk_status status =
      gk_language_trainer_create(&model, &training, &(gk_text){text, bytes}, NULL, trainer);
  free(text);
  return status;
}

/* Medians of the parts' times. */
static gk_status time_parts(gk_language_trainer *trainer, double for_seconds, double *part) {
  static double seconds[GK_TRAINING_PARTS][MOST_STEPS];
  gk_training_step step;
  gk_status status = GK_OK;
  int64_t steps = 0;
  for (int i = 0; i < FIRST_STEPS && status == GK_OK; i++)
    status = gk_language_trainer_step(trainer, &step);
  const double end = clock_seconds() + for_seconds;
  for (; status == GK_OK && steps < MOST_STEPS && (steps < FEWEST_STEPS || clock_seconds() < end); steps++) {
    status = gk_language_trainer_step(trainer, &step);
    for (int i = 0; i < GK_TRAINING_PARTS; i++)
      seconds[i][steps] = step.seconds[i];
  }
  for (int i = 0; i < GK_TRAINING_PARTS && status == GK_OK; i++)
    part[i] = clock_median(seconds[i], steps);
  return status;
}

gk_status bench_check_trainer(const struct check_plan *plan, const bench_shape *s,
                              struct check_summary *summary) {
  gk_language_trainer *trainer = NULL;
  double part[GK_TRAINING_PARTS], total = 0;
  gk_status status = open_trainer(plan, s, &trainer);
  if (status == GK_OK)
    status = time_parts(trainer, plan->seconds, part);
  gk_language_trainer_destroy(trainer);
  if (status != GK_OK)
    return status;
  for (int i = 0; i < GK_TRAINING_PARTS; i++)
    total += part[i];
  const double beside = total - part[GK_PART_FORWARD] - part[GK_PART_BACKWARD] - part[GK_PART_PACK];
  bench_check_start_line(plan, s);
  for (int i = 0; i < GK_TRAINING_PARTS && plan->json; i++)
    printf("\"%s_ms\": %.6g, ", gk_training_part_name((gk_training_part)i), 1e3 * part[i]);
  printf(plan->json ? "\"symbols\": %d, \"step_ms\": %.6g, \"beside_ms\": %.6g, "
                    : "%d symbols, step %9.3f ms, of it beside the layers %9.3f ms: ",
         SYMBOLS, 1e3 * total, 1e3 * beside);
  bench_check_end_line(plan, s, beside / total, summary);
  return GK_OK;
}
