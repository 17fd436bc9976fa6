/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_TRAIN_CHECKPOINT_H
#define GK_TRAIN_CHECKPOINT_H

#include "gatekern-train.h"

#include <jansson.h>

/* A safetensors file with a description of what its tensors are: a JSON object, kept as a string under
 * "gatekern" in __metadata__, and a hash of description and tensors under "checksum". A file without the
 * hash is accepted: its tensors were changed by other means. */
struct gk_checkpoint {
  char *path;
  gk_safetensors *file;
  json_t *description;
};

/* Takes no reference to `description`. */
gk_status gk_checkpoint_save(const char *path, const json_t *description, int count,
                             const gk_file_tensor *tensors);
/* Opens, checks the hash. Close it also after a failure. */
gk_status gk_checkpoint_open(struct gk_checkpoint *checkpoint, const char *path);
/* The same without the hash, and so without reading the tensors. */
gk_status gk_checkpoint_open_description(struct gk_checkpoint *checkpoint, const char *path);
void gk_checkpoint_close(struct gk_checkpoint *checkpoint);

/* Reads the F32 tensor `name` of exactly this shape. */
gk_status gk_checkpoint_read(const struct gk_checkpoint *checkpoint, const char *name, int rank,
                             const int64_t *shape, float *data);
/* The same without reading it. */
gk_status gk_checkpoint_check(const struct gk_checkpoint *checkpoint, const char *name, int rank,
                              const int64_t *shape);

/* Values of a description, or of an object in it. GK_ERROR_FORMAT names the key and what is allowed. */
gk_status gk_checkpoint_integer(const struct gk_checkpoint *checkpoint, const json_t *object, const char *key,
                                int64_t minimum, int64_t maximum, int64_t *value);
gk_status gk_checkpoint_number(const struct gk_checkpoint *checkpoint, const json_t *object, const char *key,
                               double minimum, double maximum, double *value);
gk_status gk_checkpoint_text(const struct gk_checkpoint *checkpoint, const json_t *object, const char *key,
                             const char **value);
/* 64 bits as 16 hexadecimal digits: JSON's numbers hold 53. */
gk_status gk_checkpoint_hash(const struct gk_checkpoint *checkpoint, const json_t *object, const char *key,
                             uint64_t *value);
json_t *gk_checkpoint_hash_text(uint64_t value);
/* GK_ERROR_FORMAT with the last error as the reason: the description says what cannot be. */
gk_status gk_checkpoint_refuse(const struct gk_checkpoint *checkpoint);

/* FNV-1a, to be started with GK_HASH_START: finds damage, not forgery. */
#define GK_HASH_START ((uint64_t)0xcbf29ce484222325)
uint64_t gk_hash(uint64_t hash, const void *data, size_t bytes);

#endif
