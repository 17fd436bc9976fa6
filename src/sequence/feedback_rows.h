/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread's rows of some steps, a group at a time: a slice's own, or a team's share of each step. */
#ifndef GK_SEQUENCE_FEEDBACK_ROWS_H
#define GK_SEQUENCE_FEEDBACK_ROWS_H

#include "src/layers/attention.h"
#include "src/sequence/feedback.h"
#include "src/sequence/rows.h"

enum {
  GK_FEED_ROWS = 48,  /* of a group */
  GK_FEED_LOGITS = 16 /* whose logits exist at once */
};

struct gk_feed_row {
  int64_t s, i, n;          /* step, position, caller's sample */
  int64_t r, before, after; /* rows of this step and of its neighbours; what there is not is -1 */
  bool last;                /* of its sample */
};

struct gk_feed_rows {
  const struct gk_worker *worker;
  int64_t s, end; /* the next step */
  int64_t j, j_end;
  size_t count;
  struct gk_feed_row row[GK_FEED_ROWS];
};

static inline void gk_feed_rows_enter(struct gk_feed_rows *rows) {
  const int64_t count = rows->s < rows->end ? gk_worker_rows(rows->worker, rows->s) : 0;
  size_t begin = 0, end = (size_t)count;
  if (rows->worker->teams)
    gk_split((size_t)count, 1, rows->worker->thread, rows->worker->threads, &begin, &end);
  rows->j = (int64_t)begin;
  rows->j_end = (int64_t)end;
}

/* Rows of the steps [begin, end), ascending. */
static inline struct gk_feed_rows gk_feed_rows_start(const struct gk_worker *worker, int64_t begin,
                                                     int64_t end) {
  struct gk_feed_rows rows;
  rows.worker = worker;
  rows.s = begin;
  rows.end = end;
  rows.count = 0;
  gk_feed_rows_enter(&rows);
  return rows;
}

/* The next group; false if there is none. */
static inline bool gk_feed_rows_next(struct gk_feed_rows *rows) {
  const struct gk_run *run = rows->worker->run;
  rows->count = 0;
  while (rows->s < rows->end && rows->count < GK_FEED_ROWS) {
    if (rows->j == rows->j_end) {
      rows->s++;
      gk_feed_rows_enter(rows);
      continue;
    }
    const int64_t i = gk_worker_position(rows->worker, rows->j++), n = run->order[i], s = rows->s;
    const bool last = s + 1 == run->length[i];
    rows->row[rows->count++] = (struct gk_feed_row){.s = s,
                                                    .i = i,
                                                    .n = n,
                                                    .r = gk_run_caller_row(run, s, n),
                                                    .before = s ? gk_run_caller_row(run, s - 1, n) : -1,
                                                    .after = last ? -1 : gk_run_caller_row(run, s + 1, n),
                                                    .last = last};
  }
  return rows->count > 0;
}

/* The source that a sample attends to. */
static inline struct gk_source gk_feed_source_of(const struct gk_run *run, int64_t n) {
  const struct gk_feed *feed = run->feed;
  const int64_t sources = run->batch / feed->beams, m = n / feed->beams,
                size = feed->decoder->desc.source_size;
  const bool batch_first = run->rnn->desc.layout == GK_BATCH_FIRST;
  return (struct gk_source){
      .vectors = feed->source_time ? feed->source + (batch_first ? m * feed->source_time : m) * size : NULL,
      .stride = (ptrdiff_t)(batch_first ? size : sources * size),
      .positions = (size_t)(feed->source_lengths ? feed->source_lengths[m] : feed->source_time),
      .size = (size_t)size};
}

static inline struct gk_source gk_feed_source(const struct gk_worker *worker, const struct gk_feed_row *row) {
  return gk_feed_source_of(worker->run, row->n);
}

#endif
