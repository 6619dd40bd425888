/*
 * statements: prepared statements of the protocol.
 *
 * Three things. A process-wide table that makes (text, parameter types) one `struct statement` with a unique
 * number, shared by all threads (sharded, mutexes only on intern and last unref). A client's map from its own
 * names to statements. A server's set of statements it holds under the names weir_<number>, bounded, least
 * recently used first out. Map and set belong to one thread. None of them sends anything.
 */
#ifndef WEIR_TRACK_STATEMENTS_H
#define WEIR_TRACK_STATEMENTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/sql/classify.h"
#include "weir/util/slice.h"

struct statement {
    _Atomic uint32_t refs;
    uint16_t n_types;
    uint32_t text_flags; /* enum template_flag of the text */
    uint64_t id;
    struct slice text;       /* without the terminating NUL, which follows it */
    const uint32_t *types;   /* parameter type OIDs as the client gave them; 0: to be inferred */
    struct sql_class *class; /* of the text, as first seen; the statement holds a reference */
    struct statement_table *table;
    struct statement *next; /* the table's */
    uint64_t hash;
};

struct statement_table;

struct statement_table *statement_table_new(void);
/* Every statement must have been given back. */
void statement_table_free(struct statement_table *table);
size_t statement_table_count(struct statement_table *table);

/*
 * A reference to the statement of this text and these types; made when there is none. `class` is referenced,
 * not taken, and distinguishes: the same text classified differently (standard_conforming_strings off) is
 * another statement. NULL when memory is out. Any thread.
 */
struct statement *statement_intern(struct statement_table *table, struct slice text, const uint32_t *types,
                                   uint16_t n_types, struct sql_class *class, uint32_t text_flags);
struct statement *statement_ref(struct statement *statement);
void statement_unref(struct statement *statement);

/* "weir_<id>" with its NUL; returns the length without it. */
#define STATEMENT_NAME_SIZE 26
size_t statement_name(const struct statement *statement, char name[STATEMENT_NAME_SIZE]);

/* --- a client's names; zero-initialised is empty; 16 bytes when empty --- */

struct statement_map {
    struct statement_map_entry *entries;
    uint32_t count;
    uint32_t capacity;
};

enum statement_put { STATEMENT_PUT, STATEMENT_EXISTS, STATEMENT_NO_MEMORY };

/*
 * Binds `name` to the statement, taking a reference of its own. The empty name is replaced silently; any
 * other must be free (PostgreSQL: 42P05 otherwise).
 */
enum statement_put statement_map_put(struct statement_map *map, struct slice name,
                                     struct statement *statement);
/* Borrowed; NULL when unknown (PostgreSQL: 26000). */
struct statement *statement_map_find(const struct statement_map *map, struct slice name);
/* Forgets a name; whether it was known. */
bool statement_map_remove(struct statement_map *map, struct slice name);
/* DEALLOCATE ALL, DISCARD ALL, or the end of the client. */
void statement_map_clear(struct statement_map *map);

/* --- what a server holds; 0 < limit --- */

struct statement_set;

/* `limit` statements at most. NULL when memory is out. */
struct statement_set *statement_set_new(uint32_t limit);
void statement_set_free(struct statement_set *set);
uint32_t statement_set_count(const struct statement_set *set);

/* Whether the server holds it; it becomes the most recently used. */
bool statement_set_use(struct statement_set *set, const struct statement *statement);

/*
 * Remembers that the server holds the statement from now on (the Parse is being sent); it must not be in the
 * set. When the set is full, the least recently used one leaves it first and is returned, with its reference:
 * send Close for its name before the Parse, then unref it. NULL: nobody had to leave. `ok` is false when
 * memory is out (then nothing was added).
 */
struct statement *statement_set_add(struct statement_set *set, struct statement *statement, bool *ok);

/* Another limit. Those that are too many then leave one by one: the least recently used, with its reference;
 * NULL: none is too many. */
void statement_set_limit(struct statement_set *set, uint32_t limit);
struct statement *statement_set_evict(struct statement_set *set);

/* The server does not hold it after all (Parse failed or was skipped). */
void statement_set_remove(struct statement_set *set, const struct statement *statement);
/* DEALLOCATE ALL or DISCARD ALL went to the server. */
void statement_set_clear(struct statement_set *set);

#endif
