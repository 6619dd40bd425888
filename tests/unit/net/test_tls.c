/* tls: contexts and what is wrong with them; two connections that talk; proofs of either side; ends in the
 * middle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "certificates.h"
#include "pump.h"
#include "weir/net/conn.h"
#include "weir/net/tls.h"
#include "weir/util/buf.h"

static struct worker *worker;

static struct loop *loop(void)
{
    return worker_loop(worker);
}

/* ---- contexts ---- */

static struct tls_options accepting(enum ssl_mode mode)
{
    return (struct tls_options){.is_accepting = true,
                                .mode = mode,
                                .cert_file = certificate("server.crt"),
                                .key_file = certificate("server.key")};
}

static struct tls_context *make(const struct tls_options *options)
{
    struct tls_fault fault;
    struct error error = ERROR_INIT;
    struct tls_context *context = tls_context_new(options, &fault, &error);
    if (context == NULL)
        fail_msg("%s: %s", fault.key != NULL ? fault.key : "?", error.message);
    return context;
}

static void refuse(const struct tls_options *options, const char *key, bool is_half_a_pair, const char *words)
{
    struct tls_fault fault;
    struct error error = ERROR_INIT;
    struct tls_context *context = tls_context_new(options, &fault, &error);
    assert_null(context);
    assert_string_equal(fault.key, key);
    assert_int_equal(fault.is_half_a_pair, is_half_a_pair);
    if (strstr(error.message, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.message, words);
}

static void bad_files_are_refused_by_name(void **state)
{
    (void)state;
    struct tls_options o = accepting(SSL_MODE_REQUIRE);
    o.cert_file = "/nowhere/at.all";
    refuse(&o, "client_tls_cert_file", false, "No such file");
    o = accepting(SSL_MODE_REQUIRE);
    o.key_file = "/nowhere/at.all";
    refuse(&o, "client_tls_key_file", false, "No such file");
    o.key_file = certificate("client.key");
    refuse(&o, "client_tls_key_file", true, "does not belong to the certificate");
    o.key_file = certificate("locked.key");
    refuse(&o, "client_tls_key_file", false, "passphrase");
    o.key_file = certificate("server.crt");
    refuse(&o, "client_tls_key_file", false, "not a private key");
    o.key_file = "";
    refuse(&o, "client_tls_key_file", true, "together");
    o.cert_file = "";
    refuse(&o, "client_tls_cert_file", false, "set both");
    o = accepting(SSL_MODE_REQUIRE);
    o.ca_file = certificate("server.key");
    refuse(&o, "client_tls_ca_file", false, "no certificates");
    o = accepting(SSL_MODE_VERIFY_CA);
    refuse(&o, "client_tls_ca_file", false, "needed");
    o = (struct tls_options){.mode = SSL_MODE_REQUIRE, .key_file = certificate("client.key")};
    refuse(&o, "server_tls_cert_file", true, "together");
}

static void bad_words_are_refused_by_name(void **state)
{
    (void)state;
    struct tls_options o = accepting(SSL_MODE_REQUIRE);
    o.protocols = "tlsv1.2,sslv3";
    refuse(&o, "client_tls_protocols", false, "\"sslv3\"");
    o.protocols = "tlsv1.2,!tlsv1.2";
    refuse(&o, "client_tls_protocols", false, "no version is left");
    o.protocols = "";
    o.ciphers = "NOSUCHCIPHER";
    refuse(&o, "client_tls_ciphers", false, "no cipher");
    o.ciphers = "";
    o.tls13_ciphers = "NOSUCHCIPHER";
    refuse(&o, "client_tls13_ciphers", false, "TLS 1.3");
    o.tls13_ciphers = NULL;
    o.dheparams = "4096";
    refuse(&o, "client_tls_dheparams", false, "legacy");
    o.dheparams = NULL;
    o.ecdhcurve = "nosuchcurve";
    refuse(&o, "client_tls_ecdhcurve", false, "no such curve");
    o = (struct tls_options){.mode = SSL_MODE_REQUIRE, .ciphers = "NOSUCHCIPHER"};
    refuse(&o, "server_tls_ciphers", false, "no cipher");
}

static void all_words_of_the_documentation_are_taken(void **state)
{
    (void)state;
    static const char *const protocols[] = {"all",     "secure",          "legacy",
                                            "tlsv1.0", "tlsv1.1,tlsv1.3", "!tlsv1.0"};
    static const char *const ciphers[] = {"default", "secure", "fast", "normal", "all", "HIGH:!aNULL"};
    static const char *const dh[] = {"auto", "none", "legacy"};
    static const char *const curves[] = {"auto", "none", "prime256v1", "X25519:prime256v1"};
    struct tls_options o = accepting(SSL_MODE_ALLOW);
    for (size_t i = 0; i < 6; i++) {
        o.protocols = protocols[i];
        o.ciphers = ciphers[i];
        o.dheparams = dh[i % 3];
        o.ecdhcurve = curves[i % 4];
        tls_context_unref(make(&o));
    }
}

/* ---- two connections that talk ---- */

struct side {
    struct conn *conn;
    struct buf seen;
    size_t most; /* of one call */
    int secured, closed, error, drained;
    char problem[160];
    bool frees_on_data;
};

static size_t on_data(void *owner, struct slice data)
{
    struct side *side = owner;
    size_t taken = data.len < side->most ? data.len : side->most;
    buf_append(&side->seen, data.data, taken);
    if (side->frees_on_data) {
        conn_free(side->conn);
        side->conn = NULL;
    }
    return taken;
}

static void on_secured(void *owner)
{
    ((struct side *)owner)->secured++;
}

static void on_drained(void *owner)
{
    ((struct side *)owner)->drained++;
}

static void on_closed(void *owner, int error)
{
    struct side *side = owner;
    side->closed++;
    side->error = error;
    snprintf(side->problem, sizeof(side->problem), "%s", conn_error_text(side->conn, error));
}

static const struct conn_handler handler = {
    .on_data = on_data, .on_secured = on_secured, .on_drained = on_drained, .on_closed = on_closed};

struct talk {
    struct side server, client;
};

static void begin(struct talk *talk, struct tls_context *server, struct tls_context *client, const char *host)
{
    int fds[2];
    *talk = (struct talk){.server = {.most = SIZE_MAX}, .client = {.most = SIZE_MAX}};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    talk->server.conn = conn_new(worker, fds[0], &handler, &talk->server);
    talk->client.conn = conn_new(worker, fds[1], &handler, &talk->client);
    conn_start_tls(talk->server.conn, server, NULL, SLICE_EMPTY);
    conn_start_tls(talk->client.conn, client, host, SLICE_EMPTY);
    tls_context_unref(server);
    tls_context_unref(client);
}

static void begin_with(struct talk *talk, const struct tls_options *server, const struct tls_options *client,
                       const char *host)
{
    begin(talk, make(server), make(client), host);
}

static void finish(struct talk *talk)
{
    conn_free(talk->server.conn);
    conn_free(talk->client.conn);
    buf_free(&talk->server.seen);
    buf_free(&talk->client.seen);
}

static void shake(struct talk *talk)
{
    pump_until(loop(), talk->server.secured == 1 && talk->client.secured == 1);
}

static void begin_usual(struct talk *talk)
{
    struct tls_options server = accepting(SSL_MODE_REQUIRE);
    struct tls_options client = {.mode = SSL_MODE_VERIFY_FULL, .ca_file = certificate("ca.crt")};
    begin_with(talk, &server, &client, "localhost");
    shake(talk);
}

static void say(struct side *side, const char *text)
{
    conn_write(side->conn, text, strlen(text));
}

static bool has_seen(const struct side *side, const char *text)
{
    return side->seen.len == strlen(text) && memcmp(side->seen.data, text, side->seen.len) == 0;
}

static void words_go_both_ways(void **state)
{
    (void)state;
    struct talk talk;
    begin_usual(&talk);
    say(&talk.client, "question");
    pump_until(loop(), has_seen(&talk.server, "question"));
    struct iovec parts[] = {{(void *)(uintptr_t) "an", 2}, {NULL, 0}, {(void *)(uintptr_t) "swer", 4}};
    conn_writev(talk.server.conn, parts, 3);
    pump_until(loop(), has_seen(&talk.client, "answer"));
    char text[TLS_TEXT_BYTES], other[TLS_TEXT_BYTES];
    tls_describe(conn_tls(talk.client.conn), text);
    tls_describe(conn_tls(talk.server.conn), other);
    assert_string_equal(text, other);
    assert_memory_equal(text, "TLSv1.3/TLS_", 12);
    assert_true(tls_is_postgresql(conn_tls(talk.server.conn)));
    assert_string_equal(tls_host(conn_tls(talk.client.conn)), "localhost");
    finish(&talk);
}

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 31 + at / 251);
}

