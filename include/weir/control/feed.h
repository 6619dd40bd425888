/*
 * feed: tells of every commit of one database, whoever makes it, by decoding the server's log.
 *
 * Two connections: one streams what test_decoding makes of the log from a replication slot; the other asks
 * which transactions are visible, and how far the log is. A commit is decoded before others can see it, so it
 * is told of twice: when it is decoded, and when every snapshot taken from then on shows it. Knows nothing of
 * caches. Confined to the thread of its loop; every event is sent there, and none may free the feed.
 *
 * Invariant: between `began` and the next `lost` every transaction whose rows or definitions become visible
 * is told of, and none is missing that was visible to others at the time that `current` gives.
 *
 * The slot is temporary, and gone with its connection, so that the log does not pile up for a Weir that is
 * not there; a new connection is a gap, and told as one. A synchronous feed has a lasting slot: a new one
 * would wait for transactions to end that wait for this very feed.
 */
#ifndef WEIR_CONTROL_FEED_H
#define WEIR_CONTROL_FEED_H

#include <stdbool.h>
#include <stdint.h>

struct catalog_facts;
struct control_options;
struct feed;
struct logical_change;
struct logical_name;
struct loop;

struct feed_options {
    const char
        *slot; /* name of the slot and of the application; letters a to z, digits, underscores; copied */
    bool is_synchronous;
    uint64_t max_lag_us;   /* how old `current` may be before somebody minds; sets the pace */
    uint64_t retry_min_us; /* 0: 200 ms; doubles up to 15 s */
};

struct feed_events {
    /* From now on commits are told, and all others are visible. `facts`: which server it is. */
    void (*began)(void *context, const struct catalog_facts *facts);
    /* A transaction has committed; what is returned stands for it. NULL, when memory is out, makes a gap. */
    void *(*transaction)(void *context);
    /* It wrote this row of this table, as it was called then; NULL: nobody knows what it wrote. Of rows added
     * to one table in a run the first is told. False: of more of its rows of the table, in a run, nobody
     * wants to know. */
    bool (*wrote)(void *context, void *transaction, const struct logical_name *name,
                  const struct logical_change *change);
    /* It wrote no rows: definitions may have changed. */
    void (*wrote_nothing)(void *context, void *transaction);
    /* Every snapshot from now on shows it, or `lost` came first. The last that is heard of it. */
    void (*visible)(void *context, void *transaction);
    /* All that anybody could see at this time has been told. `is_waited_for`: commits wait for this feed. */
    void (*current)(void *context, uint64_t as_of_us, bool is_waited_for);
    /* There is a gap; words for people. Also sent, again and again, while it cannot begin. */
    void (*lost)(void *context, const char *reason);
    void *context;
};

struct feed_stats {
    uint64_t transactions;
    uint64_t gaps;
    uint64_t as_of_us;  /* of the last `current`; 0 for none */
    uint64_t lag_bytes; /* of the log, when last asked */
};

/* NULL when memory is out. `connection` is copied. */
struct feed *feed_new(struct loop *loop, const struct control_options *connection,
                      const struct feed_options *options, const struct feed_events *events);
void feed_start(struct feed *f);
/* Sends `visible` for every transaction that is not, and nothing else. */
void feed_free(struct feed *f);
/* The server's process that streams; 0 for none. */
uint32_t feed_backend_pid(const struct feed *f);
void feed_get_stats(const struct feed *f, struct feed_stats *stats);

#endif
