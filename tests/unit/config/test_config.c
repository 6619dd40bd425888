/* config: building, resolution, reload, SET, what does not fit together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/config/config.h"

static bool read_text(void *arg, const char *path, struct buf *out, struct error *error)
{
    if (strcmp(path, "w.ini") != 0)
        return error_set(error, "No such file or directory");
    buf_append_str(out, arg);
    return true;
}

static void note(void *arg, const struct error *problem)
{
    buf_printf(arg, "%s\n", problem->message);
}

static struct config *load(const char *text, const struct config *previous, struct buf *problems,
                           struct error *error)
{
    struct config_source source = {.path = "w.ini",
                                   .read = read_text,
                                   .read_arg = (void *)(uintptr_t)text,
                                   .report = problems != NULL ? note : NULL,
                                   .report_arg = problems,
                                   .previous = previous};
    return config_load(&source, error);
}

static void builds_databases_and_users(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    struct config *c = load("[weir]\n"
                            "default_pool_size = 7\n"
                            "query_wait_timeout = 2.5\n"
                            "[databases]\n"
                            "shop = host=10.0.0.1,10.0.0.2 port=5433 dbname=Shop pool_size=3 "
                            "password='it''s' pool_mode=statement reserve_pool=2\n"
                            "plain =\n"
                            "* = host=db cache=ttl cache_ttl=3\n"
                            "[users]\n"
                            "anna = pool_mode=transaction pool_size=1 query_wait_timeout=0\n"
                            "[pgbouncer]\n"
                            "unix_socket_dir = /run/pg\n",
                            NULL, NULL, &error);
    assert_non_null(c);
    const struct config_database *shop = config_database_find(c, "shop");
    assert_string_equal(shop->dbname, "Shop");
    assert_string_equal(shop->password, "it's");
    assert_int_equal(shop->host_count, 2);
    assert_string_equal(shop->hosts[1].name, "10.0.0.2");
    assert_int_equal(shop->hosts[1].port, 5433);
    const struct config_database *plain = config_database_find(c, "plain");
    assert_string_equal(plain->dbname, "plain");
    assert_string_equal(plain->hosts[0].name, "/run/pg");
    assert_int_equal(plain->hosts[0].port, 5432);
    const struct config_database *other = config_database_find(c, "whatever");
    assert_true(other->is_fallback);
    assert_string_equal(config_dbname(other, "whatever"), "whatever");
    assert_string_equal(config_dbname(shop, "shop"), "Shop");

    const struct config_user *anna = config_user_find(c, "anna");
    assert_null(config_user_find(c, "ben"));
    assert_int_equal(config_pool_size(c, shop, NULL), 3);
    assert_int_equal(config_pool_size(c, shop, anna), 1);
    assert_int_equal(config_pool_size(c, plain, NULL), 7);
    assert_int_equal(config_reserve_pool_size(c, shop, anna), 2);
    assert_int_equal(config_pool_mode(c, shop, NULL), POOL_MODE_STATEMENT);
    assert_int_equal(config_pool_mode(c, shop, anna), POOL_MODE_TRANSACTION);
    assert_int_equal(config_pool_mode(c, plain, NULL), POOL_MODE_SESSION);
    assert_int_equal(config_query_wait_timeout_us(c, plain, NULL), 2500000);
    assert_int_equal(config_query_wait_timeout_us(c, plain, anna), 0);
    assert_int_equal(config_cache_mode(c, other, NULL), CACHE_TTL);
    assert_int_equal(config_cache_ttl_us(c, other, NULL), 3000000);
    assert_int_equal(config_cache_ttl_us(c, plain, NULL), 10000000);
    assert_int_equal(config_server_lifetime_us(c, plain), UINT64_C(3600000000));
    assert_int_equal(config_database_count(c), 3);
    assert_string_equal(config_database_at(c, 1)->name, "plain");
    assert_int_equal(config_user_count(c), 1);
    config_unref(config_ref(c));
    config_unref(c);
}

static void reports_everything_that_is_wrong(void **state)
{
    (void)state;
    struct buf problems = BUF_INIT;
    struct error error = ERROR_INIT;
    assert_null(load("stray = 1\n"
                     "[weir]\n"
                     "defualt_pool_size = 20\n"
                     "listen_port = http\n"
                     "pool_adaptive = 1\n"
                     "[databases]\n"
                     "a = host=h pasword=sesame\n"
                     "pgbouncer = host=h\n"
                     "b = port\n"
                     "[peers]\n"
                     "0 = host=h\n"
                     "[stuff]\n"
                     "x = y\n",
                     NULL, &problems, &error));
    const char *expected =
        "w.ini:1: stray stands before any [section]\n"
        "w.ini:3: unknown key defualt_pool_size (value \"20\") in [weir]; did you mean default_pool_size?\n"
        "w.ini:4: listen_port = \"http\" is not accepted; it takes a whole number from 1 to 65535\n"
        "w.ini:5: pool_adaptive = 1 is not built yet; leave it out, or at its default, 0\n"
        "w.ini:7: unknown key pasword (value \"...\") in [databases]; did you mean password?\n"
        "w.ini:8: the name pgbouncer is reserved for the console\n"
        "w.ini:9: b: expected '=' after \"port\"\n"
        "w.ini:11: [peers] are named by their peer_id, 1 to 16383, not \"0\"\n"
        "w.ini:13: unknown section [stuff]; known: [weir] (or [pgbouncer]), [databases], [users], [peers]\n";
    assert_string_equal(buf_text(&problems), expected);
    assert_string_equal(error.message, "w.ini:1: stray stands before any [section] (and 8 more)");
    assert_string_equal(error.sqlstate, "F0000");
    buf_free(&problems);
}

static void assert_refused(const char *text, const char *phrase)
{
    struct error error = ERROR_INIT;
    assert_null(load(text, NULL, NULL, &error));
    if (strstr(error.message, phrase) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.message, phrase);
}

static void checks_that_values_fit_together(void **state)
{
    (void)state;
    assert_refused("[weir]\ncache = exact\n", "cache_writes = through_weir");
    assert_refused("[weir]\ncache = exact\ncache_writes = through_weir\nso_reuseport = 1\n",
                   "cache_share = 1");
    assert_refused("[weir]\ncache_share = 1\n", "cache_redis");
    assert_refused(
        "[weir]\ncache = exact\ncache_feed = on\ncache_share = 1\ncache_redis = redis://10.0.0.1\n",
        "cache_feed");
    assert_refused("[databases]\na = cache=exact\n", "w.ini:2: cache = exact needs");
    assert_refused("[users]\nanna = cache=exact\n", "anna: cache = exact needs");
    assert_refused("[weir]\ncache = exact\ncache_feed = on\n[databases]\na = cache_feed=off\n",
                   "w.ini:5: cache = exact needs cache_feed");
    assert_refused("[databases]\na = cache_feed_slot=Weir-1\n", "w.ini:2: cache_feed_slot = \"Weir-1\"");
    assert_refused("[weir]\ncache_max_lag = 0\n", "cache_max_lag");
    assert_refused("[weir]\ncache = ttl\ncache_ttl = 0\n", "cache_ttl above 0");
    assert_refused("[weir]\ncache=ttl\n[databases]\na = cache_ttl=0\n", "w.ini:4: cache = ttl needs");
    assert_refused("[weir]\nhttp_port = 6433\nhttp_addr = 0.0.0.0\n", "http_token_file is needed");
    assert_refused("[weir]\nhttp_port = 6432\n", "both 6432");
    assert_refused("[weir]\nunix_socket_dir =\n", "nowhere to listen");
    assert_refused("[databases]\na = host=','\n", "names no host");
    struct config *c =
        load("[weir]\ncache = exact\ncache_writes = through_weir\ncache_ttl = 0\n", NULL, NULL, NULL);
    assert_non_null(c);
    config_unref(c);
}

static void reload_keeps_what_needs_a_restart(void **state)
{
    (void)state;
    struct buf notes = BUF_INIT;
    struct config *old = load("[weir]\nlisten_port = 7000\nmax_client_conn = 5\n", NULL, NULL, NULL);
    struct config *now = load("[weir]\nlisten_port = 7001\nmax_client_conn = 6\n", old, &notes, NULL);
    assert_non_null(now);
    assert_int_equal(config_settings(now)->listen_port, 7000);
    assert_int_equal(config_settings(now)->max_client_conn, 6);
    assert_non_null(strstr(buf_text(&notes), "listen_port cannot change while running"));
    config_unref(old);
    config_unref(now);
    buf_free(&notes);
}

static void set_makes_a_new_snapshot(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    struct config *a = load("[weir]\nlog_stats = 0\n[databases]\ndb = host=h\n", NULL, NULL, NULL);
    struct config *b = config_set(a, "Query_Timeout", "3", &error);
    assert_non_null(b);
    struct config *c = config_set(b, "pool_mode", "statement", &error);
    assert_non_null(c);
    struct config *d = config_set(c, "query_timeout", "4", &error);
    assert_non_null(d);
    assert_int_equal(config_settings(a)->query_timeout_us, 0);
    assert_int_equal(config_settings(d)->query_timeout_us, 4000000);
    assert_int_equal(config_settings(d)->pool_mode, POOL_MODE_STATEMENT);
    assert_int_equal(config_settings(d)->log_stats, 0);
    assert_string_equal(config_database_find(d, "db")->host, "h");
    assert_null(config_set(d, "listen_port", "1", &error));
    assert_string_equal(error.message, "listen_port cannot be changed while running");
    assert_null(config_set(d, "nonsense", "1", &error));
    assert_null(config_set(d, "query_timeout", "x", &error));
    assert_non_null(strstr(error.message, "SET: query_timeout = \"x\" is not accepted"));
    assert_null(config_set(d, "cache", "exact", &error));
    config_unref(a);
    config_unref(b);
    config_unref(c);
    config_unref(d);
}

static void knows_whether_anybody_has_a_cache(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool has_cache, has_without_global; /* as it is; after SET cache = off */
    } cases[] = {
        {"[databases]\na =\nb =\n[users]\nu = pool_size=1\n", false, false},
        {"[weir]\ncache = ttl\n", false, false}, /* of what? */
        {"[users]\nu = cache=ttl\n", false, false},
        {"[weir]\ncache = ttl\n[databases]\na =\n", true, false},
        {"[weir]\ncache = ttl\n[databases]\na = cache=off\nb = cache=off\n", false, false},
        {"[weir]\ncache = ttl\n[databases]\na = cache=off\nb =\n", true, false},
        {"[databases]\na =\nb = cache=ttl\n", true, true},
        {"[databases]\na = cache=off\n[users]\nt =\nu = cache=ttl\n", true, true},
        {"[databases]\na = cache=ttl\n[users]\nu = cache=off\n", true, true}, /* others have one */
        {"[databases]\n* = cache=ttl\n", true, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error error = ERROR_INIT;
        struct config *c = load(cases[i].text, NULL, NULL, &error);
        assert_non_null(c);
        assert_int_equal(config_has_cache(c), cases[i].has_cache);
        bool is_found = false;
        for (size_t j = 0; j < config_database_count(c); j++)
            is_found |= config_strongest_cache_mode(c, config_database_at(c, j)) != CACHE_OFF;
        assert_int_equal(is_found, cases[i].has_cache);
        struct config *off = config_set(c, "cache", "off", &error);
        assert_non_null(off);
        assert_int_equal(config_has_cache(off), cases[i].has_without_global);
        config_unref(off);
        config_unref(c);
    }
}

