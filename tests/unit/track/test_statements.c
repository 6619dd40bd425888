/* statements: interning, names of a client, the bounded set of a server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "weir/track/statements.h"

#define S(text) SLICE_LITERAL(text)

static struct statement *intern(struct statement_table *table, const char *text)
{
    struct sql_class *class = sql_classify(slice_str(text));
    struct statement *s = statement_intern(table, slice_str(text), NULL, 0, class, 7);
    sql_class_unref(class);
    assert_non_null(s);
    return s;
}

static void text_and_types_make_a_statement(void **state)
{
    (void)state;
    struct statement_table *table = statement_table_new();
    struct sql_class *class = sql_classify(S("SELECT $1"));
    const uint32_t types[] = {23, 25};
    struct statement *a = statement_intern(table, S("SELECT $1"), types, 1, class, 0);
    struct statement *b = statement_intern(table, S("SELECT $1"), types, 1, class, 0);
    struct statement *c = statement_intern(table, S("SELECT $1"), types, 2, class, 0);
    struct statement *d = statement_intern(table, S("SELECT $1"), NULL, 0, class, 0);
    struct statement *e = statement_intern(table, S("SELECT $1"), types, 1, sql_class_unparsable(), 0);
    assert_ptr_equal(a, b);
    assert_true(a != c && a != d && c != d && a != e);
    assert_ptr_equal(a->class, class);
    assert_int_equal(a->types[0], 23);
    assert_string_equal((const char *)a->text.data, "SELECT $1");
    char name[STATEMENT_NAME_SIZE];
    size_t len = statement_name(a, name);
    assert_int_equal(len, strlen(name));
    assert_int_equal(strncmp(name, "weir_", 5), 0);
    uint64_t id = a->id;
    assert_int_equal(statement_table_count(table), 4);
    struct statement *all[] = {a, b, c, d, e};
    for (size_t i = 0; i < 5; i++)
        statement_unref(all[i]);
    assert_int_equal(statement_table_count(table), 0);
    /* A number is never given twice. */
    a = statement_intern(table, S("SELECT $1"), types, 1, class, 0);
    assert_true(a->id > id);
    statement_unref(a);
    sql_class_unref(class);
    statement_table_free(table);
}

static void clients_have_names(void **state)
{
    (void)state;
    struct statement_table *table = statement_table_new();
    struct statement_map map = {0};
    struct statement *a = intern(table, "SELECT 1"), *b = intern(table, "SELECT 2");
    assert_null(statement_map_find(&map, S("x")));
    assert_false(statement_map_remove(&map, S("x")));
    assert_int_equal(statement_map_put(&map, S("x"), a), STATEMENT_PUT);
    assert_int_equal(statement_map_put(&map, S("x"), b), STATEMENT_EXISTS);
    assert_int_equal(statement_map_put(&map, S(""), a), STATEMENT_PUT);
    assert_int_equal(statement_map_put(&map, S(""), b), STATEMENT_PUT);
    assert_ptr_equal(statement_map_find(&map, S("x")), a);
    assert_ptr_equal(statement_map_find(&map, S("")), b);
    assert_true(statement_map_remove(&map, S("x")));
    assert_null(statement_map_find(&map, S("x")));
    assert_int_equal(map.count, 1);
    statement_map_clear(&map);
    statement_unref(a);
    statement_unref(b);
    assert_int_equal(statement_table_count(table), 0);
    statement_table_free(table);
}

static void many_names_survive_removals(void **state)
{
    (void)state;
    struct statement_table *table = statement_table_new();
    struct statement_map map = {0};
    struct statement *a = intern(table, "SELECT 1");
    char name[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        assert_int_equal(statement_map_put(&map, slice_str(name), a), STATEMENT_PUT);
    }
    for (int i = 0; i < 1000; i += 3) {
        snprintf(name, sizeof(name), "s%d", i);
        assert_true(statement_map_remove(&map, slice_str(name)));
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        assert_ptr_equal(statement_map_find(&map, slice_str(name)), i % 3 == 0 ? NULL : a);
    }
    statement_map_clear(&map);
    statement_unref(a);
    statement_table_free(table);
}

static void servers_forget_the_least_used(void **state)
{
    (void)state;
    struct statement_table *table = statement_table_new();
    struct statement_set *set = statement_set_new(2);
    struct statement *a = intern(table, "SELECT 1"), *b = intern(table, "SELECT 2"),
                     *c = intern(table, "SELECT 3");
    bool ok;
    assert_false(statement_set_use(set, a));
    assert_null(statement_set_add(set, a, &ok));
    assert_true(ok);
    assert_null(statement_set_add(set, b, &ok));
    assert_true(statement_set_use(set, a));
    struct statement *victim = statement_set_add(set, c, &ok);
    assert_ptr_equal(victim, b);
    statement_unref(victim);
    assert_true(statement_set_use(set, a));
    assert_false(statement_set_use(set, b));
    assert_int_equal(statement_set_count(set), 2);
    statement_set_remove(set, a);
    statement_set_remove(set, a);
    assert_int_equal(statement_set_count(set), 1);
    statement_set_clear(set);
    assert_int_equal(statement_set_count(set), 0);
    statement_unref(a);
    statement_unref(b);
    statement_unref(c);
    statement_set_free(set);
    assert_int_equal(statement_table_count(table), 0);
    statement_table_free(table);
}

static void a_set_grows_to_its_limit(void **state)
{
    (void)state;
    struct statement_table *table = statement_table_new();
    struct statement_set *set = statement_set_new(200);
    char text[32];
    for (int i = 0; i < 500; i++) {
        bool ok;
        snprintf(text, sizeof(text), "SELECT a%d", i);
        struct statement *s = intern(table, text);
        statement_unref(statement_set_add(set, s, &ok));
        statement_unref(s);
    }
    assert_int_equal(statement_set_count(set), 200);
    assert_int_equal(statement_table_count(table), 200);
    statement_set_free(set);
    assert_int_equal(statement_table_count(table), 0);
    statement_table_free(table);
}

static void *churn(void *argument)
{
    char text[32];
    for (int i = 0; i < 20000; i++) {
        snprintf(text, sizeof(text), "SELECT %d", i % 5);
        struct statement *s = statement_intern(argument, slice_str(text), NULL, 0, sql_class_unparsable(), 0);
        if (s == NULL || !slice_equal_str(s->text, text))
            abort();
        statement_unref(s);
    }
    return NULL;
}

static void threads_share_statements(void **state)
{
    (void)state;
    struct statement_table *table = statement_table_new();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, table), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(statement_table_count(table), 0);
    statement_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_types_make_a_statement), cmocka_unit_test(clients_have_names),
        cmocka_unit_test(many_names_survive_removals),     cmocka_unit_test(servers_forget_the_least_used),
        cmocka_unit_test(a_set_grows_to_its_limit),        cmocka_unit_test(threads_share_statements),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sql_classify_thread_end();
    return failed;
}
