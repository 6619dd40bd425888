/*
 * analyst_sql: what the analyst says to PostgreSQL, and what the answers are. Sends nothing. Private to the
 * analyst.
 */
#ifndef WEIR_CONTROL_ANALYST_SQL_H
#define WEIR_CONTROL_ANALYST_SQL_H

#include "weir/control/analyst.h"
#include "weir/sql/node_tree.h"
#include "weir/util/buf.h"

struct pg_result;

/* What has been learned so far of one question. */
struct findings {
    char failure[ANALYST_NAME_MAX];
    struct buf types;       /* names of the parameters' types, each ended by NUL: given, then inferred */
    struct node_tree query; /* of the statement itself */
    struct node_tree inner; /* of views and policies */
    uint32_t view;          /* the statement as a view */
    struct buf locks;       /* uint32_t: relations locked */
    struct buf functions;   /* struct analyst_function */
    struct buf relations;   /* struct analyst_relation */
    struct analyst_facts facts;
};

void findings_free(struct findings *f);

/* Parameters: search_path, role, client_encoding ("" to leave it), type OIDs as an array. */
extern const char analyst_setup[];
bool analyst_take_setup(struct findings *f, const struct pg_result *result);

/* PREPARE, with the types given. */
bool analyst_prepare(struct buf *sql, const struct analyst_question *q, const struct findings *f);

extern const char analyst_prepared[];
bool analyst_take_prepared(struct findings *f, const struct pg_result *result);

/* CREATE TEMP VIEW, with values for the parameters. */
bool analyst_create(struct buf *sql, const struct analyst_question *q, const struct findings *f);

extern const char analyst_trees[];
bool analyst_take_trees(struct findings *f, const struct pg_result *result);

/* Parameters: arrays of functions, operators and types. */
extern const char analyst_names[];
bool analyst_oids(struct buf *array, const struct findings *f, enum node_list list);
bool analyst_take_names(struct findings *f, const struct pg_result *result);

/* Puts the facts together; they point into the findings. */
const struct analyst_facts *analyst_conclude(struct findings *f);

#endif
