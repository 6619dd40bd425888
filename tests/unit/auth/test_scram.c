/* scram: the example of RFC 7677, both sides against each other, pass-through, and everything that must be
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "../../../src/auth/scram_machine.h"
#include "weir/auth/scram.h"

static const uint8_t nonce_a[SCRAM_NONCE_LEN] = "client's own nonce";
static const uint8_t nonce_b[SCRAM_NONCE_LEN] = "server's own nonce";
static const char rfc_secret[] =
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

static void make(const char *password, struct scram_secret *secret)
{
    assert_true(scram_secret_make(slice_str(password), (const uint8_t *)"0123456789abcdef", 16, 64, secret));
}

static void rfc_7677_client(void **state)
{
    (void)state;
    struct scram_client *client = scram_client_new(SLICE_LITERAL("pencil"), nonce_a, SLICE_EMPTY);
    client->name = "user";
    strcpy(client->nonce, "rOprNGfwEbeRWgbNEkqO");
    struct buf out = BUF_INIT;
    assert_int_equal(scram_client_feed(client, SLICE_EMPTY, &out, NULL), SCRAM_CONTINUE);
    assert_string_equal(buf_text(&out), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    buf_clear(&out);
    struct slice first = SLICE_LITERAL("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                       "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    assert_int_equal(scram_client_feed(client, first, &out, NULL), SCRAM_CONTINUE);
    assert_string_equal(buf_text(&out), "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                        "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    struct slice final = SLICE_LITERAL("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    struct scram_keys keys;
    assert_false(scram_client_keys(client, &keys));
    assert_int_equal(scram_client_feed(client, final, &out, NULL), SCRAM_DONE);
    assert_true(scram_client_keys(client, &keys));
    assert_int_equal(keys.iterations, 4096);
    assert_int_equal(scram_client_feed(client, final, &out, NULL), SCRAM_BROKEN);
    buf_free(&out);
    scram_client_free(client);
}

static void rfc_7677_server(void **state)
{
    (void)state;
    struct scram_secret secret;
    assert_true(scram_secret_parse(slice_str(rfc_secret), &secret));
    struct scram_server *server = scram_server_new(&secret, false, nonce_b, SLICE_EMPTY, false);
    strcpy(server->nonce, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    struct buf out = BUF_INIT;
    assert_int_equal(scram_server_feed(server, SLICE_LITERAL("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), &out, NULL),
                     SCRAM_CONTINUE);
    assert_string_equal(buf_text(&out), "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                        "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    buf_clear(&out);
    struct slice final = SLICE_LITERAL("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                       "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    assert_int_equal(scram_server_feed(server, final, &out, NULL), SCRAM_DONE);
    assert_string_equal(buf_text(&out), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    buf_free(&out);
    scram_server_free(server);
}

static void secrets_read_and_write(void **state)
{
    (void)state;
    struct scram_secret secret, made;
    struct buf out = BUF_INIT;
    assert_true(scram_secret_parse(slice_str(rfc_secret), &secret));
    scram_secret_format(&secret, &out);
    assert_string_equal(buf_text(&out), rfc_secret);
    assert_true(
        scram_secret_make(SLICE_LITERAL("pencil"), secret.salt, secret.salt_len, secret.iterations, &made));
    assert_memory_equal(&made, &secret, sizeof(made));
    assert_true(scram_secret_is_password(&secret, SLICE_LITERAL("pencil")));
    assert_false(scram_secret_is_password(&secret, SLICE_LITERAL("pencils")));
    /* Every cut of it is not a secret. */
    for (size_t len = 0; len < sizeof(rfc_secret) - 1; len++)
        assert_false(scram_secret_parse(slice_make(rfc_secret, len), &made));
    assert_false(scram_secret_parse(SLICE_LITERAL("SCRAM-SHA-256$0:AAAA$AAAA:AAAA"), &made));
    buf_free(&out);
}

