/*
 * mailbox: how threads talk. Any thread posts, the owner's loop runs the mails in order of posting.
 *
 * A mail is embedded in whatever it carries, so posting allocates nothing and cannot fail. Ownership passes
 * to the receiving thread with the post; its `run` function frees or keeps the object.
 */
#ifndef WEIR_NET_MAILBOX_H
#define WEIR_NET_MAILBOX_H

#include "weir/net/loop.h"

struct mail {
    struct mail *next;
    void (*run)(struct mail *mail);
};

struct mailbox;

/* NULL when the system has no eventfd left. The mails run on the loop's thread. */
struct mailbox *mailbox_new(struct loop *loop);
/* After the loop has ended; mails still inside are run first, so that nothing they own is lost. */
void mailbox_free(struct mailbox *mailbox);

/* Runs the mails that are there now; false when there were none. On the loop's thread, or after it has ended.
 */
bool mailbox_drain(struct mailbox *mailbox);

void mailbox_post(struct mailbox *mailbox, struct mail *mail);

#endif
