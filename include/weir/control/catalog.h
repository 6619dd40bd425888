/*
 * catalog: an immutable picture of what one database holds, as far as caching has to know.
 *
 * Built once (from the answers that control/watch collects, or by a test), then shared: counted references,
 * any thread. Answers two questions: what is this name, and what else does a write to it write. Only objects
 * outside pg_catalog are in it, with what users added to pg_catalog; it knows nothing of statements.
 */
#ifndef WEIR_CONTROL_CATALOG_H
#define WEIR_CONTROL_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/util/slice.h"

struct catalog;
struct catalog_builder;

/* Flags of a relation; those from CATALOG_HAS_TRIGGER on make the write set of a write to it unknown. */
enum {
    CATALOG_ROW_SECURITY = 1 << 0,
    CATALOG_ODD_COLUMN = 1 << 1, /* a column whose type, output or comparison is not known to be harmless */
    CATALOG_INHERITS = 1 << 2,   /* has parents or children (partitions too) */
    CATALOG_ODD_RELATIVE =
        1 << 3, /* one of its descendants may not be read from the cache; set by the builder */
    CATALOG_KEY_LOGGED =
        1 << 5, /* a change of its key shows in the log: it has the default replica identity */
    CATALOG_FAR_RELATIVE = 1 << 4, /* one of them is no permanent, logged, local table; set by the builder */
    CATALOG_HAS_TRIGGER = 1 << 8,
    CATALOG_HAS_RULE = 1 << 9,
    CATALOG_RUNS_CODE =
        1
        << 10, /* reading it may call functions of users (view, policy, foreign table); set by the builder */
    CATALOG_WRITE_RUNS_CODE =
        1 << 11, /* writing it may: defaults, constraints, indexes; set by the builder */
};

/* Of the one column of a primary key, where values that are written alike in one of these ways are equal to
 * PostgreSQL, and others are not. */
enum catalog_key { CATALOG_KEY_NONE, CATALOG_KEY_INTEGER, CATALOG_KEY_UUID, CATALOG_KEY_TEXT };

struct catalog_relation {
    uint32_t oid;
    char kind;        /* pg_class.relkind */
    char persistence; /* pg_class.relpersistence */
    uint32_t flags;
    const char *schema;
    const char *name;
    enum catalog_key key_kind; /* given by catalog_builder_key, for a relation that is known already */
    const char *key;           /* the column's name; NULL without */
};

/* What concerns statements that do not name it. */
enum catalog_somewhere {
    CATALOG_ODD_CASTS = 1,     /* a cast that users added between built-in types */
    CATALOG_CODE_ANYWHERE = 2, /* untrusted functions behind casts or classes of operators: any statement may
                                  run one */
    CATALOG_CODE_TEMPORARY = 4 /* untrusted functions behind temporary views, tables and types */
};

struct catalog_facts {
    uint64_t system_identifier; /* 0 where the role may not know */
    uint32_t database_oid;
    uint64_t server_start_us; /* Unix time of pg_postmaster_start_time */
    bool is_in_recovery;
};

/* --- building: one thread; the builder takes copies
 * ----------------------------------------------------------- */

struct catalog_builder *catalog_builder_new(const struct catalog_facts *facts);
void catalog_builder_free(struct catalog_builder *b);
void catalog_builder_relation(struct catalog_builder *b, const struct catalog_relation *relation);
/* The primary key of a relation that has been told of; `is_logged` gives it CATALOG_KEY_LOGGED. */
void catalog_builder_key(struct catalog_builder *b, uint32_t oid, const char *column, enum catalog_key kind,
                         bool is_logged);
/* A write (UPDATE, DELETE) to `from` may write `to` through a foreign key. */
void catalog_builder_cascade(struct catalog_builder *b, uint32_t from, uint32_t to);
void catalog_builder_inherit(struct catalog_builder *b, uint32_t parent, uint32_t child);
/* A user's function, type, or operator between built-in types, of this name exists in the schema. */
void catalog_builder_function(struct catalog_builder *b, const char *schema, const char *name);
/* A user's function of this name takes a row, or anything, as its one argument: `t.name` may be a call of it.
 */
