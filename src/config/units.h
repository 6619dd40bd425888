/*
 * Private to config: times and sizes as people write them.
 */
#ifndef WEIR_CONFIG_UNITS_H
#define WEIR_CONFIG_UNITS_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/util/buf.h"

/* "0.005", "2.5 min" -> microseconds; no unit means seconds. */
bool units_parse_seconds(const char *text, int64_t *out);

/* "64MB", "512" -> bytes; units are powers of 1024. */
bool units_parse_bytes(const char *text, int64_t *out);

/* The shortest text that reads back as the same value. */
void units_format_seconds(int64_t micros, struct buf *out);
void units_format_bytes(int64_t bytes, struct buf *out);

#endif
