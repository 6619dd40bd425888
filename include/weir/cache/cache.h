/*
 * cache: the façade. What session and app call, and nothing else of this folder.
 *
 * A read:   cache_lookup → HIT: send the entry · MISS: ask PostgreSQL, feed the answer into the fill, then
 * commit or abort it · WAIT: a callback brings one of the others · PASS: ask PostgreSQL, store nothing. A
 * write:  cache_write_add for every statement → cache_write_mark before the bytes that may commit leave Weir
 * → cache_write_commit when the completion has come, before it is passed on (or _rollback, or _unknown).
 *
 * Invariant: a hit is never an answer that a write completed through this process has made old; if anything
 * is in doubt the outcome is PASS. Every call is for the thread of the worker it names, except where "control
 * thread" is said.
 */
#ifndef WEIR_CACHE_CACHE_H
#define WEIR_CACHE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/cache/entry.h"
#include "weir/cache/reason.h"
#include "weir/config/settings.h"
#include "weir/util/error.h"
#include "weir/util/slice.h"

struct buf;
struct tls_context;
struct cache;
struct cache_database;
struct cache_fill;
struct cache_scope;
struct cache_wait;
struct cache_worker;
struct cache_write;
struct control_options;
struct feed_need;
struct profile;
struct sql_class;
struct template;
struct worker;

/* --- process: control thread
 * -------------------------------------------------------------------------------------- */

struct cache_options {
    uint64_t memory_bytes;         /* cache_memory; 0 stores nothing in process */
    size_t max_result_bytes;       /* cache_max_result */
    const char *redis_url;         /* cache_redis; NULL or "" for none; copied */
    uint64_t redis_timeout_us;     /* cache_redis_timeout */
    struct tls_context *redis_tls; /* for a URL that asks for TLS; NULL: for none. A reference is taken */
    uint64_t seed;                 /* random: this process's epoch in Redis keys, and jitter */
    bool is_shared;                /* cache_share: other Weirs use the same databases and the same Redis */
    uint64_t lease_us;             /* cache_lease; matters with is_shared alone */
};

/* NULL, with `error` set, when the Redis URL is malformed or memory is out. `control` is the control thread.
 */
struct cache *cache_new(const struct cache_options *options, struct worker *control, struct error *error);
/* Ends the control connections: on the control thread, while its loop lives. Nothing is cached from then on.
 */
void cache_stop(struct cache *c);
/* After every worker, scope, fill and write has been given back, and the control thread's last mails have
 * run. */
void cache_free(struct cache *c);
/* RELOAD: memory_bytes and max_result_bytes take effect at once; the Redis URL for workers made later. */
void cache_set_limits(struct cache *c, uint64_t memory_bytes, size_t max_result_bytes);
/* One hit in so many, in `exact`, is asked of PostgreSQL as well and compared; 0: none. Any thread. */
void cache_set_check(struct cache *c, unsigned one_in);
/* Empties the in-process store, starts a new epoch everywhere, and trusts all templates again. Any thread. */
void cache_clear(struct cache *c);
/* The same for one database. Any thread. */
void cache_clear_database(struct cache *c, struct cache_database *d);
/*
 * Makes all answers old that depend on this table or materialized view, or on what a write to it reaches
 * (partitions, ancestors, what foreign keys cascade to), and frees their memory. `schema` is NULL for the one
 * relation of this name. False, with `error` set, where the catalog knows none or several of that name, or it
 * is nothing that answers depend on. Any thread.
 */
bool cache_clear_relation(struct cache *c, struct cache_database *d, const char *schema, const char *name,
                          struct error *error);
/*
 * Turns a database (NULL: each, and those that come later) off and on: while it is off nothing is looked up
 * or stored, and writes are announced as ever, so that what is still stored when it is turned on again is
 * believed where it is current, as before. Any thread.
 */
void cache_switch(struct cache *c, struct cache_database *d, bool is_on);
bool cache_database_is_switched_off(const struct cache_database *d);

/*
 * The PostgreSQL database behind a configured name; the same address and name give the same object, with a
 * reference for the caller. Databases of one name at different addresses might be one and the same
 * (localhost, 127.0.0.1), so a write to one makes all answers from the others old, until their system
 * identifiers are known to differ. The object stays until cache_free: ask only for databases that exist. Any
 * thread.
 */
