/* hba: which rule decides, which lines are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#include "weir/auth/hba.h"

static void note(void *arg, const struct error *problem)
{
    buf_printf(arg, "%s\n", problem->message);
}

static bool read_file(void *arg, const char *path, struct buf *out, struct error *error)
{
    (void)arg;
    if (strcmp(path, "etc/people") == 0)
        buf_append_str(out, "anna ben\n# nobody\n\ncarl, @more\n");
    else if (strcmp(path, "etc/more") == 0)
        buf_append_str(out, "dora\n");
    else if (strcmp(path, "etc/loop") == 0)
        buf_append_str(out, "@loop\n");
    else
        return error_set(error, "no such file");
    return true;
}

static struct hba *parse(const char *text, struct ident *ident, struct buf *problems, struct error *error)
{
    const struct hba_source source = {.path = "etc/hba",
                                      .text = slice_str(text),
                                      .ident = ident,
                                      .read = read_file,
                                      .report = problems != NULL ? note : NULL,
                                      .report_arg = problems};
    return hba_parse(&source, error);
}

/* The line that decides, 0 for none. `from` is an address, or NULL for the Unix socket. */
static int line_for(const struct hba *hba, const char *database, const char *user, const char *from,
                    bool is_tls)
{
    uint8_t address[16];
    struct hba_answer answer;
    struct hba_client client = {.family = AF_UNIX, .address = address, .database = database, .user = user};
    client.is_tls = is_tls;
    if (from != NULL) {
        client.family = strchr(from, ':') != NULL ? AF_INET6 : AF_INET;
        assert_int_equal(inet_pton(client.family, from, address), 1);
    }
    return hba_find(hba, &client, &answer) ? answer.line : 0;
}

static void the_first_rule_that_fits_decides(void **state)
{
    (void)state;
    struct hba *hba = parse("# where from\n"
                            "local all all peer\n"                                 /* 2 */
                            "hostssl all all 10.0.0.0/8 cert\n"                    /* 3 */
                            "hostnossl all all 10.1.0.0 255.255.0.0 md5 # inner\n" /* 4 */
                            "host shop,sales anna , ben 192.168.7.5/32 password\n" /* 5 */
                            "host sameuser all 192.168.7.0/24 scram-sha-256\n"     /* 6 */
                            "host \"all\" \"a \"\"b\"\"\" 192.168.7.0/24 trust\n"  /* 7 */
                            "host all all fe80::/10 reject\n"                      /* 8 */
                            "host other all all trust\n",                          /* 9 */
                            NULL, NULL, NULL);
    assert_non_null(hba);
    assert_int_equal(line_for(hba, "shop", "x", NULL, false), 2);
    assert_int_equal(line_for(hba, "shop", "x", "10.1.2.3", true), 3);
    assert_int_equal(line_for(hba, "shop", "x", "10.1.2.3", false), 4);
    assert_int_equal(line_for(hba, "shop", "x", "10.2.2.3", false), 0);
    assert_int_equal(line_for(hba, "sales", "ben", "192.168.7.5", false), 5);
    assert_int_equal(line_for(hba, "sales", "ben", "192.168.7.6", false), 0);
    assert_int_equal(line_for(hba, "carl", "carl", "192.168.7.6", false), 6);
    assert_int_equal(line_for(hba, "all", "a \"b\"", "192.168.7.6", false), 7);
    assert_int_equal(line_for(hba, "some", "a \"b\"", "192.168.7.6", false), 0);
    assert_int_equal(line_for(hba, "some", "x", "febf::1", false), 8);
    assert_int_equal(line_for(hba, "some", "x", "fec0::1", false), 0);
    assert_int_equal(line_for(hba, "other", "x", "::1", true), 9);
    hba_unref(hba_ref(hba));
    hba_unref(hba);
}

static void masks_end_anywhere_in_a_byte(void **state)
{
    (void)state;
    struct hba *hba = parse("host a all 128.0.0.0/1 trust\n"
                            "host b all 172.16.0.0/12 trust\n"
                            "host c all 0.0.0.0/0 trust\n"
                            "host d all 2001:db8:8000::/33 trust\n"
                            "host e all ::/0 trust\n",
                            NULL, NULL, NULL);
    assert_int_equal(line_for(hba, "a", "x", "200.1.1.1", false), 1);
    assert_int_equal(line_for(hba, "a", "x", "127.1.1.1", false), 0);
    assert_int_equal(line_for(hba, "b", "x", "172.31.255.255", false), 2);
    assert_int_equal(line_for(hba, "b", "x", "172.32.0.0", false), 0);
    assert_int_equal(line_for(hba, "c", "x", "1.2.3.4", false), 3);
    assert_int_equal(line_for(hba, "c", "x", "::1", false), 0);
    assert_int_equal(line_for(hba, "d", "x", "2001:db8:ffff::1", false), 4);
    assert_int_equal(line_for(hba, "d", "x", "2001:db8:7fff::1", false), 0);
    assert_int_equal(line_for(hba, "e", "x", "1.2.3.4", false), 0);
    hba_unref(hba);
}