/* Runs both machines against each other; what each of them ended with. */
static void converse(struct scram_client *client, struct scram_server *server, enum scram_result *client_end,
                     enum scram_result *server_end, struct error *error)
{
    struct buf a = BUF_INIT, b = BUF_INIT;
    *server_end = SCRAM_CONTINUE;
    *client_end = scram_client_feed(client, SLICE_EMPTY, &a, error);
    while (*client_end == SCRAM_CONTINUE && *server_end == SCRAM_CONTINUE) {
        buf_clear(&b);
        *server_end = scram_server_feed(server, buf_slice(&a), &b, error);
        if (*server_end == SCRAM_CONTINUE || *server_end == SCRAM_DONE) {
            buf_clear(&a);
            *client_end = scram_client_feed(client, buf_slice(&b), &a, error);
        }
    }
    buf_free(&a);
    buf_free(&b);
}

static void pass_through(void **state)
{
    (void)state;
    struct scram_secret secret;
    struct scram_keys keys;
    enum scram_result client_end, server_end;
    make("sesame", &secret);
    /* A client logs in with its password ... */
    struct scram_client *client = scram_client_new(SLICE_LITERAL("sesame"), nonce_a, SLICE_EMPTY);
    struct scram_server *server = scram_server_new(&secret, false, nonce_b, SLICE_EMPTY, false);
    converse(client, server, &client_end, &server_end, NULL);
    assert_int_equal(client_end, SCRAM_DONE);
    assert_int_equal(server_end, SCRAM_DONE);
    assert_true(scram_server_keys(server, &keys));
    scram_client_free(client);
    scram_server_free(server);
    /* ... and what that proved logs in to a server with the same secret, without the password. */
    client = scram_client_new_keys(&keys, nonce_b, SLICE_EMPTY);
    server = scram_server_new(&secret, false, nonce_a, SLICE_EMPTY, false);
    converse(client, server, &client_end, &server_end, NULL);
    assert_int_equal(client_end, SCRAM_DONE);
    assert_int_equal(server_end, SCRAM_DONE);
    scram_client_free(client);
    scram_server_free(server);
    /* Another salt: refused, and said why. */
    struct error error = ERROR_INIT;
    assert_true(scram_secret_make(SLICE_LITERAL("sesame"), (const uint8_t *)"another", 7, 64, &secret));
    client = scram_client_new_keys(&keys, nonce_b, SLICE_EMPTY);
    server = scram_server_new(&secret, false, nonce_a, SLICE_EMPTY, false);
    converse(client, server, &client_end, &server_end, &error);
    assert_int_equal(client_end, SCRAM_REFUSED);
    assert_non_null(strstr(error.message, "another salt or iteration count"));
    scram_client_free(client);
    scram_server_free(server);
}

static void wrong_passwords_and_mocks_are_refused(void **state)
{
    (void)state;
    struct scram_secret secret, again;
    struct error error = ERROR_INIT;
    enum scram_result client_end, server_end;
    struct scram_keys keys;
    make("sesame", &secret);
    for (int is_mock = 0; is_mock < 2; is_mock++) {
        struct scram_client *client = scram_client_new(
            is_mock ? SLICE_LITERAL("sesame") : SLICE_LITERAL("Sesame"), nonce_a, SLICE_EMPTY);
        struct scram_server *server = scram_server_new(&secret, is_mock != 0, nonce_b, SLICE_EMPTY, false);
        converse(client, server, &client_end, &server_end, &error);
        assert_int_equal(server_end, SCRAM_REFUSED);
        assert_string_equal(error.message, "SASL authentication failed");
        assert_string_equal(error.sqlstate, "28P01");
        assert_false(scram_server_keys(server, &keys));
        scram_client_free(client);
        scram_server_free(server);
    }
    const uint8_t process_key[SCRAM_KEY_LEN] = {7};
    assert_true(scram_secret_mock(process_key, SLICE_LITERAL("ghost"), 4096, &secret));
    assert_true(scram_secret_mock(process_key, SLICE_LITERAL("ghost"), 4096, &again));
    assert_memory_equal(&secret, &again, sizeof(secret));
    assert_true(scram_secret_mock(process_key, SLICE_LITERAL("ghosu"), 4096, &again));
    assert_memory_not_equal(secret.salt, again.salt, SCRAM_SALT_LEN);
    uint8_t salt[SCRAM_SALT_LEN];
    assert_true(scram_salt_for_user(process_key, SLICE_LITERAL("ghost"), salt));
    assert_memory_equal(secret.salt, salt, SCRAM_SALT_LEN);
}