static void tells_whether_servers_still_fit(void **state)
{
    (void)state;
    struct config *a =
        load("[databases]\nx = host=h pool_size=1\ny = host=h\nz = host=h,i\n", NULL, NULL, NULL);
    struct config *b =
        load("[databases]\nx = host=h pool_size=2\ny = host=h user=u\nz = host=h,j\n", NULL, NULL, NULL);
    assert_true(config_database_is_same_server(config_database_find(a, "x"), config_database_find(b, "x")));
    assert_false(config_database_is_same_server(config_database_find(a, "y"), config_database_find(b, "y")));
    assert_false(config_database_is_same_server(config_database_find(a, "z"), config_database_find(b, "z")));
    assert_null(config_database_find(a, "unknown"));
    config_unref(a);
    config_unref(b);
}

static void finds_names_in_lists(void **state)
{
    (void)state;
    assert_true(config_list_contains("anna, ben", "ben"));
    assert_true(config_list_contains(" anna ", "anna"));
    assert_false(config_list_contains("annabel", "anna"));
    assert_false(config_list_contains("", "anna"));
    assert_false(config_list_contains("anna", ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builds_databases_and_users),
        cmocka_unit_test(reports_everything_that_is_wrong),
        cmocka_unit_test(checks_that_values_fit_together),
        cmocka_unit_test(reload_keeps_what_needs_a_restart),
        cmocka_unit_test(set_makes_a_new_snapshot),
        cmocka_unit_test(knows_whether_anybody_has_a_cache),
        cmocka_unit_test(tells_whether_servers_still_fit),
        cmocka_unit_test(finds_names_in_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
