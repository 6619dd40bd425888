/*
 * database: one PostgreSQL database as the cache knows it: its generations, its catalog, the writes under
 * way.
 *
 * Databases of one name form a group with one lock, since two of them may be one and the same at two
 * addresses; all that is not atomic here is guarded by that lock, but for what is said to be the control
 * thread's.
 *
 * Invariant: while a database is usable, its catalog is the one in force, and every write under way was
 * marked under that catalog (so that its marks cover all that it writes).
 */
#ifndef WEIR_CACHE_DATABASE_H
#define WEIR_CACHE_DATABASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/cache/cache.h"
#include "weir/cache/generations.h"
#include "weir/cache/share.h"
#include "weir/net/mailbox.h"
#include "weir/util/list.h"

struct analyses;
struct analysis;
struct analyst;
struct catalog;
struct feed;
struct databases; /* all groups of a process */
struct group;
struct watch;

/* What is known by the feed; see fed.c. Control thread, but for what is atomic. */
struct database_feed {
    struct feed *feed; /* NULL: none is wanted */
    _Atomic bool is_synchronous;
    bool is_waited_for; /* so says the server */
    char slot[64];      /* under the group's lock */
    uint64_t max_lag_us;
    uint64_t database_oid;    /* of the server that it is fed by; 0 while it is lost */
    uint64_t server_start_us; /* of that server */
    struct list unseen;   /* transactions for whose sake the catalog is still to be looked at, oldest first */
    uint64_t next_number; /* of these */
    uint64_t later_as_of_us; /* believed once those up to `later_number` have been looked at; 0: none */
    uint64_t later_number;
    _Atomic uint64_t until_us; /* believed until then; UINT64_MAX without a feed */
    _Atomic uint64_t transactions, gaps, as_of_us, lag_bytes;
    char reason[256]; /* under the group's lock */
};

struct cache_database {
    struct list_node node; /* in its group */
    struct group *group;
    _Atomic uint32_t references;
    char *host;
    unsigned port;
    uint64_t id; /* never used again in this process */
    struct generations *generations;
    _Atomic uint64_t version; /* of the catalog; changes with every `ready` and `unready` */
    _Atomic bool is_usable;
    _Atomic bool is_switched_off; /* by a person; nothing is looked up or stored, writes count as ever */
    _Atomic bool is_exact_allowed;
    _Atomic bool is_only_unfed; /* it would be, if commits waited for the feed */
    bool has_lock;              /* the watch holds the right to `exact`; control thread */
    _Atomic bool has_code; /* reading may run functions of users: so says the catalog, or there is none */
    _Atomic bool has_temporary_code; /* the same, through temporary objects */
    _Atomic uint64_t confirmed_us;
    struct catalog *catalog; /* NULL while unknown */
    bool is_watched;
    bool is_reload_wanted; /* the mail below is on its way: a catalog that arrives now may be too old */
    struct mail reload;
    struct list writes;  /* struct database_write: marked, not ended */
    struct list orphans; /* of these, those whose backend must be proven gone */
    char reason[160];
    struct analyses *analyses;
    struct watch *watch;        /* control thread */
    struct analyst *analyst;    /* control thread; NULL while not watched */
    uint64_t watch_fingerprint; /* of mode, connection and feed; control thread */
    struct database_feed fed;
    struct database_share share;
};

/* `share` may be NULL, and outlives all. */
struct databases *databases_new(struct worker *control, struct share *share);
/* Ends every watch; before the control thread's loop is freed. Control thread. */
void databases_stop(struct databases *all);
/* After databases_stop, and after the mails of the control thread have run. Ends writes of unknown outcome.
 */
void databases_free(struct databases *all);
/* Any thread; see cache_database_get. */
struct cache_database *databases_get(struct databases *all, const char *host, unsigned port,
                                     const char *dbname);
