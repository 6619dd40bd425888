/*
 * transaction: three profiles and a stack.
 *
 *   committed   what the session has if everything since the last commit is undone
 *   session     what it has if it commits; SET changes session and current
 *   current     what it has now; SET LOCAL changes only this one
 *
 * COMMIT makes all three session, ROLLBACK makes all three committed; a savepoint keeps a copy of the last
 * two. Outside a block, ReadyForQuery 'I' is the commit and an error the rollback. Invariant: outside of
 * calls the three are never NULL, and without a transaction (block idle, after 'I') they are the same.
 */
#include "weir/track/transaction.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More savepoints than anybody nests; past it the session is lost to us, not the memory. */
#define MAX_SAVEPOINTS 10000u

struct save {
    char *name;
    struct profile *session;
    struct profile *current;
};

struct transaction_saves {
    size_t count;
    size_t capacity;
    struct save items[];
};

_Static_assert(sizeof(void *) != 8 || sizeof(struct transaction) <= 48, "ten thousand idle clients have one");

/* --- profiles --- */

/* Puts `value`, whose reference is taken, in place; NULL: memory was out, all is kept and the session lost.
 */
static void replace(struct transaction *tx, struct profile **place, struct profile *value)
{
    if (value == NULL) {
        tx->is_lost = true;
        return;
    }
    profile_unref(*place);
    *place = value;
}

void transaction_init(struct transaction *tx, struct profile *startup)
{
    memset(tx, 0, sizeof(*tx));
    tx->startup = profile_ref(startup);
    tx->committed = profile_ref(startup);
    tx->session = profile_ref(startup);
    tx->current = profile_ref(startup);
}

/* Drops the savepoints from `from` on. */
static void drop_saves(struct transaction *tx, size_t from)
{
    if (tx->saves == NULL)
        return;
    while (tx->saves->count > from) {
        struct save *save = &tx->saves->items[--tx->saves->count];
        free(save->name);
        profile_unref(save->session);
        profile_unref(save->current);
    }
    if (from == 0) {
        free(tx->saves);
        tx->saves = NULL;
    }
}

void transaction_free(struct transaction *tx)
{
    drop_saves(tx, 0);
    profile_unref(tx->startup);
    profile_unref(tx->committed);
    profile_unref(tx->session);
    profile_unref(tx->current);
    memset(tx, 0, sizeof(*tx));
}

static void end(struct transaction *tx)
{
    drop_saves(tx, 0);
    tx->block = TRANSACTION_IDLE;
    tx->isolation = TRANSACTION_ISOLATION_DEFAULT;
    tx->is_held = tx->has_written = tx->takes_no_hits = false;
}

static void commit(struct transaction *tx)
{
    replace(tx, &tx->committed, profile_ref(tx->session));
    replace(tx, &tx->current, profile_ref(tx->session));
    end(tx);
}

static void roll_back(struct transaction *tx)
{
    replace(tx, &tx->session, profile_ref(tx->committed));
    replace(tx, &tx->current, profile_ref(tx->committed));
    end(tx);
}

/* --- settings --- */

/* `base` with the setting applied; RESET goes back to what the startup packet said. */
static struct profile *with_setting(const struct transaction *tx, struct profile *base,
                                    const struct sql_setting *setting)
{
    struct slice name = slice_str(setting->name), value = slice_str(setting->value);
    if (setting->value != NULL || profile_get(tx->startup, name, &value))
        return profile_set(base, name, value);
    return profile_unset(base, name);
}

static void apply_setting(struct transaction *tx, const struct sql_setting *setting)
{
    if (!setting->is_local)
        replace(tx, &tx->session, with_setting(tx, tx->session, setting));
    replace(tx, &tx->current, with_setting(tx, tx->current, setting));
    if (setting->value == NULL && profile_get(tx->startup, slice_str(setting->name), NULL))
        tx->has_gap = true;
}

/* Copies the setting `name` of `from`, or its absence, to `to`, whose reference is taken. */
static struct profile *carry_over(struct profile *to, const struct profile *from, struct slice name)
{
    struct slice value;
    struct profile *result = NULL;
    if (to != NULL)
        result = profile_get(from, name, &value) ? profile_set(to, name, value) : profile_unset(to, name);
    profile_unref(to);
    return result;
}

/* RESET ALL leaves session_authorization and role alone (GUC_NO_RESET_ALL). */
static struct profile *after_reset_all(const struct transaction *tx, const struct profile *before)
{
    struct profile *p = carry_over(profile_ref(tx->startup), before, SLICE_LITERAL("session_authorization"));
    return carry_over(p, before, SLICE_LITERAL("role"));
}

static void reset_all(struct transaction *tx)
{
    replace(tx, &tx->session, after_reset_all(tx, tx->session));
    replace(tx, &tx->current, after_reset_all(tx, tx->current));
    tx->has_gap = tx->has_gap || profile_count(tx->startup) > 0;
}