static void channel_binding(void **state)
{
    (void)state;
    struct scram_secret secret;
    enum scram_result client_end, server_end;
    struct slice hash = SLICE_LITERAL("hash of the certificate"),
                 other = SLICE_LITERAL("somebody in between");
    make("sesame", &secret);
    struct {
        struct slice client, server;
        bool is_plus;
        enum scram_result end;
    } cases[] = {
        {hash, hash, true, SCRAM_DONE},          {hash, other, true, SCRAM_BROKEN},
        {SLICE_EMPTY, hash, true, SCRAM_BROKEN}, {SLICE_EMPTY, hash, false, SCRAM_DONE},
        {hash, hash, false, SCRAM_BROKEN},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scram_client *client = scram_client_new(SLICE_LITERAL("sesame"), nonce_a, cases[i].client);
        struct scram_server *server =
            scram_server_new(&secret, false, nonce_b, cases[i].server, cases[i].is_plus);
        converse(client, server, &client_end, &server_end, NULL);
        assert_int_equal(server_end, cases[i].end);
        scram_client_free(client);
        scram_server_free(server);
    }
}

static enum scram_result first_fed(const char *text, struct slice binding)
{
    struct scram_secret secret;
    make("x", &secret);
    struct buf out = BUF_INIT;
    struct scram_server *server = scram_server_new(&secret, false, nonce_b, binding, false);
    enum scram_result result = scram_server_feed(server, slice_str(text), &out, NULL);
    if (result != SCRAM_CONTINUE)
        assert_int_equal(scram_server_feed(server, SLICE_LITERAL("n,,n=,r=abc"), &out, NULL), SCRAM_BROKEN);
    scram_server_free(server);
    buf_free(&out);
    return result;
}