/* Many pieces of odd sizes against a reader that stops and goes. */
static void back_pressure_loses_nothing(void **state)
{
    (void)state;
    enum { TOTAL = 3 * 1000 * 1000 };
    struct talk talk;
    begin_usual(&talk);
    uint8_t *bytes = malloc(TOTAL);
    for (size_t i = 0; i < TOTAL; i++)
        bytes[i] = pattern(i);
    conn_set_reading(talk.client.conn, false);
    size_t sent = 0;
    for (size_t step = 1; sent < TOTAL; step = step * 7 % 50021) {
        size_t left = TOTAL - sent, len = step < left ? step : left;
        struct iovec parts[] = {{bytes + sent, len / 3}, {bytes + sent + len / 3, len - len / 3}};
        conn_writev(talk.server.conn, parts, 2);
        sent += len;
    }
    assert_true(conn_is_congested(talk.server.conn));
    talk.client.most = 40000;
    for (int turn = 0; talk.client.seen.len < TOTAL && turn < 200000; turn++) {
        conn_set_reading(talk.client.conn, turn % 3 != 0);
        loop_turn(loop());
        conn_kick(talk.client.conn);
    }
    conn_set_reading(talk.client.conn, true);
    pump_until(loop(), talk.client.seen.len == TOTAL);
    assert_memory_equal(talk.client.seen.data, bytes, TOTAL);
    assert_int_equal(talk.server.drained, 1);
    assert_int_equal(conn_output_pending(talk.server.conn), 0);
    free(bytes);
    finish(&talk);
}

