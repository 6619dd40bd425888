/*
 * database_group: what database.c and marks.c share. Private to the two.
 *
 * "Locked" means with the group's mutex held; a group's mutex is taken after that of the list of groups.
 */
#ifndef WEIR_CACHE_DATABASE_GROUP_H
#define WEIR_CACHE_DATABASE_GROUP_H

#include <pthread.h>

#include "weir/cache/database.h"

struct group {
    struct group *next;
    struct databases *all;
    char *name;
    pthread_mutex_t mutex;
    struct list members;
};

struct databases {
    struct worker *control;
    struct share *share;   /* NULL: this process is alone */
    pthread_mutex_t mutex; /* of the list of groups */
    struct group *groups;
    uint64_t next_id;
    bool is_switched_off; /* as new databases begin; under the mutex */
    _Atomic uint64_t epoch_changes;
    _Atomic uint64_t analyses_asked;
    _Atomic uint64_t analyses_failed;
};

/* marks.c: locked. */
bool database_is_other(const struct cache_database *a, const struct cache_database *b);
void database_mark_peer(struct database_write *w, struct cache_database *peer);
/* marks.c: asks the watch for the proof that an orphan's backend is gone. Control thread. */
void database_write_await(struct database_write *w);

/* fed.c. Control thread, not locked but for `set_reason`. */
void database_feed_init(struct cache_database *d);
bool database_feed_start(struct cache_database *d, const struct control_options *connection,
                         const struct cache_feed_options *options);
void database_feed_stop(struct cache_database *d);
/* The catalog has gone or come: what waited for a look need not any more. */
void database_feed_unready(struct cache_database *d);
/* A look has found nothing new; see watch_check. */
void database_feed_checked(struct cache_database *d, uint64_t check);
/* Does the feed allow `exact`: there is none, it is no synchronous one, or commits wait for it. */
bool database_feed_is_exact(const struct cache_database *d);

/* fed.c: locked. Why the feed is not believed, "" when it is. */
const char *database_feed_reason(const struct cache_database *d, uint64_t now_us);

/* database.c */
void database_judge_exact(struct cache_database *d);
/* database.c: locked. */
void database_judge_usable(struct cache_database *d);
void database_want_reload(struct cache_database *d);

#endif
