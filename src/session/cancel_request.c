/*
 * cancel_request: one mail to every worker, which comes back when there is nothing to wait for there.
 */
#include "weir/session/cancel_request.h"

#include <stdlib.h>
#include <string.h>

#include "login.h"
#include "weir/pool/cancel.h"
#include "weir/session/cached.h"
#include "weir/session/lease.h"

/* What one worker is asked. */
struct question {
    struct mail mail; /* there and back */
    struct cancel_watcher watcher;
    struct cancel_request *request;
    struct session_worker *session; /* that is asked */
    bool is_late;
};

struct cancel_request {
    struct session_worker *origin;
    struct client *client; /* NULL: it has not waited for the end */
    uint8_t key[CLIENT_KEY_BYTES];
    bool is_long, is_late;
    int unanswered;
    struct question questions[];
};

/* ---- on the worker of the client that asked ---- */

static void answered(struct mail *mail)
{
    struct question *question = list_entry(mail, struct question, mail);
    struct cancel_request *request = question->request;
    struct client *client = request->client;
    request->is_late = request->is_late || question->is_late;
    if (--request->unanswered > 0)
        return;
    if (client != NULL) {
        session_enter(request->origin);
        client->login->cancel = NULL;
        client_close(client, request->is_late ? "cancel_wait_timeout" : "cancel request");
        session_leave(request->origin);
    }
    free(request);
}

void cancel_request_forget_client(struct cancel_request *request)
{
    if (request != NULL)
        request->client = NULL;
}

/* ---- on the worker that is asked ---- */

static void answer(struct question *question, bool is_late)
{
    question->is_late = is_late;
    question->mail.run = answered;
    worker_post(question->request->origin->worker, &question->mail);
}

static void server_done(struct cancel_watcher *watcher, bool is_late)
{
    answer(list_entry(watcher, struct question, watcher), is_late);
}

static void cancel_waiting(struct client *client)
{
    /* Its query has not gone anywhere: it is the first thing in the kept input, and is answered here. */
    if (client->state == CLIENT_WAITING) {
        pool_stop_waiting(&client->waiter);
        client_set_state(client, CLIENT_IDLE);
    }
    cached_forget(client);
    client->is_cancelled = true;
    conn_kick(client->conn);
}

/* The server that a request is on its way to now; NULL when there is none. */
static struct server *cancel_for(struct client *client)
{
    struct server *server = client->lease != NULL ? client->lease->server : NULL;
    if (client->state == CLIENT_WAITING || cached_is_waiting(client)) {
        cancel_waiting(client);
        return NULL;
    }
    if (client->state == CLIENT_REPLICATION && server != NULL)
        cancel_send(server);
    else if (server != NULL && !owed_is_empty(&client->lease->owed))
        lease_cancel(client->lease);
    else
        return NULL;
    return cancel_is_pending(server) ? server : NULL;
}

static void asked(struct mail *mail)
{
    struct question *question = list_entry(mail, struct question, mail);
    struct session_worker *session = question->session;
    struct client *client;
    struct server *server = NULL;
    HASH_FIND(hh, session->by_key, question->request->key, CLIENT_KEY_BYTES, client);
    if (client != NULL && client->has_long_key == question->request->is_long) {
        session_enter(session);
        server = cancel_for(client);
        if (server != NULL)
            cancel_watch(server, &question->watcher);
        session_leave(session);
    }
    if (server == NULL)
        answer(question, false);
}

void cancel_request_spread(struct client *client, const uint8_t key[8], bool is_long)
{
    struct session_worker *origin = client->session;
    int count = origin->shared->worker_count;
    struct cancel_request *request = calloc(1, sizeof(*request) + (size_t)count * sizeof(struct question));
    if (request == NULL) {
        client_close(client, "cancel request");
        return;
    }
    *request =
        (struct cancel_request){.origin = origin, .client = client, .is_long = is_long, .unanswered = count};
    memcpy(request->key, key, CLIENT_KEY_BYTES);
    client->login->cancel = request;
    for (int i = 0; i < count; i++) {
        struct question *question = &request->questions[i];
        *question = (struct question){.mail = {.run = asked},
                                      .watcher = {.done = server_done},
                                      .request = request,
                                      .session = origin->shared->workers[i]};
        worker_post(question->session->worker, &question->mail);
    }
}
