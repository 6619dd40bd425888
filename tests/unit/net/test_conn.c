/* conn: partial reads, back-pressure, freeing from inside, the last output, failed writes, moving between
 * workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "pump.h"
#include "weir/net/conn.h"
#include "weir/util/buf.h"

static struct worker *worker;

/* One end of a socket pair as a connection, the other (`peer`) as a plain descriptor. */
struct fixture {
    struct conn *conn;
    int peer;
    struct buf seen;  /* all bytes taken */
    size_t take_most; /* of one call; SIZE_MAX: everything */
    size_t last_offered;
    int calls, drained, closed, connected, close_error;
    bool frees_on_data, frees_on_closed, frees_on_drained;
};

static size_t on_data(void *owner, struct slice data)
{
    struct fixture *f = owner;
    f->calls++;
    f->last_offered = data.len;
    size_t taken = data.len < f->take_most ? data.len : f->take_most;
    buf_append(&f->seen, data.data, taken);
    if (f->frees_on_data) {
        conn_free(f->conn);
        assert_false(conn_is_open(f->conn));
        f->conn = NULL;
    }
    return taken;
}

static void on_connected(void *owner)
{
    ((struct fixture *)owner)->connected++;
}

static void on_drained(void *owner)
{
    struct fixture *f = owner;
    f->drained++;
    if (f->frees_on_drained) {
        conn_free(f->conn);
        f->conn = NULL;
    }
}

static void on_closed(void *owner, int error)
{
    struct fixture *f = owner;
    f->closed++;
    f->close_error = error;
    if (f->frees_on_closed) {
        conn_free(f->conn);
        f->conn = NULL;
    }
}

static const struct conn_handler handler = {
    .on_data = on_data, .on_connected = on_connected, .on_drained = on_drained, .on_closed = on_closed};

static int make_pair(int *peer)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    *peer = fds[1];
    return fds[0];
}

static void open_fixture(struct fixture *f)
{
    *f = (struct fixture){.take_most = SIZE_MAX};
    int fd = make_pair(&f->peer);
    f->conn = conn_new(worker, fd, &handler, f);
    assert_non_null(f->conn);
}

static void close_fixture(struct fixture *f)
{
    conn_free(f->conn);
    if (f->peer >= 0)
        close(f->peer);
    buf_free(&f->seen);
}

static struct loop *loop(void)
{
    return worker_loop(worker);
}

static void say(struct fixture *f, const char *text)
{
    assert_int_equal(write(f->peer, text, strlen(text)), (ssize_t)strlen(text));
}

/* Reads everything that is there at the peer; counts it, and checks the pattern of `fill`. */
static size_t swallow(int fd, size_t already)
{
    uint8_t bytes[8192];
    ssize_t got;
    size_t total = already;
    while ((got = read(fd, bytes, sizeof(bytes))) > 0) {
        for (ssize_t i = 0; i < got; i++)
            assert_int_equal(bytes[i], (uint8_t)((total + (size_t)i) * 31));
        total += (size_t)got;
    }
    return total;
}

static uint8_t *fill(size_t len)
{
    uint8_t *bytes = malloc(len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 31);
    return bytes;
}

static int set_up(void **state)
{
    (void)state;
    worker = worker_new(0);
    return worker == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    conn_end_lingering(worker);
    worker_free(worker);
    return 0;
}

static void what_is_not_taken_is_given_again_with_the_rest(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    f.take_most = 0;
    say(&f, "abc");
    pump_until(loop(), f.calls == 1);
    assert_int_equal(conn_input_pending(f.conn), 3);
    pump_rounds(loop());
    assert_int_equal(f.calls, 1); /* not offered again before there is more */
    f.take_most = 4;
    say(&f, "def");
    pump_until(loop(), f.calls == 2);
    assert_int_equal(f.last_offered, 6);
    assert_int_equal(conn_input_pending(f.conn), 2);
    f.take_most = SIZE_MAX;
    conn_kick(f.conn);
    assert_int_equal(f.calls, 3);
    assert_string_equal(buf_text(&f.seen), "abcdef");
    assert_int_equal(conn_input_pending(f.conn), 0);
    conn_kick(f.conn); /* nothing kept: nothing said */
    assert_int_equal(f.calls, 3);
    close_fixture(&f);
}

