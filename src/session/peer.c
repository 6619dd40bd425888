/*
 * peer: one short connection for each request, as PostgreSQL's own clients do it.
 *
 *   waiting ──a place is free──► resolving, connecting ──► sent ──the peer closes──► gone
 */
#include "weir/session/peer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "login.h"
#include "weir/pool/registry.h"
#include "weir/wire/encode.h"
#include "weir/wire/startup.h"

enum {
    HOPS = 3, /* and the mask of the bits that count them */
    PATIENCE_US = 10 * 1000 * 1000,
    AGAIN_US = 20 * 1000, /* places that other workers hold are looked at again after */
};

struct peer_slot {
    int id;
    struct peer_counts counts;
    UT_hash_handle hh;
};

struct peer_table {
    pthread_mutex_t mutex;
    struct peer_slot *slots;
};

struct peer_forward {
    struct list_node node; /* session->forwards */
    struct session_worker *session;
    struct client *client; /* NULL: it has not waited for the end */
    struct conn *conn;
    struct timer timer; /* the end of patience, or the next look for a place */
    int id, limit;
    uint64_t serial; /* for the resolver's answer, which may come too late */
    bool is_active, is_login;
    uint8_t key[STARTUP_CANCEL_KEY_MAX];
    size_t key_len;
    int port;
    char host[256];
};

struct peer_table *peer_table_new(void)
{
    struct peer_table *table = calloc(1, sizeof(*table));
    if (table != NULL)
        pthread_mutex_init(&table->mutex, NULL);
    return table;
}

void peer_table_free(struct peer_table *table)
{
    if (table == NULL)
        return;
    struct peer_slot *slot, *next;
    HASH_ITER(hh, table->slots, slot, next)
    {
        HASH_DEL(table->slots, slot);
        free(slot);
    }
    pthread_mutex_destroy(&table->mutex);
    free(table);
}

/* With the mutex held; NULL when memory is out, and when there is none yet and none is to be made. */
static struct peer_slot *slot_of(struct peer_table *table, int id, bool is_made)
{
    struct peer_slot *slot = NULL;
    HASH_FIND_INT(table->slots, &id, slot);
    if (slot != NULL || !is_made || (slot = calloc(1, sizeof(*slot))) == NULL)
        return slot;
    slot->id = id;
    HASH_ADD_INT(table->slots, id, slot);
    return slot;
}

void peer_table_count(struct peer_table *table, int id, struct peer_counts *counts)
{
    pthread_mutex_lock(&table->mutex);
    struct peer_slot *slot = slot_of(table, id, false);
    *counts = slot != NULL ? slot->counts : (struct peer_counts){0};
    pthread_mutex_unlock(&table->mutex);
}

static void count(const struct peer_forward *forward, int waiting, int active, int login)
{
    struct peer_table *table = forward->session->shared->peers;
    pthread_mutex_lock(&table->mutex);
    struct peer_slot *slot = slot_of(table, forward->id, true);
    if (slot != NULL) {
        slot->counts.waiting += waiting;
        slot->counts.active += active;
        slot->counts.login += login;
    }
    pthread_mutex_unlock(&table->mutex);
}

static bool take_place(const struct peer_forward *forward)
{
    struct peer_table *table = forward->session->shared->peers;
    pthread_mutex_lock(&table->mutex);
    struct peer_slot *slot = slot_of(table, forward->id, true);
    bool is_free = slot != NULL && slot->counts.active < forward->limit;
    if (is_free) {
        slot->counts.active++;
        slot->counts.waiting--;
    }
    pthread_mutex_unlock(&table->mutex);
    return is_free;
}

static unsigned head_of(const uint8_t key[8])
{
    return (unsigned)key[0] << 8 | key[1];
}

static void set_head(uint8_t key[8], unsigned head)
{
    key[0] = (uint8_t)(head >> 8);
    key[1] = (uint8_t)head;
}

void peer_sign(const struct config *config, uint8_t key[8])
{
    set_head(key, (unsigned)config_settings(config)->peer_id << 2);
}

const struct config_peer *peer_of(const struct config *config, const uint8_t key[8])
{
    int id = (int)(head_of(key) >> 2), own = config_settings(config)->peer_id;
    return id == 0 || own == 0 || id == own ? NULL : config_peer_find(config, id);
}

static void end(struct peer_forward *forward)
{
    struct session_worker *session = forward->session;
    struct client *client = forward->client;
    count(forward, forward->is_active ? 0 : -1, forward->is_active ? -1 : 0, forward->is_login ? -1 : 0);
    timer_stop(&forward->timer);
    conn_free(forward->conn);
    list_remove(&session->forwards, &forward->node);
    free(forward);
    if (client == NULL)
        return;
    client->login->forward = NULL;
    session_enter(session);
    client_close(client, "cancel request");
    session_leave(session);
}

static void begin(struct peer_forward *forward);

