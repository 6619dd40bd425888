/*
 * control: one of Weir's own conversations with PostgreSQL, through libpq, without blocking an event loop.
 *
 * Connects, keeps connected (exponential back-off with jitter), and runs one query at a time from a bounded
 * queue. A query that takes longer than the time limit costs the connection: whatever state the session had
 * is gone, and `down` says so. A connection may become a stream
 * instead. Confined to the thread of its loop. Knows nothing of what the queries mean.
 * (libpq resolves host names in the calling thread: give `hostaddr`, or keep this off the workers' threads.)
 *
 *   idle --start--> connecting --ok--> up --error, time limit, end--> waiting --back-off--> connecting
 */
#ifndef WEIR_CONTROL_CONTROL_H
#define WEIR_CONTROL_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/util/slice.h"

struct control;
struct loop;
struct pg_result; /* PGresult of libpq */

enum control_state {
    CONTROL_IDLE,
    CONTROL_CONNECTING,
    CONTROL_UP,
    CONTROL_WAITING,
};

struct control_options {
    /* As for PQconnectStartParams, both ended by NULL; copied. application_name is "weir control" unless
     * given. */
    const char *const *keywords;
    const char *const *values;
    uint64_t connect_timeout_us; /* 0: 10 s */
    uint64_t query_timeout_us;   /* 0: 10 s */
    uint64_t retry_min_us;       /* 0: 100 ms; doubles up to retry_max_us */
    uint64_t retry_max_us;       /* 0: 15 s */
    uint64_t seed;               /* of the jitter */
    /* The keywords ask for a replication connection: queries go by the simple protocol, without parameters.
     */
    bool is_replication;
};

/* Both may be NULL. Neither may free the control; `up` may queue queries. */
struct control_events {
    void (*up)(void *context);
    void (*down)(void *context, const char *reason);
    void *context;
};

/*
 * Receives the answer of one query: `result` is valid during the call only, and NULL when the connection was
 * lost or the query refused by the server; `error` then says why (NULL otherwise). Must not free the control.
 */
typedef void (*control_done)(void *context, const struct pg_result *result, const char *error);

/* Does the libpq at hand know this keyword? */
bool control_knows(const char *keyword);

/* NULL when memory is out. Does nothing until control_start. */
struct control *control_new(struct loop *loop, const struct control_options *options,
                            const struct control_events *events);

/* Closes; queued queries get their callback with an error first. No event is sent. NULL is allowed. */
void control_free(struct control *c);

void control_start(struct control *c);

/*
 * Closes the connection and is idle again: nothing happens until the next control_start. Queued queries get
 * their callback with an error first; no event is sent. Not from a control_done; from `down` it may be
 * called.
 */
void control_stop(struct control *c);

/* Drops the connection and connects anew (after the shortest back-off). */
void control_restart(struct control *c, const char *reason);

/*
 * Queues a query (extended protocol, text results, `count` text parameters, NULL for SQL NULL; text and
 * parameters are copied). False, and no callback, when not up or when too many wait.
 */
bool control_query(struct control *c, const char *sql, const char *const *parameters, int count,
                   control_done done, void *context);

/* SQLSTATE of the error that is being told to a control_done; "" for one that did not come from the server.
 */
const char *control_sqlstate(const struct control *c);

/*
 * Receives one message of a stream, valid during the call; empty: there are no more at the moment. Must not
 * free the control; may restart it.
 */
typedef void (*control_taken)(void *context, struct slice message);

/*
 * Queues a command that begins a stream in both directions (START_REPLICATION). `done` gets the answer, as
 * for control_query; if it was taken, every message goes to `taken` from then on, until `down`: the
 * connection answers nothing else any more.
 */
bool control_stream(struct control *c, const char *sql, control_done done, control_taken taken,
                    void *context);
/* Sends one message; true unless there is no stream, or the connection had to be given up. */
bool control_stream_send(struct control *c, struct slice message);

enum control_state control_get_state(const struct control *c);

/* The reason of the last failure; "" when there was none. */
const char *control_last_error(const struct control *c);

/* Backend process id, 0 when not up. */
uint32_t control_backend_pid(const struct control *c);

/* Value of a ParameterStatus ("server_version", "in_hot_standby"); NULL when unknown. */
const char *control_parameter(const struct control *c, const char *name);

#endif
