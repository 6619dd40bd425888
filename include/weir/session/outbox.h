/*
 * outbox: the pieces of one write, gathered while a batch of messages is looked at.
 *
 * A piece is either a range of the input that passes through unchanged, or bytes that Weir makes;
 * neighbouring ranges become one. One for each worker, since a write is finished within the callback that
 * began it.
 */
#ifndef WEIR_SESSION_OUTBOX_H
#define WEIR_SESSION_OUTBOX_H

#include "weir/net/conn.h"
#include "weir/util/buf.h"

enum { OUTBOX_PIECES = 64 };

struct outbox {
    struct conn *to; /* NULL: empty */
    struct buf made;
    int count;
    struct {
        const uint8_t *data; /* NULL: at `offset` of `made` */
        size_t offset, len;
    } pieces[OUTBOX_PIECES];
};

/* A range of the input that continues none: use outbox_pass. */
void outbox_pass_anew(struct outbox *outbox, struct conn *to, const uint8_t *data, size_t len);

/* The input that is passed on; it must stay until the flush. */
static inline void outbox_pass(struct outbox *outbox, struct conn *to, const uint8_t *data, size_t len)
{
    int last = outbox->count - 1;
    if (outbox->to == to && last >= 0 && outbox->pieces[last].data != NULL &&
        outbox->pieces[last].data + outbox->pieces[last].len == data)
        outbox->pieces[last].len += len;
    else
        outbox_pass_anew(outbox, to, data, len);
}

/* For bytes of Weir's own: append to the returned buf, then outbox_made. */
struct buf *outbox_make(struct outbox *outbox, struct conn *to);
void outbox_made(struct outbox *outbox);
/* Sends what was gathered. Where memory ran out over it nothing is sent, and the connection ends. */
void outbox_flush(struct outbox *outbox);
/* The connection goes away: what is for it is dropped. */
void outbox_drop(struct outbox *outbox, const struct conn *to);

#endif
