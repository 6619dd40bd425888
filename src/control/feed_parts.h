/*
 * feed_parts: what feed.c and feed_stream.c share. Private to the two.
 */
#ifndef WEIR_CONTROL_FEED_PARTS_H
#define WEIR_CONTROL_FEED_PARTS_H

#include "weir/control/catalog.h"
#include "weir/control/feed.h"
#include "weir/control/feed_needs.h"
#include "weir/net/loop.h"
#include "weir/util/list.h"
#include "weir/util/slice.h"
#include "weir/wire/logical.h"

/* What our own messages in the log begin with; a transaction of nothing else changes nothing. */
#define FEED_NOTE "weir"

enum { FEED_REASON_SIZE = 256 };

enum feed_phase {
    FEED_DOWN,
    FEED_NEEDS,    /* is there all that it needs? */
    FEED_SERVER,   /* the stream's connection is to come up, and to be one to the same server */
    FEED_SLOT,     /* the slot is being made, or taken */
    FEED_SETTLING, /* streams; what is older has not ended, or it has not caught up */
    FEED_CURRENT,
};

struct feed_transaction {
    struct list_node node; /* in pending */
    uint32_t xid;
    bool has_rows;
    bool has_notes; /* of ours */
    void *receiver;
};

/* Once the stream has passed `lsn`, all that was visible at `as_of_us` has been told. */
struct feed_place {
    uint64_t lsn;
    uint64_t as_of_us; /* 0: none */
};

struct feed {
    char name[128]; /* for the log */
    struct loop *loop;
    struct feed_events events;
    struct feed_options options;
    char *slot;
    struct control *stream;
    struct control *questions;
    enum feed_phase phase;
    enum feed_slot_step slot_step;
    struct catalog_facts facts;
    struct timer retry;
    struct timer tick; /* the next question */
    uint64_t retry_us;
    char logged[FEED_REASON_SIZE]; /* why it was lost; "" once it is current */

    struct feed_transaction *open;  /* its lines are coming */
    struct logical_name last;       /* the table that it wrote last; schema "" for none */
    struct logical_name last_added; /* and the one of which it is known that rows were added */
    struct list pending;            /* decoded, not known to be visible */
    uint64_t processed;             /* everything that stands before this has been told */
    uint64_t confirmed;             /* so much the server knows of */
    uint64_t heard_us;              /* when the stream said something */
    bool is_reply_wanted;

    bool is_asking;
    uint64_t asked_us;
    uint64_t visible_wait_us;
    char *older; /* snapshot: what ran when the slot was there */
    bool is_settled;
    bool is_waited_for;
    struct feed_place place, next_place;
    uint64_t flushed; /* end of the log on the server's disk, when last asked */
    uint64_t marked;  /* the place for which a message of ours was written last */
    struct feed_stats stats;
};

/* feed.c: there is a gap; connects anew after a while. */
void feed_lose(struct feed *f, const char *reason);
/* Asks what is visible, unless a question is under way. */
void feed_ask(struct feed *f);
/* After `processed` has grown: tells how current that is. */
void feed_pass(struct feed *f);

/* feed_stream.c: one message of the stream, or its end for the moment. */
void feed_take(void *context, struct slice bytes);
/* Tells the server what has been told, if it does not know. False when the connection had to be given up. */
bool feed_confirm(struct feed *f, bool wants_reply);

#endif