struct cache_database *cache_database_get(struct cache *c, const char *host, unsigned port,
                                          const char *dbname);
void cache_database_unref(struct cache_database *d);

/* How to learn of writes around Weir. */
struct cache_feed_options {
    enum cache_feed mode;
    const char *slot;    /* see feed_options; copied */
    uint64_t max_lag_us; /* older knowledge is not believed */
};

struct cache_feed_stats {
    bool is_wanted; /* else nothing else is set */
    bool is_synchronous;
    const char *dbname, *host; /* live as long as the database */
    unsigned port;
    char slot[64];
    char reason[256];      /* why it is not believed; "" when it is */
    uint64_t transactions; /* that have been told of */
    uint64_t gaps;         /* each has emptied the cache */
    uint64_t lag_us;       /* how old the knowledge is; UINT64_MAX where there is none */
    uint64_t lag_bytes;    /* of the server's log */
};

/*
 * Says which mode is the strongest that any identity on this database has, and how to reach it. Anything but
 * OFF starts the control connection (a changed `connection` or mode replaces it, the same again does
 * nothing); OFF ends it. Nothing is cached until it is up, the catalog is loaded and every older transaction
 * has ended. With a feed (NULL or CACHE_FEED_OFF: none) also not while that is behind. Control thread.
 */
bool cache_database_watch(struct cache_database *d, enum cache_mode strongest,
                          const struct control_options *connection, const struct cache_feed_options *feed);
/* Why nothing can be cached now ("" when it can), for SHOW CACHE; copied into `text`. Any thread. */
void cache_database_reason(const struct cache_database *d, char *text, size_t size);
/*
 * Looks whether the server has what a feed needs (whether there is one or not), and calls `done` once, later,
 * with the list, or with an error and no list. False, and no call, where there is no control connection.
 * Control thread.
 */
typedef void (*cache_feed_checked)(void *context, const struct feed_need *list, size_t count,
                                   const char *error);
bool cache_database_check_feed(struct cache_database *d, const struct cache_feed_options *options,
                               cache_feed_checked done, void *context);
/* Why it is not allowed to be `exact` now ("" when it is, or when nothing can be cached). Any thread. */
void cache_database_exact_reason(const struct cache_database *d, char *text, size_t size);
/* What is to be said of its feed. Any thread. */
void cache_database_feed_stats(const struct cache_database *d, struct cache_feed_stats *stats);
/* This process holds the right to `exact` now. Any thread. */
bool cache_database_is_exact_allowed(const struct cache_database *d);
/* A server connection ended that should not have (not by Weir): a new epoch. Any thread. */
void cache_database_server_lost(struct cache_database *d);

/* --- worker
 * ------------------------------------------------------------------------------------------------------- */

/* What the cache keeps for one worker. NULL when memory is out. On its thread, or before that runs. */
struct cache_worker *cache_worker_new(struct cache *c, struct worker *worker);
/*
 * Two steps: stop closes what hangs on the loop (on its thread, or after that has ended); free when its
 * waits, fills and writes have ended and the worker's last mails have run (worker_free runs them).
 */
void cache_worker_stop(struct cache_worker *w);
void cache_worker_free(struct cache_worker *w);
/* Whether Redis is connected and answers; true where none is configured. On its thread. */
bool cache_worker_redis_is_up(const struct cache_worker *w);
/* Appends the nodes of a Redis Cluster as this worker knows them; nothing where it is none. */
void cache_worker_describe_redis(const struct cache_worker *w, struct buf *out);

/* --- scope: who is asking, interned
 * ------------------------------------------------------------------------------- */

/*
 * Everything about a session that can change an answer and is not in the statement. `user` is the login role
 * at the server (no profile holds it); `profile` the session's settings as they are now; `baseline` and
 * `search_path` what cache_baseline_query gave on a server of this pool (what counts where the profile is
 * silent). A session keeps its scope until one of these changes.
 */
struct cache_scope_options {
    struct cache_database *database;
    const char *user;
    struct profile *profile;
    struct slice baseline;
    struct slice search_path;
};

/* Same contents, same pointer, with a reference for the caller; NULL when memory is out. Any thread. */
struct cache_scope *cache_scope_get(struct cache *c, const struct cache_scope_options *options);
struct cache_scope *cache_scope_ref(struct cache_scope *s);
void cache_scope_unref(struct cache_scope *s);

