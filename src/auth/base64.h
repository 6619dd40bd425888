/*
 * Private to auth: strict base64 (RFC 4648 section 4): padding required, no blanks, no line ends.
 */
#ifndef WEIR_AUTH_BASE64_H
#define WEIR_AUTH_BASE64_H

#include <stdbool.h>

#include "weir/util/buf.h"

void base64_encode(struct slice data, struct buf *out);

/* False when `text` is not base64, or longer than `max` bytes when decoded. */
bool base64_decode(struct slice text, uint8_t *out, size_t max, size_t *len);

#endif