void catalog_builder_row_function(struct catalog_builder *b, const char *schema, const char *name);
/* A function, or operator, of this name exists that is not trusted to leave everything as it is. */
void catalog_builder_code(struct catalog_builder *b, const char *schema, const char *name);
/* The same for what a row, or anything, may be the one argument of: `t.name` may be a call. */
void catalog_builder_row_code(struct catalog_builder *b, const char *schema, const char *name);
/* A value of this type is checked by such a function. */
void catalog_builder_code_type(struct catalog_builder *b, const char *schema, const char *name);
/* Reading the relation may run such a function; its ancestors inherit that. */
void catalog_builder_runs_code(struct catalog_builder *b, uint32_t oid);
/* Writing to it may. */
void catalog_builder_write_runs_code(struct catalog_builder *b, uint32_t oid);
/* What else there is of such code: enum catalog_somewhere. */
void catalog_builder_somewhere(struct catalog_builder *b, unsigned what);
void catalog_builder_operator(struct catalog_builder *b, const char *schema, const char *name);
void catalog_builder_type(struct catalog_builder *b, const char *schema, const char *name);
/* Frees the builder. NULL when memory ran out at any step, or when there is more than a picture should hold.
 */
struct catalog *catalog_builder_finish(struct catalog_builder *b);

/* --- asking
 * --------------------------------------------------------------------------------------------------- */

struct catalog *catalog_ref(struct catalog *c);
void catalog_unref(struct catalog *c);

const struct catalog_facts *catalog_get_facts(const struct catalog *c);
/* NULL when there is none. Lives as long as the catalog. Names compare byte for byte. */
const struct catalog_relation *catalog_find(const struct catalog *c, const char *schema, const char *name);
/* The one of this name, in whichever schema; NULL where there is none, or where there are several (`count`).
 */
const struct catalog_relation *catalog_find_name(const struct catalog *c, const char *name, size_t *count);
const struct catalog_relation *catalog_find_oid(const struct catalog *c, uint32_t oid);
bool catalog_has_function(const struct catalog *c, const char *schema, const char *name);
/* A word of `text` may be the name of a function that takes a row; without regard to case, quotes and
 * context. */
bool catalog_mentions_row_function(const struct catalog *c, struct slice text);
bool catalog_has_operator(const struct catalog *c, const char *schema, const char *name);
bool catalog_has_type(const struct catalog *c, const char *schema, const char *name);
/* Might an unsuspicious name in this schema be such a function; is there any at all, or a relation that runs
 * one. */
bool catalog_is_code(const struct catalog *c, const char *schema, const char *name);
bool catalog_is_code_type(const struct catalog *c, const char *schema, const char *name);
/* By the hash that sql/classify keeps of the names behind a dot. */
bool catalog_is_row_code(const struct catalog *c, uint32_t name_hash);
bool catalog_has_row_code(const struct catalog *c);
bool catalog_has_code(const struct catalog *c);
bool catalog_is_somewhere(const struct catalog *c, enum catalog_somewhere what);
size_t catalog_relation_count(const struct catalog *c);

/*
 * Every relation that a write to `oid` may change: itself, its ancestors and descendants, what foreign keys
 * cascade to, and theirs. Calls `add` for each, once. False when that is not known (triggers, rules, a view,
 * a foreign table, an unknown oid): then everything may have changed, whatever `add` has been told.
 */
bool catalog_closure(const struct catalog *c, uint32_t oid, void (*add)(void *context, uint32_t oid),
                     void *context);
/* The same for rows that are known to have been written, so that what triggers do is told on its own: false
 * only where there are too many, or memory is out. */
bool catalog_reach(const struct catalog *c, uint32_t oid, void (*add)(void *context, uint32_t oid),
                   void *context);
/* May a write to some rows of `oid` come back to others of it, by foreign keys or inheritance? */
bool catalog_comes_back(const struct catalog *c, uint32_t oid);

#endif
