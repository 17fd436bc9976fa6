/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checksum.h"

static bool same_float(float a, float b) {
  return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static bool same_floats(const float *a, const float *b, int64_t count) {
  if (count == 0 || memcmp(a, b, (size_t)count * sizeof(float)) == 0)
    return true;
  for (int64_t i = 0; i < count; i++)
    if (!same_float(a[i], b[i]))
      return false;
  return true;
}

static const struct result *find_result(const verify_job *job, const char *name) {
  for (int i = 0; i < job->results; i++)
    if (!strcmp(job->result[i].name, name))
      return &job->result[i];
  return NULL;
}

static void complain(verify_job *job, const char *name, const char *what) {
  if (job->problem)
    return;
  snprintf(job->message, sizeof job->message, "%s is not that of %s", name, what);
  job->problem = job->message;
}

static gk_status add_result(verify_job *job, const char *name, const float *values, int64_t count,
                            double number) {
  if (job->compared < job->results) {
    const struct result *first = &job->result[job->compared++];
    if (values ? !same_floats(values, first->values, count) : memcmp(&number, &first->number, sizeof number))
      complain(job, name, "the first way");
    return GK_OK;
  }
  if (job->results == MOST_RESULTS)
    return GK_ERROR_MEMORY;
  float *kept = values ? malloc((size_t)count * sizeof(float) + 1) : NULL;
  if (values && !kept)
    return GK_ERROR_MEMORY;
  if (values)
    memcpy(kept, values, (size_t)count * sizeof(float));
  job->result[job->results++] = (struct result){name, kept, count, number};
  job->compared = job->results;
  return GK_OK;
}

gk_status verify_add_floats(verify_job *job, const char *name, const float *values, int64_t count) {
  return add_result(job, name, values, count, 0);
}

gk_status verify_add_double(verify_job *job, const char *name, double number) {
  return add_result(job, name, NULL, 0, number);
}

void verify_must_equal(verify_job *job, const char *name, const float *values, const char *other) {
  const struct result *first = find_result(job, other);
  if (first && !same_floats(values, first->values, first->count))
    complain(job, name, other);
}

int verify_result_count(const verify_job *job) {
  return job->results;
}

const char *verify_result_name(const verify_job *job, int index) {
  return job->result[index].name;
}

uint64_t verify_result_hash(const verify_job *job, int index) {
  const struct result *result = &job->result[index];
  if (result->values)
    return checksum_floats(CHECKSUM_START, result->values, result->count);
  uint64_t bits;
  memcpy(&bits, &result->number, sizeof bits);
  return checksum_word(CHECKSUM_START, bits);
}