/* One record is more than the reader takes at once: the rest has left the socket, which stays silent. */
static void what_is_left_inside_is_told_when_reading_goes_on(void **state)
{
    (void)state;
    struct talk talk;
    begin_usual(&talk);
    enum { FIRST = CONN_INPUT_LIMIT - 5, SECOND = 16000, TOTAL = FIRST + SECOND };
    uint8_t *bytes = calloc(1, TOTAL);
    talk.client.most = 0;
    conn_write(talk.server.conn, bytes, FIRST);
    pump_until(loop(), conn_input_pending(talk.client.conn) == FIRST);
    conn_write(talk.server.conn, bytes, SECOND);
    pump_rounds(loop());
    assert_int_equal(conn_input_pending(talk.client.conn), CONN_INPUT_LIMIT);
    talk.client.most = SIZE_MAX;
    conn_kick(talk.client.conn);
    pump_until(loop(), talk.client.seen.len == TOTAL);
    conn_set_reading(talk.client.conn, false);
    say(&talk.server, "more");
    pump_rounds(loop());
    assert_int_equal(talk.client.seen.len, TOTAL);
    conn_set_reading(talk.client.conn, true);
    pump_until(loop(), talk.client.seen.len == TOTAL + 4);
    free(bytes);
    finish(&talk);
}

static void an_idle_connection_has_no_news(void **state)
{
    (void)state;
    struct talk talk;
    begin_usual(&talk);
    say(&talk.client, "x");
    pump_until(loop(), has_seen(&talk.server, "x"));
    pump_rounds(loop());
    assert_false(conn_has_news(talk.client.conn));
    assert_false(conn_has_news(talk.server.conn));
    say(&talk.server, "y");
    assert_true(conn_has_news(talk.client.conn));
    finish(&talk);
}