/* A place is free: for whoever has waited longest. */
static void serve(struct session_worker *session)
{
    list_for_each(&session->forwards, node)
    {
        struct peer_forward *forward = list_entry(node, struct peer_forward, node);
        if (!forward->is_active) {
            begin(forward);
            return;
        }
    }
}

static void finish(struct peer_forward *forward)
{
    struct session_worker *session = forward->session;
    end(forward);
    serve(session);
}

static void give_up(struct peer_forward *forward, const char *why)
{
    log_warning("cancel request for peer %d: %s", forward->id, why);
    finish(forward);
}

static void patience_ends(struct timer *timer)
{
    finish(list_entry(timer, struct peer_forward, timer));
}

static void look_again(struct timer *timer)
{
    begin(list_entry(timer, struct peer_forward, timer));
}

static size_t on_data(void *owner, struct slice data)
{
    (void)owner;
    return data.len;
}

static void on_connected(void *owner)
{
    struct peer_forward *forward = owner;
    struct buf out = BUF_INIT;
    encode_cancel_request(&out, slice_make(forward->key, forward->key_len));
    conn_write_buf(forward->conn, &out);
    buf_free(&out);
    count(forward, 0, 0, -1);
    forward->is_login = false;
}

static void on_closed(void *owner, int error)
{
    struct peer_forward *forward = owner;
    if (error != 0)
        give_up(forward, strerror(error));
    else
        finish(forward);
}

static const struct conn_handler handler = {
    .on_data = on_data, .on_connected = on_connected, .on_closed = on_closed};

static void connect_to(struct peer_forward *forward, const struct address *address)
{
    struct error error = ERROR_INIT;
    forward->conn = conn_connect(forward->session->worker, address, NULL, &handler, forward, &error);
    if (forward->conn == NULL)
        give_up(forward, error.message);
}

struct question {
    struct session_worker *session;
    uint64_t serial;
    char host[sizeof(((struct peer_forward *)0)->host)];
};

static void resolved(void *context, const struct resolve_answer *answer)
{
    struct question question = *(struct question *)context;
    free(context);
    if (answer->has_changed)
        registry_address_changed(question.session->shared->registry, question.host);
    list_for_each(&question.session->forwards, node)
    {
        struct peer_forward *forward = list_entry(node, struct peer_forward, node);
        if (forward->serial != question.serial)
            continue;
        if (answer->count > 0) {
            connect_to(forward, &answer->addresses[0]);
        } else {
            give_up(forward, answer->error);
        }
        return;
    }
}

static void find_address(struct peer_forward *forward)
{
    struct address address;
    struct error error = ERROR_INIT;
    struct registry *registry = forward->session->shared->registry;
    if (address_from_host(&address, forward->host, forward->port, &error)) {
        connect_to(forward, &address);
        return;
    }
    if (error.message[0] != '\0') {
        give_up(forward, error.message);
        return;
    }
    struct question *question = malloc(sizeof(*question));
    if (question != NULL) {
        *question = (struct question){.session = forward->session, .serial = forward->serial};
        memcpy(question->host, forward->host, sizeof(question->host));
        if (resolver_ask(registry_resolver(registry), forward->host, forward->port, forward->session->worker,
                         resolved, question))
            return;
        free(question);
    }
    finish(forward);
}

static void begin(struct peer_forward *forward)
{
    struct loop *loop = worker_loop(forward->session->worker);
    if (!take_place(forward)) {
        timer_start(loop, &forward->timer, AGAIN_US, look_again);
        return;
    }
    forward->is_active = forward->is_login = true;
    count(forward, 0, 0, 1);
    timer_start(loop, &forward->timer, PATIENCE_US, patience_ends);
    find_address(forward);
}

bool peer_forward(struct client *client, const struct config_peer *peer, struct slice key)
{
    struct session_worker *session = client->session;
    unsigned head = head_of(key.data), hops = head & HOPS;
    if (hops == HOPS)
        return false;
    struct peer_forward *forward = calloc(1, sizeof(*forward));
    if (forward == NULL)
        return false;
    forward->session = session;
    forward->client = client;
    forward->id = peer->id;
    forward->port = peer->port;
    forward->limit = config_peer_pool_size(session->config, peer);
    forward->limit = forward->limit > 0 ? forward->limit : 1;
    forward->serial = registry_next_id(session->shared->registry);
    snprintf(forward->host, sizeof(forward->host), "%s", peer->host);
    memcpy(forward->key, key.data, key.len);
    forward->key_len = key.len;
    set_head(forward->key, (head & ~(unsigned)HOPS) | (hops + 1));
    client->login->forward = forward;
    list_push_back(&session->forwards, &forward->node);
    count(forward, 1, 0, 0);
    begin(forward);
    return true;
}

void peer_forget_client(struct peer_forward *forward)
{
    if (forward != NULL)
        forward->client = NULL;
}

void peer_end(struct session_worker *session)
{
    struct list_node *node;
    while ((node = list_first(&session->forwards)) != NULL)
        end(list_entry(node, struct peer_forward, node));
}
