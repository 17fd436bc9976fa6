/* SPDX-License-Identifier: Apache-2.0 */
#include "src/tasks/vocabulary.h"
#include "src/core/status.h"
#include "src/tasks/buffer.h"

#include <stdio.h>

enum {
  LARGEST_BYTE = 0xff,
  LARGEST_CODE_POINT = 0x10ffff,
  FIRST_PRINTABLE_ABOVE_ASCII = 0xa0,
  LONGEST_SYMBOL = 4 /* bytes */
};

static bool is_surrogate(uint32_t code) {
  return code >= 0xd800 && code <= 0xdfff;
}

/* Reads one code point of at most `bytes` bytes; returns its length, 0 if that is not UTF-8 (cut short,
 * overlong, a surrogate, above 0x10ffff). */
static size_t read_code_point(const unsigned char *text, size_t bytes, uint32_t *code) {
  static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const unsigned char first = text[0];
  if (first < 0x80) {
    *code = first;
    return 1;
  }
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc0 || first > 0xf7 || length > bytes)
    return 0;
  uint32_t value = first & (0x7fU >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((text[i] & 0xc0) != 0x80)
      return 0;
    value = value << 6 | (text[i] & 0x3f);
  }
  if (value < smallest[length] || value > LARGEST_CODE_POINT || is_surrogate(value))
    return 0;
  *code = value;
  return length;
}

static size_t read_symbol(bool utf8, const unsigned char *text, size_t bytes, uint32_t *code) {
  if (utf8)
    return read_code_point(text, bytes, code);
  *code = text[0];
  return 1;
}

static gk_status check_text(const gk_text *text, const char *name) {
  if (!text->data && text->bytes)
    return gk_fail(GK_ERROR_ARGUMENT, "%s: data is NULL, bytes %zu", name, text->bytes);
  return GK_OK;
}

static gk_status fail_utf8(const char *name, const unsigned char *text, size_t at) {
  return gk_fail(GK_ERROR_FORMAT, "%s: not UTF-8: byte %zu (counted from 0) is 0x%02X", name, at, text[at]);
}

/* seen[code] = 1 for every symbol of the text. */
static gk_status mark_symbols(bool utf8, const gk_text *text, const char *name, unsigned char *seen) {
  const unsigned char *data = text->data;
  for (size_t at = 0; at < text->bytes;) {
    uint32_t code;
    const size_t length = read_symbol(utf8, data + at, text->bytes - at, &code);
    if (length == 0)
      return fail_utf8(name, data, at);
    seen[code] = 1;
    at += length;
  }
  return GK_OK;
}

gk_status gk_vocabulary_from_texts(struct gk_vocabulary *vocabulary, bool utf8, int count,
                                   const gk_text *texts, const char *const *names) {
  *vocabulary = (struct gk_vocabulary){0};
  const uint32_t codes = (utf8 ? LARGEST_CODE_POINT : LARGEST_BYTE) + 1;
  gk_status status = GK_OK;
  unsigned char *seen = gk_buffer_array(&status, 1, codes, 1, 1);
  for (int i = 0; i < count && status == GK_OK; ++i) {
    status = check_text(&texts[i], names[i]);
    if (status == GK_OK)
      status = mark_symbols(utf8, &texts[i], names[i], seen);
  }
  int64_t symbol_count = 0;
  uint32_t *symbols = gk_buffer_array(&status, sizeof *symbols, codes, 1, 1);
  if (status == GK_OK) {
    for (uint32_t code = 0; code < codes; ++code)
      if (seen[code])
        symbols[symbol_count++] = code;
    status = gk_vocabulary_from_symbols(vocabulary, utf8, symbol_count, symbols);
  }
  gk_free(symbols);
  gk_free(seen);
  return status;
}

gk_status gk_vocabulary_from_symbols(struct gk_vocabulary *vocabulary, bool utf8, int64_t count,
                                     const uint32_t *symbols) {
  *vocabulary = (struct gk_vocabulary){.utf8 = utf8, .count = count};
  const uint32_t largest = utf8 ? LARGEST_CODE_POINT : LARGEST_BYTE;
  if (count < 1)
    return gk_fail(GK_ERROR_FORMAT, "there are no symbols");
  for (int64_t i = 0; i < count; ++i)
    if (symbols[i] > largest || (i && symbols[i] <= symbols[i - 1]) || (utf8 && is_surrogate(symbols[i])))
      return gk_fail(GK_ERROR_FORMAT, "symbol %lld is %lu: not ascending, or not a %s", (long long)i,
                     (unsigned long)symbols[i], utf8 ? "code point" : "byte");
  gk_status status = GK_OK;
  vocabulary->symbols = gk_buffer_array(&status, sizeof *symbols, count, 1, 1);
  vocabulary->tokens = gk_buffer_array(&status, sizeof(int32_t), (int64_t)symbols[count - 1] + 1, 1, 1);
  if (status != GK_OK) {
    gk_vocabulary_free(vocabulary);
    return status;
  }
  memcpy(vocabulary->symbols, symbols, (size_t)count * sizeof *symbols);
  for (uint32_t code = 0; code <= symbols[count - 1]; ++code)
    vocabulary->tokens[code] = -1;
  for (int64_t i = 0; i < count; ++i)
    vocabulary->tokens[symbols[i]] = (int32_t)i;
  return GK_OK;
}

