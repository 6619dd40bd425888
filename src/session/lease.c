/*
 * lease: beginning, settings, release and abandonment. What bytes do is in route (client) and relay (server).
 */
#include "weir/session/lease.h"

#include <stdlib.h>

#include "weir/pool/cancel.h"
#include "weir/session/cached.h"
#include "weir/session/client.h"
#include "weir/session/outbox.h"
#include "weir/session/sequence.h"
#include "weir/track/profile_sql.h"
#include "weir/util/clock.h"
#include "weir/util/cold.h"
#include "weir/util/log.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"

enum {
    CANCEL_AGAIN_US = 250 * 1000,
    CANCEL_EARLY_US = 500 * 1000, /* a query that was sent this short a time ago may not have begun */
    SPARES = 64,                  /* leases that are kept for reuse */
    SPARE_RING_LIMIT = 256,       /* owed entries that a spare may keep */
};

static const char DISCARD[] = "DISCARD ALL";

struct lease_portal {
    struct lease_portal *next;
    struct statement *statement;
    size_t len;
    char name[];
};

/* ---- beginning and end
 * ------------------------------------------------------------------------------------------ */

COLD static void forget_old_plans(struct lease *lease)
{
    struct server *server = lease->server;
    uint32_t epoch = atomic_load_explicit(&lease->session->shared->schema_epoch, memory_order_relaxed);
    if (server->schema_epoch == epoch)
        return;
    server->schema_epoch = epoch;
    if (server->statements == NULL || statement_set_count(server->statements) == 0)
        return;
    struct buf *out = outbox_make(lease->session->outbox, server->conn);
    encode_query(out, SLICE_LITERAL("DEALLOCATE ALL"));
    outbox_made(lease->session->outbox);
    statement_set_clear(server->statements);
    server_forget_unnamed(server);
    lease_owe(lease, (struct owed){.kind = OWED_QUERY, .flags = OWED_SWALLOW});
}

static struct lease *take_spare(struct session_worker *session)
{
    struct list_node *node = list_pop_front(&session->spare_leases);
    if (node == NULL)
        return calloc(1, sizeof(struct lease));
    struct lease *lease = list_entry(node, struct lease, node);
    struct owed_queue owed = lease->owed;
    memset(lease, 0, sizeof(*lease));
    lease->owed = owed;
    return lease;
}

void lease_recycle(struct lease *lease)
{
    struct session_worker *session = lease->session;
    if (session->spare_leases.count < SPARES && lease->owed.capacity <= SPARE_RING_LIMIT) {
        list_push_front(&session->spare_leases, &lease->node);
        return;
    }
    owed_free(&lease->owed);
    free(lease);
}

void lease_free_spares(struct session_worker *session)
{
    struct list_node *node;
    while ((node = list_pop_front(&session->spare_leases)) != NULL) {
        struct lease *lease = list_entry(node, struct lease, node);
        owed_free(&lease->owed);
        free(lease);
    }
}

struct lease *lease_begin(struct client *client, struct server *server, enum lease_purpose purpose,
                          uint64_t wait_us)
{
    struct lease *lease = take_spare(client->session);
    if (lease == NULL) {
        pool_release(server, NULL);
        return NULL;
    }
    lease->client = client;
    lease->server = server;
    lease->session = client->session;
    lease->purpose = (uint8_t)purpose;
    lease->status = 'I';
    lease->write_place = lease->end_place = 0;
    lease->wait_us = wait_us;
    lease->granted_us = server->request_time_us;
    server->owner = lease;
    if (purpose == LEASE_WORK) { /* not for Weir's own question at a login */
        counter_bump(&server->part->counters.server_assignment_count);
        server->is_used = true;
        sequence_leased(client, server);
    }
    forget_old_plans(lease);
    return lease;
}

void lease_portals_clear(struct lease *lease)
{
    if (lease->portal_statement != NULL)
        statement_unref(lease->portal_statement);
    lease->portal_statement = NULL;
    while (lease->portals != NULL) {
        struct lease_portal *portal = lease->portals;
        lease->portals = portal->next;
        if (portal->statement != NULL)
            statement_unref(portal->statement);
        free(portal);
    }
}

