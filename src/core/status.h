/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_CORE_STATUS_H
#define GK_CORE_STATUS_H

#include "gatekern.h" /* gk_fail */

/* clang's analyzer sees one file at a time: told what gk_fail returns, it does not follow failed checks on.
 */
#ifdef __clang_analyzer__
#define gk_fail(status, ...) ((void)gk_fail(status, __VA_ARGS__), (status))
#endif

#endif