/*
 * One statement that a new server connection runs after login and connect_query: one row of three texts, the
 * fingerprint (settings, session user, server and database identity), search_path and
 * default_transaction_isolation. A fill is only started on a server whose fingerprint is the scope's, and
 * which is the one that the control connection is on.
 */
const char *cache_baseline_query(void);

/* --- reading
 * ------------------------------------------------------------------------------------------------------ */

enum cache_shape {
    CACHE_SIMPLE,            /* Query: T D… C */
    CACHE_EXECUTE,           /* Bind, [Describe portal,] Execute that comes to an end: [T] D… C */
    CACHE_DESCRIBE,          /* Describe statement: t T; no parameters take part */
    CACHE_EXECUTE_DESCRIBED, /* the same as EXECUTE with a Describe of the statement: t T D… C */
};

/* Does an asking of this shape carry the values of a Bind? */
static inline bool cache_shape_binds(enum cache_shape shape)
{
    return shape == CACHE_EXECUTE || shape == CACHE_EXECUTE_DESCRIBED;
}

/* Facts about this asking; each of them alone makes the outcome PASS, except the last two. */
enum {
    CACHE_HAS_WRITTEN = 1 << 0,        /* its transaction has written, or may have */
    CACHE_NOT_COMMITTED_READ = 1 << 1, /* in a block that is not known to be READ COMMITTED, or has failed */
    CACHE_HAS_TEMPORARY = 1 << 2,      /* the session owns, or may own, temporary objects */
    CACHE_UNSEEN_STATE = 1 << 3, /* code has run that may have changed what Weir has not looked at yet */
    CACHE_HINT_OFF = 1 << 4,
    CACHE_DATETIME_WORD = 1 << 5,     /* a literal holds, or may hold, now, today, … (from the template) */
    CACHE_NEEDS_DESCRIPTION = 1 << 8, /* an EXECUTE that must also yield the row description */
    CACHE_NO_WAIT = 1 << 9, /* join no flight, ask no Redis, but for the ledger of a shared cache: that WAIT
                               is for Redis' time limit at most */
};

struct cache_request {
    struct cache_scope *scope;
    enum cache_mode mode;
    enum cache_shape shape;
    unsigned flags;
    struct sql_class *class;         /* of `text` */
    struct slice text;               /* exact bytes, without the NUL */
    const struct template *template; /* of `text`; NULL: not taken apart */
    const uint32_t *parameter_types; /* as given in Parse, host order */
    size_t parameter_type_count;
    /* Of shapes that bind: the body of Bind after the two names, that is formats, values and result formats;
     * must be well-formed. */
    struct slice bind;
    uint32_t row_limit; /* of shapes that bind: that of Execute; 0 for none */
    uint64_t ttl_us;    /* the lesser of cache_ttl and a hint; 0 for none (allowed in exact only) */
    uint64_t now_us;
};

enum cache_outcome { CACHE_HIT, CACHE_MISS, CACHE_WAIT, CACHE_PASS };

enum cache_source { CACHE_FROM_MEMORY, CACHE_FROM_FETCH, CACHE_FROM_REDIS };

struct cache_answer {
    enum cache_outcome outcome;
    enum cache_source source; /* HIT: where it was, or that another asker has just fetched it */
    struct entry *entry;      /* HIT: the caller's reference */
    struct cache_fill *fill;  /* MISS: the caller's, to be committed or aborted */
    struct cache_wait *wait;  /* WAIT: valid until the callback or cache_wait_cancel */
    enum cache_reason reason; /* PASS: why */
};

typedef void (*cache_answered)(void *context, const struct cache_answer *answer);

/*
 * Never blocks. `answered` is called at most once, later, on this worker, and only after WAIT: with HIT, MISS
 * or PASS. Nothing of the request is kept but copies.
 */
void cache_lookup(struct cache_worker *w, const struct cache_request *request, cache_answered answered,
                  void *context, struct cache_answer *answer);

/* The callback will not come. */
void cache_wait_cancel(struct cache_wait *wait);

/* May this be cached, and if not, why. */
enum cache_reason cache_judge(struct cache_worker *w, const struct cache_request *request);

/* --- templates: what the cache thinks of the statements that it was asked about
 * --------------------------------------- */

