/*
 * transaction: what one client's session has set, and where it stands in its transaction.
 *
 * Fed with what the server said, in order: a statement completed, an error came, ReadyForQuery with its
 * status. It follows SET, RESET, SET LOCAL, set_config, savepoints, rollback, implicit transactions and
 * DISCARD ALL, so that at any moment `current` is what the session's settings are now and `committed` what
 * they are if the transaction fails. It also decides, without sending anything, what becomes of a held-back
 * BEGIN. One owner, one thread; 48 bytes when idle.
 */
#ifndef WEIR_TRACK_TRANSACTION_H
#define WEIR_TRACK_TRANSACTION_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/sql/classify.h"
#include "weir/track/profile.h"
#include "weir/util/slice.h"

enum transaction_block {
    TRANSACTION_IDLE,   /* ReadyForQuery 'I' */
    TRANSACTION_OPEN,   /* 'T' */
    TRANSACTION_FAILED, /* 'E' */
};

enum transaction_isolation {
    TRANSACTION_ISOLATION_DEFAULT, /* nobody said: the server's baseline decides */
    TRANSACTION_ISOLATION_READ_COMMITTED,
    TRANSACTION_ISOLATION_OTHER, /* repeatable read, serializable, or not known */
};

/* Public for its size only: use the functions. */
struct transaction {
    struct profile *startup;         /* what RESET goes back to */
    struct profile *committed;       /* the settings if all of this is rolled back */
    struct profile *session;         /* the settings if it commits: without SET LOCAL */
    struct profile *current;         /* the settings now */
    struct transaction_saves *saves; /* savepoints; NULL when there are none */
    uint8_t block;                   /* enum transaction_block */
    uint8_t isolation;               /* enum transaction_isolation, of the open transaction */
    uint8_t begin_options;           /* enum sql_begin_option of a held BEGIN */
    bool is_held;                    /* the BEGIN has been answered by Weir and not yet sent */
    bool has_written;
    bool takes_no_hits; /* locked something, or set something unseen */
    bool has_gap;
    bool is_lost;
};

/* `startup` (referenced, not taken) is the client's profile from its startup packet. */
void transaction_init(struct transaction *tx, struct profile *startup);
void transaction_free(struct transaction *tx);

/* --- what the server said --- */

/*
 * CommandComplete for `statement`, with its tag ("COMMIT", "ROLLBACK", "SET", ...): the tag of a COMMIT that
 * failed is ROLLBACK. For statements Weir answers itself likewise.
 */
void transaction_completed(struct transaction *tx, const struct sql_statement *statement, struct slice tag);
/* ErrorResponse: everything since the last commit, or the savepoint returned to later, is undone. */
void transaction_errored(struct transaction *tx);
/* ReadyForQuery with its status byte 'I', 'T' or 'E'. 'I' ends an implicit transaction: what succeeded is
 * committed. */
void transaction_ready(struct transaction *tx, uint8_t status);
/* The server connection is gone: as if rolled back, out of any block. */
void transaction_lost(struct transaction *tx);

/*
 * A message with this class is about to be sent: remembers whether the transaction has written or locked.
 * `forgives_functions`: the caller knows all its functions that are not built in to be harmless.
 */
void transaction_sending(struct transaction *tx, const struct sql_class *class, bool forgives_functions);

/* --- questions --- */

/* Borrowed; never NULL. */
struct profile *transaction_current(const struct transaction *tx);
struct profile *transaction_committed(const struct transaction *tx);

/*
 * A RESET (or RESET ALL, DISCARD ALL) of something the client's startup packet set leaves the server at its
 * own default, while the session's value is the startup one. While this is true the server holds
 * transaction_floor: send the difference from it to `current` before the next statement and say so with
 * transaction_gap_closed; a server released meanwhile has the floor as its profile.
 */
bool transaction_has_gap(const struct transaction *tx);
/* Will it be so when a statement of this class has completed? And is this one of the settings of the packet?
 */
bool transaction_opens_gap(const struct transaction *tx, const struct sql_class *class);
bool transaction_is_startup(const struct transaction *tx, struct slice name);
/* A new reference; NULL when memory is out. */
struct profile *transaction_floor(const struct transaction *tx);
void transaction_gap_closed(struct transaction *tx);

/*
 * The settings could not be followed (memory was out, a bound was passed, a transaction ended unseen): keep
 * the server until DISCARD ALL, or close it.
 */
bool transaction_is_lost(const struct transaction *tx);

/*
 * Whether a cached answer is as good as one from the server now: the block is not failed, the isolation level
 * is READ COMMITTED, nothing has been written, locked, or set unseen since it began.
 * `baseline_is_read_committed` is the default of server, role and database.
 */
bool transaction_may_hit(const struct transaction *tx, bool baseline_is_read_committed);

/* Whether settings are in effect that end with the transaction. */
bool transaction_has_local(const struct transaction *tx);
bool transaction_has_written(const struct transaction *tx);
enum transaction_block transaction_block(const struct transaction *tx);

/* --- the held-back BEGIN --- */

enum transaction_move {
    TRANSACTION_RELAY,  /* send it to the server; nothing is held */
    TRANSACTION_FLUSH,  /* send transaction_begin_text in front of it, then transaction_flushed (or answer it
                           by a hit) */
    TRANSACTION_ANSWER, /* CommandComplete `tag` (EmptyQueryResponse for "") and ReadyForQuery `status`; the
                           server gets nothing; then transaction_answered */
    TRANSACTION_REFUSE, /* ERROR `sqlstate`, `message` and ReadyForQuery `status`; the server gets nothing */
};

struct transaction_decision {
    enum transaction_move move;
    uint8_t status;
    const char *tag;
    const char *sqlstate;
    char message[128];
};

/* What to do with a text of this class. `may_defer`: BEGIN may be held back. Changes nothing. */
struct transaction_decision transaction_decide(const struct transaction *tx, const struct sql_class *class,
                                               bool may_defer);
/* The decision ANSWER was carried out for this class. */
void transaction_answered(struct transaction *tx, const struct sql_class *class);
/* What was held, as text to send: "BEGIN", "BEGIN ISOLATION LEVEL READ COMMITTED", ... Static. */
const char *transaction_begin_text(const struct transaction *tx);
/* The held BEGIN has been sent to a server. Its own CommandComplete and ReadyForQuery are not to be told. */
void transaction_flushed(struct transaction *tx);
/* It was sent, and the server refused it: held again, and failed. */
void transaction_begin_refused(struct transaction *tx);
bool transaction_is_held(const struct transaction *tx);
/* An error that Weir itself raised while BEGIN was held: the block is failed, the server knows nothing of it.
 */
void transaction_failed_while_held(struct transaction *tx);

#endif
