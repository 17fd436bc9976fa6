/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_CORE_STATUS_H
#define GK_CORE_STATUS_H

#include "gatekern.h"

/* Keeps the message for gk_last_error() of this thread and returns `status`, so that a check is one line:
 * return gk_fail(GK_ERROR_ARGUMENT, "batch is %lld, must not be negative", (long long)batch);
 * Allocates nothing; a message longer than 511 bytes is cut. */
gk_status gk_fail(gk_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
