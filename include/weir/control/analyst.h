/*
 * analyst: asks PostgreSQL what a SELECT calls and reads, over a connection of its own.
 *
 * In a transaction that is always rolled back, with the role and the search_path of the session that sent it,
 * the statement is prepared (which locks, and so names, what it reads) and made a temporary view (whose
 * rewrite rule names every function, operator and type by OID); so are, from the catalogs, the views and
 * policies behind it. Nothing of it runs. Waits for no lock longer than LOCK_MS: a migration never waits for
 * an analysis.
 *
 * One question at a time, from a bounded queue, so many in a second at most. The connection is made when
 * there is something to ask, and closed when there was nothing for a while. Confined to the thread of its
 * loop. Finds facts; what they mean is for others to say.
 */
#ifndef WEIR_CONTROL_ANALYST_H
#define WEIR_CONTROL_ANALYST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct analyst;
struct control_options;
struct loop;

enum { ANALYST_QUEUE_MAX = 256, ANALYST_RELATIONS_MAX = 128, ANALYST_NAME_MAX = 160 };

struct analyst_question {
    const char *text; /* one SELECT, VALUES or TABLE; literals count by their types alone */
    bool has_params;
    const uint32_t *types; /* given in Parse; 0: to be inferred */
    size_t type_count;
    const char *role;
    const char *search_path;
    const char *client_encoding; /* of the text; NULL: it is ASCII */
};

struct analyst_function {
    uint32_t oid;
    char volatility; /* pg_proc.provolatile; '?' when there is no such function */
    bool is_builtin; /* PostgreSQL's own, and not made of SQL that depends on anything */
    char name[ANALYST_NAME_MAX];
};

struct analyst_relation {
    uint32_t oid;
    char kind; /* pg_class.relkind, relpersistence; '?' when there is none */
    char persistence;
    bool has_row_security;
    char name[ANALYST_NAME_MAX];
};

/* Everything is as of one moment, and lives until analyst_done returns. */
struct analyst_facts {
    char failure[ANALYST_NAME_MAX]; /* why nothing else is known; "" when it is */
    char unknown[ANALYST_NAME_MAX]; /* what in the statement, or behind it, is not understood; "" for nothing
                                     */
    bool has_system_column;
    bool has_row_lock;
    bool has_own_settings; /* current_setting in the statement itself: which one, its literals say */
    bool has_own_types;    /* types that are not built in, enums among them */
    char operator[ANALYST_NAME_MAX]; /* one that is not built in; "" for none */
    char type[ANALYST_NAME_MAX]; /* one of which output and comparison are not known to be harmless; "" for
                                    none */
    uint64_t values;             /* one bit for each enum SQLValueFunctionOp */
    const uint32_t *casts;       /* types that text is read as */
    size_t cast_count;
    const struct analyst_function *functions;
    size_t function_count;
    const struct analyst_relation *relations; /* views, and what policies read, included */
    size_t relation_count;
    const char *settings; /* that views and policies ask current_setting for; each ended by NUL */
    size_t settings_len;
};

typedef void (*analyst_done)(void *context, const struct analyst_facts *facts);

/* Takes copies. NULL when memory is out. `per_second` bounds the load. */
struct analyst *analyst_new(struct loop *loop, const struct control_options *connection, unsigned per_second);
/* Everything still asked is told a failure first. */
void analyst_free(struct analyst *a);

/* Copies the question. False, and no call of `done`, when too many wait or memory is out. Never calls back
 * from here. */
bool analyst_ask(struct analyst *a, const struct analyst_question *question, analyst_done done,
                 void *context);

#endif
