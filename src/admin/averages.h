/*
 * Private to admin: counters per database over the last closed period, for the avg_ columns and the log line.
 */
#ifndef WEIR_ADMIN_AVERAGES_H
#define WEIR_ADMIN_AVERAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/admin/snapshot.h"

struct averages;

/* `now_us` is the beginning of the first period. */
struct averages *averages_new(uint64_t now_us);
void averages_free(struct averages *averages);

/* Ends a period with what the counters are now. False when memory is out; the old period is kept then. */
bool averages_close(struct averages *averages, const struct admin_snapshot *snapshot, uint64_t now_us);

/*
 * What was counted for `database` in the last period, and how long that was. Before the first one has ended:
 * since the start, for which `current` holds the counters. NULL as database gives the sum of all.
 */
uint64_t averages_get(const struct averages *averages, const char *database,
                      const struct counters_sum *current, uint64_t now_us, struct counters_sum *out);

/* Sums the counters of each database, in the order in which databases first appear. The caller frees `*sums`.
 */
struct database_sum {
    const char *database; /* points into the snapshot */
    struct counters_sum sum;
};
size_t averages_by_database(const struct admin_snapshot *snapshot, struct database_sum **sums);

#endif
