/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GATEKERN_CLI_JSON_NUMBER_H
#define GATEKERN_CLI_JSON_NUMBER_H

#include <math.h>
#include <stdio.h>

/* "key": value, with all its digits; JSON has no infinity and no NaN, so those are null. */
static inline void print_json_number(FILE *stream, const char *key, double value) {
  if (isfinite(value))
    fprintf(stream, "\"%s\": %.17g", key, value);
  else
    fprintf(stream, "\"%s\": null", key);
}

#endif
