/*
 * share_writes: a write's mark in the ledger, before its bytes leave, and the end of that mark.
 *
 * What may leave: a write whose mark Redis has acknowledged, in a ledger of which this process is known to be
 * a member; or any, once this process's fence has been seen by all. Whoever can have neither within a few
 * leases is refused where the database is `exact`.
 */
#include "share_parts.h"

#include <stdio.h>
#include <stdlib.h>

#include "weir/net/worker.h"
#include "weir/util/clock.h"

enum { STEP_SHARE = 50, STEP_MIN_US = 2000 };

static void on_timer(struct timer *timer);

/* --- life --- */

struct share_mark *share_mark_new(struct cache_database *d, struct share_client *client)
{
    struct share *s = client->share;
    struct share_mark *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return NULL;
    atomic_init(&m->references, 1);
    m->database = d;
    m->client = client;
    m->owner = atomic_load(&s->owner);
    m->number = atomic_fetch_add(&s->next_write, 1) + 1;
    return m;
}

static struct share_mark *mark_ref(struct share_mark *m)
{
    atomic_fetch_add(&m->references, 1);
    return m;
}

void share_mark_unref(struct share_mark *m)
{
    if (atomic_fetch_sub(&m->references, 1) == 1)
        free(m);
}

/* --- may it go --- */

/* Grows with every relation that is added. */
static uint32_t coverage(const struct share_mark *m)
{
    const struct database_write *w = m->write;
    if (w == NULL || w->database != m->database)
        return 1;
    return (uint32_t)(w->marked_count << 3) | (uint32_t)w->is_epoch_marked << 2 |
           (uint32_t)w->is_schema << 1 | 1;
}

static bool is_marked(const struct share_mark *m, uint64_t now_us, uint64_t age_us)
{
    return m->acked_place != NULL && m->acked_place == atomic_load(&m->database->share.place) &&
           m->covered == coverage(m) && now_us < m->acked_us + age_us;
}

static bool may_go_marked(const struct share_mark *m, uint64_t now_us)
{
    const struct database_share *share = &m->database->share;
    return is_marked(m, now_us, m->client->share->lease_us / 2) &&
           now_us < atomic_load(&share->member_until_us) && now_us >= atomic_load(&share->member_from_us);
}

/* Counted first and looked at then: the fence falls in the other order. */
static bool may_go_fenced(struct share_mark *m, uint64_t now_us)
{
    struct database_share *share = &m->database->share;
    bool was_unmarked = atomic_exchange(&m->is_unmarked, true);
    if (!was_unmarked)
        atomic_fetch_add(&share->unmarked, 1);
    if (now_us < atomic_load(&share->fence_until_us) && now_us >= atomic_load(&share->fence_from_us))
        return true;
    if (!was_unmarked) {
        atomic_store(&m->is_unmarked, false);
        atomic_fetch_sub(&share->unmarked, 1);
    }
    return false;
}

static bool may_go(struct share_mark *m, uint64_t now_us)
{
    return m->is_let_through || may_go_marked(m, now_us) || may_go_fenced(m, now_us);
}

/* --- marking --- */

static void stop_waiting(struct share_mark *m)
{
    if (m->since_us == 0)
        return;
    list_remove(&m->client->waiting, &m->node);
    m->since_us = 0;
}

static void tell(struct share_mark *m)
{
    void (*done)(void *context) = m->done;
    void *context = m->context;
    stop_waiting(m);
    m->done = NULL;
    done(context);
}

static void on_marked(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                      uint64_t now_us)
{
    struct share_mark *m = context;
    m->is_asking = false;
    enum ledger_answer answer = share_client_answer(m->client, m->database, outcome, reply);
    if (answer != LEDGER_FAILED)
        atomic_fetch_sub(&m->unsure, 1);
    switch (answer) {
    case LEDGER_OK:
        m->acked_place = atomic_load(&m->place);
        m->acked_us = m->asked_us;
        m->covered = m->covering;
        break;
    case LEDGER_LOST:
    case LEDGER_ELSEWHERE:
        share_poke(m->database, false);
        break;
    default:
        break;
    }
    if (m->since_us != 0 && !m->client->is_stopped && may_go(m, now_us))
        tell(m);
    share_mark_unref(m);
}

