/* startup: the first packet, whole, cut, lying about its length; and how PostgreSQL splits `options`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "weir/wire/encode.h"
#include "weir/wire/startup.h"

enum {
    CODE_CANCEL = 80877102,
    CODE_SSL = 80877103,
    CODE_GSS = 80877104,
    CODE_3_0 = 196608,
    CODE_3_2 = 196610
};

/* A packet of `length` as claimed, `code`, and `rest` as its remaining bytes. */
static struct buf packet(uint32_t length, uint32_t code, struct slice rest)
{
    struct buf b = BUF_INIT;
    buf_append_u32(&b, length);
    buf_append_u32(&b, code);
    buf_append_slice(&b, rest);
    return b;
}

static enum startup_kind parse(uint32_t length, uint32_t code, struct slice rest, struct startup *out)
{
    struct buf b = packet(length, code, rest);
    struct error error = ERROR_INIT;
    struct startup local;
    enum startup_kind kind = startup_parse(buf_slice(&b), out != NULL ? out : &local, &error);
    if (kind == STARTUP_BAD)
        assert_true(error.message[0] != '\0');
    buf_free(&b);
    return kind;
}

static void reads_what_encode_writes(void **state)
{
    (void)state;
    const struct encode_parameter parameters[] = {
        {"user", "anna"}, {"database", "shop"}, {"application_name", ""}};
    struct buf b = BUF_INIT;
    encode_startup(&b, parameters, 3, SLICE_EMPTY);
    size_t total = b.len;
    buf_append_str(&b, "more");
    struct startup s;
    assert_int_equal(startup_parse(buf_slice(&b), &s, NULL), STARTUP_MESSAGE);
    assert_int_equal(s.kind, STARTUP_MESSAGE);
    assert_int_equal(s.total, total);
    assert_int_equal(s.major, 3);
    assert_int_equal(s.minor, 0);
    struct slice cursor = s.parameters, name, value;
    for (size_t i = 0; i < 3; i++) {
        assert_true(startup_next_parameter(&cursor, &name, &value));
        assert_true(slice_equal_str(name, parameters[i].name));
        assert_true(slice_equal_str(value, parameters[i].value));
    }
    assert_false(startup_next_parameter(&cursor, &name, &value));
    buf_free(&b);
}

static void p15_a_packet_cut_at_every_byte(void **state)
{
    (void)state;
    const struct encode_parameter parameters[] = {{"user", "anna"}, {"database", "shop"}};
    struct buf b = BUF_INIT;
    encode_startup(&b, parameters, 2, SLICE_EMPTY);
    struct startup s;
    for (size_t len = 0; len < b.len; len++)
        assert_int_equal(startup_parse(slice_make(b.data, len), &s, NULL), STARTUP_INCOMPLETE);
    assert_int_equal(startup_parse(buf_slice(&b), &s, NULL), STARTUP_MESSAGE);
    buf_free(&b);
}

static void p15_lengths_are_judged_before_the_bytes_come(void **state)
{
    (void)state;
    const uint32_t bad[] = {0, 1, 4, 7, STARTUP_MAX_BYTES + 1, 0x7fffffff, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf b = BUF_INIT;
        buf_append_u32(&b, bad[i]);
        struct error error = ERROR_INIT;
        struct startup s;
        assert_int_equal(startup_parse(buf_slice(&b), &s, &error), STARTUP_BAD);
        assert_string_equal(error.sqlstate, "08P01");
        buf_free(&b);
    }
}

static void p15_the_longest_packet_is_read(void **state)
{
    (void)state;
    struct buf rest = BUF_INIT;
    buf_append(&rest, "user", 5);
    while (rest.len < STARTUP_MAX_BYTES - 8 - 2)
        buf_append_u8(&rest, 'x');
    buf_append(&rest, "\0\0", 2);
    struct startup s;
    assert_int_equal(parse(STARTUP_MAX_BYTES, CODE_3_0, buf_slice(&rest), &s), STARTUP_MESSAGE);
    assert_int_equal(s.total, STARTUP_MAX_BYTES);
    buf_free(&rest);
}

static void tells_requests_apart(void **state)
{
    (void)state;
    struct startup s;
    assert_int_equal(parse(8, CODE_SSL, SLICE_EMPTY, &s), STARTUP_SSL);
    assert_int_equal(s.total, 8);
    assert_int_equal(parse(8, CODE_GSS, SLICE_EMPTY, &s), STARTUP_GSS);
    assert_int_equal(parse(9, CODE_SSL, SLICE_LITERAL("x"), NULL), STARTUP_BAD);
    assert_int_equal(parse(10, CODE_GSS, SLICE_LITERAL("xy"), NULL), STARTUP_BAD);
    /* Bytes sent ahead of the answer belong to whoever reads next, not to the request. */
    assert_int_equal(parse(8, CODE_SSL, SLICE_LITERAL("ahead"), &s), STARTUP_SSL);
    assert_int_equal(s.total, 8);
}

