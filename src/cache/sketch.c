/*
 * sketch: lines of a doorkeeper's bits and of bytes that are small floating-point numbers.
 *
 *   0 … 15    the count itself
 *   16 …      exponent in the upper four bits, mantissa in the lower: (16 + mantissa) << (exponent - 1)
 *
 * Halving takes one off the exponent. A step up at exponent e is worth 2^(e-1), and is made once in so many
 * times.
 */
#include "weir/cache/sketch.h"

#include <stdlib.h>
#include <string.h>

enum { DOOR_BYTES = 32, ROWS = 4, COLUMNS = 8, DOORS = 4, COUNTS_PER_ITEM = 5 };
enum { FADE_EVERY = COUNTS_PER_ITEM * SKETCH_ITEMS_PER_LINE };

_Static_assert(DOOR_BYTES + ROWS * COLUMNS == SKETCH_LINE_BYTES, "a line");

bool sketch_init(struct sketch *s, size_t items, uint64_t seed)
{
    size_t line_count = items / SKETCH_ITEMS_PER_LINE;
    *s = (struct sketch){.lines = calloc(line_count, SKETCH_LINE_BYTES),
                         .line_count = line_count,
                         .until_fade = FADE_EVERY,
                         .random = (seed ^ UINT64_C(0xD1B54A32D192ED03)) | 1};
    return s->lines != NULL;
}

void sketch_free(struct sketch *s)
{
    free(s->lines);
    s->lines = NULL;
}

bool sketch_double(struct sketch *s)
{
    size_t bytes = s->line_count * SKETCH_LINE_BYTES;
    uint8_t *lines = realloc(s->lines, 2 * bytes);
    if (lines == NULL)
        return false;
    /* What was in a line may be in it or in the one that its next bit names. */
    memcpy(lines + bytes, lines, bytes);
    s->lines = lines;
    s->line_count *= 2;
    return true;
}

static uint8_t *line_of(const struct sketch *s, uint64_t hash)
{
    return s->lines + ((hash >> 4) & (s->line_count - 1)) * SKETCH_LINE_BYTES;
}

/* --- the doorkeeper: so many bits of a line --- */

static bool has_come(const uint8_t *line, uint64_t hash)
{
    bool has = true;
    for (unsigned i = 0; i < DOORS; i++) {
        uint8_t bit = (uint8_t)(hash >> (20 + 8 * i));
        has &= (line[bit >> 3] >> (bit & 7) & 1) != 0;
    }
    return has;
}

static void let_in(uint8_t *line, uint64_t hash)
{
    for (unsigned i = 0; i < DOORS; i++) {
        uint8_t bit = (uint8_t)(hash >> (20 + 8 * i));
        line[bit >> 3] = (uint8_t)(line[bit >> 3] | 1 << (bit & 7));
    }
}

/* --- the counters --- */

/* Where in its line the hash's counter of this row is. */
static size_t place(uint64_t hash, size_t row)
{
    return DOOR_BYTES + row * COLUMNS + ((hash >> (52 + 3 * row)) & (COLUMNS - 1));
}

static uint8_t least(const uint8_t *line, uint64_t hash)
{
    uint8_t found = UINT8_MAX;
    for (size_t row = 0; row < ROWS; row++)
        if (line[place(hash, row)] < found)
            found = line[place(hash, row)];
    return found;
}

static bool steps_up(struct sketch *s, uint8_t counter)
{
    if (counter < 32)
        return true;
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return (s->random >> 32 & ((UINT64_C(1) << ((counter >> 4) - 1)) - 1)) == 0;
}

/* Only what is the least is raised: others are that high for the sake of somebody else. */
static void count_up(struct sketch *s, uint8_t *line, uint64_t hash)
{
    uint8_t counter = least(line, hash);
    if (counter == UINT8_MAX || !steps_up(s, counter))
        return;
    for (size_t row = 0; row < ROWS; row++)
        if (line[place(hash, row)] == counter)
            line[place(hash, row)]++;
}

static void fade(struct sketch *s)
{
    uint8_t *line = s->lines + s->hand * SKETCH_LINE_BYTES;
    memset(line, 0, DOOR_BYTES);
    for (size_t i = DOOR_BYTES; i < SKETCH_LINE_BYTES; i++)
        line[i] = (uint8_t)(line[i] >= 32 ? line[i] - 16 : line[i] / 2);
    s->hand = (s->hand + 1) & (s->line_count - 1);
    s->until_fade = FADE_EVERY;
}

void sketch_count(struct sketch *s, uint64_t hash)
{
    uint8_t *line = line_of(s, hash);
    if (has_come(line, hash))
        count_up(s, line, hash);
    else
        let_in(line, hash);
    if (--s->until_fade == 0)
        fade(s);
}

static uint8_t nearest(uint32_t count)
{
    uint32_t exponent;
    if (count < 16)
        return (uint8_t)count;
    for (exponent = 1; count >= 32 && exponent < 15; exponent++)
        count /= 2;
    return (uint8_t)(exponent << 4 | (count < 32 ? count - 16 : 15));
}

void sketch_remember(struct sketch *s, uint64_t hash, uint32_t count)
{
    uint8_t *line = line_of(s, hash);
    uint8_t counter = nearest(count);
    for (size_t row = 0; row < ROWS; row++)
        if (line[place(hash, row)] < counter)
            line[place(hash, row)] = counter;
}

uint32_t sketch_estimate(const struct sketch *s, uint64_t hash)
{
    const uint8_t *line = line_of(s, hash);
    uint8_t counter = least(line, hash);
    uint32_t counted = counter < 16 ? counter : (uint32_t)(16 + (counter & 15)) << ((counter >> 4) - 1);
    return counted + has_come(line, hash);
}