static void an_end_is_said_and_comes_after_the_last_bytes(void **state)
{
    (void)state;
    struct talk talk;
    begin_usual(&talk);
    say(&talk.server, "last words");
    conn_close_after_output(talk.server.conn);
    talk.server.conn = NULL;
    pump_until(loop(), talk.client.closed == 1);
    assert_int_equal(talk.client.error, 0);
    assert_true(has_seen(&talk.client, "last words"));
    finish(&talk);
}

static void freeing_inside_a_callback_is_fine(void **state)
{
    (void)state;
    struct talk talk;
    begin_usual(&talk);
    talk.server.frees_on_data = true;
    say(&talk.client, "go");
    pump_until(loop(), talk.server.conn == NULL && talk.client.closed == 1);
    finish(&talk);
}

static void a_connection_moves_between_workers(void **state)
{
    (void)state;
    struct talk talk;
    begin_usual(&talk);
    struct worker *other = worker_new(1);
    conn_detach(talk.server.conn);
    say(&talk.client, "to the new one");
    conn_attach(talk.server.conn, other);
    pump_until(worker_loop(other), has_seen(&talk.server, "to the new one"));
    conn_free(talk.server.conn);
    talk.server.conn = NULL;
    worker_free(other);
    finish(&talk);
}

/* ---- proofs ---- */

