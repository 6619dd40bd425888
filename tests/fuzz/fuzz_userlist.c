/* Any bytes as a users file: every user that was read is found again. */
#include <stddef.h>
#include <stdint.h>

#include "weir/auth/userlist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct userlist *list = userlist_parse("f", slice_make(data, size), NULL, NULL, NULL);
    for (size_t i = 0; list != NULL && i < userlist_count(list); i++) {
        struct credential *c = userlist_at(list, i);
        if (userlist_find(list, slice_str(credential_user(c))) != c)
            __builtin_trap();
    }
    struct userlist *again = userlist_parse("f", slice_make(data, size), list, NULL, NULL);
    if (list != NULL && again != NULL && userlist_count(list) != userlist_count(again))
        __builtin_trap();
    userlist_unref(list);
    userlist_unref(again);
    return 0;
}