void gk_vocabulary_free(struct gk_vocabulary *vocabulary) {
  gk_free(vocabulary->symbols);
  gk_free(vocabulary->tokens);
  *vocabulary = (struct gk_vocabulary){0};
}

int64_t gk_vocabulary_characters(const struct gk_vocabulary *vocabulary, const gk_text *text) {
  if (!vocabulary->utf8)
    return (int64_t)text->bytes;
  const unsigned char *data = text->data;
  int64_t count = 0;
  for (size_t i = 0; i < text->bytes; ++i)
    count += (data[i] & 0xC0) != 0x80; /* what goes on a code point begins with the bits 10 */
  return count;
}

int32_t gk_vocabulary_token(const struct gk_vocabulary *vocabulary, uint32_t symbol) {
  return symbol <= vocabulary->symbols[vocabulary->count - 1] ? vocabulary->tokens[symbol] : -1;
}

/* " of 'é'" if byte `at` is part of a character of UTF-8 that is more than one byte; else "". */
static void describe_whole(const gk_text *text, size_t at, char *name, size_t size) {
  const unsigned char *data = text->data;
  uint32_t code;
  *name = '\0';
  for (size_t before = 0; before < LONGEST_SYMBOL && before <= at; ++before) {
    const size_t first = at - before, length = read_code_point(data + first, text->bytes - first, &code);
    if (length > before && code >= FIRST_PRINTABLE_ABOVE_ASCII)
      snprintf(name, size, " of '%.*s'", (int)length, (const char *)data + first);
  }
}

/* "the byte 0x09", "the byte 0xC3 of 'é'", "'é'": for messages. */
static void describe_symbol(const gk_text *text, size_t at, size_t length, bool utf8, uint32_t code,
                            char *name, size_t size) {
  char whole[16];
  if (code > 0x20 && code != 0x7f && (utf8 || code < 0x7f)) {
    snprintf(name, size, "'%.*s'", (int)length, (const char *)text->data + at);
  } else if (utf8) {
    snprintf(name, size, "U+%04lX", (unsigned long)code);
  } else {
    describe_whole(text, at, whole, sizeof whole);
    snprintf(name, size, "the byte 0x%02lX%s", (unsigned long)code, whole);
  }
}

gk_status gk_vocabulary_encode(const struct gk_vocabulary *vocabulary, const gk_text *text, const char *name,
                               int32_t **tokens, int64_t *count) {
  gk_status status = check_text(text, name);
  if (status == GK_OK && text->bytes > (size_t)INT64_MAX / sizeof(int32_t))
    status = gk_fail(GK_ERROR_OVERFLOW, "%s: %zu bytes are more than memory can hold", name, text->bytes);
  int32_t *encoded = gk_buffer_array(&status, sizeof *encoded, (int64_t)text->bytes, 1, 1);
  if (status != GK_OK)
    return status;
  const unsigned char *data = text->data;
  int64_t used = 0;
  for (size_t at = 0; at < text->bytes && status == GK_OK;) {
    uint32_t code = 0;
    const size_t length = read_symbol(vocabulary->utf8, data + at, text->bytes - at, &code);
    const int32_t token = length ? gk_vocabulary_token(vocabulary, code) : -1;
    if (length == 0) {
      status = fail_utf8(name, data, at);
    } else if (token < 0) {
      char symbol[40];
      describe_symbol(text, at, length, vocabulary->utf8, code, symbol, sizeof symbol);
      status = gk_fail(GK_ERROR_FORMAT,
                       "%s: %s at byte %zu (counted from 0) is not one of the model's %lld symbols", name,
                       symbol, at, (long long)vocabulary->count);
    }
    encoded[used++] = token;
    at += length;
  }
  if (status != GK_OK) {
    gk_free(encoded);
    return status;
  }
  *tokens = encoded;
  *count = used;
  return GK_OK;
}

gk_status gk_vocabulary_keep_known(const struct gk_vocabulary *vocabulary, const gk_text *text, void *kept,
                                   gk_known_text *result) {
  const gk_status status = check_text(text, "text");
  if (status != GK_OK)
    return status;
  const unsigned char *data = text->data;
  gk_known_text known = {0};
  size_t length;
  for (size_t at = 0; at < text->bytes; at += length) {
    uint32_t code;
    length = read_symbol(vocabulary->utf8, data + at, text->bytes - at, &code);
    if (length == 0)
      return fail_utf8("text", data, at);
    ++known.characters;
    if (gk_vocabulary_token(vocabulary, code) < 0) {
      ++known.unknown;
      continue;
    }
    if (kept)
      memcpy((unsigned char *)kept + known.bytes, data + at, length);
    known.bytes += length;
  }
  *result = known;
  return GK_OK;
}

int gk_vocabulary_decode(const struct gk_vocabulary *vocabulary, int32_t token, char bytes[4]) {
  const uint32_t code = vocabulary->symbols[token];
  if (!vocabulary->utf8 || code < 0x80) {
    bytes[0] = (char)code;
    return 1;
  }
  const int length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (int i = 1; i < length; ++i)
    bytes[i] = (char)(0x80 | (code >> (6 * (length - 1 - i)) & 0x3f));
  bytes[0] = (char)(lead[length] | code >> (6 * (length - 1)));
  return length;
}
