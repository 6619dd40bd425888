/*
 * options: THE table of configuration keys. One row says everything about a key; parsing, SHOW CONFIG,
 * --help-options and the check of the sample file read the same row.
 *
 * Pure; the tables are constant. Any thread.
 */
#ifndef WEIR_CONFIG_OPTIONS_H
#define WEIR_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/util/buf.h"
#include "weir/util/error.h"

enum option_type {
    OPTION_TEXT,    /* const char *, allocated with malloc, never NULL once defaults are set */
    OPTION_INT,     /* int */
    OPTION_BOOL,    /* int, 0 or 1; the words on/off, yes/no, true/false are understood too */
    OPTION_MODE,    /* int, octal as in chmod */
    OPTION_SECONDS, /* uint64_t in microseconds; written as seconds with a fraction */
    OPTION_BYTES,   /* size_t; written with kB, MB or GB (1024) */
    OPTION_ENUM,    /* int-sized enum, by name */
};

enum option_status {
    OPTION_WORKS,
    OPTION_NO_EFFECT, /* accepted and shown; Weir has no use for it */
    OPTION_LATER,     /* refused unless at its default, or at one of `accepts` */
};

enum option_scope { OPTION_GLOBAL, OPTION_DATABASE, OPTION_USER, OPTION_PEER };

struct option_name {
    const char *name; /* NULL ends the list */
    int value;
};

struct option {
    const char *name;
    const char *alias; /* another spelling, or NULL */
    enum option_type type;
    enum option_status status;
    bool is_reloadable;
    bool is_secret; /* never shown, never in a message */
    int64_t min;    /* in the unit of the field: count, microseconds, bytes */
    int64_t max;
    const char *default_text; /* NULL: unset */
    const struct option_name *names;
    const char
        *accepts;      /* OPTION_LATER: comma list of values that are accepted beside the default; or NULL */
    const char *group; /* heading under which the sample file lists it */
    const char *help;
    size_t
        offset; /* in the struct of its scope: config_settings, config_database, config_user, config_peer */
};

/* The rows of one scope. */
const struct option *option_table(enum option_scope scope, size_t *count);

/* By name or alias; NULL when unknown. ASCII case does not count. */
const struct option *option_find(enum option_scope scope, const char *name);

/* The key of this scope that `name` most resembles; NULL when none is near. */
const struct option *option_nearest(enum option_scope scope, const char *name);

/*
 * Parses `text` into the field of `base`. False, with nothing changed, when it is not of the type, out of
 * range or not built yet; the message says what would be accepted and never holds a secret.
 */
bool option_parse(const struct option *option, const char *text, void *base, struct error *error);

/* Sets all fields of a scope to their defaults (inherit, in databases and users). False when memory is out.
 */
bool option_set_defaults(enum option_scope scope, void *base);

/* Frees the texts of a scope. */
void option_free_values(enum option_scope scope, void *base);

/* Copies one field between two structs of the option's scope. False when memory is out. */
bool option_copy(const struct option *option, const void *from, void *to);

bool option_is_equal(const struct option *option, const void *a, const void *b);

/* Writes the current value as option_parse would take it; false, with nothing written, when it is unset. */
bool option_format(const struct option *option, const void *base, struct buf *out);

/* "one of session, transaction, statement", "a whole number from 0 to 65535", ... */
void option_describe(const struct option *option, struct buf *out);

/*
 * The whole table as text, one key a line, fields parted by tabs:
 * scope, name, type, default ("-" if unset), changeable (yes/no), status, what is accepted, help.
 */
void option_print_table(struct buf *out);

#endif