static void input_is_bounded_and_goes_on_when_there_is_room(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    f.take_most = 0;
    uint8_t *bytes = fill(1 << 20);
    size_t sent = 0;
    for (int i = 0; i < 200; i++) {
        ssize_t wrote = write(f.peer, bytes + sent, (1 << 20) - sent);
        sent += wrote > 0 ? (size_t)wrote : 0;
        pump_rounds(loop());
        if (wrote <= 0)
            break;
    }
    assert_true(conn_input_pending(f.conn) <= CONN_INPUT_LIMIT);
    assert_true(sent < 1 << 20); /* the peer is held up */
    int calls = f.calls;
    pump_rounds(loop());
    assert_int_equal(f.calls, calls); /* and nobody spins */
    conn_set_input_limit(f.conn, 2 * CONN_INPUT_LIMIT);
    pump_until(loop(), f.calls > calls);
    assert_true(conn_input_pending(f.conn) > CONN_INPUT_LIMIT);
    assert_true(conn_input_pending(f.conn) <= 2 * CONN_INPUT_LIMIT);
    f.take_most = SIZE_MAX;
    conn_kick(f.conn);
    pump_until(loop(), f.seen.len == sent);
    assert_memory_equal(f.seen.data, bytes, sent);
    free(bytes);
    close_fixture(&f);
}

/* Waits for a long message to be there in full, as the layers above do, and takes it. */
static size_t on_long(void *owner, struct slice data)
{
    struct fixture *f = owner;
    f->calls++;
    if (data.len >= f->take_most)
        return data.len;
    if (f->take_most != SIZE_MAX)
        conn_set_input_limit(f->conn, f->take_most);
    return 0;
}

static void a_wider_limit_is_for_one_message(void **state)
{
    (void)state;
    static const struct conn_handler waits = {.on_data = on_long, .on_closed = on_closed};
    struct fixture f;
    open_fixture(&f);
    conn_set_handler(f.conn, &waits, &f);
    uint8_t *bytes = fill(4 * CONN_INPUT_LIMIT);
    f.take_most = 4 * CONN_INPUT_LIMIT;
    for (size_t sent = 0; sent < f.take_most;) {
        ssize_t wrote = write(f.peer, bytes + sent, f.take_most - sent);
        sent += wrote > 0 ? (size_t)wrote : 0;
        pump_rounds(loop());
    }
    pump_until(loop(), conn_input_pending(f.conn) == 0);
    f.take_most = SIZE_MAX;
    ssize_t wrote;
    while ((wrote = write(f.peer, bytes, 4 * CONN_INPUT_LIMIT)) > 0)
        pump_rounds(loop());
    assert_true(conn_input_pending(f.conn) <= CONN_INPUT_LIMIT);
    free(bytes);
    close_fixture(&f);
}

static void reading_can_be_switched_off(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    conn_set_reading(f.conn, false);
    assert_false(conn_is_reading(f.conn));
    say(&f, "x");
    pump_rounds(loop());
    assert_int_equal(f.calls, 0);
    assert_true(conn_has_news(f.conn));
    conn_set_reading(f.conn, true);
    pump_until(loop(), f.calls == 1);
    assert_false(conn_has_news(f.conn));
    close_fixture(&f);
}

static void output_is_kept_in_order_and_its_ebb_is_told(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    enum { TOTAL = 3 << 20 };
    uint8_t *bytes = fill(TOTAL);
    size_t half = TOTAL / 2;
    conn_write(f.conn, bytes, half);
    assert_true(conn_is_congested(f.conn));
    struct iovec parts[3] = {{bytes + half, 1}, {bytes + half + 1, 0}, {bytes + half + 1, half - 1}};
    conn_writev(f.conn, parts, 3);
    size_t got = 0;
    while (f.drained == 0) {
        got = swallow(f.peer, got);
        loop_turn(loop());
    }
    assert_true(conn_output_pending(f.conn) <= CONN_OUTPUT_LOW);
    pump_until(loop(), (got = swallow(f.peer, got)) == TOTAL);
    assert_int_equal(f.drained, 1);
    assert_int_equal(conn_output_pending(f.conn), 0);
    conn_write(f.conn, bytes, 10); /* below the mark: no ebb to tell of */
    pump_rounds(loop());
    assert_int_equal(f.drained, 1);
    free(bytes);
    close_fixture(&f);
}

static void the_end_is_told_once_with_its_reason(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    say(&f, "last words");
    close(f.peer);
    f.peer = -1;
    pump_until(loop(), f.closed == 1);
    assert_int_equal(f.close_error, 0);
    assert_string_equal(buf_text(&f.seen), "last words");
    assert_false(conn_is_open(f.conn));
    conn_write(f.conn, "x", 1); /* harmless */
    pump_rounds(loop());
    assert_int_equal(f.closed, 1);
    close_fixture(&f);
}

