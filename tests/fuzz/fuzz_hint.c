/* hint: any bytes; a ttl never passes its bound. */
#include <stdint.h>
#include <stdlib.h>

#include "weir/sql/hint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hint hint = hint_parse(slice_make(data, size));
    if (hint.ttl_ms > UINT64_C(31536000000) || (!hint.has_ttl && hint.ttl_ms != 0))
        abort();
    return 0;
}
