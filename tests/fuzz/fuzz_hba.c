/* Any bytes as rules and as maps: nothing that was refused lets anybody in, and looking is safe. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "weir/auth/hba.h"

struct seen {
    struct slice text;
    int depth;
};

static bool read_file(void *arg, const char *path, struct buf *out, struct error *error)
{
    (void)path, (void)error;
    const struct seen *seen = arg;
    buf_append(out, seen->text.data, seen->text.len < 64 ? seen->text.len : 64);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6};
    static const uint8_t address[16] = {127, 0, 0, 1};
    if (size > 4096)
        return 0;
    struct seen seen = {.text = slice_make(data, size)};
    struct ident *ident = ident_parse("i", seen.text, NULL, NULL);
    const struct hba_source source = {
        .path = "d/h", .text = seen.text, .ident = ident, .read = read_file, .read_arg = &seen};
    struct hba *hba = hba_parse(&source, NULL);
    for (size_t i = 0; hba != NULL && i < 12; i++) {
        struct hba_answer answer;
        struct hba_client client = {.family = families[i % 3],
                                    .address = address,
                                    .is_tls = i % 2,
                                    .is_replication = i >= 6,
                                    .database = "d",
                                    .user = "u"};
        if (!hba_find(hba, &client, &answer))
            continue;
        if (answer.line < 1 || (unsigned)answer.method > HBA_SCRAM_SHA_256)
            __builtin_trap();
        if (answer.map != NULL)
            ident_allows(answer.map, "root", "u");
    }
    hba_unref(hba);
    ident_unref(ident);
    return 0;
}
