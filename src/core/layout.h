/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_CORE_LAYOUT_H
#define GK_CORE_LAYOUT_H

#include "gatekern.h"

/* Row (t, n) of a caller's tensor, to be multiplied by a row's width. */
static inline int64_t gk_layout_row(gk_layout layout, int64_t time, int64_t batch, int64_t t, int64_t n) {
  return layout == GK_BATCH_FIRST ? n * time + t : t * batch + n;
}

#endif
