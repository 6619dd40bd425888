/*
 * hint: what a leading comment asks of the cache: / * weir: cache=off * /, / * weir: ttl=10s, cache=off * /.
 *
 * Only comments before the first token count, block comments only; several of them add up, the last wins.
 * Keys: cache (on, off), ttl (a whole number with ms, s or min, or bare seconds). A comment that begins with
 * "weir:" and does not read in full is ignored as a whole and reported. Pure, any thread.
 */
#ifndef WEIR_SQL_HINT_H
#define WEIR_SQL_HINT_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/util/slice.h"

enum hint_cache { HINT_CACHE_UNSAID, HINT_CACHE_ON, HINT_CACHE_OFF };

struct hint {
    enum hint_cache cache;
    bool has_ttl;
    bool is_malformed; /* at least one weir: comment was ignored */
    uint64_t ttl_ms;   /* with has_ttl; at most a year */
};

struct hint hint_parse(struct slice text);

#endif
