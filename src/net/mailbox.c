/*
 * mailbox: a list under a mutex, and an eventfd that is written only when the list was empty.
 */
#include "weir/net/mailbox.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    pthread_mutex_t mutex;
    struct mail *first;
    struct mail **last;
    int fd;
    struct io io;
};

bool mailbox_drain(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    struct mail *mail = mailbox->first;
    mailbox->first = NULL;
    mailbox->last = &mailbox->first;
    pthread_mutex_unlock(&mailbox->mutex);
    bool had_mail = mail != NULL;
    while (mail != NULL) {
        struct mail *next = mail->next;
        mail->run(mail);
        mail = next;
    }
    return had_mail;
}

static void wake(struct io *io, unsigned what)
{
    (void)what;
    uint64_t count;
    ssize_t ignored = read(io->fd, &count, sizeof(count));
    (void)ignored;
    mailbox_drain(list_entry(io, struct mailbox, io));
}

struct mailbox *mailbox_new(struct loop *loop)
{
    struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
    if (mailbox == NULL)
        return NULL;
    pthread_mutex_init(&mailbox->mutex, NULL);
    mailbox->last = &mailbox->first;
    mailbox->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (mailbox->fd < 0 || !io_watch(loop, &mailbox->io, mailbox->fd, IO_READ, wake)) {
        mailbox_free(mailbox);
        return NULL;
    }
    return mailbox;
}

void mailbox_free(struct mailbox *mailbox)
{
    if (mailbox == NULL)
        return;
    while (mailbox_drain(mailbox))
        ;
    io_stop(&mailbox->io);
    if (mailbox->fd >= 0)
        close(mailbox->fd);
    pthread_mutex_destroy(&mailbox->mutex);
    free(mailbox);
}

void mailbox_post(struct mailbox *mailbox, struct mail *mail)
{
    mail->next = NULL;
    pthread_mutex_lock(&mailbox->mutex);
    bool was_empty = mailbox->first == NULL;
    *mailbox->last = mail;
    mailbox->last = &mail->next;
    if (was_empty) {
        /* Inside the lock, so that the box cannot be freed between. A full eventfd is readable as well. */
        uint64_t one = 1;
        ssize_t ignored = write(mailbox->fd, &one, sizeof(one));
        (void)ignored;
    }
    pthread_mutex_unlock(&mailbox->mutex);
}
