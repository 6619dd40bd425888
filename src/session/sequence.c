/* sequence: when to send DISCARD SEQUENCES, and after what a session keeps its server. */
#include "weir/session/sequence.h"

#include "weir/session/outbox.h"
#include "weir/wire/decode.h"
#include "weir/wire/encode.h"

enum {
    PROBES = 8, /* statements of a class that are prepared for a question, before it is thought unlikely */
    ASKED_FOR = UINT8_MAX,
};

static const char DISCARD[] = "DISCARD SEQUENCES";

static bool asks_for_values(const struct sql_class *class)
{
    for (uint32_t i = 0; i < class->n_statements; i++)
        if ((class->statements[i].flags & SQL_SEQUENCE_STATE) != 0)
            return true;
    return false;
}

static bool may_take_values(const struct sql_class *class)
{
    for (uint32_t i = 0; i < class->n_statements; i++) {
        const struct sql_statement *s = &class->statements[i];
        if (s->kind == SQL_KIND_INSERT || s->kind == SQL_KIND_MERGE || (s->flags & SQL_NEXTVAL) != 0 ||
            (s->kind == SQL_KIND_SELECT_OTHER && s->n_writes > 0))
            return true;
    }
    return false;
}

/* Code that nobody can see may ask as well. */
static bool needs_own_state(const struct lease *lease, struct sql_class *class)
{
    const struct client *client = lease->client;
    if (lease->server->sequence_client == client->id || transaction_block(&client->tx) == TRANSACTION_FAILED)
        return false;
    if ((class->flags & SQL_CLASS_UNKNOWN_CODE) != 0 || asks_for_values(class))
        return true;
    if (!may_take_values(class))
        return false;
    uint8_t habit = atomic_load_explicit(&class->sequence_habit, memory_order_relaxed);
    if (habit < PROBES)
        atomic_store_explicit(&class->sequence_habit, (uint8_t)(habit + 1), memory_order_relaxed);
    return habit < PROBES || habit == ASKED_FOR;
}

bool sequence_prepare(struct lease *lease, struct sql_class *class)
{
    if (lease->is_batch_open || lease->is_skipping || !owed_is_empty(&lease->owed) ||
        !needs_own_state(lease, class))
        return true;
    struct outbox *outbox = lease->session->outbox;
    encode_query(outbox_make(outbox, lease->server->conn), slice_str(DISCARD));
    outbox_made(outbox);
    outbox_flush(outbox);
    server_forget_unnamed(lease->server);
    lease->is_holding = true;
    (void)lease_owe(lease, (struct owed){.kind = OWED_QUERY, .flags = OWED_SWALLOW | OWED_SEQUENCE});
    return false;
}

bool sequence_prepare_execute(struct lease *lease, struct sql_class *class)
{
    static const uint8_t kinds[] = {OWED_CLOSE, OWED_PARSE, OWED_BIND, OWED_EXECUTE, OWED_CLOSE, OWED_CLOSE};
    const struct slice name = SLICE_LITERAL("weir sequences"); /* no driver makes a name with a blank */
    if (!needs_own_state(lease, class))
        return true;
    struct outbox *outbox = lease->session->outbox;
    struct buf *out = outbox_make(outbox, lease->server->conn);
    encode_target(out, MSG_CLOSE, 'S', name);
    encode_parse(out, name, slice_str(DISCARD), SLICE_EMPTY);
    encode_bind_text(out, name, name, NULL, 0);
    encode_execute(out, name, 0);
    encode_target(out, MSG_CLOSE, 'P', name);
    encode_target(out, MSG_CLOSE, 'S', name);
    outbox_made(outbox);
    for (size_t i = 0; i < sizeof(kinds); i++)
        if (!lease_owe(lease, (struct owed){.kind = kinds[i], .flags = OWED_SWALLOW | OWED_SEQUENCE}))
            return false;
    return true;
}

void sequence_sending(struct lease *lease, struct sql_class *class)
{
    struct client *client = lease->client;
    if (asks_for_values(class) && client->sequence_class != NULL)
        atomic_store_explicit(&client->sequence_class->sequence_habit, ASKED_FOR, memory_order_relaxed);
    if (!may_take_values(class))
        return;
    if (client->sequence_class != class) {
        sql_class_unref(client->sequence_class);
        client->sequence_class = sql_class_ref(class);
    }
    if (atomic_load_explicit(&class->sequence_habit, memory_order_relaxed) == ASKED_FOR)
        pin_set(&client->pins, PIN_SEQUENCE);
}
