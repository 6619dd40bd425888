/*
 * share_bury: members that Redis has not heard of for long. What they had sent to PostgreSQL runs in
 * transactions that are there now, or has ended: when these are over, so are its writes, whatever became of
 * them.
 */
#include "share_parts.h"

#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "weir/util/clock.h"
#include "weir/util/log.h"

enum { DEAD_LEASES = 10, DEAD_MIN_MS = 10000 };

static uint64_t silence_ms(const struct share *s)
{
    uint64_t silence = DEAD_LEASES * s->lease_us / US_PER_MS;
    return silence > DEAD_MIN_MS ? silence : DEAD_MIN_MS;
}

static struct slice decimal(uint64_t number, char text[LEDGER_NUMBER_SIZE])
{
    int len = snprintf(text, LEDGER_NUMBER_SIZE, "%llu", (unsigned long long)number);
    return slice_make(text, (size_t)len);
}

static void forget(struct cache_database *d)
{
    free(d->share.burial.older);
    d->share.burial.older = NULL;
    d->share.burial.owner = 0;
}

static void on_dead(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                    uint64_t now_us)
{
    struct cache_database *d = context;
    struct share *s = d->group->all->share;
    uint64_t owner;
    (void)now_us;
    d->share.burial.is_asking = false;
    if (share_is_stopping(d) || share_client_answer(s->client, d, outcome, reply) != LEDGER_OK ||
        reply->type != REDIS_REPLY_ARRAY)
        return;
    for (size_t i = 0; i < reply->elements && d->share.burial.owner == 0; i++)
        if (ledger_read_number(reply->element[i], &owner) && owner != atomic_load(&s->owner))
            d->share.burial.owner = owner;
}

static void on_recovered(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                         uint64_t now_us)
{
    struct cache_database *d = context;
    (void)now_us;
    d->share.burial.is_asking = false;
    if (share_is_stopping(d))
        return;
    if (share_client_answer(d->group->all->share->client, d, outcome, reply) == LEDGER_OK)
        log_write(LOG_LEVEL_LOG, database_name(d),
                  "shared cache: the writes of a Weir that is gone have ended");
    forget(d);
}

static void on_quiet(struct cache_database *d, bool is_done)
{
    struct share *s = d->group->all->share;
    struct share_place *place;
    struct redis_link *link = share_is_stopping(d) ? NULL : share_client_link(s->client, d, &place);
    char numbers[4][LEDGER_NUMBER_SIZE];
    d->share.burial.is_asking = false;
    if (!is_done || link == NULL || d->share.burial.owner == 0)
        return;
    const struct slice words[] = {
        ledger_number(place->incarnation, numbers[0]), ledger_number(d->share.burial.owner, numbers[1]),
        decimal(silence_ms(s), numbers[2]), ledger_number(share_token(s), numbers[3])};
    d->share.burial.is_asking =
        ledger_ask(link, LEDGER_RECOVER, place->key, words, 4, s->lease_us, on_recovered, d);
}

void share_bury(struct cache_database *d, uint64_t now_us)
{
    struct share *s = d->group->all->share;
    struct share_place *place;
    struct redis_link *link = share_client_link(s->client, d, &place);
    char numbers[2][LEDGER_NUMBER_SIZE];
    if (d->share.step <= SHARE_LOCKING) {
        forget(d);
        return;
    }
    if (d->share.burial.is_asking || link == NULL)
        return;
    if (d->share.burial.owner != 0) {
        d->share.burial.is_asking = share_ask_quiet(d, &d->share.burial.older, on_quiet);
        return;
    }
    if (now_us < d->share.burial.next_us)
        return;
    d->share.burial.next_us = now_us + s->lease_us;
    const struct slice words[] = {ledger_number(place->incarnation, numbers[0]),
                                  decimal(silence_ms(s), numbers[1])};
    d->share.burial.is_asking = ledger_ask(link, LEDGER_DEAD, place->key, words, 2, s->lease_us, on_dead, d);
}
