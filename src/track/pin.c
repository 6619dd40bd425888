/* pin: reasons come from a statement's kind and flags; counts are dropped to zero only when they certainly
 * are. */
#include "weir/track/pin.h"

#include <stdio.h>
#include <string.h>

#include "weir/util/slice.h"

static const struct {
    const char *name, *help;
} reasons[] = {
#define X(reason, name, help) {name, help},
    PIN_REASONS(X)
#undef X
};

_Static_assert(PIN_COUNT <= 16, "the mask has 16 bits");
_Static_assert(sizeof(struct pins) <= 16, "a client carries it");

const char *pin_name(enum pin_reason reason)
{
    return reasons[reason].name;
}

const char *pin_help(enum pin_reason reason)
{
    return reasons[reason].help;
}

static uint16_t bit(enum pin_reason reason)
{
    return (uint16_t)(1u << reason);
}

static void pin_uncounted(struct pins *pins, enum pin_reason reason)
{
    pins->mask |= bit(reason);
    pins->uncounted |= bit(reason);
}

void pin_set(struct pins *pins, enum pin_reason reason)
{
    pin_uncounted(pins, reason);
}

void pin_clear(struct pins *pins, enum pin_reason reason)
{
    pins->mask &= (uint16_t)~bit(reason);
    pins->uncounted &= (uint16_t)~bit(reason);
    if (reason == PIN_ADVISORY_LOCK) {
        pins->advisory = 0;
        pins->advisory_sum = 0;
    } else if (reason == PIN_SQL_PREPARE) {
        pins->prepared = 0;
    } else if (reason == PIN_HOLD_CURSOR) {
        pins->cursors = 0;
    }
}

/* One more of what is counted in 16 bits. */
static void count_up(struct pins *pins, enum pin_reason reason, uint16_t *count)
{
    pins->mask |= bit(reason);
    if (*count == UINT16_MAX)
        pins->uncounted |= bit(reason);
    else
        ++*count;
}

static void count_down(struct pins *pins, enum pin_reason reason, uint16_t *count)
{
    if ((pins->uncounted & bit(reason)) == 0 && *count > 0 && --*count == 0)
        pin_clear(pins, reason);
}

/*
 * Locks of known keys: when as many were given back as taken, and the sums of their fingerprints agree, none
 * is left. An unlock without any lock pinned gives back nothing.
 */
static void apply_advisory(struct pins *pins, const struct sql_statement *statement)
{
    uint32_t flags = statement->flags;
    if ((flags & SQL_ADVISORY_UNLOCK_ALL) != 0)
        pin_clear(pins, PIN_ADVISORY_LOCK);
    if ((flags & SQL_ADVISORY_LOCK) == 0 && !pin_has(pins, PIN_ADVISORY_LOCK))
        return;
    if ((flags & (SQL_ADVISORY_LOCK | SQL_ADVISORY_UNLOCK)) == 0)
        return;
    pins->mask |= bit(PIN_ADVISORY_LOCK);
    int count = pins->advisory + statement->advisory;
    bool is_mixed = (flags & SQL_ADVISORY_LOCK) != 0 && (flags & SQL_ADVISORY_UNLOCK) != 0;
    if (!statement->is_advisory_counted || is_mixed || (flags & SQL_ADVISORY_UNLOCK_ALL) != 0 ||
        count < INT16_MIN || count > INT16_MAX) {
        pins->uncounted |= bit(PIN_ADVISORY_LOCK);
        return;
    }
    pins->advisory = (int16_t)count;
    pins->advisory_sum += statement->advisory_sum;
    if (count == 0 && pins->advisory_sum == 0 && (pins->uncounted & bit(PIN_ADVISORY_LOCK)) == 0)
        pin_clear(pins, PIN_ADVISORY_LOCK);
}

/* What DISCARD ALL undoes: everything but a loaded library and what is none of its business. */
static void discard_all(struct pins *pins)
{
    static const enum pin_reason gone[] = {PIN_TEMP_TABLE,  PIN_ADVISORY_LOCK, PIN_HOLD_CURSOR,
                                           PIN_SQL_PREPARE, PIN_LISTEN,        PIN_CODE,
                                           PIN_SETTING,     PIN_SEQUENCE};
    for (size_t i = 0; i < sizeof(gone) / sizeof(*gone); i++)
        pin_clear(pins, gone[i]);
}

/* A search_path with pg_temp in it sends CREATE TABLE there, unseen. */
static bool makes_temp_tables(const struct sql_statement *statement)
{
    for (uint16_t i = 0; i < statement->n_settings; i++) {
        const struct sql_setting *setting = &statement->settings[i];
        if (strcmp(setting->name, "search_path") == 0 && setting->value != NULL &&
            strstr(setting->value, "pg_temp") != NULL)
            return true;
    }
    return false;
}

/* CLOSE names a cursor; inside a block it may be one that does not outlive the transaction. */
static void close_cursor(struct pins *pins, const struct sql_statement *statement, bool in_block)
{
    if (statement->name == NULL || statement->name[0] == '\0')
        pin_clear(pins, PIN_HOLD_CURSOR);
    else if (!in_block)
        count_down(pins, PIN_HOLD_CURSOR, &pins->cursors);
    else if (pin_has(pins, PIN_HOLD_CURSOR))
        pins->uncounted |= bit(PIN_HOLD_CURSOR);
}

