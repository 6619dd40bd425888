/*
 * catalog_code: the questions where functions of users may run that nobody has called by name, and what their
 * answers say. Three of the questions of catalog_load.
 */
#ifndef WEIR_CONTROL_CATALOG_CODE_H
#define WEIR_CONTROL_CATALOG_CODE_H

#include "weir/control/catalog.h"

struct pg_result;

enum { CATALOG_CODE_COLUMNS = 4 };

extern const char catalog_code_names[], catalog_code_writers[], catalog_code_readers[];
void catalog_code_take(const struct pg_result *result, int row, struct catalog_builder *b);

#endif
