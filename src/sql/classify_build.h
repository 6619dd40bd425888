/*
 * classify_build: what the parts of classify share while a class is being made. Private to sql/classify*.c.
 *
 * A builder fills one statement at a time into fixed tables; statement_finish copies what was found into the
 * class's memory. A table that overflows says "unknown" and goes on.
 */
#ifndef WEIR_SQL_CLASSIFY_BUILD_H
#define WEIR_SQL_CLASSIFY_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pg_query/pg_query.pb-c.h>

#include "weir/sql/classify.h"

/* Memory that only grows and is freed as a whole. */
struct sql_chunk {
    struct sql_chunk *next;
    size_t size;
    size_t used;
};

struct scratch {
    struct sql_chunk *first;
    size_t bytes;
    bool failed;
};

/* Zeroed, aligned for anything; NULL (and sticky) when memory is out. */
void *scratch_take(struct scratch *arena, size_t size);
const char *scratch_text(struct scratch *arena, const char *text);
void scratch_free(struct sql_chunk *first);

#define MAX_STATEMENTS    1000
#define MAX_RELATIONS     64
#define MAX_FUNCTIONS     64
#define MAX_TYPES         32
#define MAX_FIELDS        256
#define MAX_SETTINGS      32
#define MAX_CTES          128
#define MAX_EQUALITIES    4
#define MAX_NAME_BYTES    256
#define MAX_SETTING_BYTES (64 * 1024)

struct relation_table {
    struct sql_relation items[MAX_RELATIONS];
    uint16_t count;
};

struct builder {
    struct scratch arena; /* becomes the class's memory */
    const char *text;     /* NUL-terminated */
    bool has_wide_words;  /* unquoted identifiers that the server may fold otherwise */
    bool is_whole_text;   /* nothing was left out of it */
    bool depends_on_text; /* SQL_CLASS_LITERALS */
    bool has_datetime_word;

    /* the statement at hand */
    struct sql_statement now;
    struct relation_table reads, writes, types;
    struct sql_function functions[MAX_FUNCTIONS];
    uint16_t n_functions;
    struct sql_setting settings[MAX_SETTINGS];
    uint16_t n_settings;
    uint32_t fields[MAX_FIELDS];
    uint16_t n_fields;
    struct sql_equality equalities[MAX_EQUALITIES];
    uint32_t n_tables;          /* how often a table was named */
    const char *ctes[MAX_CTES]; /* names in scope, innermost last */
    size_t n_ctes;
    bool has_writing_with; /* INSERT, UPDATE, DELETE below the top */
    bool names_temp_schema;
    const PgQuery__IntoClause *into;          /* SELECT ... INTO */
    const PgQuery__SelectStmt *simple_select; /* see is_simple_select; else NULL */
};

static inline void set_flags(struct builder *b, uint32_t flags)
{
    b->now.flags |= flags;
}

/* classify_walk.c: finds everything below a node. */
void walk_node(struct builder *b, const PgQuery__Node *node);
void walk_nodes(struct builder *b, PgQuery__Node *const *nodes, size_t count);
void walk_message(struct builder *b, const ProtobufCMessage *message);
void add_read(struct builder *b, const PgQuery__RangeVar *relation);
void add_write(struct builder *b, const PgQuery__RangeVar *relation);
/* The text of a String node, NULL for any other. */
const char *node_string(const PgQuery__Node *node);
bool is_temp_schema(const char *schema);

/* classify_call.c: what a function does, by its name. */
void add_call(struct builder *b, const PgQuery__FuncCall *call);
/* Whether the call is itself a target of SELECT f(...), g(...) without FROM, WHERE or the like. */
bool is_simple_call(const struct builder *b, const PgQuery__FuncCall *call);
/* Whether a target certainly makes one row: a set-returning function beside a call makes it run any number of
 * times. */
bool is_single_row_target(const PgQuery__Node *target);
void add_operator(struct builder *b, PgQuery__Node *const *names, size_t count);

/* classify_set.c: SET, RESET, set_config. */
void classify_variable_set(struct builder *b, const PgQuery__VariableSetStmt *set);
/* set_config(name, value, is_local) with three constants, called once; else it says what is unknown. */
void classify_set_config(struct builder *b, const PgQuery__FuncCall *call);
/* By PostgreSQL's names; what is no name counts as the strictest. */
enum sql_isolation isolation_from_text(const char *text);

/* classify_row.c: by which values a statement looks for its rows; after everything below it was visited. */
void classify_rows_of_read(struct builder *b, const PgQuery__SelectStmt *select);
void classify_rows_of_update(struct builder *b, const PgQuery__UpdateStmt *update);
void classify_rows_of_delete(struct builder *b, const PgQuery__DeleteStmt *delete);
void classify_rows_of_insert(struct builder *b, const PgQuery__InsertStmt *insert);

/* classify_utility.c: every statement that is not plain DML. */
void classify_utility(struct builder *b, const PgQuery__Node *node);

/* classify.c: SELECT, INSERT, UPDATE, DELETE, MERGE, else classify_utility. */
void classify_statement(struct builder *b, const PgQuery__Node *node);

#endif
