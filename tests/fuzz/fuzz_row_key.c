/* Any bytes as what a client has bound, and any text: the value of a key stays inside, and is the same when
 * asked twice. */
#include <stddef.h>
#include <stdint.h>

#include "weir/cache/row_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t types[] = {0, 20, 21, 23, 25, 705, 1043, 1700, 2950};
    if (size < 3)
        return 0;
    const uint32_t type = types[data[1] % (sizeof(types) / sizeof(*types))];
    const struct row_key key = {
        .relation = 17,
        .kind = (enum catalog_key)(data[0] & 3),
        .equality = {.param = (uint16_t)(data[2] & 7),
                     .literal = (uint16_t)(data[2] >> 3 & 7),
                     .cast = (enum sql_cast)(data[0] >> 2 & 3)},
    };
    const struct slice rest = slice_make(data + 3, size - 3);
    const struct cache_values values = {.text = rest, .bind = rest, .types = &type, .type_count = 1};
    uint64_t first, second;
    bool is_known = row_key_hash(&key, &values, &first);
    if (is_known != row_key_hash(&key, &values, &second) || (is_known && first != second))
        __builtin_trap();
    (void)row_key_hash_text(17, key.kind, rest, &first);
    return 0;
}