/* Unbinds client and server; the struct lives on until the stack is unwound. */
void lease_end(struct lease *lease)
{
    struct client *client = lease->client;
    lease->is_ending = true;
    cached_end_fill(lease, false);
    cached_lost(lease);
    timer_stop(&lease->timer);
    timer_stop(&lease->transaction_timer);
    timer_stop(&lease->cancel_timer);
    owed_clear(&lease->owed);
    lease_portals_clear(lease);
    profile_unref(lease->before);
    profile_unref(lease->switched);
    lease->before = lease->switched = NULL;
    buf_free(&lease->greeting);
    buf_free(&lease->refusal);
    buf_free(&lease->cleanup);
    conn_set_reading(lease->server->conn,
                     true); /* may have stopped for a slow client, who now has to wait for nobody */
    lease->server = NULL;
    lease->client = NULL;
    if (client != NULL) {
        client->lease = NULL;
        conn_set_reading(client->conn, true);
        if (!client->is_ending && client->state == CLIENT_LEASED)
            client_set_state(client, CLIENT_IDLE);
    }
    list_push_back(&lease->session->dead_leases, &lease->node);
}

void lease_break(struct lease *lease, const char *reason)
{
    struct server *server = lease->server;
    struct pool_part *part = server->part;
    outbox_drop(lease->session->outbox, server->conn);
    lease_end(lease);
    server_close(server, reason);
    pool_serve(part);
}

/* ---- settings
 * ----------------------------------------------------------------------------------------------------- */

bool lease_owe(struct lease *lease, struct owed entry)
{
    if (entry.flags & OWED_PROFILE)
        lease->profile_owed++;
    if (!owed_push(&lease->owed, &entry)) {
        struct client *client = lease->client;
        lease_break(lease, "out of memory");
        if (client != NULL)
            client_fail(client, "53200", "out of memory");
        return false;
    }
    return true;
}

COLD static bool owe_profile_round(struct lease *lease)
{
    static const uint8_t kinds[] = {OWED_CLOSE, OWED_PARSE, OWED_BIND, OWED_EXECUTE, OWED_CLOSE, OWED_CLOSE};
    for (size_t i = 0; i < sizeof(kinds); i++)
        if (!lease_owe(lease, (struct owed){.kind = kinds[i], .flags = OWED_SWALLOW | OWED_PROFILE}))
            return false;
    return true;
}

static void set_server_profile(struct server *server, struct profile *profile)
{
    profile_unref(server->profile);
    server->profile = profile;
}

/* Puts the change from `from` to `to` into the outbox. */
COLD static bool send_profile(struct lease *lease, const struct profile *from, const struct profile *to,
                              bool is_alone)
{
    struct outbox *outbox = lease->session->outbox;
    struct buf *out = outbox_make(outbox, lease->server->conn);
    size_t rounds = profile_diff_batch(out, from, to);
    if (is_alone)
        encode_empty(out, MSG_SYNC);
    outbox_made(outbox);
    counter_bump(&lease->server->part->counters.profile_switches);
    for (size_t i = 0; i < rounds; i++)
        if (!owe_profile_round(lease))
            return false;
    return !is_alone ||
           lease_owe(lease, (struct owed){.kind = OWED_SYNC, .flags = OWED_SWALLOW | OWED_PROFILE});
}

bool lease_close_gap(struct lease *lease)
{
    struct transaction *tx = &lease->client->tx;
    struct profile *floor = transaction_floor(tx);
    if (floor == NULL) {
        struct client *client = lease->client;
        lease_break(lease, "out of memory");
        client_fail(client, "53200", "out of memory");
        return false;
    }
    bool is_sent =
        floor == transaction_current(tx) || send_profile(lease, floor, transaction_current(tx), false);
    profile_unref(floor);
    if (is_sent)
        transaction_gap_closed(tx);
    return is_sent;
}

bool lease_prepare(struct lease *lease, bool must_be_alone)
{
    struct server *server = lease->server;
    struct transaction *tx = &lease->client->tx;
    if (transaction_has_gap(tx) && lease->is_prepared)
        return lease_close_gap(lease);
    if (lease->is_prepared)
        return true;
    struct profile *wanted = transaction_current(tx);
    lease->is_prepared = true;
    if (server->profile == wanted || server_is_console(server))
        return true;
    lease->before = profile_ref(server->profile);
    if (!must_be_alone) /* else what the server reports of it comes before a ReadyForQuery of its own */
        lease->switched = profile_ref(wanted);
    if (!send_profile(lease, server->profile, wanted, must_be_alone))
        return false;
    set_server_profile(server, profile_ref(wanted));
    transaction_gap_closed(tx);
    lease->is_holding = must_be_alone;
    if (must_be_alone)
        outbox_flush(lease->session->outbox);
    return !must_be_alone;
}

