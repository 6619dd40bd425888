/*
 * node_tree: what an expression or query of PostgreSQL's, as its catalogs keep it (pg_rewrite.ev_action,
 * pg_policy.polqual), calls and reads, by OID.
 *
 * The text is PostgreSQL's own format of parse trees (nodeToString), of versions 12 to 18. Every node and
 * every field of it must be known here: one that is not makes the tree unknown, so that what a later version
 * adds is never passed over. Finds OIDs, and judges none. Pure, any thread.
 */
#ifndef WEIR_SQL_NODE_TREE_H
#define WEIR_SQL_NODE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/util/buf.h"
#include "weir/util/slice.h"

enum node_list {
    NODE_FUNCTIONS, /* pg_proc: functions, aggregates, window functions */
    NODE_OPERATORS, /* pg_operator */
    NODE_TYPES,     /* pg_type, of every expression */
    NODE_CASTS,     /* pg_type: types that text is read as (CoerceViaIO) */
    NODE_RELATIONS, /* pg_class */
    NODE_VALUES,    /* what CURRENT_USER and its like are: enum SQLValueFunctionOp of PostgreSQL */
    NODE_LIST_COUNT
};

/* Zero-initialised means empty; reading several trees adds up. */
struct node_tree {
    struct buf oids[NODE_LIST_COUNT]; /* uint32_t, each once */
    struct buf settings;              /* names given to current_setting, in lower case, each ended by NUL */
    bool has_system_column;
    bool has_row_lock; /* FOR UPDATE and its like */
    char unknown[64];  /* the node or field that is not known, or what is wrong with the text; else "" */
};

/* Adds what one tree holds. False, with `unknown` set, when something in it is not understood or memory is
 * out. */
bool node_tree_read(struct node_tree *tree, struct slice text);
void node_tree_free(struct node_tree *tree);

size_t node_tree_count(const struct node_tree *tree, enum node_list list);
uint32_t node_tree_at(const struct node_tree *tree, enum node_list list, size_t index);
bool node_tree_has(const struct node_tree *tree, enum node_list list, uint32_t oid);

#endif
