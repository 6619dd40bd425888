/* list: order, counting, membership, removing while walking. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/util/list.h"

struct item {
    int value;
    struct list_node node;
};

static int value_of(struct list_node *node)
{
    return list_entry(node, struct item, node)->value;
}

static void keeps_order_and_count(void **state)
{
    (void)state;
    struct item a = {.value = 1}, b = {.value = 2}, c = {.value = 3}, d = {.value = 4};
    struct list l;
    list_init(&l);
    assert_true(list_is_empty(&l));
    assert_null(list_first(&l));
    assert_null(list_last(&l));
    assert_null(list_pop_front(&l));
    list_push_back(&l, &b.node);
    list_push_back(&l, &d.node);
    list_push_front(&l, &a.node);
    list_insert_before(&l, &d.node, &c.node);
    assert_int_equal(l.count, 4);
    int expected = 1;
    list_for_each(&l, node) assert_int_equal(value_of(node), expected++);
    assert_int_equal(expected, 5);
    assert_int_equal(value_of(list_first(&l)), 1);
    assert_int_equal(value_of(list_last(&l)), 4);
}

static void nodes_know_whether_they_are_in_a_list(void **state)
{
    (void)state;
    struct item a = {.value = 1}, b = {.value = 2};
    struct list l;
    list_init(&l);
    assert_false(list_node_is_linked(&a.node));
    list_push_back(&l, &a.node);
    list_push_back(&l, &b.node);
    assert_true(list_node_is_linked(&a.node));
    list_remove(&l, &a.node);
    assert_false(list_node_is_linked(&a.node));
    assert_int_equal(l.count, 1);
    assert_ptr_equal(list_pop_front(&l), &b.node);
    assert_false(list_node_is_linked(&b.node));
    assert_true(list_is_empty(&l));
    list_push_front(&l, &a.node);
    assert_ptr_equal(list_first(&l), list_last(&l));
}

static void a_node_may_be_removed_while_walking(void **state)
{
    (void)state;
    struct item items[6];
    struct list l;
    list_init(&l);
    for (int i = 0; i < 6; i++) {
        items[i] = (struct item){.value = i};
        list_push_back(&l, &items[i].node);
    }
    list_for_each(&l, node) if (value_of(node) % 2 == 0) list_remove(&l, node);
    assert_int_equal(l.count, 3);
    int expected = 1;
    list_for_each(&l, node)
    {
        assert_int_equal(value_of(node), expected);
        expected += 2;
    }
    list_for_each(&l, node) list_remove(&l, node);
    assert_true(list_is_empty(&l));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_order_and_count),
        cmocka_unit_test(nodes_know_whether_they_are_in_a_list),
        cmocka_unit_test(a_node_may_be_removed_while_walking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