bool lease_reset(struct lease *lease)
{
    struct server *server = lease->server;
    struct outbox *outbox = lease->session->outbox;
    struct profile *empty = profile_empty(lease->session->shared->profiles);
    if (server->profile == empty) {
        profile_unref(empty);
        return true;
    }
    set_server_profile(server, empty);
    if (server->statements != NULL)
        statement_set_clear(server->statements);
    server_forget_unnamed(server);
    encode_query(outbox_make(outbox, server->conn), slice_str(DISCARD));
    outbox_made(outbox);
    return lease_owe(lease, (struct owed){.kind = OWED_QUERY, .flags = OWED_SWALLOW});
}

void lease_settle(struct lease *lease, bool is_committed)
{
    if (lease->before == NULL || lease->profile_owed > 0)
        return;
    if (is_committed) {
        profile_unref(lease->before);
    } else { /* what carried the change was rolled back, and the change with it */
        set_server_profile(lease->server, lease->before);
        lease->is_prepared = false;
    }
    lease->before = NULL;
}

COLD static void drop_profile_entries(struct lease *lease)
{
    struct owed *front;
    while ((front = owed_front(&lease->owed)) != NULL && front->flags & OWED_PROFILE &&
           front->kind != OWED_SYNC) {
        owed_pop(&lease->owed);
        lease->profile_owed--;
    }
}

void lease_refused(struct lease *lease, struct slice response)
{
    struct client *client = lease->client;
    drop_profile_entries(lease);
    lease->has_failed = true;
    struct owed *front = owed_front(&lease->owed);
    if (front != NULL &&
        front->flags & OWED_PROFILE) { /* sent alone: told when the message is looked at again */
        buf_clear(&lease->refusal);
        buf_append_slice(&lease->refusal, response);
        return;
    }
    lease_settle(lease, false);
    if (client != NULL)
        conn_write(client->conn, response.data, response.len);
    lease->is_holding = false;
    if (front != NULL && front->kind == OWED_QUERY) {
        /* PostgreSQL skips the query too, up to a Sync that the client does not know it has to send. */
        owed_pop(&lease->owed);
        if (!lease_owe(lease, (struct owed){.kind = OWED_SYNC}))
            return;
        static const uint8_t sync[] = {MSG_SYNC, 0, 0, 0, 4};
        conn_write(lease->server->conn, sync, sizeof(sync));
        return;
    }
    uint32_t at = 0;
    while (at < lease->owed.count && owed_at(&lease->owed, at)->kind != OWED_SYNC)
        owed_remove(&lease->owed, at);
    lease->is_skipping = owed_is_empty(&lease->owed);
}

/* ---- portals
 * ------------------------------------------------------------------------------------------------------ */

struct statement *lease_portal_get(struct lease *lease, struct slice name)
{
    if (name.len == 0)
        return lease->portal_statement;
    for (struct lease_portal *portal = lease->portals; portal != NULL; portal = portal->next)
        if (slice_equal(slice_make(portal->name, portal->len), name))
            return portal->statement;
    return NULL;
}

bool lease_portal_set(struct lease *lease, struct slice name, struct statement *statement)
{
    struct statement **slot = NULL;
    if (name.len == 0)
        slot = &lease->portal_statement;
    for (struct lease_portal *portal = lease->portals; portal != NULL && slot == NULL; portal = portal->next)
        if (slice_equal(slice_make(portal->name, portal->len), name))
            slot = &portal->statement;
    if (slot == NULL) {
        struct lease_portal *portal = malloc(sizeof(*portal) + name.len);
        if (portal == NULL)
            return false;
        *portal = (struct lease_portal){.next = lease->portals, .len = name.len};
        memcpy(portal->name, name.data, name.len);
        lease->portals = portal;
        slot = &portal->statement;
    }
    struct statement *old = *slot;
    *slot = statement != NULL ? statement_ref(statement) : NULL;
    if (old != NULL)
        statement_unref(old);
    return true;
}

/* ---- answers of Weir's own
 * ------------------------------------------------------------------------------------------ */

void lease_give_synths(struct lease *lease)
{
    struct owed *front;
    while ((front = owed_front(&lease->owed)) != NULL && front->flags & OWED_SYNTH) {
        if (lease->client != NULL) {
            struct buf *out = outbox_make(lease->session->outbox, lease->client->conn);
            encode_empty(out, front->kind == OWED_PARSE ? MSG_PARSE_COMPLETE : MSG_CLOSE_COMPLETE);
            outbox_made(lease->session->outbox);
        }
        owed_pop(&lease->owed);
    }
}