static void malformed_first_messages(void **state)
{
    (void)state;
    assert_int_equal(first_fed("n,,n=,r=abc", SLICE_EMPTY), SCRAM_CONTINUE);
    assert_int_equal(first_fed("y,,n=,r=abc", SLICE_EMPTY), SCRAM_CONTINUE);
    assert_int_equal(first_fed("y,,n=,r=abc", SLICE_LITERAL("hash")), SCRAM_BROKEN);
    const char *bad[] = {"",
                         "n",
                         "n,",
                         "n,,",
                         "n,,n=",
                         "n,,n=,r=",
                         "n,,r=abc",
                         "x,,n=,r=ab",
                         "n,a=b,n=,r=c",
                         "n,,m=x,n=,r=abc",
                         "n,,n=,r=a b",
                         "p=tls-unique,,n=,r=abc",
                         "p=tls-server-end-point,,n=,r=abc"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(first_fed(bad[i], SLICE_EMPTY), SCRAM_BROKEN);
}

static void malformed_final_messages(void **state)
{
    (void)state;
    struct scram_secret secret;
    make("x", &secret);
    const char *bad[] = {
        "",
        "c=biws",
        "c=biws,r=abcNONCE",
        "c=biws,r=abcNONCE,p=AAAA",
        "c=biws,r=abcNONCE,p=!",
        "c=eSws,r=abcNONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "c=biws,r=abcOTHER,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "c=biws,r=abcNONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,x=y",
        "c=biws,r=abcNONCE,x,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf out = BUF_INIT;
        struct scram_server *server = scram_server_new(&secret, false, nonce_b, SLICE_EMPTY, false);
        strcpy(server->nonce, "NONCE");
        assert_int_equal(scram_server_feed(server, SLICE_LITERAL("n,,n=,r=abc"), &out, NULL), SCRAM_CONTINUE);
        assert_int_equal(scram_server_feed(server, slice_str(bad[i]), &out, NULL), SCRAM_BROKEN);
        scram_server_free(server);
        buf_free(&out);
    }
}

static void hostile_servers(void **state)
{
    (void)state;
    const char *bad[] = {"",
                         "r=NONCE,s=AAAA,i=4096",        /* adds nothing of its own */
                         "r=other,s=AAAA,i=4096",        /* not ours */
                         "r=NONCEx,s=,i=4096",           /* no salt */
                         "r=NONCEx,s=AAAA,i=0",          /* no work */
                         "r=NONCEx,s=AAAA,i=2000000000", /* too much work */
                         "r=NONCEx,s=AAAA,i=99999999999999999999",
                         "r=NONCEx,s=AAAA,i=1x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf out = BUF_INIT;
        struct scram_client *client = scram_client_new(SLICE_LITERAL("x"), nonce_a, SLICE_EMPTY);
        strcpy(client->nonce, "NONCE");
        assert_int_equal(scram_client_feed(client, SLICE_EMPTY, &out, NULL), SCRAM_CONTINUE);
        assert_int_equal(scram_client_feed(client, slice_str(bad[i]), &out, NULL), SCRAM_BROKEN);
        scram_client_free(client);
        buf_free(&out);
    }
    /* One that does not know the password cannot sign. */
    struct buf out = BUF_INIT;
    struct error error = ERROR_INIT;
    struct scram_client *client = scram_client_new(SLICE_LITERAL("x"), nonce_a, SLICE_EMPTY);
    strcpy(client->nonce, "NONCE");
    scram_client_feed(client, SLICE_EMPTY, &out, NULL);
    scram_client_feed(client, SLICE_LITERAL("r=NONCEx,s=AAAA,i=1"), &out, NULL);
    assert_int_equal(scram_client_feed(client,
                                       SLICE_LITERAL("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), &out,
                                       &error),
                     SCRAM_REFUSED);
    scram_client_free(client);
    buf_free(&out);
}

static void passwords_are_prepared(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    /* RFC 4013: soft hyphen maps to nothing, no-break space to space, the roman numeral to letters. */
    scram_prepare_password(SLICE_LITERAL("I\xC2\xADX\xC2\xA0\xE2\x85\xA8"), &out);
    assert_string_equal(buf_text(&out), "IX IX");
    buf_clear(&out);
    scram_prepare_password(SLICE_LITERAL("not \xFF utf8"), &out); /* as it is */
    assert_string_equal(buf_text(&out), "not \xFF utf8");
    buf_clear(&out);
    scram_prepare_password(SLICE_LITERAL("\xF0\x9F\x98\x80\xE2\x85\xA8"), &out); /* not assigned: as it is */
    assert_string_equal(buf_text(&out), "\xF0\x9F\x98\x80\xE2\x85\xA8");
    buf_clear(&out);
    scram_prepare_password(SLICE_LITERAL("\xC2\xAD"), &out); /* would vanish: as it is */
    assert_string_equal(buf_text(&out), "\xC2\xAD");
    buf_wipe(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc_7677_client),
        cmocka_unit_test(rfc_7677_server),
        cmocka_unit_test(secrets_read_and_write),
        cmocka_unit_test(pass_through),
        cmocka_unit_test(wrong_passwords_and_mocks_are_refused),
        cmocka_unit_test(channel_binding),
        cmocka_unit_test(malformed_first_messages),
        cmocka_unit_test(malformed_final_messages),
        cmocka_unit_test(hostile_servers),
        cmocka_unit_test(passwords_are_prepared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
