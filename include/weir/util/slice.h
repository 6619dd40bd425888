/*
 * slice: a pointer and a length into memory that somebody else owns.
 *
 * Everything that parses takes and returns slices, so that parsing copies nothing. A slice is valid as long
 * as the bytes it points into; whoever keeps one longer copies them (buf, or slice_dup).
 */
#ifndef WEIR_UTIL_SLICE_H
#define WEIR_UTIL_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct slice {
    const uint8_t *data;
    size_t len;
};

#define SLICE_EMPTY        ((struct slice){NULL, 0})
#define SLICE_LITERAL(lit) ((struct slice){(const uint8_t *)("" lit), sizeof(lit) - 1})

static inline struct slice slice_make(const void *data, size_t len)
{
    return (struct slice){(const uint8_t *)data, len};
}

/* A NULL string gives the empty slice. */
static inline struct slice slice_str(const char *text)
{
    return (struct slice){(const uint8_t *)text, text != NULL ? strlen(text) : 0};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_equal_str(struct slice a, const char *text)
{
    return slice_equal(a, slice_str(text));
}

/* ASCII letters compare without regard to case, other bytes as they are. */
static inline bool slice_equal_nocase(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        uint8_t x = a.data[i], y = b.data[i];
        if (x >= 'A' && x <= 'Z')
            x = (uint8_t)(x + 32);
        if (y >= 'A' && y <= 'Z')
            y = (uint8_t)(y + 32);
        if (x != y)
            return false;
    }
    return true;
}

static inline struct slice slice_from(struct slice s, size_t offset)
{
    return offset >= s.len ? SLICE_EMPTY : (struct slice){s.data + offset, s.len - offset};
}

/* A NUL-terminated copy; the caller frees it. NULL when memory is out. */
static inline char *slice_dup(struct slice s)
{
    char *copy = malloc(s.len + 1);
    if (copy == NULL)
        return NULL;
    if (s.len > 0)
        memcpy(copy, s.data, s.len);
    copy[s.len] = '\0';
    return copy;
}

#endif