/* ---- requests
 * ----------------------------------------------------------------------------------------------------------
 */

COLD static void query_timeout(struct timer *timer)
{
    struct lease *lease = list_entry(timer, struct lease, timer);
    struct session_worker *session = lease->session;
    struct client *client = lease->client;
    session_enter(session);
    counter_bump(&lease->server->part->counters.query_timeouts);
    lease_break(lease, "query timeout");
    if (client != NULL)
        client_fail(client, "57014", "query timeout");
    session_leave(session);
}

COLD static void transaction_timeout(struct timer *timer)
{
    struct lease *lease = list_entry(timer, struct lease, transaction_timer);
    struct session_worker *session = lease->session;
    struct client *client = lease->client;
    session_enter(session);
    lease_break(lease, "transaction timeout");
    if (client != NULL)
        client_fail(client, "08P01", "transaction timeout");
    session_leave(session);
}

void lease_begin_request(struct lease *lease)
{
    if (lease->busy_since_us != 0)
        return;
    struct client *client = lease->client;
    const struct pool_part *part = lease->server->part;
    uint64_t now = clock_now_us();
    lease->busy_since_us = now;
    if (lease->start_us == 0)
        lease->start_us = client->request_time_us;
    if (lease->ready_us != 0) {
        lease->client_us = now - lease->ready_us;
        lease->ready_us = 0;
        lease->start_us = now;
    }
    timer_stop(&client->timer);
    uint64_t limit = config_query_timeout_us(part->config, client->limits);
    if (limit > 0)
        timer_start(worker_loop(part->worker), &lease->timer, limit, query_timeout);
    limit = config_transaction_timeout_us(part->config, client->limits);
    if (limit > 0 && !timer_is_running(&lease->transaction_timer))
        timer_start(worker_loop(part->worker), &lease->transaction_timer, limit, transaction_timeout);
}

void lease_end_request(struct lease *lease, char status)
{
    struct pool_part *part = lease->server->part;
    /* The server's time ends with the event that brought its answer; what follows is Weir's. */
    uint64_t now = clock_now_us(), answered = clock_event_us();
    uint64_t server_us =
        lease->busy_since_us != 0 && answered > lease->busy_since_us ? answered - lease->busy_since_us : 0;
    uint64_t total = now - lease->start_us;
    struct request_times times = {
        .wait_us = lease->wait_us, .server_us = server_us, .client_us = lease->client_us};
    times.weir_us = total > times.wait_us + server_us ? total - times.wait_us - server_us : 0;
    ledger_record(&part->ledger, &times);
    counter_bump(&part->counters.query_count);
    counter_add(&part->counters.query_time, server_us);
    counter_add(&part->counters.wait_time, lease->wait_us);
    if (status == 'I') {
        counter_bump(&part->counters.xact_count);
        counter_add(&part->counters.xact_time, now - lease->granted_us);
        timer_stop(&lease->transaction_timer);
        lease->granted_us = now;
    }
    timer_stop(&lease->timer);
    lease->wait_us = lease->client_us = 0;
    lease->busy_since_us = owed_is_empty(&lease->owed) ? 0 : now;
    lease->start_us = lease->busy_since_us;
    lease->ready_us = status == 'I' ? 0 : now;
    if (lease->client != NULL && lease->busy_since_us == 0)
        client_arm_idle(lease->client);
}

void lease_resume_client(struct lease *lease)
{
    struct client *client = lease->client;
    if (client != NULL && conn_input_pending(client->conn) > 0)
        conn_kick(client->conn);
}

void lease_ended_for(struct client *client)
{
    if (client == NULL || client->is_ending)
        return;
    if (atomic_load_explicit(&client->session->shared->is_draining, memory_order_relaxed))
        client_fail(client, "57P01", "server shutting down");
    else if (conn_input_pending(client->conn) > 0)
        conn_kick(client->conn);
}

/* ---- release
 * -------------------------------------------------------------------------------------------------------------
 */

static bool is_quiet(const struct lease *lease)
{
    return owed_is_empty(&lease->owed) && lease->status == 'I' && !lease->is_batch_open && lease->skip == 0 &&
           !lease->is_skipping && !lease->is_copy_in && !cancel_is_pending(lease->server) &&
           !buf_failed(&lease->cleanup);
}