/* DISCARD ALL is SET SESSION AUTHORIZATION DEFAULT (which ends the role), then RESET ALL. */
static void discard_all(struct transaction *tx)
{
    struct profile *p = profile_unset(tx->startup, SLICE_LITERAL("session_authorization"));
    struct profile *plain = p != NULL ? profile_unset(p, SLICE_LITERAL("role")) : NULL;
    profile_unref(p);
    if (plain != NULL) {
        tx->is_lost = false;
        replace(tx, &tx->session, profile_ref(plain));
    }
    replace(tx, &tx->current, plain);
    tx->has_gap = tx->has_gap || profile_count(tx->startup) > 0;
}

/* --- isolation --- */

static uint8_t isolation_of(enum sql_isolation isolation)
{
    /* READ UNCOMMITTED is READ COMMITTED in PostgreSQL. */
    return isolation == SQL_READ_COMMITTED || isolation == SQL_READ_UNCOMMITTED
               ? TRANSACTION_ISOLATION_READ_COMMITTED
               : TRANSACTION_ISOLATION_OTHER;
}

static uint8_t default_isolation(const struct transaction *tx)
{
    struct slice value = profile_isolation(tx->current);
    if (value.len == 0)
        return TRANSACTION_ISOLATION_DEFAULT;
    return slice_equal_nocase(value, SLICE_LITERAL("read committed")) ||
                   slice_equal_nocase(value, SLICE_LITERAL("read uncommitted"))
               ? TRANSACTION_ISOLATION_READ_COMMITTED
               : TRANSACTION_ISOLATION_OTHER;
}

/* --- savepoints --- */

static bool make_room(struct transaction *tx)
{
    size_t count = tx->saves != NULL ? tx->saves->count : 0;
    size_t capacity = tx->saves != NULL ? tx->saves->capacity : 0;
    if (count >= MAX_SAVEPOINTS)
        return false;
    if (count < capacity)
        return true;
    size_t wider = capacity == 0 ? 4 : capacity * 2;
    struct transaction_saves *saves = realloc(tx->saves, sizeof(*saves) + wider * sizeof(struct save));
    if (saves == NULL)
        return false;
    saves->count = count;
    saves->capacity = wider;
    tx->saves = saves;
    return true;
}

static void save(struct transaction *tx, const char *name)
{
    char *copy = make_room(tx) ? strdup(name) : NULL;
    if (copy == NULL) {
        tx->is_lost = true;
        return;
    }
    tx->saves->items[tx->saves->count++] =
        (struct save){copy, profile_ref(tx->session), profile_ref(tx->current)};
}

/* The innermost savepoint of that name; SIZE_MAX if there is none. */
static size_t find_save(const struct transaction *tx, const char *name)
{
    for (size_t i = tx->saves != NULL ? tx->saves->count : 0; i > 0; i--) {
        if (strcmp(tx->saves->items[i - 1].name, name) == 0)
            return i - 1;
    }
    return SIZE_MAX;
}

static void roll_back_to(struct transaction *tx, const char *name)
{
    size_t at = find_save(tx, name);
    if (at == SIZE_MAX) {
        tx->is_lost = true;
        return;
    }
    replace(tx, &tx->session, profile_ref(tx->saves->items[at].session));
    replace(tx, &tx->current, profile_ref(tx->saves->items[at].current));
    drop_saves(tx, at + 1);
    tx->block = TRANSACTION_OPEN;
}

static void release(struct transaction *tx, const char *name)
{
    size_t at = find_save(tx, name);
    if (at != SIZE_MAX)
        drop_saves(tx, at);
}

/* --- what the server said --- */

static void begin(struct transaction *tx, const struct sql_statement *statement)
{
    /* Inside a block it is a warning and nothing else. */
    if (tx->block != TRANSACTION_IDLE)
        return;
    tx->block = TRANSACTION_OPEN;
    tx->isolation = statement->isolation != SQL_ISOLATION_UNSAID ? isolation_of(statement->isolation)
                                                                 : default_isolation(tx);
}

/* COMMIT, ROLLBACK, PREPARE TRANSACTION: the tag says how it ended. */
static void finish(struct transaction *tx, const struct sql_statement *statement, struct slice tag)
{
    uint8_t isolation = tx->isolation;
    bool is_rolled_back = statement->kind == SQL_KIND_ROLLBACK || slice_equal_str(tag, "ROLLBACK");
    if (is_rolled_back)
        roll_back(tx);
    else
        commit(tx);
    if ((statement->flags & SQL_CHAIN) != 0) {
        tx->block = TRANSACTION_OPEN;
        tx->isolation = isolation;
    }
}