static void apply_kind(struct pins *pins, const struct sql_statement *statement, bool in_block)
{
    switch (statement->kind) {
    case SQL_KIND_CREATE_TEMP:
        if ((statement->flags & SQL_ON_COMMIT_DROP) == 0)
            pin_uncounted(pins, PIN_TEMP_TABLE);
        return;
    case SQL_KIND_DISCARD_TEMP:
        pin_clear(pins, PIN_TEMP_TABLE);
        return;
    case SQL_KIND_DISCARD_SEQUENCES:
        pin_clear(pins, PIN_SEQUENCE);
        return;
    case SQL_KIND_DISCARD_ALL:
        discard_all(pins);
        return;
    case SQL_KIND_DECLARE_CURSOR:
        if ((statement->flags & SQL_HOLD) != 0)
            count_up(pins, PIN_HOLD_CURSOR, &pins->cursors);
        return;
    case SQL_KIND_CLOSE_CURSOR:
        close_cursor(pins, statement, in_block);
        return;
    case SQL_KIND_PREPARE:
        count_up(pins, PIN_SQL_PREPARE, &pins->prepared);
        return;
    case SQL_KIND_DEALLOCATE:
        if (statement->name == NULL || statement->name[0] == '\0')
            pin_clear(pins, PIN_SQL_PREPARE);
        else
            count_down(pins, PIN_SQL_PREPARE, &pins->prepared);
        return;
    case SQL_KIND_LISTEN:
        pin_uncounted(pins, PIN_LISTEN);
        return;
    case SQL_KIND_UNLISTEN:
        /* Inside a block it may be undone. */
        if ((statement->name == NULL || statement->name[0] == '\0') && !in_block)
            pin_clear(pins, PIN_LISTEN);
        return;
    case SQL_KIND_LOAD:
        pin_uncounted(pins, PIN_LOAD);
        return;
    default:
        return;
    }
}

static void apply_flags(struct pins *pins, const struct sql_statement *statement, bool forgives_functions)
{
    uint32_t flags = statement->flags;
    if ((flags & SQL_UNKNOWN_CODE) != 0 || ((flags & SQL_UNKNOWN_FUNCTION) != 0 && !forgives_functions))
        pin_uncounted(pins, PIN_CODE);
    if ((flags & SQL_UNKNOWN_SETTING) != 0 || makes_temp_tables(statement))
        pin_uncounted(pins, PIN_SETTING);
    if ((flags & SQL_SEQUENCE_STATE) != 0)
        pin_uncounted(pins, PIN_SEQUENCE);
}

static bool is_listed(const char *list, const struct sql_function *function)
{
    const struct slice name = slice_str(function->name);
    const struct slice schema = function->schema != NULL ? slice_str(function->schema) : SLICE_EMPTY;
    while (*list != '\0') {
        size_t len = strcspn(list, ",");
        struct slice entry = slice_make(list, len);
        while (entry.len > 0 && (entry.data[0] == ' ' || entry.data[0] == '\t'))
            entry = slice_from(entry, 1);
        while (entry.len > 0 && (entry.data[entry.len - 1] == ' ' || entry.data[entry.len - 1] == '\t'))
            entry.len--;
        const uint8_t *dot = entry.len > 0 ? memchr(entry.data, '.', entry.len) : NULL;
        size_t prefix = dot != NULL ? (size_t)(dot - entry.data) : 0;
        if (dot == NULL && slice_equal(entry, name))
            return true;
        if (dot != NULL && slice_equal(slice_make(entry.data, prefix), schema) &&
            slice_equal(slice_from(entry, prefix + 1), name))
            return true;
        list += len + (list[len] == ',' ? 1 : 0);
    }
    return false;
}

bool pin_forgives(const char *harmless, const struct sql_statement *statement)
{
    if ((statement->flags & SQL_UNKNOWN_FUNCTION) == 0)
        return true;
    if (harmless[0] == '\0')
        return false;
    for (uint16_t i = 0; i < statement->n_functions; i++)
        if (!statement->functions[i].is_builtin && !is_listed(harmless, &statement->functions[i]))
            return false;
    return true;
}

void pin_completed(struct pins *pins, const struct sql_statement *statement, bool in_block,
                   bool forgives_functions)
{
    apply_advisory(pins, statement);
    apply_flags(pins, statement, forgives_functions);
    apply_kind(pins, statement, in_block);
}

void pin_hold(struct pins *pins, enum pin_reason reason)
{
    pin_uncounted(pins, reason);
}

void pin_failed(struct pins *pins, const struct sql_statement *statement, bool forgives_functions)
{
    uint32_t flags = statement->flags;
    /* A session's lock survives the rollback; whether it was taken before the error nobody knows. */
    if ((flags & SQL_ADVISORY_LOCK) != 0 ||
        ((flags & SQL_ADVISORY_UNLOCK) != 0 && pin_has(pins, PIN_ADVISORY_LOCK)))
        pin_uncounted(pins, PIN_ADVISORY_LOCK);
    if ((flags & SQL_UNKNOWN_CODE) != 0 || ((flags & SQL_UNKNOWN_FUNCTION) != 0 && !forgives_functions))
        pin_uncounted(pins, PIN_CODE);
    if ((flags & SQL_SEQUENCE_STATE) != 0)
        pin_uncounted(pins, PIN_SEQUENCE);
    if (statement->kind == SQL_KIND_LOAD)
        pin_uncounted(pins, PIN_LOAD);
}

void pin_text(const struct pins *pins, char *text, size_t size)
{
    size_t len = 0;
    if (size > 0)
        text[0] = '\0';
    for (int reason = 0; reason < PIN_COUNT && len < size; reason++) {
        if (pin_has(pins, (enum pin_reason)reason))
            len +=
                (size_t)snprintf(text + len, size - len, "%s%s", len > 0 ? ", " : "", reasons[reason].name);
    }
}
