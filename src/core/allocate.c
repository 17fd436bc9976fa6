/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* madvise */
#endif
#include <stdlib.h>
#include <sys/mman.h>

#include "src/core/size.h"
#include "src/core/status.h"

enum { HUGE_PAGE = 2 << 20, LINE = 64 };

gk_status gk_allocate(size_t bytes, void **memory) {
  if (!memory)
    return gk_fail(GK_ERROR_ARGUMENT, "memory is NULL");
  *memory = NULL;
  const size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : LINE;
  size_t rounded = bytes ? bytes : 1;
  void *made = NULL;
  if (!gk_size_align(&rounded, alignment) || posix_memalign(&made, alignment, rounded))
    return gk_fail(GK_ERROR_MEMORY, "no memory for %zu bytes", bytes);
#ifdef MADV_HUGEPAGE
  /* Rows are kilobytes apart: with 4 KiB pages a tile needs more of them than the first TLB holds. A refusal
   * costs speed only. */
  if (alignment == HUGE_PAGE)
    (void)madvise(made, rounded, MADV_HUGEPAGE);
#endif
  *memory = made;
  return GK_OK;
}

void gk_free(void *memory) {
  free(memory);
}
