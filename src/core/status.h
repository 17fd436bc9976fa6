/* SPDX-License-Identifier: Apache-2.0
 *
 * gk_fail, through which every failure of the library goes, is in the public header: libraries built on
 * this one need it too. */
#ifndef GK_CORE_STATUS_H
#define GK_CORE_STATUS_H

#include "gatekern.h"

#endif