/* The words of one write: its fields, as many as there is room for; more count as everything. */
static int list_fields(const struct share_mark *m, struct slice *words, char texts[][GENERATION_NAME_SIZE],
                       int room)
{
    const struct database_write *w = m->write;
    int count = 0;
    bool is_all = w == NULL || w->database != m->database || w->is_epoch_marked || w->is_schema ||
                  w->marked_count > (size_t)room - 2;
    if (is_all)
        words[count++] = SLICE_LITERAL("0");
    if (w != NULL && w->is_schema)
        words[count++] = SLICE_LITERAL("s");
    if (w == NULL || w->database != m->database || w->marked_count > (size_t)room - 2)
        return count;
    for (size_t i = 0; i < w->marked_count; i++)
        words[count++] = generation_name(w->slots[i], texts[i]);
    return count;
}

/* False when it cannot be asked now. */
static bool ask(struct share_mark *m, uint64_t now_us)
{
    enum { FIXED = 4, ROOM = LEDGER_WORDS_MAX - FIXED };
    struct share_place *place;
    struct redis_link *link = share_client_link(m->client, m->database, &place);
    struct slice words[LEDGER_WORDS_MAX];
    char texts[ROOM][GENERATION_NAME_SIZE], numbers[FIXED][LEDGER_NUMBER_SIZE];
    if (link == NULL)
        return false;
    uint64_t schema = atomic_load(&m->database->share.schema), owner = atomic_load(&m->client->share->owner);
    if (m->owner != owner) { /* taken for dead: what it had marked is marked no more */
        m->owner = owner;
        m->acked_place = NULL;
    }
    words[0] = ledger_number(place->incarnation, numbers[0]);
    words[1] = ledger_number(m->owner, numbers[1]);
    words[2] = ledger_number(m->number, numbers[2]);
    words[3] = schema != 0 ? ledger_clean(schema, place->incarnation, numbers[3]) : SLICE_LITERAL("?");
    int count = FIXED + list_fields(m, words + FIXED, texts, ROOM);
    atomic_store(&m->place, place);
    atomic_fetch_add(&m->unsure, 1);
    m->asked_us = now_us;
    m->covering = coverage(m);
    m->is_asking = ledger_ask(link, LEDGER_MARK, place->key, words, count, m->client->share->lease_us / 4,
                              on_marked, mark_ref(m));
    if (!m->is_asking) {
        atomic_fetch_sub(&m->unsure, 1);
        share_mark_unref(m);
    }
    return m->is_asking;
}

/* One look at a mark that waits; false when there is no hope left. */
static bool step(struct share_mark *m, uint64_t now_us)
{
    struct database_share *share = &m->database->share;
    uint64_t lease = m->client->share->lease_us, waited = now_us - m->since_us;
    if (!m->is_asking && !is_marked(m, now_us, lease / 4))
        ask(m, now_us);
    if (waited > lease / 4 && !is_marked(m, now_us, lease / 2) &&
        !atomic_exchange(&share->is_fence_wanted, true))
        worker_post(m->client->share->control, &share->fence_mail);
    uint64_t patience = atomic_load(&share->is_connected) ? 4 * lease : lease + lease / 2;
    if (waited <= patience)
        return true;
    m->is_refused = atomic_load(&share->is_exact);
    m->is_let_through = !m->is_refused;
    return false;
}

static void watch_over(struct share_client *c)
{
    uint64_t pause = c->share->lease_us / STEP_SHARE;
    if (!list_is_empty(&c->waiting) && !timer_is_running(&c->timer))
        timer_start(worker_loop(c->worker), &c->timer, pause > STEP_MIN_US ? pause : STEP_MIN_US, on_timer);
}

/* Telling one may end any other. */
static struct share_mark *next_told(struct share_client *c, uint64_t now_us)
{
    list_for_each(&c->waiting, node)
    {
        struct share_mark *m = list_entry(node, struct share_mark, node);
        if (may_go(m, now_us) || !step(m, now_us))
            return m;
    }
    return NULL;
}

static void on_timer(struct timer *timer)
{
    struct share_client *c = list_entry(timer, struct share_client, timer);
    uint64_t now = clock_now_us();
    for (struct share_mark *m; (m = next_told(c, now)) != NULL;)
        tell(m);
    watch_over(c);
}

/* Where the write is to be marked: in its own database, or in the one that might be the same. */
static struct cache_database *target_of(const struct database_write *w)
{
    if (w->database->share.is_on)
        return w->database;
    for (size_t i = 0; i < w->peer_count; i++)
        if (w->peers[i]->share.is_on)
            return w->peers[i];
    return NULL;
}

