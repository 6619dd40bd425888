/*
 * histogram: how a time was distributed, from 1 us to more than an hour, each value known to better than 1 %.
 *
 * Values below 128 us are counted one by one; above, every power of two is cut into 64 equal buckets. Buckets
 * of one power of two are allocated when first needed, so that an unused histogram is about 250 bytes and the
 * worst case 14 KiB. One writer, relaxed readers: a reader may see `count` and the buckets a few records
 * apart.
 */
#ifndef WEIR_STATS_HISTOGRAM_H
#define WEIR_STATS_HISTOGRAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BLOCK  64 /* buckets in a block */
#define HISTOGRAM_BLOCKS 27 /* the last one ends at 2^32 us, 71 minutes */

struct histogram {
    _Atomic uint64_t count;
    _Atomic uint64_t sum_us;
    _Atomic uint64_t max_us;
    _Atomic(_Atomic uint64_t *) blocks[HISTOGRAM_BLOCKS];
};

void histogram_init(struct histogram *h);
void histogram_free(struct histogram *h);

/* The writer only. A few nanoseconds. When a block cannot be allocated the value still counts in count and
 * sum. */
void histogram_record(struct histogram *h, uint64_t us);

/* into += from; `into` belongs to the caller, `from` may be written meanwhile. */
void histogram_merge(struct histogram *into, const struct histogram *from);
/* into = after - before, for "in the last seconds". */
bool histogram_difference(struct histogram *into, const struct histogram *after,
                          const struct histogram *before);

uint64_t histogram_count(const struct histogram *h);
uint64_t histogram_sum_us(const struct histogram *h);
uint64_t histogram_max_us(const struct histogram *h);

/* The value that a share `q` (0..1) of the records does not exceed, to 1 %; 0 when empty. */
double histogram_quantile_us(const struct histogram *h, double q);

/* How many records are at most `us`, the bucket of `us` included. Never decreases with `us`. */
uint64_t histogram_count_up_to(const struct histogram *h, uint64_t us);

/* The same for `count` ascending bounds in one pass; returns how many records there are in all. */
uint64_t histogram_counts_up_to(const struct histogram *h, const uint64_t *bounds_us, size_t count,
                                uint64_t *counts);

#endif
