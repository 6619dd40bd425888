/*
 * lease: a client and a server working together, and the bookkeeping of that.
 *
 * Lives from the grant of a server to its release; a client that goes away in between leaves an orphan, which
 * finishes what was begun (cancel, answers, ROLLBACK) so that the server can be used again. Confined to the
 * worker.
 *
 * Invariant: the server may be released when `owed` is empty, the transaction status is idle, no part of a
 * message is outstanding in either direction, nothing came after the last Sync, no pin holds, and no cancel
 * is on its way.
 */
#ifndef WEIR_SESSION_LEASE_H
#define WEIR_SESSION_LEASE_H

#include "weir/cache/cache.h"
#include "weir/pool/server.h"
#include "weir/session/owed.h"
#include "weir/track/profile.h"
#include "weir/util/cold.h"

struct client;
struct lease_portal;

enum lease_purpose {
    LEASE_WORK,        /* for a client's messages */
    LEASE_GREETING,    /* to check the settings of a client that logs in */
    LEASE_LOOKUP,      /* to ask auth_query about a client that logs in */
    LEASE_ORPHAN,      /* the client is gone */
    LEASE_REPLICATION, /* bytes both ways, unread; the server ends with the client */
};

struct lease {
    struct list_node node; /* session->dead, when it has ended */
    struct client *client; /* NULL for an orphan */
    struct server *server; /* NULL when it has ended */
    struct session_worker *session;
    struct owed_queue owed;
    struct lease_portal *portals;       /* named portals of this transaction */
    struct statement *portal_statement; /* what the unnamed portal runs; counted */
    struct cache_row portal_row;        /* that it writes */
    struct cache_fill *fill;            /* where the answer under way is stored, if all goes well */
    struct cache_write *write;          /* what this transaction writes, as far as the cache is concerned */
    uint64_t write_place;     /* in `owed`: where the last statement of it is answered, or earlier */
    uint64_t end_place;       /* in `owed`: behind the last that may end the transaction */
    struct profile *before;   /* the server's settings before a change that is not yet certain; counted */
    struct profile *switched; /* what the server was made to have since the last ReadyForQuery; counted */
    struct buf greeting;      /* ParameterStatus messages, for LEASE_GREETING */
    struct buf refusal;       /* the ErrorResponse to a change of settings that was sent on its own */
    struct buf cleanup;       /* messages to send before the release, each answered by '3' */
    uint32_t cleanup_count;
    uint32_t profile_owed; /* entries of `owed` that belong to a change of settings */
    struct timer timer;    /* query_timeout; for an orphan the time it has left */
    struct timer transaction_timer;
    struct timer cancel_timer; /* a cancel request that may have come too early */
    uint64_t cancelled_us;     /* the busy_since_us of the request it was for */
    uint64_t start_us;         /* the request came */
    uint64_t granted_us;
    uint64_t busy_since_us;      /* bytes were sent for which an answer is owed; 0: nothing is owed */
    uint64_t ready_us;           /* the last ReadyForQuery inside a block: the client has the word */
    uint64_t wait_us, client_us; /* of the request at hand, for the ledger */
    size_t skip;                 /* bytes of the server's current message still to come */
    uint8_t purpose;             /* enum lease_purpose */
    char status;                 /* of the last ReadyForQuery */
    uint8_t skip_type;           /* and of what type it is */
    bool skip_is_filled;         /* whether they go to the fill as well */
    bool fills_description;      /* the fill is of a description, which ends before ReadyForQuery */
    bool skip_is_dropped;        /* whether those bytes are dropped or passed on */
    bool is_announcing;    /* the client's messages wait until other Weirs know what the next one writes */
    bool is_write_sent;    /* something of `write` was sent */
    bool is_lock_unsure;   /* whether a session-level advisory lock is held, only the server knows */
    bool is_prepared;      /* the settings have been looked at for this lease */
    bool is_holding;       /* the client's messages wait for the answers to Weir's own */
    bool is_gap_coming;    /* the batch has a RESET after which the server's value is not the session's */
    bool is_end_told;      /* PostgreSQL has told the client why it ends the connection */
    bool is_begin_owed;    /* the held-back BEGIN has been sent and is not yet answered */
    bool is_begin_refused; /* ... and was refused: what came with it is skipped */
    bool is_batch_open;    /* extended messages since the last Sync */
    bool is_skipping;      /* an error has come: the server ignores everything up to Sync */
    bool has_failed;       /* an error, or a rollback, in what the last ReadyForQuery has not ended */
    bool is_copy_in;       /* the server reads copy data */
    bool has_copied;       /* copy data has been sent */
    bool has_early_sync;   /* a Sync after copy data: whether it counts depends on the COPY's fate */
    bool is_uncertain;     /* the number of ReadyForQuery to come is not sure: never released */
    bool is_ending;
};

/* Binds a server that has just been granted. NULL when memory is out (the server is then released). */
struct lease *lease_begin(struct client *client, struct server *server, enum lease_purpose purpose,
                          uint64_t wait_us);

/* A lease that has ended and that nobody looks at any more. */
void lease_recycle(struct lease *lease);
void lease_free_spares(struct session_worker *session);

/* Releases the server if the invariant allows it; true if it did (the lease is freed). */
bool lease_try_release(struct lease *lease);

/* The client has gone: cancels, or rolls back, and goes on as an orphan; or closes the server at once. */
COLD void lease_abandon(struct lease *lease, const char *reason);

/* The client asks for its query to be cancelled. */
COLD void lease_cancel(struct lease *lease);

/* The server is going away by itself: unbinds client and server. */
void lease_end(struct lease *lease);

/* Closes the server and frees the lease, telling nobody. */
COLD void lease_break(struct lease *lease, const char *reason);

/* Bytes from the server (relay.c). */
size_t relay_data(struct lease *lease, struct slice data);

/*
 * Sees to it that the server has the client's settings. True: go on (the difference, if any, is in the outbox
 * in front of what follows). False: it has been sent on its own, and the client's messages have to wait.
 */
bool lease_prepare(struct lease *lease, bool must_be_alone);

/* The server has reset what the client's startup packet had set: sets it again. False when the lease has
 * ended. */
bool lease_close_gap(struct lease *lease);

/* Sees to it that the server is as after its login; false when the lease has ended (memory). The outbox is
 * not flushed. */
COLD bool lease_reset(struct lease *lease);

/* The server has ended a change of settings: from a ReadyForQuery or a command tag. */
void lease_settle(struct lease *lease, bool is_committed);
/* A change of settings was refused; `response` is the server's ErrorResponse. */
COLD void lease_refused(struct lease *lease, struct slice response);

/* Answers of Weir's own whose turn has come are given. */
COLD void lease_give_synths(struct lease *lease);

/* Adds an entry; on failure (memory) the lease is broken and false returned. Takes over what `entry` refers
 * to. */
bool lease_owe(struct lease *lease, struct owed entry);

/* The statement that a portal of this name runs, NULL when unknown; set takes a reference. */
struct statement *lease_portal_get(struct lease *lease, struct slice name);
bool lease_portal_set(struct lease *lease, struct slice name, struct statement *statement);
void lease_portals_clear(struct lease *lease);

/* A request begins or ends: timeouts and accounts. */
void lease_begin_request(struct lease *lease);
void lease_end_request(struct lease *lease, char status);

/* A client's lease has been released: on with what it sent meanwhile, or, when Weir shuts down, its end. NULL
 * is allowed. */
void lease_ended_for(struct client *client);

/* The client's kept messages may go on. */
void lease_resume_client(struct lease *lease);

#endif
