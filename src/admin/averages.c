#include "averages.h"

#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct entry {
    char *database;
    struct counters_sum at_end;  /* of the last period */
    struct counters_sum counted; /* in it */
    UT_hash_handle hh;
};

struct averages {
    uint64_t period_began_us; /* the one that is running */
    uint64_t last_length_us;  /* of the one that has ended; 0 before the first */
    struct entry *entries;
    struct counters_sum all;
};

struct averages *averages_new(uint64_t now_us)
{
    struct averages *a = calloc(1, sizeof(*a));
    if (a != NULL)
        a->period_began_us = now_us;
    return a;
}

static void free_entries(struct entry *entries)
{
    struct entry *e, *next;
    HASH_ITER(hh, entries, e, next)
    {
        HASH_DEL(entries, e);
        free(e->database);
        free(e);
    }
}

void averages_free(struct averages *a)
{
    if (a == NULL)
        return;
    free_entries(a->entries);
    free(a);
}

struct numbered {
    const char *database;
    size_t index;
    UT_hash_handle hh;
};

size_t averages_by_database(const struct admin_snapshot *snapshot, struct database_sum **sums)
{
    const struct show_pool *pools;
    size_t pool_count = snapshot_pools(snapshot, &pools), count = 0;
    struct database_sum *list = calloc(pool_count + 1, sizeof(*list));
    struct numbered *nodes = calloc(pool_count + 1, sizeof(*nodes)), *hash = NULL, *found;
    for (size_t i = 0; list != NULL && nodes != NULL && i < pool_count; i++) {
        HASH_FIND_STR(hash, pools[i].database, found);
        if (found == NULL) {
            found = &nodes[count];
            found->database = pools[i].database;
            found->index = count;
            list[count++].database = pools[i].database;
            size_t len = strlen(found->database);
            HASH_ADD_KEYPTR(hh, hash, found->database, len, found);
        }
        counters_sum_add(&list[found->index].sum, &pools[i].counters);
    }
    HASH_CLEAR(hh, hash);
    free(nodes);
    *sums = list;
    return list != NULL ? count : 0;
}

bool averages_close(struct averages *a, const struct admin_snapshot *snapshot, uint64_t now_us)
{
    struct database_sum *sums;
    size_t count = averages_by_database(snapshot, &sums);
    struct entry *fresh = NULL;
    struct counters_sum all = {0};
    bool is_ok = sums != NULL;
    for (size_t i = 0; is_ok && i < count; i++) {
        struct entry *e = calloc(1, sizeof(*e)), *old = NULL;
        is_ok = e != NULL && (e->database = strdup(sums[i].database)) != NULL;
        if (!is_ok) {
            free(e);
            break;
        }
        HASH_FIND_STR(a->entries, sums[i].database, old);
        e->at_end = sums[i].sum;
        if (old != NULL)
            counters_sum_difference(&e->counted, &e->at_end, &old->at_end);
        else
            e->counted = e->at_end;
        counters_sum_add(&all, &e->counted);
        size_t len = strlen(e->database);
        HASH_ADD_KEYPTR(hh, fresh, e->database, len, e);
    }
    free(sums);
    if (!is_ok) {
        free_entries(fresh);
        return false;
    }
    free_entries(a->entries);
    a->entries = fresh;
    a->all = all;
    a->last_length_us = now_us > a->period_began_us ? now_us - a->period_began_us : 1;
    a->period_began_us = now_us;
    return true;
}

uint64_t averages_get(const struct averages *a, const char *database, const struct counters_sum *current,
                      uint64_t now_us, struct counters_sum *out)
{
    if (a->last_length_us == 0) {
        *out = *current;
        return now_us > a->period_began_us ? now_us - a->period_began_us : 1;
    }
    memset(out, 0, sizeof(*out));
    const struct entry *e = NULL;
    if (database == NULL)
        *out = a->all;
    else
        HASH_FIND_STR(a->entries, database, e);
    if (e != NULL)
        *out = e->counted;
    return a->last_length_us;
}
