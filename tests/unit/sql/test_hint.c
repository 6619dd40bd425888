/* hint: what counts, and that a half-understood hint counts for nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/sql/hint.h"

static void check(const char *text, enum hint_cache cache, int64_t ttl_ms, bool is_malformed)
{
    struct hint hint = hint_parse(slice_str(text));
    if (hint.cache != cache || hint.has_ttl != (ttl_ms >= 0) || hint.is_malformed != is_malformed ||
        (hint.has_ttl && hint.ttl_ms != (uint64_t)ttl_ms))
        fail_msg("%s", text);
}

static void reads_hints(void **state)
{
    (void)state;
    check("/* weir: cache=off */ SELECT 1", HINT_CACHE_OFF, -1, false);
    check("/*weir:cache=on*/SELECT 1", HINT_CACHE_ON, -1, false);
    check(" \n/* weir: ttl=10s, cache = OFF */ SELECT 1", HINT_CACHE_OFF, 10000, false);
    check("/* WEIR: TTL = 250 ms */ SELECT 1", HINT_CACHE_UNSAID, 250, false);
    check("/* weir: ttl=2min */ SELECT 1", HINT_CACHE_UNSAID, 120000, false);
    check("/* weir: ttl=7 */ SELECT 1", HINT_CACHE_UNSAID, 7000, false);
    check("/* weir: ttl=0 */ SELECT 1", HINT_CACHE_UNSAID, 0, false);
    check("/* other */ /* weir: ttl=1s */ -- x\n/* weir: cache=off */ SELECT 1", HINT_CACHE_OFF, 1000, false);
    check("/* weir: ttl=1s */ /* weir: ttl=2s */ SELECT 1", HINT_CACHE_UNSAID, 2000, false);
}

static void ignores_what_is_no_hint(void **state)
{
    (void)state;
    check("SELECT 1 /* weir: cache=off */", HINT_CACHE_UNSAID, -1, false);
    check("-- weir: cache=off\nSELECT 1", HINT_CACHE_UNSAID, -1, false);
    check("/* weird: cache=off */ SELECT 1", HINT_CACHE_UNSAID, -1, false);
    check("/**/ SELECT 1", HINT_CACHE_UNSAID, -1, false);
    check("/* weir: cache=off", HINT_CACHE_UNSAID, -1, false);
    check("", HINT_CACHE_UNSAID, -1, false);
}

static void malformed_hints_count_for_nothing(void **state)
{
    (void)state;
    const char *const texts[] = {
        "/* weir: */ x",
        "/* weir: cache=maybe */ x",
        "/* weir: cache */ x",
        "/* weir: ttl= */ x",
        "/* weir: ttl=s */ x",
        "/* weir: ttl=-1s */ x",
        "/* weir: ttl=1h */ x",
        "/* weir: ttl=1.5s */ x",
        "/* weir: cache=off, */ x",
        "/* weir: cache=off, foo=1 */ x",
        "/* weir: ttl=99999999999999999999s */ x",
        "/* weir: ttl=31536001s */ x",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        check(texts[i], HINT_CACHE_UNSAID, -1, true);
    check("/* weir: ttl=1s */ /* weir: cache=of */ x", HINT_CACHE_UNSAID, 1000, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_hints),
        cmocka_unit_test(ignores_what_is_no_hint),
        cmocka_unit_test(malformed_hints_count_for_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
