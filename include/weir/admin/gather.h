/*
 * gather: what console and HTTP need from the process, as functions that app supplies.
 *
 * Everything here is called on the control thread, and every completion comes back on the control thread,
 * exactly once, possibly before the call returns. A completion whose asker has gone is the asker's matter:
 * what it is given as `done_arg` must then still be valid (keep a counted object, or look the asker up by
 * number).
 */
#ifndef WEIR_ADMIN_GATHER_H
#define WEIR_ADMIN_GATHER_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/admin/snapshot.h"
#include "weir/config/config.h"
#include "weir/util/error.h"
#include "weir/util/slice.h"

enum admin_verb {
    ADMIN_RELOAD,
    ADMIN_PAUSE,   /* done when all servers of it are idle */
    ADMIN_RESUME,  /* also ends SUSPEND */
    ADMIN_DISABLE, /* database given */
    ADMIN_ENABLE,  /* database given */
    ADMIN_RECONNECT,
    ADMIN_KILL,        /* drop clients and servers at once, and leave it paused */
    ADMIN_KILL_CLIENT, /* client_id, or client_ptr */
    ADMIN_SUSPEND,
    ADMIN_SHUTDOWN,              /* at once */
    ADMIN_SHUTDOWN_WAIT_SERVERS, /* done when accepted, as for the other two */
    ADMIN_SHUTDOWN_WAIT_CLIENTS,
    ADMIN_WAIT_CLOSE,  /* done when servers that have to close are closed */
    ADMIN_SET,         /* key, value: config_set and apply */
    ADMIN_CACHE_FLUSH, /* drop every stored answer (of the database or its relation, if given) */
    ADMIN_CACHE_DISABLE,
    ADMIN_CACHE_ENABLE,
};

/* Borrowed for the call. */
struct admin_command {
    enum admin_verb verb;
    const char *database; /* NULL: all */
    uint64_t client_id;   /* KILL_CLIENT: number of SHOW CLIENTS, or 0 */
    uint64_t client_ptr;  /* KILL_CLIENT: ptr of SHOW CLIENTS, or 0 */
    const char *schema;   /* CACHE FLUSH, with a relation: NULL for the one of its name */
    const char *relation; /* CACHE FLUSH; NULL: all */
    const char *key;      /* SET */
    const char *value;    /* SET */
    const char *user;     /* who asks, for the log */
};

/* `error` is NULL on success and borrowed otherwise. */
typedef void admin_done_fn(void *done_arg, const struct error *error);
/* The receiver owns the snapshot; NULL when memory is out. */
typedef void admin_gathered_fn(void *done_arg, struct admin_snapshot *snapshot);

/* A question about a statement: borrowed for the call. */
struct admin_explain {
    const char *database; /* NULL: the one that is cached */
    const char *user;     /* NULL: any that has a server there */
    struct slice text;
};

struct admin_explanation {
    const char *database;
    const char *user;
    const char *cacheable; /* "yes", "no" */
    const char *reason;    /* why not; "" if it is */
    const char *found;     /* how that is known; see struct show_template */
    const char *relations;
    const char *generations; /* of these, "epoch 3, public.items 7"; "" where they are not known */
    const char *stored;      /* "memory", or "no" */
    uint64_t ttl_us;         /* 0: none */
    uint64_t calls, hits, misses, saved_us; /* of its template and this user */
};

/* Either is NULL; both are borrowed. */
typedef void admin_explained_fn(void *done_arg, const struct admin_explanation *explanation,
                                const struct error *error);

struct admin_flags {
    bool is_paused;
    bool is_suspended;
    bool is_shutting_down;
};

struct admin_source {
    void *arg;
    /* The current configuration; the caller unrefs. */
    struct config *(*config)(void *arg);
    /* `parts`: bits of enum snapshot_part. */
    void (*gather)(void *arg, unsigned parts, admin_gathered_fn *done, void *done_arg);
    void (*command)(void *arg, const struct admin_command *command, admin_done_fn *done, void *done_arg);
    void (*explain)(void *arg, const struct admin_explain *question, admin_explained_fn *done,
                    void *done_arg);
    struct admin_flags (*flags)(void *arg);
    /* Is every configured service up? Writes the reason when not (shutting down, no worker, ...). */
    bool (*is_ready)(void *arg, struct error *why);
    /* Time, for uptime, averages and timestamps: monotonic, and since 1970. */
    uint64_t (*now_us)(void *arg);
    uint64_t (*wall_us)(void *arg);
    uint64_t started_us; /* on the monotonic clock */
};

#endif