/* Sends what has to be said before the server can go. True if there was something. */
COLD static bool send_cleanup(struct lease *lease)
{
    if (lease->cleanup.len == 0)
        return false;
    encode_empty(&lease->cleanup, MSG_SYNC);
    conn_write_buf(lease->server->conn, &lease->cleanup);
    buf_free(&lease->cleanup);
    for (; lease->cleanup_count > 0; lease->cleanup_count--)
        if (!lease_owe(lease, (struct owed){.kind = OWED_CLOSE, .flags = OWED_SWALLOW}))
            return true;
    lease_owe(lease, (struct owed){.kind = OWED_SYNC, .flags = OWED_SWALLOW});
    return true;
}

/* A server that goes back knows whose settings it has. */
static void keep_profile(struct lease *lease)
{
    struct transaction *tx = &lease->client->tx;
    if (lease->purpose == LEASE_WORK && lease->is_prepared)
        set_server_profile(lease->server, transaction_has_gap(tx) ? transaction_floor(tx)
                                                                  : profile_ref(transaction_current(tx)));
}

static void release_clean(struct lease *lease)
{
    struct server *server = lease->server;
    keep_profile(lease);
    lease_end(lease);
    pool_release(server, server->profile == NULL ? DISCARD : NULL);
}

COLD static void release_orphan(struct lease *lease)
{
    struct server *server = lease->server;
    lease_end(lease);
    pool_release(server, DISCARD);
}

COLD static bool roll_back_orphan(struct lease *lease)
{
    struct buf out = BUF_INIT;
    encode_query(&out, SLICE_LITERAL("ROLLBACK"));
    conn_write_buf(lease->server->conn, &out);
    buf_free(&out);
    return lease_owe(lease, (struct owed){.kind = OWED_QUERY, .flags = OWED_SWALLOW});
}

/*
 * pg_try_advisory_lock may have failed, and keys may be computed: where nothing but a lock binds the session,
 * the server is asked whether there is one, behind the client's back.
 */
COLD static void ask_for_locks(struct lease *lease)
{
    const struct client *client = lease->client;
    if (!lease->is_lock_unsure || client->pins.mask != 1u << PIN_ADVISORY_LOCK ||
        transaction_is_lost(&client->tx) || lease->server->part->settings.mode == POOL_MODE_SESSION)
        return;
    struct outbox *outbox = lease->session->outbox;
    lease->is_lock_unsure = false;
    encode_query(outbox_make(outbox, lease->server->conn),
                 SLICE_LITERAL(
                     "SELECT 1 FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND "
                     "pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() LIMIT 1"));
    outbox_made(outbox);
    outbox_flush(outbox);
    server_forget_unnamed(lease->server);
    lease_owe(lease, (struct owed){.kind = OWED_QUERY, .flags = OWED_SWALLOW | OWED_PROBE});
}

/* server_fast_close: the session ends with its server. */
COLD static void close_fast(struct lease *lease)
{
    struct client *client = lease->client;
    const char *reason = lease->server->close_reason;
    lease_break(lease, reason);
    client_fail(client, "57P01", reason);
}

bool lease_try_release(struct lease *lease)
{
    struct client *client = lease->client;
    if (lease->purpose == LEASE_ORPHAN) {
        if (lease->is_uncertain || lease->is_copy_in) {
            lease_break(lease, "client disconnected with query in progress");
            return true;
        }
        if (owed_is_empty(&lease->owed) && lease->status != 'I' && !cancel_is_pending(lease->server)) {
            lease->status = 'I'; /* so that it is asked for once */
            roll_back_orphan(lease);
            return false;
        }
        if (!is_quiet(lease))
            return false;
        release_orphan(lease);
        return true;
    }
    if (!is_quiet(lease) || lease->is_uncertain || client->stream_left > 0)
        return false;
    bool is_bound = lease->server->part->settings.mode == POOL_MODE_SESSION || pin_is_held(&client->pins) ||
                    transaction_is_lost(&client->tx);
    if ((is_bound && lease->purpose == LEASE_WORK) || lease->purpose == LEASE_REPLICATION) {
        if (lease->server->is_closing && lease->server->part->settings.fast_close) {
            close_fast(lease);
            return true;
        }
        ask_for_locks(lease);
        return false;
    }
    if (send_cleanup(lease))
        return false;
    release_clean(lease);
    return true;
}

/* What the client began without a Sync must end, and not by that Sync's commit: PostgreSQL would have rolled
 * it back too. */
