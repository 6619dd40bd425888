/* The sample configurations against the option table, both ways: names, defaults, help, marks; and that they
 * load. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "weir/auth/userlist.h"
#include "weir/config/config.h"

static bool read_file(void *arg, const char *path, struct buf *out, struct error *error)
{
    (void)arg;
    struct buf full = BUF_INIT;
    buf_printf(&full, "%s/config/%s", TEST_SOURCE_DIR, path);
    FILE *file = fopen(buf_text(&full), "r");
    buf_free(&full);
    if (file == NULL)
        return error_set(error, "cannot be opened");
    char piece[4096];
    size_t got;
    while ((got = fread(piece, 1, sizeof(piece), file)) > 0)
        buf_append(out, piece, got);
    fclose(file);
    return true;
}

static const char *status_mark(const struct option *o)
{
    return o->status == OPTION_NO_EFFECT ? " [no effect]" : o->status == OPTION_LATER ? " [later]" : "";
}

/* The comment line that a key of [weir] must have, then its default. */
static void append_expected(const struct option *o, struct buf *out)
{
    buf_printf(out, "\n;; %s", o->help);
    if (o->type == OPTION_ENUM) {
        struct buf names = BUF_INIT;
        option_describe(o, &names);
        buf_printf(out, " (%s)", buf_text(&names) + strlen("one of "));
        buf_free(&names);
    }
    buf_printf(out, "%s%s\n;%s =", o->is_reloadable ? "" : " [restart]", status_mark(o), o->name);
    if (o->default_text != NULL && o->default_text[0] != '\0')
        buf_printf(out, " %s", o->default_text);
    buf_append_str(out, "\n");
}

static void every_key_is_in_the_sample(void **state)
{
    (void)state;
    struct buf text = BUF_INIT, want = BUF_INIT;
    assert_true(read_file(NULL, "weir.ini", &text, NULL));
    size_t count;
    const struct option *rows = option_table(OPTION_GLOBAL, &count);
    for (size_t i = 0; i < count; i++) {
        buf_clear(&want);
        append_expected(&rows[i], &want);
        const char *found = strstr(buf_text(&text), buf_text(&want));
        if (found == NULL || strstr(found + 1, buf_text(&want)) != NULL)
            fail_msg("weir.ini must have once:%s", buf_text(&want));
    }
    for (int scope = OPTION_DATABASE; scope <= OPTION_PEER; scope++) {
        rows = option_table((enum option_scope)scope, &count);
        for (size_t i = 0; i < count; i++) {
            char line[300];
            int width = scope == OPTION_DATABASE ? 25 : 27;
            snprintf(line, sizeof(line), "\n;; %-*s  %s", width, rows[i].name, rows[i].help);
            if (strstr(buf_text(&text), line) == NULL)
                fail_msg("weir.ini must have:%s", line);
        }
    }
    buf_free(&text);
    buf_free(&want);
}

static void the_sample_has_no_other_key(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    assert_true(read_file(NULL, "weir.ini", &text, NULL));
    const char *line = strstr(buf_text(&text), "\n[weir]\n");
    assert_non_null(line);
    size_t keys = 0, count;
    option_table(OPTION_GLOBAL, &count);
    for (line++; *line != '\0'; line = strchr(line, '\n') != NULL ? strchr(line, '\n') + 1 : "") {
        char key[80];
        if (sscanf(line, ";%79[a-z0-9_] =", key) != 1)
            continue;
        if (option_find(OPTION_GLOBAL, key) == NULL)
            fail_msg("weir.ini has an unknown key: %s", key);
        keys++;
    }
    assert_int_equal(keys, count);
    buf_free(&text);
}

static void report(void *arg, const struct error *problem)
{
    (void)arg;
    print_error("%s\n", problem->message);
}

static void the_samples_load(void **state)
{
    (void)state;
    const char *files[] = {"weir.ini", "weir-minimal.ini"};
    for (size_t i = 0; i < 2; i++) {
        struct config_source source = {.path = files[i], .read = read_file, .report = report};
        struct config *c = config_load(&source, NULL);
        assert_non_null(c);
        assert_string_equal(config_settings(c)->auth_file, "config/userlist.txt");
        assert_int_equal(config_settings(c)->http_port, 6433);
        assert_non_null(config_database_find(c, "any"));
        config_unref(c);
    }
}

static void the_sample_users_parse(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    assert_true(read_file(NULL, "userlist.txt", &text, NULL));
    struct userlist *users = userlist_parse("userlist.txt", buf_slice(&text), NULL, report, NULL);
    assert_int_equal(userlist_count(users), 2);
    userlist_unref(users);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_is_in_the_sample),
        cmocka_unit_test(the_sample_has_no_other_key),
        cmocka_unit_test(the_samples_load),
        cmocka_unit_test(the_sample_users_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
