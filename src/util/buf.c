/* buf: growable bytes with a sticky error. Capacity doubles; nothing shrinks but by buf_free. */
#include "weir/util/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b)
{
    *b = BUF_INIT;
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = BUF_INIT;
}

void buf_wipe(struct buf *b)
{
    if (b->data != NULL)
        explicit_bzero(b->data, b->cap);
    buf_free(b);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

bool buf_reserve(struct buf *b, size_t extra)
{
    if (b->failed)
        return false;
    if (extra <= b->cap - b->len)
        return true;
    if (extra > SIZE_MAX / 2 - b->len) {
        b->failed = true;
        return false;
    }
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < b->len + extra)
        cap *= 2;
    uint8_t *data = realloc(b->data, cap);
    if (data == NULL) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void buf_append(struct buf *b, const void *data, size_t len)
{
    if (len == 0 || !buf_reserve(b, len))
        return;
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

void buf_append_slice(struct buf *b, struct slice s)
{
    buf_append(b, s.data, s.len);
}

void buf_append_str(struct buf *b, const char *text)
{
    buf_append(b, text, strlen(text));
}

void buf_append_u8(struct buf *b, uint8_t value)
{
    buf_append(b, &value, 1);
}

void buf_append_u16(struct buf *b, uint16_t value)
{
    uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    buf_append(b, bytes, sizeof(bytes));
}

static void store_u32(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)(value >> 24);
    to[1] = (uint8_t)(value >> 16);
    to[2] = (uint8_t)(value >> 8);
    to[3] = (uint8_t)value;
}

void buf_append_u32(struct buf *b, uint32_t value)
{
    uint8_t bytes[4];
    store_u32(bytes, value);
    buf_append(b, bytes, sizeof(bytes));
}

void buf_append_u64(struct buf *b, uint64_t value)
{
    buf_append_u32(b, (uint32_t)(value >> 32));
    buf_append_u32(b, (uint32_t)value);
}

void buf_put_u32(struct buf *b, size_t offset, uint32_t value)
{
    if (b->failed || b->len < 4 || offset > b->len - 4)
        return;
    store_u32(b->data + offset, value);
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (need < 0 || !buf_reserve(b, (size_t)need + 1)) {
        b->failed = true;
        return;
    }
    va_start(args, format);
    vsnprintf((char *)b->data + b->len, (size_t)need + 1, format, args);
    va_end(args);
    b->len += (size_t)need;
}

void buf_consume(struct buf *b, size_t n)
{
    if (n >= b->len) {
        b->len = 0;
        return;
    }
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

const char *buf_text(struct buf *b)
{
    if (!buf_reserve(b, 1))
        return NULL;
    b->data[b->len] = '\0';
    return (const char *)b->data;
}