static const char *name_of(const struct sql_statement *statement)
{
    return statement->name != NULL ? statement->name : "";
}

void transaction_completed(struct transaction *tx, const struct sql_statement *statement, struct slice tag)
{
    switch (statement->kind) {
    case SQL_KIND_BEGIN:
        begin(tx, statement);
        return;
    case SQL_KIND_COMMIT:
    case SQL_KIND_ROLLBACK:
    case SQL_KIND_PREPARE_TRANSACTION:
        finish(tx, statement, tag);
        return;
    case SQL_KIND_SAVEPOINT:
        save(tx, name_of(statement));
        return;
    case SQL_KIND_ROLLBACK_TO:
        roll_back_to(tx, name_of(statement));
        return;
    case SQL_KIND_RELEASE:
        release(tx, name_of(statement));
        return;
    case SQL_KIND_SET_TRANSACTION:
        if (tx->block == TRANSACTION_OPEN && statement->isolation != SQL_ISOLATION_UNSAID)
            tx->isolation = isolation_of(statement->isolation);
        return;
    case SQL_KIND_RESET_ALL:
        reset_all(tx);
        return;
    case SQL_KIND_DISCARD_ALL:
        discard_all(tx);
        return;
    default:
        for (uint16_t i = 0; i < statement->n_settings; i++)
            apply_setting(tx, &statement->settings[i]);
        return;
    }
}

void transaction_errored(struct transaction *tx)
{
    if (tx->block == TRANSACTION_IDLE)
        roll_back(tx);
    else
        tx->block = TRANSACTION_FAILED;
}

void transaction_ready(struct transaction *tx, uint8_t status)
{
    switch (status) {
    case 'T':
    case 'E':
        /* A block that began unseen (text that could not be read): nothing is known of it. */
        if (tx->block == TRANSACTION_IDLE) {
            tx->isolation = TRANSACTION_ISOLATION_OTHER;
            tx->takes_no_hits = true;
        }
        tx->block = status == 'T' ? TRANSACTION_OPEN : TRANSACTION_FAILED;
        return;
    default:
        if (tx->block == TRANSACTION_IDLE) {
            commit(tx);
            return;
        }
        /* A block that ended unseen: committed or not, who knows. */
        if (tx->session != tx->committed)
            tx->is_lost = true;
        commit(tx);
        return;
    }
}

void transaction_lost(struct transaction *tx)
{
    roll_back(tx);
    tx->has_gap = false;
}

void transaction_sending(struct transaction *tx, const struct sql_class *class, bool forgives_functions)
{
    const uint32_t no_hits = SQL_LOCKS | SQL_UNKNOWN_SETTING | SQL_UNKNOWN_LOCAL | SQL_UNKNOWN_CODE;
    for (uint32_t i = 0; i < class->n_statements; i++) {
        uint32_t flags = class->statements[i].flags;
        if (forgives_functions && (flags & SQL_FUNCTION_WRITES) != 0 && class->statements[i].n_writes == 0)
            flags &= ~(uint32_t)SQL_WRITES;
        tx->has_written = tx->has_written || (flags & SQL_WRITES) != 0;
        tx->takes_no_hits = tx->takes_no_hits || (flags & no_hits) != 0;
    }
}

/* --- questions --- */

struct profile *transaction_current(const struct transaction *tx)
{
    return tx->current;
}

struct profile *transaction_committed(const struct transaction *tx)
{
    return tx->committed;
}

bool transaction_has_gap(const struct transaction *tx)
{
    return tx->has_gap;
}

bool transaction_is_startup(const struct transaction *tx, struct slice name)
{
    for (size_t i = 0; i < profile_count(tx->startup); i++)
        if (slice_equal_nocase(profile_at(tx->startup, i).name, name))
            return true;
    return false;
}

bool transaction_opens_gap(const struct transaction *tx, const struct sql_class *class)
{
    if ((class->flags & SQL_CLASS_SETTINGS) == 0 || profile_count(tx->startup) == 0)
        return false;
    for (uint32_t i = 0; i < class->n_statements; i++) {
        const struct sql_statement *s = &class->statements[i];
        if (s->kind == SQL_KIND_RESET_ALL || s->kind == SQL_KIND_DISCARD_ALL)
            return true;
        for (uint16_t k = 0; k < s->n_settings; k++)
            if (s->settings[k].value == NULL && transaction_is_startup(tx, slice_str(s->settings[k].name)))
                return true;
    }
    return false;
}

struct profile *transaction_floor(const struct transaction *tx)
{
    struct profile *floor = profile_ref(tx->current);
    for (size_t i = 0; floor != NULL && i < profile_count(tx->startup); i++) {
        struct profile *lower = profile_unset(floor, profile_at(tx->startup, i).name);
        profile_unref(floor);
        floor = lower;
    }
    return floor;
}

