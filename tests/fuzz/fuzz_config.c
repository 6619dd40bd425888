/* Any bytes as a configuration file: built or refused with reasons, never a crash; what was built can be set
 * and read. */
#include <stddef.h>
#include <stdint.h>

#include "weir/config/config.h"

struct input {
    const uint8_t *data;
    size_t size;
};

static bool read_input(void *arg, const char *path, struct buf *out, struct error *error)
{
    (void)path;
    (void)error;
    const struct input *input = arg;
    buf_append(out, input->data, input->size);
    return true;
}

static void ignore(void *arg, const struct error *problem)
{
    if (problem->message[0] == '\0')
        __builtin_trap();
    ++*(int *)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size > 4096 ? 4096 : size};
    int problems = 0;
    struct error error = ERROR_INIT;
    struct config_source source = {
        .path = "f", .read = read_input, .read_arg = &input, .report = ignore, .report_arg = &problems};
    struct config *config = config_load(&source, &error);
    if (config == NULL) {
        if (problems == 0 || error.message[0] == '\0')
            __builtin_trap();
        return 0;
    }
    struct buf out = BUF_INIT;
    size_t count;
    const struct option *rows = option_table(OPTION_GLOBAL, &count);
    for (size_t i = 0; i < count; i++)
        option_format(&rows[i], config_settings(config), &out);
    for (size_t i = 0; i < config_database_count(config); i++)
        if (config_database_at(config, i)->host_count == 0)
            __builtin_trap();
    struct config *next = config_set(config, "query_timeout", "1", &error);
    config_unref(next);
    config_unref(config);
    buf_free(&out);
    return 0;
}