static void replication_belongs_to_no_database(void **state)
{
    (void)state;
    uint8_t address[16] = {0};
    struct hba_answer answer;
    struct hba *hba = parse("host all all ::/0 trust\nhost replication,x all ::/0 md5\n", NULL, NULL, NULL);
    struct hba_client client = {
        .family = AF_INET6, .address = address, .database = "x", .user = "u", .is_replication = true};
    assert_true(hba_find(hba, &client, &answer));
    assert_int_equal(answer.line, 2);
    assert_int_equal(answer.method, HBA_MD5);
    assert_int_equal(line_for(hba, "replication", "u", "::1", false), 1);
    hba_unref(hba);
}

static void names_may_stand_in_a_file_beside(void **state)
{
    (void)state;
    struct buf problems = BUF_INIT;
    struct hba *hba = parse("local all @people trust\n"
                            "local all @nowhere trust\n"
                            "local all @loop trust\n",
                            NULL, &problems, NULL);
    static const char *const inside[] = {"anna", "ben", "carl", "dora"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(line_for(hba, "d", inside[i], NULL, false), 1);
    assert_int_equal(line_for(hba, "d", "nobody", NULL, false), 0);
    assert_string_equal(
        buf_text(&problems),
        "etc/hba:2: no such file \"etc/nowhere\"; the line is ignored\n"
        "etc/hba:3: files that name each other too deeply: \"etc/loop\"; the line is ignored\n");
    buf_free(&problems);
    hba_unref(hba);
}

static void a_map_is_one_of_the_ident_file(void **state)
{
    (void)state;
    struct buf problems = BUF_INIT;
    struct hba_answer answer;
    struct ident *ident = ident_parse("i", slice_str("staff anna reader\n"), NULL, NULL);
    struct hba *hba =
        parse("local a all peer map=staff\nlocal b all peer map=other\n", ident, &problems, NULL);
    ident_unref(ident);
    struct hba_client client = {.family = AF_UNIX, .database = "a", .user = "reader"};
    assert_true(hba_find(hba, &client, &answer));
    assert_int_equal(answer.method, HBA_PEER);
    assert_true(ident_allows(answer.map, "anna", "reader"));
    assert_string_equal(buf_text(&problems),
                        "etc/hba:2: auth_ident_file has no map \"other\"; the line is ignored\n");
    buf_free(&problems);
    hba_unref(hba);
}

static void bad_lines_are_none_and_are_named(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "hostgss all all all trust",
        "host all all trust",
        "host all all 1.2.3.4 trust",
        "host all all 1.2.3.4/33 trust",
        "host all all 1.2.3.4/ trust",
        "host all all 1.2.3.4/8 trust",
        "host all all 1.2.3.0/-1 trust",
        "host all all ::/129 trust",
        "host all all samehost trust",
        "host all all samenet trust",
        "host all all localhost trust",
        "host all all 1.2.3.4 255.0.0.x trust",
        "host all all \"all\" trust",
        "host all all all ident",
        "host all all all gss",
        "host all all all trust trust",
        "host all all all trust,",
        "host all all all peer clientname=CN",
        "host samerole all all trust",
        "host all +staff all trust",
        "host all, all trust",
        "host all all all",
        "local",
        "local all",
        "local all all",
        "local all all 127.0.0.1/32 trust",
        "local \"all all trust",
        "LOCAL all all trust",
        "\"local\" all all trust",
        "local all all Trust",
        "local all @ trust x",
        "local , all trust",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct buf problems = BUF_INIT;
        struct hba *hba = parse(lines[i], NULL, &problems, NULL);
        assert_non_null(hba);
        assert_non_null(strstr(buf_text(&problems), "etc/hba:1: "));
        assert_non_null(strstr(buf_text(&problems), "; the line is ignored\n"));
        assert_int_equal(line_for(hba, "all", "all", NULL, false), 0);
        assert_int_equal(line_for(hba, "all", "all", "1.2.3.4", false), 0);
        buf_free(&problems);
        hba_unref(hba);
    }
}

static void a_method_that_is_not_built_makes_the_file_unusable(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    assert_null(parse("local all all trust\nhost all all all ldap\nhost x x all pam\n", NULL, NULL, &error));
    assert_string_equal(
        error.message,
        "etc/hba:2: method ldap is not built into Weir; use scram-sha-256, or take the line out");
    assert_null(parse("host all all all pam", NULL, NULL, &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_rule_that_fits_decides),
        cmocka_unit_test(masks_end_anywhere_in_a_byte),
        cmocka_unit_test(replication_belongs_to_no_database),
        cmocka_unit_test(names_may_stand_in_a_file_beside),
        cmocka_unit_test(a_map_is_one_of_the_ident_file),
        cmocka_unit_test(bad_lines_are_none_and_are_named),
        cmocka_unit_test(a_method_that_is_not_built_makes_the_file_unusable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
