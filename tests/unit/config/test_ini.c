/* ini: sections, quoting, includes, line numbers, several problems at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "weir/config/ini.h"

/* Files by name, from a table that ends with NULL. */
static bool read_table(void *arg, const char *path, struct buf *out, struct error *error)
{
    for (const char *const *file = arg; *file != NULL; file += 2) {
        if (strcmp(file[0], path) == 0) {
            buf_append_str(out, file[1]);
            return true;
        }
    }
    return error_set(error, "No such file or directory");
}

static void note(void *arg, const struct error *problem)
{
    buf_printf(arg, "%s\n", problem->message);
}

static struct ini *parse(const char *const *files, struct buf *problems)
{
    return ini_parse("main.ini", read_table, (void *)(uintptr_t)files, note, problems);
}

static void reads_entries_with_their_places(void **state)
{
    (void)state;
    const char *files[] = {"main.ini",
                           "\xEF\xBB\xBF; comment\n"
                           "# comment\r\n"
                           "[Databases]\r\n"
                           "shop = host=10.0.0.1 ; no comment here\n"
                           "\"odd \"\"name\"\" = x\"=\n"
                           "\n"
                           "  [pgbouncer]\n"
                           "listen_port=6432\n"
                           "%include other.ini\n"
                           "a = b = c",
                           "other.ini", "pool_mode = session\n[users]\nanna = pool_size=3\n", NULL};
    struct buf problems = BUF_INIT;
    struct ini *ini = parse(files, &problems);
    assert_non_null(ini);
    const struct ini_entry expected[] = {
        {"main.ini", 4, "databases", "shop", "host=10.0.0.1 ; no comment here"},
        {"main.ini", 5, "databases", "odd \"name\" = x", ""},
        {"main.ini", 8, "pgbouncer", "listen_port", "6432"},
        {"other.ini", 1, "pgbouncer", "pool_mode", "session"},
        {"other.ini", 3, "users", "anna", "pool_size=3"},
        {"main.ini", 10, "users", "a", "b = c"},
    };
    assert_int_equal(ini_count(ini), sizeof(expected) / sizeof(expected[0]));
    for (size_t i = 0; i < ini_count(ini); i++) {
        const struct ini_entry *entry = ini_entry(ini, i);
        assert_string_equal(entry->file, expected[i].file);
        assert_int_equal(entry->line, expected[i].line);
        assert_string_equal(entry->section, expected[i].section);
        assert_string_equal(entry->key, expected[i].key);
        assert_string_equal(entry->value, expected[i].value);
    }
    assert_int_equal(problems.len, 0);
    ini_unref(ini_ref(ini));
    ini_unref(ini);
}

static void reports_every_problem(void **state)
{
    (void)state;
    const char *files[] = {"main.ini",
                           "[databases\n"
                           "novalue\n"
                           "\"open = 1\n"
                           "= 1\n"
                           "%nothing\n"
                           "%include gone.ini\n"
                           "two words = 1\n",
                           NULL};
    struct buf problems = BUF_INIT;
    assert_null(parse(files, &problems));
    assert_string_equal(buf_text(&problems),
                        "main.ini:1: section name does not end with ']': \"[databases\"\n"
                        "main.ini:2: expected key = value after: \"novalue\"\n"
                        "main.ini:3: quoted name does not end: \"\"open = 1\"\n"
                        "main.ini:4: a key is missing before '='\n"
                        "main.ini:5: unknown directive, only %include FILE is known: \"%nothing\"\n"
                        "main.ini:6: gone.ini: No such file or directory\n"
                        "main.ini:7: expected key = value after: \"two\"\n");
    buf_free(&problems);
}

static void ends_circles_of_includes(void **state)
{
    (void)state;
    const char *files[] = {"main.ini", "%include main.ini\n", NULL};
    struct buf problems = BUF_INIT;
    assert_null(parse(files, &problems));
    assert_non_null(strstr(buf_text(&problems), "main.ini:1: files include each other too deeply"));
    /* Three includes in each of them would be 3^10 files. */
    const char *thrice[] = {"main.ini", "%include main.ini\n%include main.ini\n%include main.ini\n", NULL};
    buf_clear(&problems);
    assert_null(parse(thrice, &problems));
    assert_true(problems.len < 200);
    /* And flat ones are counted. */
    struct buf many = BUF_INIT;
    for (int i = 0; i < 2000; i++)
        buf_append_str(&many, "%include empty\n");
    const char *flat[] = {"main.ini", buf_text(&many), "empty", "", NULL};
    buf_clear(&problems);
    assert_null(parse(flat, &problems));
    assert_string_equal(buf_text(&problems),
                        "main.ini:1000: too many files are included: \"%include empty\"\n");
    buf_free(&many);
    buf_free(&problems);
}

static void says_that_the_file_is_missing(void **state)
{
    (void)state;
    const char *files[] = {NULL};
    struct buf problems = BUF_INIT;
    assert_null(parse(files, &problems));
    assert_string_equal(buf_text(&problems), "main.ini: No such file or directory\n");
    buf_free(&problems);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_entries_with_their_places),
        cmocka_unit_test(reports_every_problem),
        cmocka_unit_test(ends_circles_of_includes),
        cmocka_unit_test(says_that_the_file_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
