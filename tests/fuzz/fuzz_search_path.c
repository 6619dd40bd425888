/* search_path and the scan of bound values: no input may break them. */
#include "weir/cache/policy.h"
#include "weir/cache/redis_target.h"
#include "weir/cache/search_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct search_path path;
    if (search_path_parse(&path, slice_make(data, size), "anna"))
        search_path_free(&path);
    policy_has_datetime_word(slice_make(data, size));
    char *text = slice_dup(slice_make(data, size));
    if (text != NULL)
        redis_target_free(redis_target_parse(text, NULL));
    free(text);
    return 0;
}
