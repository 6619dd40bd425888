/* begin: Parse, Bind, Execute and Close of the unnamed statement, and what follows when they fail. */
#include "weir/session/begin.h"

#include "weir/session/client.h"
#include "weir/session/outbox.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"

/* An error in a block is all that makes a failed block, and this one has no other effect. */
static const char FAILED_BLOCK[] = "BEGIN; ROLLBACK TO SAVEPOINT failed";

/* To the client, who has had an error, the block is one already. */
static bool flush_failed(struct lease *lease)
{
    struct outbox *outbox = lease->session->outbox;
    encode_query(outbox_make(outbox, lease->server->conn), slice_str(FAILED_BLOCK));
    outbox_made(outbox);
    outbox_flush(outbox);
    server_forget_unnamed(lease->server);
    transaction_flushed(&lease->client->tx);
    lease->is_holding = true;
    (void)lease_owe(lease, (struct owed){.kind = OWED_QUERY, .flags = OWED_SWALLOW | OWED_BEGIN});
    return false;
}

bool begin_flush(struct lease *lease)
{
    static const uint8_t kinds[] = {OWED_PARSE, OWED_BIND, OWED_EXECUTE, OWED_CLOSE};
    struct transaction *tx = &lease->client->tx;
    if (transaction_block(tx) == TRANSACTION_FAILED)
        return flush_failed(lease);
    struct outbox *outbox = lease->session->outbox;
    struct buf *out = outbox_make(outbox, lease->server->conn);
    encode_parse(out, SLICE_EMPTY, slice_str(transaction_begin_text(tx)), SLICE_EMPTY);
    encode_bind_text(out, SLICE_EMPTY, SLICE_EMPTY, NULL, 0);
    encode_execute(out, SLICE_EMPTY, 0);
    encode_target(out, MSG_CLOSE, 'S', SLICE_EMPTY);
    outbox_made(outbox);
    server_forget_unnamed(lease->server);
    transaction_flushed(tx);
    lease->is_begin_owed = true;
    for (size_t i = 0; i < sizeof(kinds); i++)
        if (!lease_owe(lease, (struct owed){.kind = kinds[i], .flags = OWED_SWALLOW | OWED_BEGIN}))
            return false;
    return true;
}

bool begin_refused(struct lease *lease)
{
    static const uint8_t sync[] = {MSG_SYNC, 0, 0, 0, 4};
    struct client *client = lease->client;
    struct owed *front;
    while ((front = owed_front(&lease->owed)) != NULL && front->flags & OWED_BEGIN)
        owed_pop(&lease->owed);
    lease->is_begin_refused = true;
    if (client != NULL)
        transaction_begin_refused(&client->tx);
    if (front == NULL || (front->kind != OWED_QUERY && front->kind != OWED_FUNCTION))
        return true;
    if (client != NULL && client->stream_left > 0) { /* no place for a Sync */
        lease_break(lease, "BEGIN was refused");
        client_fail(client, "08P01", "BEGIN was refused in the middle of a message");
        return false;
    }
    /* PostgreSQL skips this one too, up to a Sync that the client does not know it has to send. */
    owed_pop(&lease->owed);
    conn_write(lease->server->conn, sync, sizeof(sync));
    return lease_owe(lease, (struct owed){.kind = OWED_SYNC});
}

void begin_refused_ready(struct lease *lease)
{
    lease->is_begin_refused = lease->is_begin_owed = lease->is_holding = false;
    if (lease->client == NULL)
        return;
    struct outbox *outbox = lease->session->outbox;
    encode_ready(outbox_make(outbox, lease->client->conn), client_status(lease->client));
    outbox_made(outbox);
}

bool begin_is_failed(struct lease *lease)
{
    struct client *client = lease->client;
    lease->is_holding = false;
    if (lease->status == 'E' || client == NULL)
        return true;
    lease_break(lease, "BEGIN was refused");
    client_fail(client, "08P01", "BEGIN was refused");
    return false;
}
