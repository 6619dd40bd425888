/* Any bytes as the first packet: what is accepted is sound, can be walked, and its `options` can be split. */
#include <stddef.h>
#include <stdint.h>

#include "weir/wire/startup.h"

static void split(struct slice options)
{
    uint8_t *scratch = malloc(options.len > 0 ? options.len : 1);
    struct slice cursor = options, name, value;
    size_t rounds = 0;
    while (startup_next_option(&cursor, scratch, &name, &value) == 1) {
        if (name.len == 0 || ++rounds > options.len)
            __builtin_trap();
        if (memchr(name.data, '-', name.len) != NULL || memchr(name.data, '=', name.len) != NULL)
            __builtin_trap();
    }
    free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct startup s;
    struct error error = ERROR_INIT;
    enum startup_kind kind = startup_parse(slice_make(data, size), &s, &error);
    if (kind == STARTUP_BAD && error.message[0] == '\0')
        __builtin_trap();
    if (kind == STARTUP_INCOMPLETE && size >= STARTUP_MAX_BYTES)
        __builtin_trap();
    if (kind > STARTUP_BAD && (s.kind != kind || s.total > size || s.total < 8))
        __builtin_trap();
    if (kind == STARTUP_CANCEL && (s.cancel_key.len < 8 || s.cancel_key.len > STARTUP_CANCEL_KEY_MAX))
        __builtin_trap();
    if (kind == STARTUP_MESSAGE) {
        struct slice cursor = s.parameters, name, value;
        while (startup_next_parameter(&cursor, &name, &value)) {
            if (name.len == 0)
                __builtin_trap();
            split(value);
        }
        if (cursor.len != 1)
            __builtin_trap();
    }
    split(slice_make(data, size));
    return 0;
}
