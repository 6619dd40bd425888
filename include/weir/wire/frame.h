/*
 * frame: where one protocol message ends and the next begins.
 *
 * A message after the startup phase is a type byte, a four-byte length that counts itself and the body, and
 * the body (PostgreSQL manual, "Message Formats"). frame_next looks at the front of the given bytes,
 * allocates nothing, and points into them. Pure; any thread.
 */
#ifndef WEIR_WIRE_FRAME_H
#define WEIR_WIRE_FRAME_H

#include "weir/util/slice.h"

enum {
    FRAME_HEADER_BYTES = 5,
    /* PostgreSQL itself refuses more than 1 GiB - 1 (PQ_LARGE_MESSAGE_LIMIT). */
    FRAME_MAX_BYTES = 0x3fffffff + 1,
};

enum frame_result {
    FRAME_COMPLETE,   /* the whole message is there */
    FRAME_PARTIAL,    /* the header is there, some of the body is missing */
    FRAME_INCOMPLETE, /* not even the header */
    FRAME_BAD,        /* a length below four, or above what PostgreSQL accepts */
};

struct frame {
    uint8_t type;
    size_t total;      /* bytes of the whole message, header included */
    struct slice body; /* what is there of the body; all of it when FRAME_COMPLETE */
};

/* Inline, as it runs for every message in both directions. */
static inline enum frame_result frame_next(struct slice in, struct frame *out)
{
    if (in.len < FRAME_HEADER_BYTES)
        return FRAME_INCOMPLETE;
    uint32_t length =
        (uint32_t)in.data[1] << 24 | (uint32_t)in.data[2] << 16 | (uint32_t)in.data[3] << 8 | in.data[4];
    if (length < 4 || length >= FRAME_MAX_BYTES)
        return FRAME_BAD;
    out->type = in.data[0];
    out->total = (size_t)length + 1;
    bool is_complete = in.len >= out->total;
    out->body =
        slice_make(in.data + FRAME_HEADER_BYTES, (is_complete ? out->total : in.len) - FRAME_HEADER_BYTES);
    return is_complete ? FRAME_COMPLETE : FRAME_PARTIAL;
}

#endif
