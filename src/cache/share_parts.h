/* share_parts: what the files of the share have in common. Private to them. */
#ifndef WEIR_CACHE_SHARE_PARTS_H
#define WEIR_CACHE_SHARE_PARTS_H

#include "database_group.h"
#include "weir/cache/ledger.h"
#include "weir/cache/redis_nodes.h"
#include "weir/cache/share.h"

struct control_options;
struct pg_result;

struct share {
    struct worker *control;
    uint64_t lease_us;
    _Atomic uint64_t owner; /* this process in the ledgers; another one after it was taken for dead */
    _Atomic uint64_t next_write;
    _Atomic uint64_t next_token;
    struct share_client *client; /* the control thread's */
    struct list databases;       /* that are watched; control thread */
    bool is_stopping;
};

struct share_client {
    struct share *share;
    struct worker *worker;
    struct redis_nodes *nodes;
    struct timer timer;  /* looks after those who wait */
    struct list waiting; /* struct share_mark */
    bool is_stopped;
};

/*
 * One write in the ledger. Its owner is the write, then the ledger's answers that are under way: whoever
 * comes last frees it. `client` is the thread's on which all but the end happens.
 */
struct share_mark {
    struct list_node node; /* in the client's `waiting`, or in the database's `owed` */
    struct mail mail;      /* to the control thread, with the end */
    _Atomic uint32_t references;
    struct cache_database *database;
    struct share_client *client;
    struct database_write *write; /* NULL when it has ended */
    uint64_t owner, number;
    _Atomic(struct share_place *) place; /* where it was last asked; NULL: nowhere */
    _Atomic uint32_t unsure;             /* how often it was asked without an answer */
    bool is_asking, is_refused, is_let_through;
    struct share_client *ender; /* whose thread ends it, when it is over */
    bool is_ending, has_changed;
    _Atomic bool is_unmarked;        /* went by the fence alone */
    struct share_place *acked_place; /* marked there ... */
    uint64_t acked_us, asked_us;     /* ... asked when; and the question under way */
    uint32_t covered, covering;      /* a count of what it has, see coverage() */
    uint64_t since_us;               /* waits since; 0: does not */
    void (*done)(void *context);
    void *context;
};

static inline bool share_is_stopping(const struct cache_database *d)
{
    return d->group->all->share->is_stopping || !d->share.is_on;
}

/* The link to where ledgers of the database are now, whichever these are; NULL when nobody knows. It may be
 * down. */
struct redis_link *share_client_node(const struct share_client *c, const struct cache_database *d);
/* As ledger_answer, of a question by this client about this database. */
enum ledger_answer share_client_answer(struct share_client *c, const struct cache_database *d,
                                       enum redis_outcome outcome, const struct redisReply *reply);

uint64_t share_token(struct share *s);
struct share_mark *share_mark_new(struct cache_database *d, struct share_client *client);
void share_mark_unref(struct share_mark *m);
/* Asks the ledger to end it; by the control thread again and again until that is acknowledged. */
void share_mark_end(struct share_mark *m, struct share_client *client, bool has_changed);
/* Control thread: those that were not acknowledged. */
void share_mark_retry(struct cache_database *d);

/* share_pg.c: what is asked of PostgreSQL. Control thread. */
struct share_look {
    uint64_t database_oid, server_start_us;
    bool is_primary, has_lock, has_fence, is_fence_up, has_strangers;
};
typedef void (*share_looked)(struct cache_database *d, const struct share_look *look);
bool share_ask_look(struct cache_database *d, uint64_t incarnation, share_looked done);
typedef void (*share_told)(struct cache_database *d, bool is_done);
bool share_ask_lock(struct cache_database *d, uint64_t incarnation, share_told done);
bool share_ask_fence(struct cache_database *d, bool is_up, share_told done);
/* True when all transactions that ran at the first call (`*older` NULL, which it fills) have ended; `older`
 * lives as long as the database. An answer that comes when `turn` has changed says nothing. */
bool share_ask_quiet(struct cache_database *d, char **older, share_told done);

/* share_bury.c: the marks of those that are silent are ended, once what they had begun is over. */
void share_bury(struct cache_database *d, uint64_t now_us);

/* share_join.c */
void share_fall_to(struct cache_database *d, enum share_step step, const char *reason);
void share_step_on(struct cache_database *d, uint64_t now_us);
void share_meet(struct cache_database *d);

#endif