void transaction_gap_closed(struct transaction *tx)
{
    tx->has_gap = false;
}

bool transaction_is_lost(const struct transaction *tx)
{
    return tx->is_lost;
}

bool transaction_may_hit(const struct transaction *tx, bool baseline_is_read_committed)
{
    if (tx->is_lost || tx->has_written || tx->takes_no_hits || tx->block == TRANSACTION_FAILED)
        return false;
    uint8_t isolation = tx->block == TRANSACTION_OPEN ? tx->isolation : default_isolation(tx);
    return isolation == TRANSACTION_ISOLATION_READ_COMMITTED ||
           (isolation == TRANSACTION_ISOLATION_DEFAULT && baseline_is_read_committed);
}

bool transaction_has_local(const struct transaction *tx)
{
    return tx->current != tx->session;
}

bool transaction_has_written(const struct transaction *tx)
{
    return tx->has_written;
}

enum transaction_block transaction_block(const struct transaction *tx)
{
    return (enum transaction_block)tx->block;
}

/* --- the held-back BEGIN --- */

static struct transaction_decision answer(const char *tag, uint8_t status)
{
    return (struct transaction_decision){.move = TRANSACTION_ANSWER, .tag = tag, .status = status};
}

/* Failed by an error of Weir's own: the server would refuse as well, had it seen the BEGIN. */
static struct transaction_decision decide_failed(const struct sql_statement *only)
{
    enum sql_kind kind = only != NULL ? only->kind : SQL_KIND_OTHER;
    if (kind == SQL_KIND_COMMIT || kind == SQL_KIND_ROLLBACK)
        return answer("ROLLBACK", (only->flags & SQL_CHAIN) != 0 ? 'T' : 'I');
    if (kind == SQL_KIND_EMPTY)
        return answer("", 'E');
    struct transaction_decision d = {.move = TRANSACTION_REFUSE, .status = 'E', .sqlstate = "25P02"};
    if (kind == SQL_KIND_ROLLBACK_TO) {
        d.sqlstate = "3B001";
        snprintf(d.message, sizeof(d.message), "savepoint \"%s\" does not exist", name_of(only));
    } else {
        snprintf(d.message, sizeof(d.message),
                 "current transaction is aborted, commands ignored until end of transaction block");
    }
    return d;
}

struct transaction_decision transaction_decide(const struct transaction *tx, const struct sql_class *class,
                                               bool may_defer)
{
    const struct sql_statement *only = class->n_statements == 1 ? class->statements : NULL;
    const struct transaction_decision relay = {.move = TRANSACTION_RELAY};
    const struct transaction_decision flush = {.move = TRANSACTION_FLUSH};
    if (!tx->is_held) {
        bool holds = may_defer && tx->block == TRANSACTION_IDLE && only != NULL &&
                     only->kind == SQL_KIND_BEGIN && (only->flags & SQL_PLAIN_BEGIN) != 0;
        return holds ? answer((only->flags & SQL_START) != 0 ? "START TRANSACTION" : "BEGIN", 'T') : relay;
    }
    if (tx->block == TRANSACTION_FAILED)
        return decide_failed(only);
    if (only == NULL || (only->flags & SQL_CHAIN) != 0)
        return flush;
    switch (only->kind) {
    case SQL_KIND_COMMIT:
        return answer("COMMIT", 'I');
    case SQL_KIND_ROLLBACK:
        return answer("ROLLBACK", 'I');
    case SQL_KIND_EMPTY:
        return answer("", 'T');
    default:
        return flush;
    }
}

void transaction_answered(struct transaction *tx, const struct sql_class *class)
{
    const struct sql_statement *only = class->statements;
    bool was_failed = tx->block == TRANSACTION_FAILED;
    transaction_completed(tx, only, slice_str(was_failed ? "ROLLBACK" : ""));
    if (only->kind == SQL_KIND_BEGIN) {
        tx->is_held = true;
        tx->begin_options = only->begin_options;
    }
    /* AND CHAIN: a new transaction with the characteristics of the old one, held as well. */
    if (was_failed && (only->flags & SQL_CHAIN) != 0)
        tx->is_held = true;
}

const char *transaction_begin_text(const struct transaction *tx)
{
    static const char *const texts[] = {
        "BEGIN",
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        "BEGIN NOT DEFERRABLE",
        "BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE",
    };
    return texts[tx->begin_options & 3];
}

void transaction_flushed(struct transaction *tx)
{
    tx->is_held = false;
}

void transaction_begin_refused(struct transaction *tx)
{
    tx->is_held = true;
    transaction_failed_while_held(tx);
}

bool transaction_is_held(const struct transaction *tx)
{
    return tx->is_held;
}

void transaction_failed_while_held(struct transaction *tx)
{
    tx->block = TRANSACTION_FAILED;
}