static void may_be_freed_inside_any_callback(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    f.frees_on_data = true;
    say(&f, "x");
    pump_until(loop(), f.calls == 1);
    assert_null(f.conn);
    close_fixture(&f);

    open_fixture(&f);
    f.take_most = 0;
    say(&f, "x");
    pump_until(loop(), f.calls == 1);
    f.frees_on_data = true;
    conn_kick(f.conn); /* from the kept input */
    assert_null(f.conn);
    close_fixture(&f);

    open_fixture(&f);
    f.frees_on_closed = true;
    shutdown(f.peer, SHUT_WR);
    pump_until(loop(), f.closed == 1);
    assert_null(f.conn);
    close_fixture(&f);

    open_fixture(&f);
    f.frees_on_drained = true;
    uint8_t *bytes = fill(1 << 20);
    conn_write(f.conn, bytes, 1 << 20);
    size_t got = 0;
    pump_until(loop(), (got = swallow(f.peer, got), f.drained == 1));
    assert_null(f.conn);
    free(bytes);
    close_fixture(&f);
}

static void a_failed_write_is_told_later_and_not_from_inside(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    say(&f, "why");
    close(f.peer);
    f.peer = -1;
    conn_write(f.conn, "x", 1);
    assert_int_equal(f.closed, 0);
    pump_until(loop(), f.closed == 1);
    assert_string_equal(buf_text(&f.seen), "why"); /* what the peer said before it went */
    close_fixture(&f);
}

static void a_failed_write_is_told_to_one_who_does_not_read(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    conn_set_reading(f.conn, false);
    uint8_t *bytes = fill(1 << 20);
    conn_write(f.conn, bytes, 1 << 20);
    close(f.peer);
    f.peer = -1;
    pump_until(loop(), f.closed == 1);
    assert_int_equal(f.close_error, EPIPE);
    close_fixture(&f);

    open_fixture(&f);
    f.take_most = 0;
    while (write(f.peer, bytes, 4096) > 0)
        pump_rounds(loop());
    assert_int_equal(conn_input_pending(f.conn), CONN_INPUT_LIMIT);
    close(f.peer);
    f.peer = -1;
    conn_write(f.conn, "x", 1);
    pump_until(loop(), f.closed == 1);
    assert_int_equal(f.close_error, EPIPE);
    free(bytes);
    close_fixture(&f);
}

static void the_last_output_is_sent_after_the_owner_has_gone(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    enum { TOTAL = 1 << 20 };
    uint8_t *bytes = fill(TOTAL);
    conn_write(f.conn, bytes, TOTAL);
    conn_close_after_output(f.conn);
    f.conn = NULL;
    say(&f, "nobody listens");
    size_t got = 0;
    pump_until(loop(), (got = swallow(f.peer, got)) == TOTAL);
    uint8_t byte;
    pump_until(loop(), read(f.peer, &byte, 1) == 0);
    assert_int_equal(f.calls + f.closed + f.drained, 0);
    assert_true(list_is_empty(worker_lingering(worker)));
    free(bytes);
    close_fixture(&f);
}

static void with_nothing_to_send_it_closes_at_once(void **state)
{
    (void)state;
    struct fixture f;
    uint8_t bytes[8];
    open_fixture(&f);
    conn_write(f.conn, "bye", 3);
    conn_close_after_output(f.conn);
    f.conn = NULL;
    assert_int_equal(read(f.peer, bytes, sizeof(bytes)), 3);
    assert_int_equal(read(f.peer, bytes, sizeof(bytes)), 0);
    close_fixture(&f);
}

static void what_still_lingers_can_be_ended(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    uint8_t *bytes = fill(1 << 20);
    conn_write(f.conn, bytes, 1 << 20);
    conn_close_after_output(f.conn);
    f.conn = NULL;
    assert_int_equal(worker_lingering(worker)->count, 1);
    conn_end_lingering(worker);
    assert_true(list_is_empty(worker_lingering(worker)));
    free(bytes);
    close_fixture(&f);
}

static int listen_somewhere(struct address *at)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(address_from_literal(at, "127.0.0.1", 0));
    assert_int_equal(bind(fd, &at->as.any, at->len), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, &at->as.any, &at->len), 0);
    return fd;
}

static void connects_and_sends_what_was_written_before(void **state)
{
    (void)state;
    struct address at;
    struct error error = ERROR_INIT;
    struct fixture f = {.take_most = SIZE_MAX};
    int listening = listen_somewhere(&at);
    f.conn = conn_connect(worker, &at, NULL, &handler, &f, &error);
    assert_non_null(f.conn);
    assert_int_equal(f.connected, 0);
    conn_write(f.conn, "early", 5);
    pump_until(loop(), f.connected == 1);
    f.peer = accept(listening, NULL, NULL);
    char bytes[8] = {0};
    struct pollfd p = {.fd = f.peer, .events = POLLIN};
    pump_until(loop(), poll(&p, 1, 0) == 1);
    assert_int_equal(read(f.peer, bytes, sizeof(bytes)), 5);
    assert_string_equal(bytes, "early");
    struct address local;
    conn_local_address(f.conn, &local);
    assert_int_equal(local.as.any.sa_family, AF_INET);
    close(listening);
    close_fixture(&f);
}

