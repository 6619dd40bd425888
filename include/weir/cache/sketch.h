/*
 * sketch: how often something has been asked for lately, by its hash, in bounded memory. Pure.
 *
 * A count-min sketch behind a doorkeeper, in lines of 64 bytes. A hash has four bits and four counters, all
 * in one line, so that counting touches one line of the processor's cache. Whoever comes for the first time
 * only leaves its bits; who has left them is counted, and the least of its counters is the estimate: what
 * never comes again does not get into the way of what does. A counter is a byte that counts exactly up to 32
 * and from there to half a million in steps of 1/16, by chance. Counts fade: while as much is counted as five
 * times for each of the items it is made for, every line is faded once, one after another: its counters are
 * halved, its bits cleared. One thread.
 */
#ifndef WEIR_CACHE_SKETCH_H
#define WEIR_CACHE_SKETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SKETCH_LINE_BYTES = 64, SKETCH_ITEMS_PER_LINE = 4 };

struct sketch {
    uint8_t *lines;
    size_t line_count; /* a power of two */
    size_t hand;       /* the line that fades next */
    unsigned until_fade;
    uint64_t random;
};

/* For so many items, a power of two, at least SKETCH_ITEMS_PER_LINE. False when memory is out. */
bool sketch_init(struct sketch *s, size_t items, uint64_t seed);
void sketch_free(struct sketch *s);
/* For twice as many; estimates stay. False when memory is out, and nothing has changed. */
bool sketch_double(struct sketch *s);

/* Bytes that a sketch for so many items takes. */
static inline size_t sketch_bytes(size_t items)
{
    return items / SKETCH_ITEMS_PER_LINE * SKETCH_LINE_BYTES;
}

/* All bits of the hash but the lowest four count. */
void sketch_count(struct sketch *s, uint64_t hash);
/* It has been asked for so often elsewhere. */
void sketch_remember(struct sketch *s, uint64_t hash, uint32_t count);
uint32_t sketch_estimate(const struct sketch *s, uint64_t hash);

#endif
