/* address: text to socket address and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "weir/net/address.h"

static void reads_literals_only(void **state)
{
    (void)state;
    struct address a;
    char text[ADDRESS_TEXT_BYTES];
    assert_true(address_from_literal(&a, "10.0.0.7", 5432));
    assert_int_equal(address_port(&a), 5432);
    address_host_text(&a, text);
    assert_string_equal(text, "10.0.0.7");
    assert_false(address_is_unix(&a));
    assert_true(address_from_literal(&a, "::1", 6432));
    assert_int_equal(address_port(&a), 6432);
    address_host_text(&a, text);
    assert_string_equal(text, "::1");
    assert_false(address_from_literal(&a, "localhost", 1));
    assert_false(address_from_literal(&a, "10.0.0", 1));
    assert_false(address_from_literal(&a, "", 1));
    assert_false(address_from_literal(&a, "10.0.0.7 ", 1));
}

static void knows_the_socket_of_a_directory(void **state)
{
    (void)state;
    struct address a;
    char text[ADDRESS_TEXT_BYTES];
    assert_true(address_from_unix(&a, "/run/postgresql", 5432, NULL));
    assert_true(address_is_unix(&a));
    assert_string_equal(a.as.un.sun_path, "/run/postgresql/.s.PGSQL.5432");
    assert_int_equal(a.len, offsetof(struct sockaddr_un, sun_path) + strlen(a.as.un.sun_path) + 1);
    assert_int_equal(address_port(&a), 0);
    address_host_text(&a, text);
    assert_string_equal(text, "unix");
    assert_true(address_from_unix(&a, "@weir", 1, NULL));
    assert_int_equal(a.as.un.sun_path[0], 0);
    assert_memory_equal(a.as.un.sun_path + 1, "weir/.s.PGSQL.1", 15);
    assert_int_equal(a.len, offsetof(struct sockaddr_un, sun_path) + 16);
}

static void a_path_that_is_too_long_is_an_error(void **state)
{
    (void)state;
    struct address a;
    struct error error = ERROR_INIT;
    char directory[120];
    memset(directory, 'd', sizeof(directory) - 1);
    directory[sizeof(directory) - 1] = '\0';
    assert_false(address_from_unix(&a, directory, 5432, &error));
    assert_non_null(strstr(error.message, "longer than 107 bytes"));
    size_t fits = sizeof(a.as.un.sun_path) - 1 - strlen("/.s.PGSQL.5432");
    directory[fits] = '\0';
    assert_true(address_from_unix(&a, directory, 5432, NULL));
    directory[fits] = 'd';
    directory[fits + 1] = '\0';
    assert_false(address_from_unix(&a, directory, 5432, NULL));
}

static void compares(void **state)
{
    (void)state;
    struct address a, b;
    address_from_literal(&a, "127.0.0.1", 1);
    address_from_literal(&b, "127.0.0.1", 1);
    assert_true(address_equal(&a, &b));
    address_from_literal(&b, "127.0.0.1", 2);
    assert_false(address_equal(&a, &b));
    address_from_literal(&b, "::1", 1);
    assert_false(address_equal(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_literals_only),
        cmocka_unit_test(knows_the_socket_of_a_directory),
        cmocka_unit_test(a_path_that_is_too_long_is_an_error),
        cmocka_unit_test(compares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
