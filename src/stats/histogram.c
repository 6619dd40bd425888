/*
 * Bucket i < 128 holds the value i alone. Above, with e the exponent of the highest bit (7 or more), a value
 * falls into 128 + (e - 7) * 64 + (the six bits below the highest one). Block 0 and 1 are the linear part,
 * block e - 5 the power of two 2^e.
 */
#include "weir/stats/histogram.h"

#include <stdlib.h>

#define LINEAR  (2 * HISTOGRAM_BLOCK)
#define BUCKETS (HISTOGRAM_BLOCK * HISTOGRAM_BLOCKS)
#define LARGEST (UINT64_C(0xFFFFFFFF))

static unsigned bucket_of(uint64_t us)
{
    if (us < LINEAR)
        return (unsigned)us;
    if (us > LARGEST)
        us = LARGEST;
    unsigned exponent = 63 - (unsigned)__builtin_clzll(us);
    unsigned sub = (unsigned)(us >> (exponent - 6)) & (HISTOGRAM_BLOCK - 1);
    return LINEAR + (exponent - 7) * HISTOGRAM_BLOCK + sub;
}

/* The smallest value of a bucket; of BUCKETS, one above the largest. */
static uint64_t bucket_low(unsigned bucket)
{
    if (bucket < LINEAR)
        return bucket;
    unsigned exponent = (bucket - LINEAR) / HISTOGRAM_BLOCK + 7;
    uint64_t sub = (bucket - LINEAR) % HISTOGRAM_BLOCK;
    return (HISTOGRAM_BLOCK + sub) << (exponent - 6);
}

void histogram_init(struct histogram *h)
{
    atomic_init(&h->count, 0);
    atomic_init(&h->sum_us, 0);
    atomic_init(&h->max_us, 0);
    for (size_t i = 0; i < HISTOGRAM_BLOCKS; i++)
        atomic_init(&h->blocks[i], NULL);
}