COLD static bool undo_batch(struct lease *lease)
{
    static const uint8_t kinds[] = {OWED_PARSE, OWED_BIND, OWED_EXECUTE};
    struct buf out = BUF_INIT;
    bool is_heard = !lease->is_skipping;
    if (is_heard) {
        encode_parse(&out, SLICE_EMPTY, SLICE_LITERAL("ROLLBACK"), SLICE_EMPTY);
        encode_bind_text(&out, SLICE_EMPTY, SLICE_EMPTY, NULL, 0);
        encode_execute(&out, SLICE_EMPTY, 0);
    }
    encode_empty(&out, MSG_SYNC);
    conn_write_buf(lease->server->conn, &out);
    buf_free(&out);
    lease->is_batch_open = lease->is_skipping = false;
    for (size_t i = 0; is_heard && i < sizeof(kinds); i++)
        if (!lease_owe(lease, (struct owed){.kind = kinds[i], .flags = OWED_SWALLOW}))
            return false;
    return lease_owe(lease, (struct owed){.kind = OWED_SYNC});
}

COLD static void orphan_timeout(struct timer *timer)
{
    struct lease *lease = list_entry(timer, struct lease, timer);
    struct session_worker *session = lease->session;
    session_enter(session);
    lease_break(lease, "cancel_wait_timeout");
    session_leave(session);
}

/* A cancel may have overtaken the query that it was for: PostgreSQL then took no notice. */
COLD static void cancel_again(struct timer *timer)
{
    struct lease *lease = list_entry(timer, struct lease, transaction_timer);
    if (owed_is_empty(&lease->owed))
        return;
    cancel_send(lease->server);
    timer_start(worker_loop(lease->session->worker), timer, CANCEL_AGAIN_US, cancel_again);
}

static void cancel_once_more(struct timer *timer)
{
    struct lease *lease = list_entry(timer, struct lease, cancel_timer);
    if (lease->busy_since_us == lease->cancelled_us)
        cancel_send(lease->server);
}

/*
 * A query that has waited for its server starts when nobody outside can know: its client's request may
 * overtake it, and PostgreSQL would take no notice. A second one is sent only then, and only while that query
 * runs, since code that catches the first must not meet another.
 */
void lease_cancel(struct lease *lease)
{
    uint64_t now = clock_now_us();
    cancel_send(lease->server);
    if (lease->busy_since_us == 0 || now - lease->busy_since_us > CANCEL_EARLY_US)
        return;
    lease->cancelled_us = lease->busy_since_us;
    timer_start(worker_loop(lease->session->worker), &lease->cancel_timer, CANCEL_AGAIN_US, cancel_once_more);
}

void lease_abandon(struct lease *lease, const char *reason)
{
    struct client *client = lease->client;
    struct server *server = lease->server;
    const struct config_settings *settings = config_settings(server->part->config);
    bool is_clean = is_quiet(lease) && !lease->is_uncertain && client->stream_left == 0;
    bool is_loaded = pin_has(&client->pins, PIN_LOAD);
    if (lease->purpose == LEASE_REPLICATION) {
        lease_break(lease, reason);
        return;
    }
    if (client->stream_left > 0 || lease->is_uncertain || lease->is_copy_in || is_loaded ||
        (lease->is_batch_open && lease->is_holding)) {
        lease_break(lease, is_clean ? reason : "client disconnected with query in progress");
        return;
    }
    if (is_clean && !pin_is_held(&client->pins) && lease->cleanup.len == 0 &&
        !transaction_is_lost(&client->tx)) {
        release_clean(lease);
        return;
    }
    timer_stop(&lease->timer);
    timer_stop(&lease->transaction_timer);
    outbox_drop(lease->session->outbox, client->conn);
    outbox_flush(lease->session->outbox);
    client->lease = NULL;
    lease->client = NULL;
    lease->purpose = LEASE_ORPHAN;
    conn_set_reading(server->conn, true);
    lease->is_holding = false;
    if (lease->is_batch_open && !undo_batch(lease))
        return;
    if (!owed_is_empty(&lease->owed)) {
        cancel_send(server);
        timer_start(worker_loop(server->part->worker), &lease->transaction_timer, CANCEL_AGAIN_US,
                    cancel_again);
    }
    uint64_t patience =
        settings->cancel_wait_timeout_us > 0 ? settings->cancel_wait_timeout_us : 10 * US_PER_SECOND;
    timer_start(worker_loop(server->part->worker), &lease->timer, patience, orphan_timeout);
    lease_try_release(lease);
}
