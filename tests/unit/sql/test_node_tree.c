/* node_tree: trees of PostgreSQL 15 and 18 give the OIDs that are in them; what is not understood is never
 * passed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/sql/node_tree.h"

#define CORPUS TEST_SOURCE_DIR "/tests/fuzz/corpus/node_tree/"

static struct slice load(const char *name)
{
    char path[512];
    static char text[64 * 1024];
    snprintf(path, sizeof(path), "%s%s", CORPUS, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t len = fread(text, 1, sizeof(text), file);
    fclose(file);
    return slice_make(text, len);
}

static void every_tree_of_the_corpus(void **state)
{
    (void)state;
    DIR *folder = opendir(CORPUS);
    assert_non_null(folder);
    size_t known = 0, unknown = 0;
    for (struct dirent *each; (each = readdir(folder)) != NULL;) {
        struct node_tree tree = {.has_system_column = false};
        if (each->d_name[0] == '.')
            continue;
        bool is_good = node_tree_read(&tree, load(each->d_name));
        if (is_good != (strncmp(each->d_name, "known", 5) == 0))
            fail_msg("%s: %s", each->d_name, tree.unknown);
        known += is_good;
        unknown += !is_good;
        node_tree_free(&tree);
    }
    closedir(folder);
    assert_true(known >= 16 && unknown >= 10);
}

struct expected {
    const char *file;
    enum node_list list;
    uint32_t has[8];
};

static void test_c06_what_a_tree_names(void **state)
{
    static const struct expected cases[] = {
        {"known-plain-15", NODE_FUNCTIONS, {65, 850}}, /* int4eq, textlike */
        {"known-plain-15", NODE_OPERATORS, {96, 1209}},
        {"known-plain-15", NODE_TYPES, {16, 23, 25}},
        {"known-plain-18", NODE_FUNCTIONS, {65, 850}},
        {"known-coercions-15",
         NODE_FUNCTIONS,
         {2351, 1189}}, /* date_lt_timestamptz, timestamptz_pl_interval */
        {"known-coercions-15", NODE_CASTS, {25, 23}},
        {"known-coercions-18", NODE_CASTS, {25, 23}},
        {"known-aggregates-15", NODE_FUNCTIONS, {2147, 2114, 2335}}, /* count(any), sum(numeric), array_agg */
        {"known-aggregates-18", NODE_OPERATORS, {98, 664, 97}},      /* of PARTITION BY and ORDER BY */
        {"known-user-15", NODE_VALUES, {10}},                        /* CURRENT_USER */
        {"known-policy-18", NODE_VALUES, {10}},
        {"known-wide-18", NODE_TYPES, {1007, 2249}}, /* int4[], record */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct node_tree tree = {.has_system_column = false};
        assert_true(node_tree_read(&tree, load(cases[i].file)));
        for (size_t k = 0; cases[i].has[k] != 0; k++)
            if (!node_tree_has(&tree, cases[i].list, cases[i].has[k]))
                fail_msg("%s lacks %u in list %d", cases[i].file, cases[i].has[k], cases[i].list);
        assert_false(tree.has_system_column || tree.has_row_lock);
        node_tree_free(&tree);
    }
}

static void nothing_more_than_it_names(void **state)
{
    (void)state;
    struct node_tree tree = {.has_system_column = false};
    assert_true(node_tree_read(&tree, load("known-plain-15")));
    assert_int_equal(node_tree_count(&tree, NODE_FUNCTIONS), 2);
    assert_int_equal(node_tree_count(&tree, NODE_OPERATORS), 2);
    assert_int_equal(node_tree_count(&tree, NODE_RELATIONS), 2); /* the view itself, and the table */
    assert_int_equal(node_tree_count(&tree, NODE_VALUES), 0);
    assert_int_equal(node_tree_count(&tree, NODE_CASTS), 0);
    assert_int_equal(tree.settings.len, 0);
    size_t before = node_tree_count(&tree, NODE_FUNCTIONS);
    assert_true(node_tree_read(&tree, load("known-coercions-15"))); /* adds up */
    assert_true(node_tree_count(&tree, NODE_FUNCTIONS) > before);
    node_tree_free(&tree);
}

static void settings_and_marks(void **state)
{
    static const char *const files[] = {"known-setting-15", "known-setting-18", "known-policy-15",
                                        "known-policy-18"};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct node_tree tree = {.has_system_column = false};
        assert_true(node_tree_read(&tree, load(files[i])));
        assert_string_equal((const char *)tree.settings.data, "app.tenant");
        assert_int_equal(tree.settings.len, sizeof("app.tenant"));
        node_tree_free(&tree);
    }
    struct node_tree tree = {.has_system_column = false};
    assert_true(node_tree_read(&tree, load("known-system-column-15")));
    assert_true(tree.has_system_column);
    assert_true(node_tree_read(&tree, load("known-lock-18")));
    assert_true(tree.has_row_lock);
    node_tree_free(&tree);
}

