/* key: lengths and bytes in a row, then XXH3. */
#include "weir/cache/key.h"

#include <string.h>

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include <xxhash.h>
#pragma GCC diagnostic pop

static inline void put_u32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (24 - 8 * i));
}

bool key_build(struct buf *scratch, const struct key_parts *parts, uint64_t seed, struct entry_key *key)
{
    buf_clear(scratch);
    /* scope, shape, row limit, text length, number of types, bind length */
    enum { FIXED = 8 + 1 + 4 + 4 + 4 + 4 };
    size_t types = parts->parameter_type_count * sizeof(uint32_t);
    if (parts->text.len > UINT32_MAX || parts->bind.len > UINT32_MAX ||
        !buf_reserve(scratch, FIXED + parts->text.len + types + parts->bind.len))
        return false;
    uint8_t fixed[FIXED];
    put_u32(fixed, (uint32_t)(parts->scope >> 32));
    put_u32(fixed + 4, (uint32_t)parts->scope);
    fixed[8] = parts->shape;
    put_u32(fixed + 9, parts->row_limit);
    put_u32(fixed + 13, (uint32_t)parts->text.len);
    put_u32(fixed + 17, (uint32_t)parts->parameter_type_count);
    put_u32(fixed + 21, (uint32_t)parts->bind.len);
    buf_append(scratch, fixed, FIXED);
    buf_append_slice(scratch, parts->text);
    buf_append(scratch, parts->parameter_types, types);
    buf_append_slice(scratch, parts->bind);
    if (buf_failed(scratch))
        return false;
    XXH128_hash_t hash = XXH3_128bits_withSeed(scratch->data, scratch->len, seed);
    *key = (struct entry_key){{hash.low64, hash.high64}, buf_slice(scratch)};
    return true;
}
