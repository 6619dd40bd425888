/*
 * feed_stream: what the stream says, line by line; a transaction comes whole, from BEGIN to COMMIT.
 *
 * Confirmed is only what has been told: a server that waits for this feed lets its client go on after that.
 */
#include "feed_parts.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "weir/control/control.h"
#include "weir/util/clock.h"

/* So many marks fit into the number of a relation, with room for those of sessions. */
enum { PENDING_MAX = 1 << 16 };

static uint64_t unix_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * US_PER_SECOND + (uint64_t)now.tv_nsec / 1000;
}

bool feed_confirm(struct feed *f, bool wants_reply)
{
    uint8_t status[LOGICAL_STATUS_SIZE];
    f->is_reply_wanted = false;
    f->confirmed = f->processed;
    logical_status_write(status, f->processed, unix_now_us(), wants_reply);
    return control_stream_send(f->stream, slice_make(status, sizeof(status)));
}

/* --- changes --- */

static void begin(struct feed *f, uint32_t xid)
{
    struct feed_transaction *t = calloc(1, sizeof(*t));
    if (t != NULL)
        t->receiver = f->events.transaction(f->events.context);
    if (t == NULL || t->receiver == NULL) {
        free(t);
        feed_lose(f, "out of memory");
        return;
    }
    t->xid = xid;
    f->open = t;
    f->last.schema[0] = f->last_added.schema[0] = '\0';
    f->last.relation[0] = f->last_added.relation[0] = '\0';
}

static void commit(struct feed *f, uint64_t lsn)
{
    struct feed_transaction *t = f->open;
    f->open = NULL;
    if (!t->has_rows && !t->has_notes)
        f->events.wrote_nothing(f->events.context, t->receiver);
    list_push_back(&f->pending, &t->node);
    f->stats.transactions++;
    f->processed = lsn;
    if (f->pending.count > PENDING_MAX)
        feed_lose(f, "too many commits are not visible yet");
}

/* Rows of one table come in long runs: `last` is the one of which enough is known. */
static bool is_same(const struct logical_name *a, const struct logical_name *b)
{
    return strcmp(a->relation, b->relation) == 0 && strcmp(a->schema, b->schema) == 0;
}

static void take_row(struct feed *f, const struct logical_name *name, const struct logical_change *change)
{
    bool is_added = change->action == LOGICAL_INSERT;
    if (is_same(&f->last, name) || (is_added && is_same(&f->last_added, name)))
        return;
    if (!f->events.wrote(f->events.context, f->open->receiver, name, change))
        f->last = *name;
    else if (is_added)
        f->last_added = *name;
}

static void take_rows(struct feed *f, const struct logical_change *change)
{
    struct slice names = change->names;
    struct logical_name name;
    f->open->has_rows = true;
    while (logical_name_next(&names, &name))
        take_row(f, &name, change);
    if (names.len > 0)
        f->events.wrote(f->events.context, f->open->receiver, NULL, change);
}

static bool is_our_note(struct slice prefix)
{
    static const char ours[] = FEED_NOTE ", sz: ";
    return prefix.len >= sizeof(ours) - 1 && memcmp(prefix.data, ours, sizeof(ours) - 1) == 0;
}

static void take_change(struct feed *f, const struct logical_message *message)
{
    struct logical_change change;
    logical_change_read(message->data, &change);
    /* Messages that are no part of a transaction come in between. */
    if (f->open == NULL && change.kind == LOGICAL_NOTE)
        return;
    if (change.kind == LOGICAL_BEGIN ? f->open != NULL : f->open == NULL) {
        feed_lose(f, "the stream makes no sense");
        return;
    }
    switch (change.kind) {
    case LOGICAL_BEGIN:
        begin(f, change.xid);
        break;
    case LOGICAL_COMMIT:
        if (change.xid == f->open->xid)
            commit(f, message->lsn);
        else
            feed_lose(f, "the stream makes no sense");
        break;
    case LOGICAL_ROWS:
        take_rows(f, &change);
        break;
    case LOGICAL_NOTE:
        f->open->has_notes |= is_our_note(change.prefix);
        break;
    case LOGICAL_UNKNOWN:
        f->open->has_rows = true;
        f->events.wrote(f->events.context, f->open->receiver, NULL, &change);
        break;
    }
}

/* --- messages --- */

/* Nothing more at the moment: what was told is confirmed, and asked about, at once. */
static void pause_stream(struct feed *f)
{
    if ((f->is_reply_wanted || f->processed > f->confirmed) && !feed_confirm(f, false))
        return;
    feed_pass(f);
    if (!list_is_empty(&f->pending))
        feed_ask(f);
}

void feed_take(void *context, struct slice bytes)
{
    struct feed *f = context;
    struct logical_message message;
    if (f->phase < FEED_SETTLING)
        return;
    f->heard_us = clock_now_us();
    if (bytes.len == 0) {
        pause_stream(f);
        return;
    }
    if (!logical_message_read(bytes, &message)) {
        feed_lose(f, "the stream makes no sense");
        return;
    }
    if (message.kind == LOGICAL_DATA) {
        take_change(f, &message);
        return;
    }
    f->is_reply_wanted |= message.wants_reply;
    /* In the middle of a transaction it may speak of what lies behind the lines already sent. */
    if (f->open == NULL && message.lsn > f->processed)
        f->processed = message.lsn;
}