struct cache_template {
    const char *database; /* at PostgreSQL */
    const char *user;
    const char *text; /* without literals; the beginning of a long one */
    uint64_t calls;   /* the cache was asked */
    uint64_t hits;    /* answered at once */
    uint64_t misses;  /* not there: fetched, or waited for while another fetched it */
    uint64_t saved_us;
    uint64_t since_us; /* the monotonic clock's, when it was first met */
    enum cache_reason reason;
    const char *detail;    /* what stands in the way, "function public.f(integer)"; "" for nothing to add */
    const char *found;     /* "names", or "postgresql", which was asked */
    const char *relations; /* that the answer depends on, with commas; "" where that is not known */
    /* Of cache_explain alone: */
    const char *generations; /* "epoch 3, public.items 7": the versions of these; "" where it is not cached */
    uint64_t ttl_us;         /* of the request; 0: none */
    bool is_stored;          /* the answer to this very text is in memory, and current */
};

/* Why it is not cached, and what exactly stands in the way; "" where it is. */
void cache_template_reason(const struct cache_template *t, char *text, size_t size);

/*
 * What the cache thinks of a request, without asking anything of it: fills in all but who asks, when and the
 * text. What is text may point into `scratch`. CACHE_REASON_PENDING: PostgreSQL is being asked, try again. On
 * the worker's thread.
 */
enum cache_reason cache_explain(struct cache_worker *w, const struct cache_request *request,
                                struct cache_template *t, struct buf *scratch);

/* The most asked of a worker, one for each text, user and database; valid during the call. On its thread. */
void cache_templates(struct cache_worker *w, size_t limit,
                     void (*each)(void *context, const struct cache_template *t), void *context);

/* --- filling
 * ------------------------------------------------------------------------------------------------------ */

/*
 * Directly before the query is written to a server: reads the generations (again). False when the answer
 * could not be stored (somebody is writing): relay, and abort the fill. `baseline` is that server's
 * fingerprint.
 */
bool cache_fill_start(struct cache_fill *fill, struct slice baseline, uint64_t now_us);

/* Whole or broken messages of one part, in order. False once it is too big: relay goes on, abort the fill at
 * the end. */
bool cache_fill_append(struct cache_fill *fill, enum entry_part part, struct slice bytes);

/*
 * The answer is complete: at ReadyForQuery (status I or T) for the statement alone, nothing else having come
 * (no notice, no ParameterStatus). Stores it if the generations are unchanged. Consumes the fill.
 */
enum cache_committed { CACHE_STORED, CACHE_OVERTAKEN, CACHE_UNFIT }; /* by a write; too big, or in part */
enum cache_committed cache_fill_commit(struct cache_fill *fill, uint64_t now_us);

/* Those who wait shall wait no longer and ask for themselves (the asker reads slowly, say); the fill itself
 * goes on. */
void cache_fill_release(struct cache_fill *fill);

enum cache_abort {
    CACHE_ABORT_ANSWER,  /* error, notice, too big, odd: those who waited ask for themselves */
    CACHE_ABORT_FETCHER, /* the asker went away or was cancelled: one of those who waited becomes the fetcher
                          */
};
/* Consumes the fill. */
void cache_fill_abort(struct cache_fill *fill, enum cache_abort why);

/* --- writing: every session to a database, whatever its mode
 * ---------------------------------------------------------- */

/* One for a transaction (or autocommit statement) that writes; NULL when memory is out: then end the session.
 */
struct cache_write *cache_write_new(struct cache_worker *w, struct cache_database *d);

/* The values of a statement; all of it may be empty. */
struct cache_values {
    struct slice text;               /* with the literals */
    const struct template *template; /* of `text`; NULL: not taken apart */
    struct slice bind;               /* Bind's body after the two names */
    const uint32_t *types;
    size_t type_count;
};

/* The one row that a statement writes. Zeroed: it is not known that there is only one. */
struct cache_row {
    uint64_t version; /* of the catalog */
    uint64_t hash;
    uint32_t relation;
};

/* By its primary key among the values. Nearly free for classes that do not look for one row. */
struct cache_row cache_row_of(struct cache_worker *w, struct cache_scope *scope, struct sql_class *class,
                              const struct cache_values *values);

/*
 * A statement of class `class` is about to be sent; does nothing for reads. After the mark it marks at once.
 * Without a scope (NULL) tables cannot be found, so that everything counts as written. `row` is what
 * cache_row_of has said; NULL where it was not asked.
 */