static void odd_text(void **state)
{
    static const struct {
        const char *text;
        const char *unknown;
    } cases[] = {
        {"", ""},
        {"<>", ""},
        {"({NULLTEST :arg <> :argisrow false})", ""},
        {"{NEXTVALUEEXPR :seqid 1 :typeId 20}", "node NEXTVALUEEXPR"},
        {"{NULLTEST :arg {COERCETODOMAIN :arg <>}}", "node COERCETODOMAIN"},
        {"{OPEXPR :opno 96 :opsecret 12}", "field of OPEXPR :opsecret"},
        {"{OPEXPR :opno 96 12}", "field of OPEXPR 12"},
        {"{OPEXPR :opno", "cut off"},
        {"{OPEXPR :opno}", "unbalanced"},
        {"{OPEXPR", "cut off"},
        {"({OPEXPR :opno 96}", "cut off"},
        {"{OPEXPR :opno 96}}", "unbalanced"},
        {"{OPEXPR :args (}", "unbalanced"},
        {"{OPEXPR :args ) }", "unbalanced"},
        {"{OPEXPR :opno x}", "no number: x"},
        {"{OPEXPR :opno {NULLTEST}}", "a node where a number should be"},
        {"{OPEXPR :opno 99999999999}", "no number: 99999999999"},
        {"{OPEXPR :opno -5}", "no number: -5"},
        {"{", "no node"},
        {"oops", "no node: oops"},
        {"{QUERY :commandType 3}", "not a SELECT"},
        /* a name may look like a field, a node or a bracket */
        {"{ALIAS :aliasname :funcid :colnames (\":a\" \"b\\ c\" \"\\}\")}", ""},
        {"{ALIAS :aliasname {FUNCEXPR :funcid 1}}", ""},
        {"{CONST :consttype 25 :constvalue 5 [ 1 2 }", "constant"},
        {"{CONST :consttype 25 :constvalue 5 [ 1 x ]}", "constant"},
        {"{FUNCEXPR :funcid 2077 :args ({CONST :consttype 25 :constvalue 5 [ 20 0 0 0 97 ]})}", ""},
        {"{FUNCEXPR :funcid 2077 :args ({CONST :consttype 25 :constvalue 5 [ 0 0 0 5 97 ]})}", ""},
        {"{FUNCEXPR :funcid 2077 :args ({CONST :consttype 25 :constvalue 5 [ 24 0 0 0 97 ]})}",
         "current_setting"},
        {"{FUNCEXPR :funcid 2077 :args ({CONST :consttype 25 :constvalue 4 [ 16 0 0 0 ]})}",
         "current_setting"},
        {"{FUNCEXPR :funcid 2077 :args ({CONST :consttype 25 :constvalue 5 [ 20 0 0 0 -61 ]})}",
         "current_setting"},
        {"{FUNCEXPR :funcid 2077 :args ({CONST :consttype 25 :constisnull true :constvalue <>})}",
         "current_setting"},
        {"{FUNCEXPR :funcid 2077 :args ({FUNCEXPR :funcid 870 :args ({CONST :consttype 25 :constvalue 5 [ 20 "
         "0 0 0 97 ]})})}",
         "current_setting"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct node_tree tree = {.has_system_column = false};
        bool is_good = node_tree_read(&tree, slice_str(cases[i].text));
        if (strcmp(tree.unknown, cases[i].unknown) != 0 || is_good != (cases[i].unknown[0] == '\0'))
            fail_msg("%s: \"%s\" instead of \"%s\"", cases[i].text, tree.unknown, cases[i].unknown);
        node_tree_free(&tree);
    }
}

static void a_tree_that_is_cut_off(void **state)
{
    (void)state;
    struct slice whole = load("known-aggregates-18");
    for (size_t len = 1; len < whole.len; len++) {
        struct node_tree tree = {.has_system_column = false};
        assert_false(node_tree_read(&tree, slice_make(whole.data, len)));
        node_tree_free(&tree);
    }
}

static void a_tree_that_is_too_deep(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    for (int i = 0; i < 500; i++)
        buf_append_str(&text, "{NULLTEST :arg ");
    struct node_tree tree = {.has_system_column = false};
    assert_false(node_tree_read(&tree, buf_slice(&text)));
    assert_string_equal(tree.unknown, "too deep");
    node_tree_free(&tree);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tree_of_the_corpus),
        cmocka_unit_test(test_c06_what_a_tree_names),
        cmocka_unit_test(nothing_more_than_it_names),
        cmocka_unit_test(settings_and_marks),
        cmocka_unit_test(odd_text),
        cmocka_unit_test(a_tree_that_is_cut_off),
        cmocka_unit_test(a_tree_that_is_too_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
