/* key: lengths and bytes in a row, then XXH3. */
#include "weir/cache/key.h"

#include <string.h>

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include <xxhash.h>
#pragma GCC diagnostic pop

bool key_build(struct buf *scratch, const struct key_parts *parts, uint64_t seed, struct entry_key *key)
{
    buf_clear(scratch);
    /* scope, shape, row limit, text length, number of types, bind length */
    enum { FIXED = 8 + 1 + 4 + 4 + 4 + 4 };
    size_t types = parts->parameter_type_count * sizeof(uint32_t);
    if (parts->text.len > UINT32_MAX || parts->bind.len > UINT32_MAX ||
        !buf_reserve(scratch, FIXED + parts->text.len + types + parts->bind.len))
        return false;
    buf_append_u64(scratch, parts->scope);
    buf_append_u8(scratch, parts->shape);
    buf_append_u32(scratch, parts->row_limit);
    buf_append_u32(scratch, (uint32_t)parts->text.len);
    buf_append_u32(scratch, (uint32_t)parts->parameter_type_count);
    buf_append_u32(scratch, (uint32_t)parts->bind.len);
    buf_append_slice(scratch, parts->text);
    buf_append(scratch, parts->parameter_types, types);
    buf_append_slice(scratch, parts->bind);
    if (buf_failed(scratch))
        return false;
    XXH128_hash_t hash = XXH3_128bits_withSeed(scratch->data, scratch->len, seed);
    *key = (struct entry_key){{hash.low64, hash.high64}, buf_slice(scratch)};
    return true;
}