void cache_write_add(struct cache_write *write, struct cache_scope *scope, struct sql_class *class,
                     const struct cache_row *row);
/*
 * May statements of this class write although they only read: a view, a policy, or a function in place of a
 * built-in one may call a function that does. Nearly free. Without a scope (NULL) nothing is known of names:
 * true. Then add it as unknown.
 */
bool cache_may_run_code(struct cache_worker *w, const struct cache_database *d, struct cache_scope *scope,
                        struct sql_class *class);
/* Are there temporary objects on the database, of whatever session, that may do so unseen? Nearly free. */
bool cache_has_temporary_code(const struct cache_database *d);
/* Something is about to be sent whose effects are not known. */
void cache_write_add_unknown(struct cache_write *write);
/* Has anything been added that can change an answer? */
bool cache_write_is_empty(const struct cache_write *write);

/* Before the bytes leave that may commit: COMMIT, or the statement itself outside a block. May be called
 * again. */
void cache_write_mark(struct cache_write *write);
/*
 * After the mark, and as long as it says WAIT: may the bytes leave, now? WAIT: not before the other Weirs
 * know of the write; `done` is called on this worker, once, when it is worth asking again (not after the
 * write has ended). REFUSED: they cannot be told, so that it must not take place. GO holds for this moment
 * alone.
 */
enum cache_word { CACHE_WRITE_GO, CACHE_WRITE_WAIT, CACHE_WRITE_REFUSED };
enum cache_word cache_write_may_go(struct cache_write *write, void (*done)(void *context), void *context);

/*
 * The three ends; each consumes the write. Commit: when PostgreSQL has answered, before that is passed on;
 * other Weirs hear of it some time later, until when what they have been told before stands. When in doubt
 * commit: it only costs hits.
 */
void cache_write_commit(struct cache_write *write);
/* It is certain that all of it was rolled back. */
void cache_write_rollback(struct cache_write *write);
/* The connection to backend `pid` was lost, or given up, after the mark: marked until the backend is proven
 * gone. */
void cache_write_unknown(struct cache_write *write, uint32_t backend_pid);

/* --- figures: any thread
 * ------------------------------------------------------------------------------------------------ */

#define CACHE_COUNTERS(X)                                                                                    \
    X(hits, "answers given from the cache")                                                                  \
    X(misses, "cacheable reads that went to PostgreSQL")                                                     \
    X(passes, "reads that may not be cached, by reason in passes_by_reason")                                 \
    X(joins, "reads that waited for the same answer asked by another client")                                \
    X(fills, "answers stored")                                                                               \
    X(fills_refused, "answers not stored because a write came between")                                      \
    X(fills_aborted, "answers not stored: error, notice, too big, client gone")                              \
    X(expired, "entries found past their time")                                                              \
    X(outdated, "entries found older than a write")                                                          \
    X(redis_hits, "answers given from Redis")                                                                \
    X(redis_misses, "answers that Redis did not have, or not current")                                       \
    X(redis_timeouts, "questions to Redis that took longer than cache_redis_timeout")                        \
    X(redis_errors, "errors from Redis, and values that did not check out")                                  \
    X(redis_skipped, "questions not asked because Redis is failing or busy")                                 \
    X(redis_stores, "answers sent to Redis")                                                                 \
    X(writes, "transactions that changed generations")                                                       \
    X(writes_unknown, "of these, those whose tables could not be named")                                     \
    X(checks_right, "hits asked of PostgreSQL as well that were right")                                      \
    X(checks_wrong, "of these, those that were wrong: their templates are not cached any more")              \
    X(checks_undecided, "of these, those where a write came between, or PostgreSQL is free to differ")       \
    X(saved_us, "microseconds of database time that hits have saved")

struct cache_stats {
#define X(name, help) uint64_t name;
    CACHE_COUNTERS(X)
#undef X
    uint64_t passes_by_reason[CACHE_REASON_COUNT];
    uint64_t entries;
    uint64_t bytes;
    uint64_t evictions;
    uint64_t flushes; /* by a person: of all, of a database, of a relation */
    uint64_t epoch_changes;
    uint64_t analyses; /* questions to PostgreSQL what a template calls and reads */
    uint64_t analyses_failed;
};

void cache_stats(struct cache *c, struct cache_stats *stats);

#endif
