/* reason: the texts of the list. */
#include "weir/cache/reason.h"

#include <stddef.h>

static const struct {
    const char *label;
    const char *text;
} reasons[CACHE_REASON_COUNT] = {
#define X(name, label, text) {label, text},
    CACHE_REASONS(X)
#undef X
};

const char *cache_reason_label(enum cache_reason reason)
{
    return reasons[reason].label;
}

const char *cache_reason_text(enum cache_reason reason)
{
    return reasons[reason].text;
}