static void expect_refusal(const struct tls_options *server, const struct tls_options *client,
                           const char *host, bool by_server, const char *words)
{
    struct talk talk;
    begin_with(&talk, server, client, host);
    struct side *judge = by_server ? &talk.server : &talk.client;
    pump_until(loop(), judge->closed == 1);
    assert_int_equal(judge->error, EPROTO);
    assert_int_equal(judge->secured, 0);
    if (strstr(judge->problem, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", judge->problem, words);
    finish(&talk);
}

static void expect_peace(const struct tls_options *server, const struct tls_options *client, const char *host)
{
    struct talk talk;
    begin_with(&talk, server, client, host);
    shake(&talk);
    finish(&talk);
}

static void servers_prove_who_they_are(void **state)
{
    (void)state;
    struct tls_options server = accepting(SSL_MODE_REQUIRE);
    struct tls_options client = {.mode = SSL_MODE_VERIFY_FULL, .ca_file = certificate("ca.crt")};
    expect_peace(&server, &client, "localhost");
    expect_peace(&server, &client, "127.0.0.1");
    expect_refusal(&server, &client, "127.0.0.2", false, "certificate verify failed: IP address mismatch");
    expect_refusal(&server, &client, "db.example", false, "certificate verify failed: hostname mismatch");
    client.mode = SSL_MODE_VERIFY_CA;
    expect_peace(&server, &client, "db.example");
    client.ca_file = certificate("other.crt");
    expect_refusal(&server, &client, "localhost", false, "certificate verify failed");
    client.ca_file = NULL; /* the system's authorities have not signed it */
    expect_refusal(&server, &client, "localhost", false, "certificate verify failed");
    client.mode = SSL_MODE_REQUIRE;
    expect_peace(&server, &client, "db.example");
}

static void clients_prove_who_they_are(void **state)
{
    (void)state;
    struct tls_options server = accepting(SSL_MODE_VERIFY_CA);
    server.ca_file = certificate("ca.crt");
    struct tls_options client = {.mode = SSL_MODE_REQUIRE};
    expect_refusal(&server, &client, "localhost", true, "did not return a certificate");
    client.cert_file = certificate("stranger.crt");
    client.key_file = certificate("stranger.key");
    expect_refusal(&server, &client, "localhost", true, "certificate verify failed");
    client.cert_file = certificate("client.crt");
    client.key_file = certificate("client.key");
    expect_peace(&server, &client, "localhost");
}

/* The name that a client has proven by its certificate, "" for none. */
static void expect_name(const char *certificate_name, const char *ca, const char *expected)
{
    struct talk talk;
    char crt[100] = "", key[100] = "", name[TLS_NAME_BYTES] = "";
    struct tls_options server = accepting(SSL_MODE_REQUIRE), client = {.mode = SSL_MODE_REQUIRE};
    server.ca_file = ca;
    if (certificate_name != NULL) {
        snprintf(crt, sizeof(crt), "%s/%s.crt", certificates_folder, certificate_name);
        snprintf(key, sizeof(key), "%s/%s.key", certificates_folder, certificate_name);
        client.cert_file = crt;
        client.key_file = key;
    }
    begin_with(&talk, &server, &client, "localhost");
    shake(&talk);
    bool is_proven = tls_peer_name(conn_tls(talk.server.conn), name);
    assert_int_equal(is_proven, expected[0] != '\0');
    assert_string_equal(name, expected);
    finish(&talk);
}

static void only_a_signed_name_is_a_name(void **state)
{
    (void)state;
    expect_name("client", certificate("ca.crt"), "app");
    expect_name("stranger", certificate("ca.crt"), "");
    expect_name("client", NULL, "");
    expect_name(NULL, certificate("ca.crt"), "");
}

static void both_sides_bind_to_the_same_certificate(void **state)
{
    (void)state;
    struct talk talk;
    uint8_t ours[TLS_BINDING_BYTES], theirs[TLS_BINDING_BYTES];
    begin_usual(&talk);
    assert_int_equal(tls_binding(conn_tls(talk.server.conn), ours), 32);
    assert_int_equal(tls_binding(conn_tls(talk.client.conn), theirs), 32);
    assert_memory_equal(ours, theirs, 32);
    finish(&talk);
}

static void versions_are_kept_to(void **state)
{
    (void)state;
    struct tls_options server = accepting(SSL_MODE_REQUIRE), client = {.mode = SSL_MODE_REQUIRE};
    server.protocols = "tlsv1.2";
    struct talk talk;
    begin_with(&talk, &server, &client, "localhost");
    shake(&talk);
    char text[TLS_TEXT_BYTES];
    tls_describe(conn_tls(talk.server.conn), text);
    assert_memory_equal(text, "TLSv1.2/", 8);
    finish(&talk);
    client.protocols = "tlsv1.3";
    expect_refusal(&server, &client, "localhost", true, "unsupported protocol");
}

static void running_connections_keep_their_context(void **state)
{
    (void)state;
    struct tls_options server = accepting(SSL_MODE_REQUIRE), client = {.mode = SSL_MODE_REQUIRE};
    struct tls_slot slot;
    struct talk talk;
    tls_slot_init(&slot);
    assert_null(tls_slot_get(&slot));
    tls_slot_set(&slot, make(&server));
    begin(&talk, tls_slot_get(&slot), make(&client), "localhost");
    server.mode = SSL_MODE_ALLOW;
    tls_slot_set(&slot, make(&server));
    shake(&talk);
    say(&talk.client, "still here");
    pump_until(loop(), has_seen(&talk.server, "still here"));
    assert_int_equal(tls_context_mode(tls_context_of(conn_tls(talk.server.conn))), SSL_MODE_REQUIRE);
    struct tls_context *fresh = tls_slot_get(&slot);
    assert_int_equal(tls_context_mode(fresh), SSL_MODE_ALLOW);
    tls_context_unref(fresh);
    tls_slot_destroy(&slot);
    finish(&talk);
}

/* ---- ends and nonsense in the middle ---- */

/* What a client says first. */
static size_t hello(uint8_t *out, size_t room)
{
    int fds[2];
    struct tls_options options = {.mode = SSL_MODE_REQUIRE};
    struct tls_context *context = make(&options);
    struct side side = {.most = SIZE_MAX};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    side.conn = conn_new(worker, fds[0], &handler, &side);
    conn_start_tls(side.conn, context, "localhost", SLICE_EMPTY);
    tls_context_unref(context);
    pump_rounds(loop());
    ssize_t got = read(fds[1], out, room);
    conn_free(side.conn);
    close(fds[1]);
    assert_true(got > 100);
    return (size_t)got;
}

/* `ahead` of it have been read before TLS began; then the peer closes or resets. */
static void meet(struct tls_context *context, const uint8_t *bytes, size_t len, size_t ahead, int expected)
{
    int fds[2];
    struct side side = {.most = SIZE_MAX};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    side.conn = conn_new(worker, fds[0], &handler, &side);
    conn_start_tls(side.conn, context, NULL, slice_make(bytes, ahead));
    if (len > ahead)
        assert_int_equal(write(fds[1], bytes + ahead, len - ahead), (ssize_t)(len - ahead));
    shutdown(fds[1], SHUT_WR);
    pump_until(loop(), side.closed == 1);
    assert_int_equal(side.error, expected);
    assert_int_equal(side.secured, 0);
    assert_int_equal(side.seen.len, 0);
    conn_free(side.conn);
    close(fds[1]);
}

static void a_handshake_may_end_at_every_byte(void **state)
{
    (void)state;
    uint8_t bytes[2048];
    struct tls_options options = accepting(SSL_MODE_REQUIRE);
    struct tls_context *context = make(&options);
    size_t len = hello(bytes, sizeof(bytes));
    for (size_t cut = 0; cut <= len; cut++) {
        meet(context, bytes, cut, 0, 0);
        meet(context, bytes, cut, cut < 7 ? cut : cut / 2, 0);
    }
    memset(bytes, 'x', sizeof(bytes));
    meet(context, bytes, sizeof(bytes), 0, EPROTO);
    meet(context, bytes, sizeof(bytes), sizeof(bytes), EPROTO);
    tls_context_unref(context);
}

static void a_forged_record_ends_the_connection(void **state)
{
    (void)state;
    struct talk talk;
    begin_usual(&talk);
    static const uint8_t forged[] = {0x17, 3,  3,  0,  20, 1,  2,  3,  4,  5,  6,  7, 8,
                                     9,    10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
    assert_int_equal(write(conn_fd(talk.client.conn), forged, sizeof(forged)), (ssize_t)sizeof(forged));
    pump_until(loop(), talk.server.closed == 1);
    assert_int_equal(talk.server.error, EPROTO);
    assert_int_equal(talk.server.seen.len, 0);
    finish(&talk);
}

static void words_before_the_handshake_are_not_sent_in_the_clear(void **state)
{
    (void)state;
    int fds[2];
    struct tls_options options = accepting(SSL_MODE_REQUIRE);
    struct tls_context *context = make(&options);
    struct side side = {.most = SIZE_MAX};
    char seen[64];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    side.conn = conn_new(worker, fds[0], &handler, &side);
    conn_start_tls(side.conn, context, NULL, SLICE_EMPTY);
    tls_context_unref(context);
    say(&side, "secret");
    conn_close_after_output(side.conn);
    pump_rounds(loop());
    assert_int_equal(read(fds[1], seen, sizeof(seen)), 0);
    close(fds[1]);
}

static int set_up(void **state)
{
    worker = worker_new(0);
    signal(SIGPIPE, SIG_IGN);
    return worker == NULL ? -1 : certificates_make(state);
}

static int tear_down(void **state)
{
    conn_end_lingering(worker);
    worker_free(worker);
    return certificates_remove(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files_are_refused_by_name),
        cmocka_unit_test(bad_words_are_refused_by_name),
        cmocka_unit_test(all_words_of_the_documentation_are_taken),
        cmocka_unit_test(words_go_both_ways),
        cmocka_unit_test(back_pressure_loses_nothing),
        cmocka_unit_test(what_is_left_inside_is_told_when_reading_goes_on),
        cmocka_unit_test(an_idle_connection_has_no_news),
        cmocka_unit_test(an_end_is_said_and_comes_after_the_last_bytes),
        cmocka_unit_test(freeing_inside_a_callback_is_fine),
        cmocka_unit_test(a_connection_moves_between_workers),
        cmocka_unit_test(servers_prove_who_they_are),
        cmocka_unit_test(clients_prove_who_they_are),
        cmocka_unit_test(only_a_signed_name_is_a_name),
        cmocka_unit_test(both_sides_bind_to_the_same_certificate),
        cmocka_unit_test(versions_are_kept_to),
        cmocka_unit_test(running_connections_keep_their_context),
        cmocka_unit_test(a_handshake_may_end_at_every_byte),
        cmocka_unit_test(a_forged_record_ends_the_connection),
        cmocka_unit_test(words_before_the_handshake_are_not_sent_in_the_clear),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
