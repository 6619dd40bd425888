/*
 * share: several Weirs in front of one PostgreSQL database, each knowing of the others' writes through a
 * ledger in Redis. Why that is exact stands in docs/internals.md.
 *
 * Each database has a part that the control thread runs (joining, belief, the fence, the dead) and that
 * workers read by atomics. Each worker has a client: its own link to Redis, by which it marks what it writes
 * and reads tokens. A write's mark is a struct share_mark, which the write owns until it ends.
 */
#ifndef WEIR_CACHE_SHARE_H
#define WEIR_CACHE_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "weir/cache/cache.h"
#include "weir/net/loop.h"
#include "weir/net/mailbox.h"
#include "weir/util/list.h"

struct buf;
struct cache_database;
struct database_write;
struct redis_link;
struct redis_target;
struct share;
struct share_client;
struct share_mark;
struct worker;

/* A ledger that this process has met: immutable, lives as long as the database. */
struct share_place {
    struct share_place *next;
    uint64_t incarnation;
    char run_id[48];
    char key[160];
};

enum share_step {
    SHARE_APART,   /* no connection to PostgreSQL, or to Redis */
    SHARE_MEETING, /* Redis is asked for the ledger */
    SHARE_LOCKING, /* PostgreSQL for the member's lock */
    SHARE_SETTLING,
    SHARE_QUIET,  /* older transactions are to end */
    SHARE_SCHEMA, /* the catalog is to be as new as the ledger */
    SHARE_EPOCH,  /* the ledger's epoch is being changed */
    SHARE_BELIEVED,
};

struct database_share {
    _Atomic bool is_on; /* the database is watched, and shared */
    /* Any thread. */
    _Atomic(struct share_place *) place; /* where writes are marked; NULL: nowhere now */
    _Atomic uint64_t until_us;           /* the ledger is believed until then */
    _Atomic uint64_t schema;             /* its `s` that the catalog is as new as; 0: not known */
    _Atomic uint64_t member_from_us, member_until_us; /* marks in `place` are seen by all in between */
    _Atomic uint64_t fence_from_us,
        fence_until_us;                          /* this process's own fence; all have seen it in between */
    _Atomic uint64_t epochs_wanted, epochs_done; /* changes of the local epoch that the ledger must follow */
    _Atomic uint32_t unmarked;                   /* writes under way that went by the fence alone */
    _Atomic bool is_connected;                   /* PostgreSQL has answered lately */
    _Atomic bool is_exact;
    _Atomic bool is_fence_wanted, is_poked, is_schema_doubted; /* mail is on its way */
    struct mail fence_mail, poke_mail;
    /* Under the group's lock. */
    uint64_t legacy_round; /* writes of this round are marked as a whole by the mark `legacy` */
    uint32_t legacy_left;
    char reason[200];
    /* Control thread. */
    struct list_node node; /* in the share's list */
    struct share_place *places;
    enum share_step step;
    struct timer timer;
    _Atomic uint64_t database_oid, server_start_us; /* in names of keys; 0: not known */
    uint64_t look_asked_us, clean_since_us, clean_asked_us, heard_us, fence_wanted_us;
    uint32_t turn; /* grows whenever what was begun does not count any more */
    bool is_looking, is_meeting, is_locking, is_quieting, is_fencing, is_fenced, is_leaving, is_catalog_known,
        is_bumping, is_seeking;
    char *older;         /* virtual transactions that are waited for */
    uint64_t check;      /* of the watch, that `schema_met` waits for */
    uint64_t schema_met; /* the ledger's `s` before that check */
    char met_run_id[48]; /* of the Redis that was asked for the ledger */
    struct share_mark *legacy;
    struct list owed; /* ends of marks that Redis has not acknowledged */
    struct {
        uint64_t owner; /* that has been silent for too long; 0: none */
        char *older;    /* what it may have begun */
        uint64_t next_us;
        bool is_asking;
    } burial;
};

/* --- process: control thread --- */

struct share *share_new(struct worker *control, const struct redis_target *target, uint64_t lease_us);
/* While the control thread's loop lives: leaves the ledgers. */
void share_stop(struct share *s);
void share_free(struct share *s);
uint64_t share_lease_us(const struct share *s);
/* The control thread's own. */
struct share_client *share_control_client(struct share *s);

void share_database_init(struct cache_database *d);
void share_database_start(struct cache_database *d, bool is_exact);
void share_database_stop(struct cache_database *d);
void share_database_free(struct cache_database *d);
/* What the watch says: a catalog has come, or has gone, or was looked at. */
void share_database_ready(struct cache_database *d);
void share_database_unready(struct cache_database *d);
void share_database_checked(struct cache_database *d, uint64_t check);

/* --- any thread --- */

/* The epoch has changed here, and has to in the ledger before anything is believed again. */
void share_want_epoch(struct cache_database *d);
bool share_is_believed(const struct cache_database *d, uint64_t now_us);
/* Something in the ledger is not as it should be: the control thread looks. `is_schema`: definitions have
 * changed. */
void share_poke(struct cache_database *d, bool is_schema);

/* --- worker --- */

struct share_client *share_client_new(struct share *s, struct worker *worker,
                                      const struct redis_target *target);
/* Nobody waits any more; on its thread, or after that has ended. */
void share_client_stop(struct share_client *c);
void share_client_free(struct share_client *c);
bool share_client_is_up(const struct share_client *c);
/* As redis_nodes_describe. */
void share_client_describe(const struct share_client *c, struct buf *out);
/* The link to where the database's ledger is, if it is up and that is the place where writes are marked, and
 * that place; else NULL. */
struct redis_link *share_client_link(struct share_client *c, const struct cache_database *d,
                                     struct share_place **place);

/* --- writes --- */

/*
 * After database_write_mark, before the bytes leave: CACHE_WRITE_GO, they may; CACHE_WRITE_WAIT: ask again
 * when `done` has been called, on this thread; CACHE_WRITE_REFUSED: neither the ledger nor the fence can be
 * reached. On the thread of the write's client.
 */
enum cache_word share_announce(struct database_write *w, void (*done)(void *context), void *context);
/* `done` will not be called. */
void share_forget_waiter(struct database_write *w);
/* The write has ended; its mark, if any, is ended in the ledger, now or when Redis answers again. Any thread;
 * with the group locked or not. */
void share_write_ended(struct database_write *w, bool has_changed);

#endif
