/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_TRAIN_SAFETENSORS_H
#define GK_TRAIN_SAFETENSORS_H

#include "gatekern-train.h"

#include <jansson.h>

/* The format: 8 bytes, little-endian, length of the header; the header, a JSON object; the tensors. */
enum { GK_SAFETENSORS_PREFIX = 8 };
#define GK_SAFETENSORS_LARGEST_HEADER ((uint64_t)100000000) /* the reference implementation's bound */

/* Bytes of a tensor; false: negative extent, or the product wraps. */
bool gk_file_tensor_bytes(const gk_file_tensor *tensor, size_t *bytes);
/* Compact JSON, to be freed; numbers are read back as they were. NULL: out of memory. (Not by json_dumps: it
 * may leave out characters when memory runs out, in jansson 2.14.) */
char *gk_json_text(const json_t *value);

#endif
