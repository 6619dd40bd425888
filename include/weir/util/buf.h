/*
 * buf: growable bytes with a sticky error.
 *
 * Appending never fails visibly: when memory runs out, or the limit is passed, the buffer remembers it and
 * ignores what follows. Check buf_failed once, at the end of building. One owner, one thread at a time.
 */
#ifndef WEIR_UTIL_BUF_H
#define WEIR_UTIL_BUF_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/util/slice.h"

struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    bool failed;
};

#define BUF_INIT ((struct buf){NULL, 0, 0, false})

void buf_init(struct buf *b);

/* Releases the memory; the buffer is empty and usable again. */
void buf_free(struct buf *b);

/* Releases the memory after overwriting all of it; for secrets. */
void buf_wipe(struct buf *b);

/* Empties the buffer, keeps the memory, clears the error. */
void buf_clear(struct buf *b);

/* Makes room for `extra` more bytes; false (and sticky) when that is impossible. */
bool buf_reserve(struct buf *b, size_t extra);

void buf_append(struct buf *b, const void *data, size_t len);
void buf_append_slice(struct buf *b, struct slice s);
void buf_append_str(struct buf *b, const char *text);
void buf_append_u8(struct buf *b, uint8_t value);
/* Network byte order. */
void buf_append_u16(struct buf *b, uint16_t value);
void buf_append_u32(struct buf *b, uint32_t value);
void buf_append_u64(struct buf *b, uint64_t value);
/* Overwrites four bytes at `offset`, which must lie inside the buffer (for lengths that are known late). */
void buf_put_u32(struct buf *b, size_t offset, uint32_t value);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drops `n` bytes at the front (all, if there are fewer). */
void buf_consume(struct buf *b, size_t n);

/* Terminates with a NUL that does not count, and returns the text; NULL after a failure. */
const char *buf_text(struct buf *b);

static inline bool buf_failed(const struct buf *b)
{
    return b->failed;
}

static inline struct slice buf_slice(const struct buf *b)
{
    return slice_make(b->data, b->len);
}

#endif
