/*
 * search_path: the setting as a list of schemas, as PostgreSQL's SplitIdentifierString reads it. Pure.
 */
#ifndef WEIR_CACHE_SEARCH_PATH_H
#define WEIR_CACHE_SEARCH_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include "weir/util/slice.h"

enum { SEARCH_PATH_MAX = 16 };

struct search_path {
    /* Names a system or temporary schema, has more than SEARCH_PATH_MAX, bytes over 127 unquoted, or does not
     * parse. */
    bool is_odd;
    size_t count;
    char *schemas[SEARCH_PATH_MAX];
};

/* `role` replaces "$user". False when memory is out. */
bool search_path_parse(struct search_path *path, struct slice text, const char *role);
void search_path_free(struct search_path *path);

#endif
