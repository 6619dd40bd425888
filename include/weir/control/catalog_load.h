/*
 * catalog_load: the questions that make a catalog, and what their answers say. Sends nothing itself.
 */
#ifndef WEIR_CONTROL_CATALOG_LOAD_H
#define WEIR_CONTROL_CATALOG_LOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "weir/control/catalog.h"

struct pg_result;

/* One number of questions, to be asked in order, in one REPEATABLE READ transaction. */
size_t catalog_load_steps(void);
const char *catalog_load_query(size_t step);
/* Takes one answer into the builder; false when it does not have the shape expected. */
bool catalog_load_take(size_t step, const struct pg_result *result, struct catalog_builder *b);

/* One row, one text: changes whenever anything does that the questions, or rights, depend on. */
const char *catalog_look_query(void);

/* One row: database oid, server start (us), in recovery. */
const char *catalog_facts_query(void);
bool catalog_facts_take(const struct pg_result *result, struct catalog_facts *facts);
/* One row: system identifier; refused where the role has no right to it. */
const char *catalog_identifier_query(void);

#endif