static void a_refused_connection_is_told_as_its_end(void **state)
{
    (void)state;
    struct address at;
    struct error error = ERROR_INIT;
    struct fixture f = {.take_most = SIZE_MAX, .peer = -1};
    close(listen_somewhere(&at));
    f.conn = conn_connect(worker, &at, NULL, &handler, &f, &error);
    if (f.conn != NULL) {
        assert_int_equal(f.closed, 0);
        pump_until(loop(), f.closed == 1);
        assert_int_equal(f.close_error, ECONNREFUSED);
    }
    assert_int_equal(f.connected, 0);
    close_fixture(&f);
}

static void one_given_up_while_connecting_still_delivers(void **state)
{
    (void)state;
    struct address at;
    struct error error = ERROR_INIT;
    struct fixture f = {.take_most = SIZE_MAX};
    int listening = listen_somewhere(&at);
    struct conn *conn = conn_connect(worker, &at, NULL, &handler, &f, &error);
    assert_non_null(conn);
    conn_write(conn, "note", 4);
    conn_close_after_output(conn);
    f.peer = accept(listening, NULL, NULL);
    char bytes[8] = {0};
    struct pollfd p = {.fd = f.peer, .events = POLLIN};
    pump_until(loop(), poll(&p, 1, 0) == 1);
    assert_int_equal(read(f.peer, bytes, sizeof(bytes)), 4);
    pump_until(loop(), list_is_empty(worker_lingering(worker)));
    close(listening);
    close_fixture(&f);
}

/* ---- between workers ---- */

struct move {
    struct mail mail;
    struct worker *to;
    struct fixture *fixture;
    _Atomic int *arrived;
};

static void arrive(struct mail *mail)
{
    struct move *move = (struct move *)(void *)mail;
    conn_attach(move->fixture->conn, move->to);
    atomic_fetch_add(move->arrived, 1);
}

static _Atomic int echoed;

static size_t echo(void *owner, struct slice data)
{
    struct fixture *f = owner;
    assert_ptr_not_equal(conn_worker(f->conn), worker);
    conn_write(f->conn, data.data, data.len);
    atomic_fetch_add(&echoed, (int)data.len);
    return data.len;
}

static const struct conn_handler echo_handler = {.on_data = echo, .on_closed = on_closed};

static void moves_to_another_worker_with_its_bytes(void **state)
{
    (void)state;
    struct worker *other = worker_new(1);
    struct fixture f;
    _Atomic int arrived = 0;
    open_fixture(&f);
    f.take_most = 0;
    say(&f, "ab");
    pump_until(loop(), f.calls == 1);
    conn_detach(f.conn);
    say(&f, "cd");
    pump_rounds(loop());
    assert_int_equal(f.calls, 1); /* nobody's while it travels */
    conn_set_handler(f.conn, &echo_handler, &f);
    struct move move = {.mail = {.run = arrive}, .to = other, .fixture = &f, .arrived = &arrived};
    assert_true(worker_start(other));
    worker_post(other, &move.mail);
    char bytes[8] = {0};
    size_t got = 0;
    for (int i = 0; i < 5000 && got < 4; i++, usleep(1000)) {
        ssize_t n = read(f.peer, bytes + got, sizeof(bytes) - got);
        got += n > 0 ? (size_t)n : 0;
    }
    assert_string_equal(bytes, "abcd");
    worker_stop(other);
    assert_int_equal(echoed, 4);
    close_fixture(&f);
    worker_free(other);
}

static void what_could_not_be_built_is_not_written(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    struct buf built = BUF_INIT;
    char text[8];
    buf_append_str(&built, "half");
    assert_false(buf_reserve(&built, SIZE_MAX / 2));
    conn_write_buf(f.conn, &built);
    assert_int_equal(f.closed, 0); /* not from inside a write */
    pump_until(loop(), f.closed == 1);
    assert_int_equal(f.close_error, ENOMEM);
    assert_int_equal(read(f.peer, text, sizeof(text)), -1);
    buf_free(&built);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_not_taken_is_given_again_with_the_rest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(input_is_bounded_and_goes_on_when_there_is_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_could_not_be_built_is_not_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wider_limit_is_for_one_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reading_can_be_switched_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(output_is_kept_in_order_and_its_ebb_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_end_is_told_once_with_its_reason, set_up, tear_down),
        cmocka_unit_test_setup_teardown(may_be_freed_inside_any_callback, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_write_is_told_later_and_not_from_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_write_is_told_to_one_who_does_not_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_output_is_sent_after_the_owner_has_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(with_nothing_to_send_it_closes_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_still_lingers_can_be_ended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(connects_and_sends_what_was_written_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_refused_connection_is_told_as_its_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_given_up_while_connecting_still_delivers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(moves_to_another_worker_with_its_bytes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
