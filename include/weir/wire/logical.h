/*
 * logical: what a server streams while it decodes its log with the plugin test_decoding.
 *
 * Two levels: the messages of a replication connection, and the text of one change in them. Views point into
 * the input. Of rows no more is looked at than their table's name, and one column where it is asked for.
 * Pure; any thread. Source: PostgreSQL manual, "Streaming Replication Protocol", and contrib/test_decoding.
 */
#ifndef WEIR_WIRE_LOGICAL_H
#define WEIR_WIRE_LOGICAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/util/slice.h"

/* --- messages: the contents of CopyData --- */

enum logical_kind { LOGICAL_DATA, LOGICAL_KEEPALIVE };

struct logical_message {
    enum logical_kind kind;
    uint64_t lsn;      /* DATA: where this stands; KEEPALIVE: all before has been sent */
    bool wants_reply;  /* KEEPALIVE */
    struct slice data; /* DATA */
};

/* False for what is neither. */
bool logical_message_read(struct slice bytes, struct logical_message *message);

enum { LOGICAL_STATUS_SIZE = 34 };

/*
 * Standby status update: everything up to `lsn` has been written, flushed and applied. `unix_us` is the time;
 * with `wants_reply` the server answers with a keepalive at once.
 */
void logical_status_write(uint8_t out[LOGICAL_STATUS_SIZE], uint64_t lsn, uint64_t unix_us, bool wants_reply);

/* "16/B374D848" as a number. */
bool logical_lsn_parse(const char *text, uint64_t *lsn);

/* --- changes: the data of LOGICAL_DATA, as test_decoding writes them with include-xids --- */

enum logical_change_kind {
    LOGICAL_BEGIN,
    LOGICAL_COMMIT,
    LOGICAL_ROWS,    /* INSERT, UPDATE, DELETE, TRUNCATE: names of what is written follow */
    LOGICAL_NOTE,    /* of pg_logical_emit_message */
    LOGICAL_UNKNOWN, /* something else: anything may have been written */
};

enum logical_action { LOGICAL_INSERT, LOGICAL_UPDATE, LOGICAL_DELETE, LOGICAL_TRUNCATE };

struct logical_change {
    enum logical_change_kind kind;
    enum logical_action action; /* ROWS */
    uint32_t xid;               /* BEGIN, COMMIT: of the whole transaction, without its epoch */
    struct slice names;         /* ROWS: for logical_name_next */
    struct slice row;           /* ROWS: for logical_column */
    struct slice prefix;        /* NOTE: begins with the prefix; where that ends a text cannot tell */
};

void logical_change_read(struct slice text, struct logical_change *change);

enum { LOGICAL_NAME_SIZE = 64 };

struct logical_name {
    char schema[LOGICAL_NAME_SIZE];
    char relation[LOGICAL_NAME_SIZE];
};

/*
 * Takes the next table off `names`, without quotes. False at the end, and when it cannot be read: then
 * `names` is not empty.
 */
bool logical_name_next(struct slice *names, struct logical_name *name);

/*
 * The value of a column of the row, as text, as the row is afterwards (DELETE: as much as the log holds of
 * what it was). False where it is not there, is null, has a quote in it, or where the row's key was another
 * one before.
 */
bool logical_column(struct slice row, const char *column, struct slice *value);

/* --- snapshots: the text of txid_current_snapshot() --- */

/*
 * Does who has the snapshot see the end of transaction `xid`? The transaction is one of the last 2^31.
 * False where the text is none.
 */
bool logical_snapshot_shows(struct slice snapshot, uint32_t xid);
/* Does `newer` see the end of every transaction that was running for `older`? False where one is none. */
bool logical_snapshot_shows_all(struct slice newer, struct slice older);

#endif
