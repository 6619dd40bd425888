/* outbox: pieces, then one writev. */
#include "weir/session/outbox.h"

#include <errno.h>

static void begin(struct outbox *outbox, struct conn *to)
{
    if (outbox->to != to || outbox->count == OUTBOX_PIECES)
        outbox_flush(outbox);
    outbox->to = to;
}

void outbox_pass_anew(struct outbox *outbox, struct conn *to, const uint8_t *data, size_t len)
{
    begin(outbox, to);
    outbox->pieces[outbox->count].data = data;
    outbox->pieces[outbox->count].len = len;
    outbox->count++;
}

struct buf *outbox_make(struct outbox *outbox, struct conn *to)
{
    begin(outbox, to);
    if (outbox->count == 0 || outbox->pieces[outbox->count - 1].data != NULL) {
        outbox->pieces[outbox->count].data = NULL;
        outbox->pieces[outbox->count].offset = outbox->made.len;
        outbox->pieces[outbox->count].len = 0;
        outbox->count++;
    }
    return &outbox->made;
}

void outbox_made(struct outbox *outbox)
{
    int last = outbox->count - 1;
    outbox->pieces[last].len = outbox->made.len - outbox->pieces[last].offset;
}

void outbox_flush(struct outbox *outbox)
{
    if (outbox->to == NULL)
        return;
    if (buf_failed(&outbox->made)) { /* the pieces are not what they were to be */
        conn_fail(outbox->to, ENOMEM);
        outbox_drop(outbox, outbox->to);
        return;
    }
    struct iovec parts[OUTBOX_PIECES];
    for (int i = 0; i < outbox->count; i++) {
        const uint8_t *data = outbox->pieces[i].data;
        parts[i].iov_base =
            (void *)(uintptr_t)(data != NULL ? data : outbox->made.data + outbox->pieces[i].offset);
        parts[i].iov_len = outbox->pieces[i].len;
    }
    struct conn *to = outbox->to;
    int count = outbox->count;
    outbox->to = NULL;
    outbox->count = 0;
    conn_writev(to, parts, count);
    if (outbox->made.len == 0)
        return;
    if (outbox->made.cap > 64 * 1024)
        buf_free(&outbox->made);
    else
        buf_clear(&outbox->made);
}

void outbox_drop(struct outbox *outbox, const struct conn *to)
{
    if (outbox->to != to)
        return;
    outbox->to = NULL;
    outbox->count = 0;
    buf_clear(&outbox->made);
}