void histogram_free(struct histogram *h)
{
    for (size_t i = 0; i < HISTOGRAM_BLOCKS; i++)
        free((void *)atomic_load_explicit(&h->blocks[i], memory_order_relaxed));
    histogram_init(h);
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* The writer's: the block of a bucket, made when it is not there. */
static _Atomic uint64_t *own_block(struct histogram *h, size_t index)
{
    _Atomic uint64_t *block = atomic_load_explicit(&h->blocks[index], memory_order_relaxed);
    if (block == NULL) {
        block = calloc(HISTOGRAM_BLOCK, sizeof(*block));
        atomic_store_explicit(&h->blocks[index], block, memory_order_release);
    }
    return block;
}

void histogram_record(struct histogram *h, uint64_t us)
{
    unsigned bucket = bucket_of(us);
    _Atomic uint64_t *block = own_block(h, bucket / HISTOGRAM_BLOCK);
    if (block != NULL)
        add(&block[bucket % HISTOGRAM_BLOCK], 1);
    add(&h->count, 1);
    add(&h->sum_us, us);
    if (us > atomic_load_explicit(&h->max_us, memory_order_relaxed))
        atomic_store_explicit(&h->max_us, us, memory_order_relaxed);
}

static uint64_t bucket_count(const struct histogram *h, unsigned bucket)
{
    const _Atomic uint64_t *block =
        atomic_load_explicit(&h->blocks[bucket / HISTOGRAM_BLOCK], memory_order_acquire);
    if (block == NULL)
        return 0;
    return atomic_load_explicit(&block[bucket % HISTOGRAM_BLOCK], memory_order_relaxed);
}

static bool has_block(const struct histogram *h, size_t index)
{
    return atomic_load_explicit(&h->blocks[index], memory_order_acquire) != NULL;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (size_t index = 0; index < HISTOGRAM_BLOCKS; index++) {
        if (!has_block(from, index))
            continue;
        _Atomic uint64_t *block = own_block(into, index);
        for (unsigned i = 0; block != NULL && i < HISTOGRAM_BLOCK; i++)
            add(&block[i], bucket_count(from, (unsigned)index * HISTOGRAM_BLOCK + i));
    }
    add(&into->count, histogram_count(from));
    add(&into->sum_us, histogram_sum_us(from));
    if (histogram_max_us(from) > histogram_max_us(into))
        atomic_store_explicit(&into->max_us, histogram_max_us(from), memory_order_relaxed);
}

static uint64_t minus(uint64_t after, uint64_t before)
{
    return after > before ? after - before : 0;
}

bool histogram_difference(struct histogram *into, const struct histogram *after,
                          const struct histogram *before)
{
    bool is_ok = true;
    uint64_t highest = 0;
    histogram_free(into);
    for (size_t index = 0; index < HISTOGRAM_BLOCKS; index++) {
        if (!has_block(after, index))
            continue;
        _Atomic uint64_t *block = own_block(into, index);
        is_ok = is_ok && block != NULL;
        for (unsigned i = 0; block != NULL && i < HISTOGRAM_BLOCK; i++) {
            unsigned bucket = (unsigned)index * HISTOGRAM_BLOCK + i;
            uint64_t n = minus(bucket_count(after, bucket), bucket_count(before, bucket));
            atomic_store_explicit(&block[i], n, memory_order_relaxed);
            if (n > 0)
                highest = bucket_low(bucket + 1) - 1;
        }
    }
    uint64_t max = histogram_max_us(after);
    atomic_store_explicit(&into->count, minus(histogram_count(after), histogram_count(before)),
                          memory_order_relaxed);
    atomic_store_explicit(&into->sum_us, minus(histogram_sum_us(after), histogram_sum_us(before)),
                          memory_order_relaxed);
    atomic_store_explicit(&into->max_us, highest < max ? highest : max, memory_order_relaxed);
    return is_ok;
}

uint64_t histogram_count(const struct histogram *h)
{
    return atomic_load_explicit(&h->count, memory_order_relaxed);
}

uint64_t histogram_sum_us(const struct histogram *h)
{
    return atomic_load_explicit(&h->sum_us, memory_order_relaxed);
}

uint64_t histogram_max_us(const struct histogram *h)
{
    return atomic_load_explicit(&h->max_us, memory_order_relaxed);
}

/* What the buckets hold; may differ from `count` by what is being recorded, or was lost for want of memory.
 */
static uint64_t total(const struct histogram *h)
{
    uint64_t sum = 0;
    for (unsigned index = 0; index < HISTOGRAM_BLOCKS; index++)
        for (unsigned i = 0; has_block(h, index) && i < HISTOGRAM_BLOCK; i++)
            sum += bucket_count(h, index * HISTOGRAM_BLOCK + i);
    return sum;
}

double histogram_quantile_us(const struct histogram *h, double q)
{
    uint64_t all = total(h);
    if (all == 0)
        return 0;
    double rank = q * (double)all;
    uint64_t wanted = rank < 1 ? 1 : (uint64_t)rank + ((double)(uint64_t)rank < rank ? 1 : 0);
    uint64_t max = histogram_max_us(h);
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        if (bucket % HISTOGRAM_BLOCK == 0 && !has_block(h, bucket / HISTOGRAM_BLOCK)) {
            bucket += HISTOGRAM_BLOCK - 1;
            continue;
        }
        seen += bucket_count(h, bucket);
        if (seen < wanted)
            continue;
        double middle = (double)(bucket_low(bucket) + bucket_low(bucket + 1) - 1) / 2;
        return middle < (double)max ? middle : (double)max;
    }
    return (double)max;
}

uint64_t histogram_counts_up_to(const struct histogram *h, const uint64_t *bounds_us, size_t count,
                                uint64_t *counts)
{
    uint64_t sum = 0;
    size_t bound = 0;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        bool is_empty = bucket % HISTOGRAM_BLOCK == 0 && !has_block(h, bucket / HISTOGRAM_BLOCK);
        unsigned last = is_empty ? bucket + HISTOGRAM_BLOCK - 1 : bucket;
        sum += is_empty ? 0 : bucket_count(h, bucket);
        for (; bound < count && bucket_of(bounds_us[bound]) <= last; bound++)
            counts[bound] = sum;
        bucket = last;
    }
    for (; bound < count; bound++)
        counts[bound] = sum;
    return sum;
}

uint64_t histogram_count_up_to(const struct histogram *h, uint64_t us)
{
    uint64_t count = 0;
    histogram_counts_up_to(h, &us, 1, &count);
    return count;
}