static void reads_cancel_requests(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    encode_cancel_request(&b, SLICE_LITERAL("12345678"));
    struct startup s;
    assert_int_equal(startup_parse(buf_slice(&b), &s, NULL), STARTUP_CANCEL);
    assert_int_equal(s.total, 16);
    assert_true(slice_equal_str(s.cancel_key, "12345678"));
    buf_free(&b);

    uint8_t key[STARTUP_CANCEL_KEY_MAX + 1] = {0};
    assert_int_equal(parse(8 + 7, CODE_CANCEL, slice_make(key, 7), NULL), STARTUP_BAD);
    assert_int_equal(parse(8, CODE_CANCEL, SLICE_EMPTY, NULL), STARTUP_BAD);
    struct slice longest = slice_make(key, STARTUP_CANCEL_KEY_MAX);
    assert_int_equal(parse(8 + STARTUP_CANCEL_KEY_MAX, CODE_CANCEL, longest, NULL), STARTUP_CANCEL);
    assert_int_equal(parse(8 + sizeof(key), CODE_CANCEL, slice_make(key, sizeof(key)), NULL), STARTUP_BAD);
}

static void refuses_other_protocols(void **state)
{
    (void)state;
    struct buf b = packet(9, 2 << 16, SLICE_LITERAL("\0"));
    struct error error = ERROR_INIT;
    struct startup s;
    assert_int_equal(startup_parse(buf_slice(&b), &s, &error), STARTUP_BAD);
    assert_string_equal(error.sqlstate, "0A000");
    buf_free(&b);
    assert_int_equal(parse(9, 4 << 16, SLICE_LITERAL("\0"), NULL), STARTUP_BAD);
    assert_int_equal(parse(9, 0, SLICE_LITERAL("\0"), NULL), STARTUP_BAD);
    assert_int_equal(parse(9, CODE_3_2, SLICE_LITERAL("\0"), &s), STARTUP_MESSAGE);
    assert_int_equal(s.minor, 2);
}

static void refuses_unsound_parameters(void **state)
{
    (void)state;
    const struct slice bad[] = {
        SLICE_LITERAL(""),             /* no terminator */
        SLICE_LITERAL("user\0anna\0"), /* no final NUL */
        SLICE_LITERAL("user\0anna"),   /* cut in a value */
        SLICE_LITERAL("\0\0"),         /* bytes behind the terminator */
        SLICE_LITERAL("user\0anna\0\0x\0y\0\0"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(parse((uint32_t)(8 + bad[i].len), CODE_3_0, bad[i], NULL), STARTUP_BAD);
    assert_int_equal(parse(9, CODE_3_0, SLICE_LITERAL("\0"), NULL), STARTUP_MESSAGE);
}

/* Splits `text` and writes "name=value;" for every setting, "!word" for what is refused. */
static const char *split(const char *text)
{
    static char out[512];
    uint8_t *scratch = malloc(strlen(text)); /* exactly what is promised to suffice, for the sanitizer */
    struct slice cursor = slice_str(text), name, value;
    int rc;
    out[0] = '\0';
    while ((rc = startup_next_option(&cursor, scratch, &name, &value)) == 1)
        snprintf(out + strlen(out), sizeof(out) - strlen(out), "%.*s=%.*s;", (int)name.len,
                 (const char *)name.data, (int)value.len, (const char *)value.data);
    if (rc < 0)
        snprintf(out + strlen(out), sizeof(out) - strlen(out), "!%.*s", (int)name.len,
                 (const char *)name.data);
    free(scratch);
    return out;
}

static void splits_options(void **state)
{
    (void)state;
    assert_string_equal(split(""), "");
    assert_string_equal(split("  \t "), "");
    assert_string_equal(split("-c a=b"), "a=b;");
    assert_string_equal(split(" -ca=b   --c-d=e "), "a=b;c_d=e;");
    assert_string_equal(split("-c a=b -c c=d --e=f"), "a=b;c=d;e=f;");
    assert_string_equal(split("-c a="), "a=;");
    assert_string_equal(split("-c a=b=c"), "a=b=c;");
    assert_string_equal(split("-c search_path=a,\\ b"), "search_path=a, b;");
    assert_string_equal(split("-c a=\\\\x\\"), "a=\\x\\;");
}

static void dashes_in_names_become_underscores(void **state)
{
    (void)state;
    assert_string_equal(split("--work-mem=1-2"), "work_mem=1-2;");
    assert_string_equal(split("-c work-mem=1-2"), "work_mem=1-2;");
    assert_string_equal(split("-cwork-mem=1-2"), "work_mem=1-2;");
}

static void refuses_other_switches_by_name(void **state)
{
    (void)state;
    assert_string_equal(split("-c"), "!-c");
    assert_string_equal(split("-c word"), "!-c");
    assert_string_equal(split("-c =x"), "!-c");
    assert_string_equal(split("--name"), "!--name");
    assert_string_equal(split("--"), "!--");
    assert_string_equal(split("-c a=b -d 5"), "a=b;!-d");
    assert_string_equal(split("word"), "!word");
    assert_string_equal(split("-"), "!-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_encode_writes),
        cmocka_unit_test(p15_a_packet_cut_at_every_byte),
        cmocka_unit_test(p15_lengths_are_judged_before_the_bytes_come),
        cmocka_unit_test(p15_the_longest_packet_is_read),
        cmocka_unit_test(tells_requests_apart),
        cmocka_unit_test(reads_cancel_requests),
        cmocka_unit_test(refuses_other_protocols),
        cmocka_unit_test(refuses_unsound_parameters),
        cmocka_unit_test(splits_options),
        cmocka_unit_test(dashes_in_names_become_underscores),
        cmocka_unit_test(refuses_other_switches_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