/* A new epoch for every database. Any thread. */
void databases_change_all(struct databases *all);
/* Every database that there is, and those that will be. Any thread. */
void databases_switch_all(struct databases *all, bool is_on);
uint64_t databases_epoch_changes(struct databases *all);
/* How many analyses were asked for, and how many of them failed. Any thread. */
void databases_count_analyses(struct databases *all, uint64_t *asked, uint64_t *failed);

struct cache_database *database_ref(struct cache_database *d);
/* What PostgreSQL calls it. Lives as long as the database. */
const char *database_name(const struct cache_database *d);
/* What cache_database_watch does. Control thread. */
bool database_watch(struct cache_database *d, enum cache_mode strongest,
                    const struct control_options *connection, const struct cache_feed_options *feed);

/* What the watch has to say; see watch_events. Control thread. */
void database_learn(struct cache_database *d, struct catalog *catalog);
void database_unlearn(struct cache_database *d, const char *reason);
void database_confirm(struct cache_database *d, bool has_lock);

/* The catalog in force, with a reference, and its version; NULL when it is not known. Any thread. */
struct catalog *database_catalog(struct cache_database *d, uint64_t *version);

/* May entries be believed at this time: not switched off, usable, confirmed by a look not long ago, and the
 * feed not behind. Any thread. */
bool database_is_believed(const struct cache_database *d, uint64_t now_us);

/* A write can be read by nobody before its tables are marked: there is no feed, or it is waited for. Any
 * thread. */
bool database_is_told_at_once(const struct cache_database *d);

/* The fingerprint (cache_baseline_query) is of the server and database that the catalog of this version
 * (which is written) was read from. Any thread. */
bool database_is_same_server(struct cache_database *d, struct slice baseline, uint64_t *version);

/* Has PostgreSQL asked; the analysis is finished some time later, whatever happens. Once for each. Any
 * thread. */
void database_analyse(struct cache_database *d, struct analysis *analysis);

/* A new epoch at once. Any thread. */
void database_change_epoch(struct cache_database *d);

/* --- writes under way
 * ------------------------------------------------------------------------------------------------ */

/* Owned by one thread until it is orphaned; allocated with malloc. Zero-initialised but for `database` means
 * empty. */
struct database_write {
    struct list_node node;           /* in writes, while marked */
    struct list_node orphan_node;    /* in orphans */
    struct cache_database *database; /* a reference */
    uint64_t version;                /* of the catalog that the slots were found with; 0 for none */
    bool is_unknown;                 /* everything may be written */
    bool is_schema;                  /* definitions or rights may change */
    bool is_marked;
    bool is_epoch_marked;
    struct generation **slots; /* references */
    size_t slot_count;
    size_t slot_capacity;
    size_t marked_count; /* of the slots */
    uint64_t marked_version;
    struct cache_database **peers; /* references; their epochs are marked */
    size_t peer_count;
    uint32_t backend_pid;
    bool is_awaited; /* control thread: the watch has been asked for the proof */
    struct mail mail;
    struct share_client *client; /* by which it is marked in the ledger; NULL: it is not */
    struct share_mark *mark;     /* NULL: not asked for yet */
    uint64_t legacy_round;       /* see database_share; under the group's lock */
};

/* Adds a relation of the write's own database: any of its rows. When memory is out the write becomes unknown.
 */
void database_write_add(struct database_write *w, uint32_t relation);
/* Adds one of its rows, or new rows; see generations.h. False: there are so many that all are added. */
bool database_write_add_row(struct database_write *w, uint32_t relation, uint64_t key_hash);
void database_write_add_new_rows(struct database_write *w, uint32_t relation);
/* Marks what is not marked yet, in this database and its peers. */
void database_write_mark(struct database_write *w);
/* Ends the marks and frees all. `has_changed`: tokens change; otherwise it is certain that nothing was
 * written. */
void database_write_end(struct database_write *w, bool has_changed);
/* Keeps the marks until no backend `pid` is left, then ends them as changed. Takes the write over. Any
 * thread. */
void database_write_orphan(struct database_write *w, uint32_t pid);

#endif
