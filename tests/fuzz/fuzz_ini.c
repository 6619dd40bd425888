/* Any bytes as an ini file, every value as key=value pairs: entries have their parts, problems their words.
 */
#include <stddef.h>
#include <stdint.h>

#include "weir/config/connstr.h"
#include "weir/config/ini.h"

struct input {
    const uint8_t *data;
    size_t size;
    int reads;
};

static bool read_input(void *arg, const char *path, struct buf *out, struct error *error)
{
    struct input *input = arg;
    (void)path;
    if (input->reads++ > 2)
        return error_set(error, "enough");
    buf_append(out, input->data, input->size);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size, 0};
    struct ini *ini = ini_parse("f", read_input, &input, NULL, NULL);
    struct buf value = BUF_INIT;
    for (size_t i = 0; ini != NULL && i < ini_count(ini); i++) {
        const struct ini_entry *entry = ini_entry(ini, i);
        if (entry->line < 1 || strlen(entry->key) + strlen(entry->value) > size)
            __builtin_trap();
        struct slice rest = slice_str(entry->value), key;
        size_t before = rest.len;
        struct error error = ERROR_INIT;
        while (connstr_next(&rest, &key, &value, &error)) {
            if (rest.len >= before || value.len > before)
                __builtin_trap();
            before = rest.len;
        }
    }
    buf_free(&value);
    ini_unref(ini);
    return 0;
}
