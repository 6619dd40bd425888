/*
 * fill: an answer on its way from PostgreSQL into the stores, and those who wait for it.
 *
 * The vector is read before the query is sent and kept with the entry; the entry is believed only while it is
 * current. So a fill that raced with a write can be stored late, but never be used (the check at the end only
 * saves the room). A fill belongs to one asker at a time; when that one dies, to the next who waited.
 */
#ifndef WEIR_CACHE_FILL_H
#define WEIR_CACHE_FILL_H

#include "weir/cache/cache.h"
#include "weir/cache/flight.h"
#include "weir/net/mailbox.h"
#include "weir/util/buf.h"

struct check;
struct verdict;

struct cache_fill {
    struct flight flight; /* with key and vector */
    struct cache_fill *next_spare;
    size_t room; /* for them, behind this */
    struct cache_worker *worker;
    struct cache_scope *scope; /* a reference */
    uint64_t version;          /* of the catalog that the vector was chosen by */
    uint64_t ttl_us;
    uint64_t started_us;
    enum cache_shape shape;
    enum cache_source source; /* for those who wait */
    bool is_started;
    bool is_too_big;
    struct check *check; /* NULL: this is none */
    size_t bytes;
    struct buf parts[ENTRY_PART_COUNT];
};

/* Somebody who waits, for a flight or for Redis. Freed by whoever tells, by the mail, or by cancelling. */
struct cache_wait {
    struct flight_waiter waiter;
    struct mail mail;
    struct cache_worker *worker;
    struct cache_database *database;
    cache_answered answered;
    void *context;
    bool is_cancelled; /* the worker's thread alone */
    bool needs_description;
    uint64_t ttl_us;
    struct cache_answer answer; /* set before the mail is posted */
};

static inline struct cache_values request_values(const struct cache_request *r)
{
    return (struct cache_values){
        .text = r->text,
        .template = r->template,
        .bind = r->bind,
        .types = r->parameter_types,
        .type_count = r->parameter_type_count,
    };
}

/* `row`: the one that is read, or NULL. NULL when memory is out. The vector's numbers are not read yet. */
struct cache_fill *fill_new(struct cache_worker *w, const struct cache_request *r,
                            const struct entry_key *key, const struct verdict *verdict,
                            struct generation *row);
/* Frees a fill that is in no flight; its worker's thread. */
void fill_free(struct cache_fill *fill);
void fill_free_spares(struct cache_worker *w);
/* Reads the vector; false when something is dirty, or the catalog is no longer the one it was chosen by. */
bool fill_remember(struct cache_fill *fill);

struct cache_wait *wait_new(struct cache_worker *w, const struct cache_request *r, cache_answered answered,
                            void *context);
/* Of one that nobody tells; NULL is allowed. Its worker's thread. */
void wait_free(struct cache_wait *wait);
/* Posts the outcome to the one who waited. Takes over the references in the answer. Any thread. */
void wait_tell(struct cache_wait *wait, const struct cache_answer *answer);

/* The same at once, on the thread of the one who waited, with wait->answer. */
void wait_deliver(struct cache_wait *wait);

/* Ends the flight: everybody gets `entry` (each a reference), or, when that is NULL, must ask for themselves.
 */
void fill_land(struct cache_fill *fill, struct entry *entry);
/* Hands the fill to the first who waits; frees it when nobody does. */
void fill_pass_on(struct cache_fill *fill);

#endif