enum cache_word share_announce(struct database_write *w, void (*done)(void *context), void *context)
{
    struct cache_database *target = w->client != NULL ? target_of(w) : NULL;
    if (target == NULL)
        return CACHE_WRITE_GO;
    if (w->mark == NULL)
        w->mark = share_mark_new(target, w->client);
    struct share_mark *m = w->mark;
    if (m == NULL || m->is_refused)
        return CACHE_WRITE_REFUSED;
    uint64_t now = clock_now_us();
    m->write = w;
    if (may_go(m, now)) {
        stop_waiting(m);
        return CACHE_WRITE_GO;
    }
    m->done = done;
    m->context = context;
    if (m->since_us == 0) {
        m->since_us = now;
        list_push_back(&m->client->waiting, &m->node);
    }
    if (!m->is_asking)
        ask(m, now);
    watch_over(m->client);
    return CACHE_WRITE_WAIT;
}

void share_forget_waiter(struct database_write *w)
{
    if (w->mark != NULL)
        stop_waiting(w->mark);
}

/* --- its end --- */

static void on_ended(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                     uint64_t now_us)
{
    struct share_mark *m = context;
    enum ledger_answer answer = share_client_answer(m->ender, m->database, outcome, reply);
    (void)now_us;
    if (answer == LEDGER_OK || answer == LEDGER_LOST) {
        if (list_node_is_linked(&m->node))
            list_remove(&m->database->share.owed, &m->node);
        share_mark_unref(m);
        return;
    }
    m->is_ending = false;
    if (!list_node_is_linked(&m->node)) /* of a worker: the control thread goes on with it */
        worker_post(m->ender->share->control, &m->mail);
}

/* The reference goes with the question. */
static bool ask_end(struct share_mark *m, struct share_client *client)
{
    struct share_place *place;
    struct redis_link *link = share_client_link(client, m->database, &place);
    char numbers[4][LEDGER_NUMBER_SIZE];
    if (link == NULL || place != atomic_load(&m->place))
        return false;
    const struct slice words[] = {ledger_number(place->incarnation, numbers[0]),
                                  ledger_number(m->owner, numbers[1]), ledger_number(m->number, numbers[2]),
                                  m->has_changed ? ledger_number(share_token(client->share), numbers[3])
                                                 : SLICE_LITERAL(""),
                                  atomic_load(&m->unsure) > 0 ? SLICE_LITERAL("1") : SLICE_LITERAL("0")};
    m->ender = client;
    m->is_ending =
        ledger_ask(link, LEDGER_CHANGE, place->key, words, 5, client->share->lease_us / 4, on_ended, m);
    return m->is_ending;
}

/* Control thread. */
static void on_owed(struct mail *mail)
{
    struct share_mark *m = list_entry(mail, struct share_mark, mail);
    if (m->database->group->all->share->is_stopping) {
        share_mark_unref(m);
        return;
    }
    list_push_back(&m->database->share.owed, &m->node);
    share_mark_retry(m->database);
}

void share_mark_retry(struct cache_database *d)
{
    struct share_place *place = atomic_load(&d->share.place);
    list_for_each(&d->share.owed, node)
    {
        struct share_mark *m = list_entry(node, struct share_mark, node);
        if (m->is_ending || place == NULL)
            continue;
        if (place == atomic_load(&m->place)) {
            ask_end(m, d->group->all->share->client);
            continue;
        }
        list_remove(&d->share.owed, &m->node); /* nobody believes that ledger any more */
        share_mark_unref(m);
    }
}

void share_mark_end(struct share_mark *m, struct share_client *client, bool has_changed)
{
    if (atomic_exchange(&m->is_unmarked, false))
        atomic_fetch_sub(&m->database->share.unmarked, 1);
    m->has_changed = has_changed;
    m->mail.run = on_owed;
    if (atomic_load(&m->place) == NULL || client->share->is_stopping)
        share_mark_unref(m);
    else if (!ask_end(m, client))
        worker_post(client->share->control, &m->mail);
}

void share_write_ended(struct database_write *w, bool has_changed)
{
    struct share_mark *m = w->mark;
    w->mark = NULL;
    if (m != NULL) {
        stop_waiting(m);
        m->write = NULL;
        share_mark_end(m, w->client, has_changed);
    } else if (w->client != NULL && w->is_marked && has_changed && w->database->share.is_on) {
        share_want_epoch(w->database); /* to be safe: whoever writes has asked before */
    }
}
