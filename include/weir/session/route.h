/*
 * route, inside: what the handlers of single messages share. For route.c and prepared.c alone.
 */
#ifndef WEIR_SESSION_ROUTE_H
#define WEIR_SESSION_ROUTE_H

#include "weir/session/client.h"
#include "weir/session/outbox.h"
#include "weir/wire/frame.h"
#include "weir/util/cold.h"

enum { ROUTE_SMALL_WHOLE = 64 * 1024 }; /* names and the like are never longer */

enum route_step {
    ROUTE_DONE,
    ROUTE_WAIT, /* not dealt with; kept */
    ROUTE_MORE, /* the rest of the message is needed */
    ROUTE_ENDED,
};

/* `whole` is what is there of the message, header included. */
typedef enum route_step (*route_fn)(struct client *client, const struct frame *frame, struct slice whole);

/* Messages of the extended protocol (prepared.c). */
enum route_step route_on_parse(struct client *client, const struct frame *frame, struct slice whole);
enum route_step route_on_bind(struct client *client, const struct frame *frame, struct slice whole);
enum route_step route_on_describe(struct client *client, const struct frame *frame, struct slice whole);
enum route_step route_on_execute(struct client *client, const struct frame *frame, struct slice whole);
enum route_step route_on_close(struct client *client, const struct frame *frame, struct slice whole);
enum route_step route_on_flush(struct client *client, const struct frame *frame, struct slice whole);
enum route_step route_on_sync(struct client *client, const struct frame *frame, struct slice whole);

/* Ends the client; ROUTE_ENDED. */
COLD enum route_step route_fail(struct client *client, const char *sqlstate, const char *message);
/* The client's lease, with its settings in force; NULL: wait (or the client has ended). `is_simple`: for a
 * simple query. */
struct lease *route_lease(struct client *client, bool must_be_alone, bool is_simple);
/* Has the message at hand been answered with an error already (settings refused, or cancelled while waiting)?
 */
bool route_is_refused(struct client *client, bool is_simple);
/* The message goes to the server as it is. */
void route_pass(struct client *client, struct slice whole);
/* Are statement names the server's own, so that any client may use what another has prepared? */
bool route_renames(const struct lease *lease);
/* Must a change of settings be answered before this is sent? */
bool route_must_be_alone(const struct client *client, const struct sql_class *class);
/* Would it bind the session to its server, and is that refused? Then it has been answered, or the client has
 * ended. */
bool route_is_refused_by_pin(struct client *client, const struct sql_class *class, bool is_simple);
bool route_is_refused_by_mode(const struct client *client, const struct sql_class *class);

static inline struct outbox *route_outbox(const struct client *client)
{
    return client->session->outbox;
}

/* Replaces a counted reference. */
static inline void route_replace(struct statement **slot, struct statement *statement)
{
    struct statement *old = *slot;
    *slot = statement != NULL ? statement_ref(statement) : NULL;
    if (old != NULL)
        statement_unref(old);
}

#endif
