/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_CORE_STATUS_H
#define GK_CORE_STATUS_H

#include "gatekern.h" /* gk_fail */

/* clang's analyzer sees one file at a time: told what gk_fail returns, it does not follow failed checks
 * on. */
#ifdef __clang_analyzer__
#define gk_fail gk_fail_as_analyzed
static inline gk_status gk_fail(gk_status status, const char *format, ...) {
  (void)format;
  return status;
}
#endif

#endif
