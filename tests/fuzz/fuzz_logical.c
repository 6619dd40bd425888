/* Any bytes as what a replication connection sends: views stay inside, names fit and read back as written. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "weir/wire/logical.h"

static void inside(struct slice whole, struct slice s)
{
    if (s.len > 0 && (s.data < whole.data || s.data + s.len > whole.data + whole.len))
        __builtin_trap();
}

static void change(struct slice text)
{
    struct logical_change c;
    struct logical_name name;
    logical_change_read(text, &c);
    inside(text, c.names);
    inside(text, c.prefix);
    inside(text, c.row);
    struct slice value;
    if (c.row.len > 0 && logical_column(c.row, "id", &value))
        inside(text, value);
    size_t left = c.names.len;
    while (logical_name_next(&c.names, &name)) {
        if (c.names.len >= left)
            __builtin_trap();
        left = c.names.len;
        size_t schema = strnlen(name.schema, LOGICAL_NAME_SIZE);
        size_t relation = strnlen(name.relation, LOGICAL_NAME_SIZE);
        if (schema == 0 || schema == LOGICAL_NAME_SIZE || relation == 0 || relation == LOGICAL_NAME_SIZE)
            __builtin_trap();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_make(data, size);
    struct logical_message message;
    if (logical_message_read(bytes, &message))
        inside(bytes, message.data);
    change(bytes);
    size_t half = size / 2;
    struct slice a = slice_make(data, half), b = slice_from(bytes, half);
    logical_snapshot_shows(a, (uint32_t)size);
    if (logical_snapshot_shows_all(a, b) && !logical_snapshot_shows_all(a, a) && a.len == b.len &&
        memcmp(a.data, b.data, a.len) == 0)
        __builtin_trap();
    return 0;
}
