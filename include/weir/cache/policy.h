/*
 * policy: may the answer of this statement be cached, and what does it depend on. Pure.
 *
 * Refuses unless sure. What makes it sure: one plain SELECT; every function on the list in functions.inc; no
 * time, no session value; only built-in operators and casts (nothing of a user's has the same name in the
 * schemas searched); only permanent, logged, ordinary tables without row security, rules or user-defined
 * column types, each found in just one schema of the search_path. What remains can only depend on rows of
 * these tables and on the settings, that is on vector and key: `date < timestamptz` and `timestamptz::text`,
 * for example, which are STABLE, depend on TimeZone and DateStyle, which are in the key. The one thing that
 * would not be is text read as a date that says 'now': statements and parameters with such a word are
 * refused, and so are casts of anything but constants to date and time types.
 */
#ifndef WEIR_CACHE_POLICY_H
#define WEIR_CACHE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/cache/reason.h"
#include "weir/util/slice.h"

struct catalog;
struct row_key;
struct search_path;
struct sql_class;

enum { POLICY_RELATIONS_MAX = 64 };

struct policy_relations {
    size_t count;
    uint32_t oids[POLICY_RELATIONS_MAX];
};

/* CACHE_REASON_NONE, and the relations read, when the answer may be cached. */
enum cache_reason policy_judge(const struct sql_class *class, const struct catalog *catalog,
                               const struct search_path *path, struct policy_relations *relations);

/* A parameter of this type, given in Parse (0: to be inferred), does no harm. */
bool policy_is_type_harmless(uint32_t oid);

/* A bound value holds now, today, tomorrow or yesterday. `bind` is Bind's body after the names, well-formed
 * or not. */
bool policy_has_datetime_word(struct slice bind);

/*
 * What the class's statements may write, by name and by consequence (a view may call a function that writes):
 * `add` is called for each relation (twice perhaps). False when it is not known, whatever `add` has been
 * told. True without calls for a class that writes nothing.
 */
bool policy_write_set(const struct sql_class *class, const struct catalog *catalog,
                      const struct search_path *path, void (*add)(void *context, uint32_t oid),
                      void *context);

/*
 * The primary key by which the one statement of the class looks for its rows (all that it reads of the first
 * relation in `reads`, or all that it writes); relation 0 where it does not, or where more may change than it
 * says. For classes that policy_judge accepts, or of which policy_write_set knows everything.
 */
void policy_row_key(const struct sql_class *class, const struct catalog *catalog,
                    const struct search_path *path, struct row_key *key);

/* The relation that the class adds rows to and does not change otherwise; 0 for anything else. Of the same
 * classes. */
uint32_t policy_adds_rows_to(const struct sql_class *class, const struct catalog *catalog,
                             const struct search_path *path);

#endif
