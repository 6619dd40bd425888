/* options: every default parses and formats back; values in and out of range; secrets stay hidden. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/config/config.h"
#include "weir/config/options.h"

static struct config_settings settings;

static const char *formatted(const char *key, struct buf *out)
{
    buf_clear(out);
    return option_format(option_find(OPTION_GLOBAL, key), &settings, out) ? buf_text(out) : NULL;
}

static bool set(const char *key, const char *value, struct error *error)
{
    return option_parse(option_find(OPTION_GLOBAL, key), value, &settings, error);
}

static int set_up(void **state)
{
    (void)state;
    return option_set_defaults(OPTION_GLOBAL, &settings) ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    option_free_values(OPTION_GLOBAL, &settings);
    return 0;
}

static void defaults_come_back_as_written(void **state)
{
    (void)state;
    size_t count;
    const struct option *rows = option_table(OPTION_GLOBAL, &count);
    struct buf out = BUF_INIT;
    assert_true(count > 100);
    for (size_t i = 0; i < count; i++) {
        const char *text = formatted(rows[i].name, &out);
        if (rows[i].default_text == NULL) {
            assert_true(text == NULL || strcmp(text, "0") == 0);
            continue;
        }
        assert_non_null(text);
        assert_string_equal(text, rows[i].default_text);
        assert_true(option_parse(&rows[i], text, &settings, NULL));
        assert_ptr_equal(option_find(OPTION_GLOBAL, rows[i].name), &rows[i]);
        assert_true(strlen(rows[i].help) > 10);
        assert_non_null(rows[i].group);
    }
    buf_free(&out);
}

static void seconds_have_fractions_and_units(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    assert_true(set("query_timeout", "0.25", NULL));
    assert_int_equal(settings.query_timeout_us, 250000);
    assert_string_equal(formatted("query_timeout", &out), "0.25");
    assert_true(set("query_timeout", "1500ms", NULL));
    assert_int_equal(settings.query_timeout_us, 1500000);
    assert_true(set("query_timeout", "2 min", NULL));
    assert_int_equal(settings.query_timeout_us, 120000000);
    struct error error = ERROR_INIT;
    const char *bad[] = {"", "-1", ".", "1x", "1e3", "99999999999999999999", "1 5"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(set("query_timeout", bad[i], &error));
    assert_int_equal(settings.query_timeout_us, 120000000);
    assert_non_null(strstr(error.message, "seconds, with a fraction"));
    buf_free(&out);
}

static void bytes_have_units(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    assert_true(set("cache_memory", "1gb", NULL));
    assert_int_equal(settings.cache_memory_bytes, 1 << 30);
    assert_string_equal(formatted("cache_memory", &out), "1GB");
    assert_true(set("cache_memory", "65537", NULL));
    assert_string_equal(formatted("cache_memory", &out), "65537");
    struct error error = ERROR_INIT;
    assert_false(set("cache_memory", "64", &error)); /* below the minimum */
    assert_non_null(strstr(error.message, "from 64kB to"));
    assert_false(set("cache_memory", "9999999999GB", NULL));
    assert_false(set("cache_memory", "-1", NULL));
    assert_int_equal(settings.cache_memory_bytes, 65537);
    buf_free(&out);
}

static void other_types(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    struct buf out = BUF_INIT;
    assert_true(set("unix_socket_mode", "0770", NULL));
    assert_int_equal(settings.unix_socket_mode, 0770);
    assert_string_equal(formatted("unix_socket_mode", &out), "0770");
    assert_false(set("unix_socket_mode", "0888", NULL));
    assert_true(set("tcp_keepalive", "off", NULL));
    assert_int_equal(settings.tcp_keepalive, 0);
    assert_false(set("tcp_keepalive", "2", NULL));
    assert_true(set("pool_mode", "Transaction", NULL));
    assert_int_equal(settings.pool_mode, POOL_MODE_TRANSACTION);
    assert_false(set("pool_mode", "tx", &error));
    assert_string_equal(
        error.message, "pool_mode = \"tx\" is not accepted; it takes one of session, transaction, statement");
    assert_false(set("listen_port", "65536", &error));
    assert_string_equal(error.message,
                        "listen_port = \"65536\" is not accepted; it takes a whole number from 1 to 65535");
    assert_false(set("listen_port", "6432x", NULL));
    assert_false(set("listen_port", "", NULL));
    buf_free(&out);
}

static void what_is_not_built_is_refused_by_name(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    assert_false(set("auth_type", "pam", &error));
    assert_non_null(strstr(error.message, "any,trust,plain,md5,cert,hba,scram-sha-256"));
    assert_true(set("auth_type", "scram-sha-256", NULL));
    assert_int_equal(settings.auth_type, AUTH_SCRAM_SHA_256);
    assert_false(set("auth_ldap_options", "ldapport=1", NULL));
    assert_false(set("pool_adaptive", "1", NULL));
    assert_true(set("pool_adaptive", "0", NULL));
}

static void secrets_are_not_shown(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    assert_true(set("cache_redis", "redis://anna:sesame@10.0.0.1:6379/2", NULL));
    assert_string_equal(formatted("cache_redis", &out), "redis://***@10.0.0.1:6379/2");
    assert_true(set("cache_redis", "unix:///run/redis.sock", NULL));
    assert_string_equal(formatted("cache_redis", &out), "unix:///run/redis.sock");
    buf_free(&out);
}

static void finds_the_nearest_spelling(void **state)
{
    (void)state;
    assert_string_equal(option_nearest(OPTION_GLOBAL, "defualt_pool_size")->name, "default_pool_size");
    assert_string_equal(option_nearest(OPTION_DATABASE, "pasword")->name, "password");
    assert_null(option_nearest(OPTION_GLOBAL, "elephant"));
    assert_null(option_nearest(OPTION_USER, ""));
    assert_ptr_equal(option_find(OPTION_DATABASE, "reserve_pool"),
                     option_find(OPTION_DATABASE, "reserve_pool_size"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_come_back_as_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(seconds_have_fractions_and_units, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bytes_have_units, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_types, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_built_is_refused_by_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(secrets_are_not_shown, set_up, tear_down),
        cmocka_unit_test(finds_the_nearest_spelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
