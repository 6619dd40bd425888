/*
 * pin: why a session must keep its server connection.
 *
 * A counted set of reasons in 16 bytes, fed with completed statements. It errs towards keeping: a reason is
 * dropped only when it is certainly gone (the last lock of known keys given back, DISCARD ALL, UNLISTEN *).
 * Zero-initialised is empty. Pure, one thread.
 */
#ifndef WEIR_TRACK_PIN_H
#define WEIR_TRACK_PIN_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/sql/classify.h"

/* reason, name in SHOW PINS, what it means */
#define PIN_REASONS(X)                                                                                       \
    X(TEMP_TABLE, "temp_table", "a temporary table, view or sequence")                                       \
    X(ADVISORY_LOCK, "advisory_lock", "a session-level advisory lock")                                       \
    X(HOLD_CURSOR, "hold_cursor", "a cursor WITH HOLD")                                                      \
    X(SQL_PREPARE, "sql_prepare", "a statement of SQL PREPARE")                                              \
    X(LISTEN, "listen", "LISTEN")                                                                            \
    X(LOAD, "load", "a library of LOAD")                                                                     \
    X(CODE, "code", "code that Weir cannot see into ran")                                                    \
    X(SETTING, "setting", "a setting was changed in a way that cannot be replayed")                          \
    X(SEQUENCE, "sequence", "state of sequences or of the random seed is in use")                            \
    X(COPY, "copy", "a COPY is under way")                                                                   \
    X(REPLICATION, "replication", "a replication connection")

enum pin_reason {
#define X(reason, name, help) PIN_##reason,
    PIN_REASONS(X)
#undef X
        PIN_COUNT
};

struct pins {
    uint16_t mask;      /* 1 << enum pin_reason */
    uint16_t uncounted; /* reasons whose count is not known any more */
    int16_t advisory;
    uint16_t prepared;
    uint16_t cursors;
    uint32_t advisory_sum;
};

static inline bool pin_is_held(const struct pins *pins)
{
    return pins->mask != 0;
}

static inline bool pin_has(const struct pins *pins, enum pin_reason reason)
{
    return (pins->mask & (1u << reason)) != 0;
}

const char *pin_name(enum pin_reason reason);
const char *pin_help(enum pin_reason reason);

/*
 * A statement completed. `in_block`: the session was inside a transaction block when it ran.
 * `forgives_functions`: the caller knows every function of the statement that is not built in to be harmless.
 */
void pin_completed(struct pins *pins, const struct sql_statement *statement, bool in_block,
                   bool forgives_functions);

/* For a reason that no statement gives. */
void pin_hold(struct pins *pins, enum pin_reason reason);

/*
 * Are all its functions and operators that are not built in among `harmless`, a comma separated list of
 * `name` (in whatever schema) and `schema.name` (written so)? True where there are none.
 */
bool pin_forgives(const char *harmless, const struct sql_statement *statement);

/*
 * A statement failed, or its outcome is not known. Most leave nothing behind; advisory locks taken before the
 * error stay, and unknown code may have done anything that a rollback does not undo.
 */
void pin_failed(struct pins *pins, const struct sql_statement *statement, bool forgives_functions);

/* For what is found out otherwise (a probe, a COPY that began). Clearing drops the count as well. */
void pin_set(struct pins *pins, enum pin_reason reason);
void pin_clear(struct pins *pins, enum pin_reason reason);

/* "temp_table, listen" into `text`, cut to `size`; the empty text when nothing is pinned. */
void pin_text(const struct pins *pins, char *text, size_t size);

#endif
