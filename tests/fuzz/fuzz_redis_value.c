/* Values as a Redis might give them back. The checksum is put right half of the time, so that what is behind
 * it is met. */
#include <stdlib.h>
#include <string.h>

#include "weir/cache/generations.h"
#include "weir/cache/store_redis.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_checksum(uint8_t *value, size_t size)
{
    uint64_t seed = (uint64_t)value[3] << 32 | (uint64_t)value[12] << 24 | (uint64_t)value[13] << 16 |
                    (uint64_t)value[14] << 8 | value[15];
    uint64_t sum = XXH3_64bits_withSeed(value + 16, size - 16, seed);
    memcpy(value, "We1", 3);
    for (int i = 0; i < 8; i++)
        value[4 + i] = (uint8_t)(sum >> (56 - 8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct generation slot = {.value = GENERATION_CHANGE, .references = 1, .relation = 17};
    const struct vector_item vector = {.slot = &slot, .value = GENERATION_CHANGE};
    const struct entry_key key = {{1, 2}, SLICE_LITERAL("key")};
    if (size == 0)
        return 0;
    uint8_t *value = malloc(size);
    memcpy(value, data + 1, size - 1);
    if ((data[0] & 1) != 0 && size - 1 >= 16)
        put_checksum(value, size - 1);
    struct entry *entry = store_redis_decode(slice_make(value, size - 1), &key, &vector, 1, 1);
    if (entry != NULL && entry_answer(entry).len > 1u << 30)
        abort();
    entry_unref(entry);
    free(value);
    return 0;
}
