/* Any bytes as console commands, of an admin and of others: one answer each, made of whole messages; no
 * change by others. */
#include <stddef.h>
#include <stdint.h>

#include "../unit/admin/fake_source.h"
#include "weir/admin/console.h"

static int answers;

static void take_answer(void *arg, struct buf *answer)
{
    (void)arg;
    answers++;
    size_t at = 0;
    while (at < answer->len) {
        if (answer->len - at < 5)
            __builtin_trap();
        const uint8_t *p = answer->data + at + 1;
        size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (len < 4 || len > answer->len - at - 1)
            __builtin_trap();
        at += len + 1;
    }
    if (at == 0 || buf_failed(answer))
        __builtin_trap();
    buf_free(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fake fake;
    static struct console *console;
    if (console == NULL) {
        struct admin_source source = fake_source(&fake);
        console = console_new(&source);
    }
    for (int is_admin = 0; is_admin < 2; is_admin++) {
        struct console_request request = {slice_make(data, size), "fuzz", is_admin != 0};
        memset(&fake.last, 0, sizeof(fake.last));
        answers = 0;
        console_execute(console, &request, take_answer, NULL);
        if (answers != 1 || (!is_admin && fake.last.user != NULL))
            __builtin_trap();
    }
    return 0;
}
