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

enum frame_result frame_next(struct slice in, struct frame *out);

#endif
