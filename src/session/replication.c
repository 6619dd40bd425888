/*
 * replication: a client that streams WAL, or takes a base backup.
 *
 *   authenticated ─► a server opened for it alone, with its own startup packet ─► bytes both ways ─► both end
 *
 * A walsender knows other commands than a backend and speaks for hours in one CopyBoth, so nothing of it is
 * read but where a client's messages begin: to see the one that says goodbye.
 */
#include "login.h"
#include "weir/session/lease.h"
#include "weir/track/pin.h"
#include "weir/util/clock.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"
#include "weir/wire/frame.h"

void replication_ask(struct client *client)
{
    struct client_login *login = client->login;
    for (size_t i = 0; i < profile_count(login->settings); i++) {
        struct profile_setting setting = profile_at(login->settings, i);
        encode_text(&login->startup, setting.name);
        encode_text(&login->startup, setting.value);
    }
    if (buf_failed(&login->startup)) {
        client_fail(client, "53200", "out of memory");
        return;
    }
    login->dedicated.startup = buf_slice(&login->startup);
    pool_dedicate(client->part, &client->waiter, &login->dedicated);
}

void replication_begin(struct client *client, struct server *server)
{
    struct buf out = BUF_INIT;
    client->lease =
        lease_begin(client, server, LEASE_REPLICATION, clock_event_us() - client->waiter.since_us);
    if (client->lease == NULL) {
        client_fail(client, "53200", "out of memory");
        return;
    }
    encode_authentication(&out, AUTH_CODE_OK, SLICE_EMPTY);
    buf_append_slice(&out, buf_slice(&client->login->dedicated.welcome));
    login_give_key(client, &out);
    encode_ready(&out, 'I');
    login_reply(client, &out);
    client_login_free(client->login);
    client->login = NULL;
    pin_hold(&client->pins, PIN_REPLICATION);
    counter_bump(&client->part->counters.client_login_count);
    client_set_state(client, CLIENT_REPLICATION);
    if (conn_input_pending(client->conn) > 0)
        conn_kick(client->conn);
}

/* How many of the bytes may go on: all, but for a header that is not complete, and what begins with
 * Terminate. */
static size_t passable(struct client *client, struct slice data, bool *is_end, bool *is_bad)
{
    size_t used = 0;
    while (used < data.len) {
        size_t left = data.len - used;
        if (client->stream_left > 0) {
            size_t here = left < client->stream_left ? left : (size_t)client->stream_left;
            client->stream_left -= here;
            used += here;
            continue;
        }
        if (left < FRAME_HEADER_BYTES)
            break;
        uint32_t len = decode_u32(data.data + used + 1);
        *is_end = data.data[used] == MSG_TERMINATE;
        *is_bad = len < 4 || len > INT32_MAX;
        if (*is_end || *is_bad)
            break;
        client->stream_left = (uint64_t)len + 1;
    }
    return used;
}

size_t replication_data(struct client *client, struct slice data)
{
    struct conn *to = client->lease->server->conn;
    bool is_end = false, is_bad = false;
    size_t used = passable(client, data, &is_end, &is_bad);
    conn_write(to, data.data, used);
    counter_add(&client->part->counters.bytes_received, used);
    if (is_bad) {
        client_fail(client, "08P01", "invalid message length");
        return data.len;
    }
    if (is_end) {
        client_close(client, "client close request");
        return data.len;
    }
    if (conn_is_congested(to))
        conn_set_reading(client->conn, false);
    return used;
}

size_t replication_server_data(struct lease *lease, struct slice data)
{
    struct client *client = lease->client;
    conn_write(client->conn, data.data, data.len);
    counter_add(&client->part->counters.bytes_sent, data.len);
    lease->is_end_told = true; /* what PostgreSQL had to say has been passed on */
    if (conn_is_congested(client->conn))
        conn_set_reading(lease->server->conn, false);
    return data.len;
}
