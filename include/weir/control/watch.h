/*
 * watch: keeps one database under observation for the cache, over one control connection.
 *
 * Loads the catalog, looks every second whether it changed, whether the server is the same and a primary,
 * holds the advisory lock that gives this process the right to `exact`, waits out transactions older than the
 * watch, and proves that a backend is gone. Confined to the thread of its loop; every event is sent there.
 *
 * Invariant: between `ready` and the next `unready` the catalog given is the one in force, as far as one look
 * per interval can tell, the server has not changed, and no transaction is left that began before the watch
 * did.
 */
#ifndef WEIR_CONTROL_WATCH_H
#define WEIR_CONTROL_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/control/control.h"

struct catalog;
struct control_options;
struct loop;
struct watch;

struct watch_events {
    /* A catalog in force; the receiver takes a reference if it keeps it. */
    void (*ready)(void *context, struct catalog *catalog);
    /* From now on nothing is known. */
    void (*unready)(void *context, const char *reason);
    /* Sent on every successful look while ready: what is known is as new as now. `is_exact_allowed`: the lock
     * is ours. */
    void (*confirmed)(void *context, bool is_exact_allowed);
    /* Sent while ready; see watch_check. May be NULL where that is not called. */
    void (*checked)(void *context, uint64_t check);
    void *context;
};

struct watch_options {
    uint64_t interval_us; /* 0: 1 s */
    bool wants_exact;     /* try for the advisory lock */
    bool is_shared;       /* others of its kind may hold it too */
};

struct watch *watch_new(struct loop *loop, const struct control_options *connection,
                        const struct watch_options *options, const struct watch_events *events);
/* Sends nothing more; backends still waited for are never reported gone. */
void watch_free(struct watch *w);
void watch_start(struct watch *w);

/*
 * The catalog may have changed (DDL or unknown code passed): sends `unready` at once, looks, loads if it has
 * changed, and sends `ready` again. Calls that come close together are answered by one look.
 */
void watch_invalidate(struct watch *w);

/*
 * Something may have changed that can wait for a look. Returns a number: the catalog is looked at soon, and
 * if nothing is found `checked` is sent with this number or a higher one; if something is, `unready` is. Zero
 * while not ready: then the next `ready` is sent only after such a look.
 */
uint64_t watch_check(struct watch *w);

/*
 * Calls `gone` once, when no backend with this process id, begun before now, exists any more. Where the role
 * may not see when the backend began, a reused process id delays that, and never brings it forward.
 */
void watch_await_backend(struct watch *w, uint32_t pid, void (*gone)(void *context), void *context);

/* Asks something else over the watch's connection, with one parameter or none (NULL); see control_query. */
bool watch_ask(struct watch *w, const char *sql, const char *parameter, control_done done, void *context);

/*
 * For watch_ask: the virtual ids of the transactions of this database that run now, with commas; and, with
 * that list as the parameter, how many of them have not ended. The first has no parameter.
 */
const char *watch_running_query(void);
const char *watch_left_query(void);

/* Why it is not ready, in words for SHOW CACHE; "" when it is. */
const char *watch_reason(const struct watch *w);

#endif
