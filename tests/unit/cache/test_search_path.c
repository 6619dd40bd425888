/* search_path: as PostgreSQL reads it, and odd where it names what the cache keeps away from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "weir/cache/search_path.h"

static void paths(void **state)
{
    static const struct {
        const char *text;
        bool is_odd;
        const char *schemas; /* with a bar behind each */
    } cases[] = {
        {"\"$user\", public", false, "anna|public|"},
        {"$user,public", false, "anna|public|"},
        {"Shop , \"Shop\"", false, "shop|Shop|"},
        {"\"a\"\"b, c\"", false, "a\"b, c|"},
        {"public, public", false, "public|"},
        {"", false, ""},
        {"  ", false, ""},
        {"\"\"", false, "|"},
        {"public, pg_catalog", true, NULL},
        {"pg_temp", true, NULL},
        {"information_schema", true, NULL},
        {"\"open", true, NULL},
        {"a b", true, NULL},
        {"a,", true, NULL},
        {",a", true, NULL},
        {"\303\204pfel", true, NULL},
        {"a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17", true, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct search_path path;
        char found[256] = "";
        assert_true(search_path_parse(&path, slice_str(cases[i].text), "anna"));
        for (size_t k = 0; k < path.count; k++)
            strcat(strcat(found, path.schemas[k]), "|");
        assert_int_equal(path.is_odd, cases[i].is_odd);
        if (cases[i].schemas != NULL)
            assert_string_equal(found, cases[i].schemas);
        search_path_free(&path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
