/*
 * share_join: the control thread's side of a share: becoming a member, believing, fencing, burying the dead.
 *
 *   apart --both connections--> meeting --> locking --> settling --> quiet --> schema --> epoch --> believed
 *     '<-- either is lost, or the ledger is another one ---'   ^                  ^         ^          |
 *          a look that shows a fence or strangers, or is late -'    a catalog ----'  epoch -'----------'
 *
 * A look at PostgreSQL every third of a lease; Redis hears of us as often. `turn` grows whenever the chain is
 * thrown back, so that an answer to an older question does not carry it on.
 */
#include "share_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "weir/control/catalog.h"
#include "weir/control/watch.h"
#include "weir/net/worker.h"
#include "weir/util/clock.h"
#include "weir/util/log.h"

enum { LOOKS_A_LEASE = 3, SETTLE_LEASES = 2 };

static void on_timer(struct timer *timer);

static uint64_t lease_of(const struct cache_database *d)
{
    return d->group->all->share->lease_us;
}

static struct share_client *client_of(const struct cache_database *d)
{
    return d->group->all->share->client;
}

/* --- where it stands --- */

static void set_reason(struct cache_database *d, const char *reason)
{
    pthread_mutex_lock(&d->group->mutex);
    bool is_new = strcmp(d->share.reason, reason) != 0;
    snprintf(d->share.reason, sizeof(d->share.reason), "%s", reason);
    pthread_mutex_unlock(&d->group->mutex);
    if (is_new && reason[0] != '\0')
        log_write(LOG_LEVEL_DEBUG, database_name(d), "shared cache: %s", reason);
}

void share_fall_to(struct cache_database *d, enum share_step step, const char *reason)
{
    struct database_share *share = &d->share;
    if (share->step < step)
        return;
    atomic_store(&share->until_us, 0);
    if (step <= SHARE_LOCKING) {
        atomic_store(&share->member_until_us, 0);
        if (step <= SHARE_MEETING)
            atomic_store(&share->place, NULL);
        share->clean_since_us = share->clean_asked_us = 0;
    }
    if (step <= SHARE_SETTLING) {
        free(share->older);
        share->older = NULL;
    }
    if (step <= SHARE_SCHEMA) {
        atomic_store(&share->schema, 0);
        share->check = 0;
    }
    if (share->step == SHARE_BELIEVED)
        log_write(LOG_LEVEL_LOG, database_name(d), "shared cache: not believed: %s", reason);
    share->turn++;
    share->step = step;
    set_reason(d, reason);
}

static void step_up(struct cache_database *d, enum share_step step, const char *reason)
{
    d->share.step = step;
    set_reason(d, reason);
    if (step == SHARE_BELIEVED) {
        atomic_store(&d->share.until_us, d->share.clean_asked_us + lease_of(d));
        log_write(LOG_LEVEL_LOG, database_name(d), "shared cache: believed");
    }
}

/* --- meeting: which ledger there is, and that we live --- */

/* The ledger's key in the Redis that was asked for it last. */
static void name_ledger(const struct cache_database *d, char *key, size_t size)
{
    snprintf(key, size, "weir:g:{%llu.%llu}:%s", (unsigned long long)d->share.database_oid,
             (unsigned long long)d->share.server_start_us, d->share.met_run_id);
}

static struct share_place *place_of(struct cache_database *d, uint64_t incarnation)
{
    char key[sizeof(((struct share_place *)NULL)->key)];
    name_ledger(d, key, sizeof(key));
    for (struct share_place *p = d->share.places; p != NULL; p = p->next)
        if (p->incarnation == incarnation && strcmp(p->key, key) == 0)
            return p;
    struct share_place *place = calloc(1, sizeof(*place));
    if (place == NULL)
        return NULL;
    place->incarnation = incarnation;
    snprintf(place->run_id, sizeof(place->run_id), "%s", d->share.met_run_id);
    snprintf(place->key, sizeof(place->key), "%s", key);
    place->next = d->share.places;
    return d->share.places = place;
}

/* What is under way here and is not in this ledger counts as a write to everything until it has ended. */
static void begin_legacy(struct cache_database *d)
{
    struct database_share *share = &d->share;
    if (share->legacy != NULL)
        share_mark_end(share->legacy, share->legacy->client, true);
    share->legacy = NULL;
    pthread_mutex_lock(&d->group->mutex);
    share->legacy_round++;
    share->legacy_left = 0;
    list_for_each(&d->writes, node)
    {
        list_entry(node, struct database_write, node)->legacy_round = share->legacy_round;
        share->legacy_left++;
    }
    uint32_t left = share->legacy_left;
    pthread_mutex_unlock(&d->group->mutex);
    if (left > 0)
        share->legacy = share_mark_new(d, d->group->all->share->client);
}

static void on_locked(struct cache_database *d, bool is_done)
{
    struct database_share *share = &d->share;
    share->is_locking = false;
    if (share->step != SHARE_LOCKING || !is_done)
        return;
    uint64_t now = clock_now_us();
    atomic_store(&share->member_from_us, now + lease_of(d) + lease_of(d) / 10);
    share->clean_since_us = share->clean_asked_us = 0;
    share->turn++;
    step_up(d, SHARE_SETTLING, "it waits until all others know of this process");
    share_step_on(d, now);
}

static void lock(struct cache_database *d)
{
    struct share_place *place = atomic_load(&d->share.place);
    if (!d->share.is_locking && place != NULL)
        d->share.is_locking = share_ask_lock(d, place->incarnation, on_locked);
}

static void adopt(struct cache_database *d, struct share_place *place);

/* The mark for what was under way before has been acknowledged, or not. */
static void on_legacy(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                      uint64_t now_us)
{
    struct cache_database *d = context;
    (void)now_us;
    d->share.is_meeting = false;
    if (share_is_stopping(d) || share_client_answer(client_of(d), d, outcome, reply) != LEDGER_OK) {
        share_fall_to(d, SHARE_MEETING, "Redis has not taken a mark");
        return;
    }
    struct share_place *place = d->share.legacy != NULL ? atomic_load(&d->share.legacy->place) : NULL;
    if (place != NULL)
        atomic_store(&d->share.legacy->unsure, 0);
    if (d->share.step == SHARE_MEETING && place != NULL)
        adopt(d, place);
}

static bool mark_legacy(struct cache_database *d, struct share_place *place)
{
    struct share_mark *m = d->share.legacy;
    struct redis_link *link = share_client_node(client_of(d), d);
    char numbers[3][LEDGER_NUMBER_SIZE];
    m->owner = atomic_load(&d->group->all->share->owner);
    atomic_store(&m->place, place);
    atomic_store(&m->unsure, 1);
    const struct slice words[] = {ledger_number(place->incarnation, numbers[0]),
                                  ledger_number(m->owner, numbers[1]), ledger_number(m->number, numbers[2]),
                                  SLICE_LITERAL("?"), SLICE_LITERAL("0")};
    return link != NULL && ledger_ask(link, LEDGER_MARK, place->key, words, 5, lease_of(d), on_legacy, d);
}

/* Writes are marked there from now on; they go when the lock is there, and all have had time to see it. */
static void adopt(struct cache_database *d, struct share_place *place)
{
    atomic_store(&d->share.place, place);
    step_up(d, SHARE_LOCKING, "the member's lock is being taken");
    lock(d);
}

static bool read_meeting(const struct redisReply *reply, uint64_t *incarnation, uint64_t *lease,
                         bool *is_known)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 4 ||
        !ledger_read_number(reply->element[0], incarnation) ||
        !ledger_read_number(reply->element[1], lease) || reply->element[2]->type != REDIS_REPLY_STRING)
        return false;
    *is_known = strcmp(reply->element[2]->str, "1") == 0;
    return *incarnation != 0;
}

/* The schema's token was read before the look that confirms the catalog; see share_database_checked. */
static void seek_schema(struct cache_database *d, const struct redisReply *field, uint64_t incarnation)
{
    bool is_clean;
    uint64_t token;
    if (d->share.step != SHARE_SCHEMA || d->share.check != 0 || !d->share.is_catalog_known)
        return;
    if (!ledger_read_field(field, incarnation, &token, &is_clean) || !is_clean) {
        set_reason(d, "definitions are being changed through another Weir");
        return;
    }
    d->share.schema_met = token;
    d->share.check = watch_check(d->watch);
    set_reason(d, "the catalog is being looked at");
}

static void on_met(void *context, enum redis_outcome outcome, const struct redisReply *reply, uint64_t now_us)
{
    struct cache_database *d = context;
    struct database_share *share = &d->share;
    uint64_t incarnation, lease;
    bool is_known;
    share->is_meeting = false;
    if (share_is_stopping(d))
        return;
    enum ledger_answer answer = share_client_answer(client_of(d), d, outcome, reply);
    if (answer == LEDGER_LOST) {
        share_fall_to(d, SHARE_MEETING, "the ledger is gone from Redis");
        share_meet(d);
        return;
    }
    if (answer == LEDGER_ELSEWHERE)
        share_fall_to(d, SHARE_MEETING, "the Redis Cluster is moving the ledger's slot");
    if (answer != LEDGER_OK || !read_meeting(reply, &incarnation, &lease, &is_known))
        return;
    share->heard_us = now_us;
    if (lease != lease_of(d)) {
        share_fall_to(d, SHARE_MEETING,
                      "cache_lease is another one in another Weir: it has to be the same in all");
        return;
    }
    if (share->step > SHARE_MEETING && !is_known) {
        /* Others have taken this process for dead, and have ended its marks. */
        atomic_store(&d->group->all->share->owner, share_token(d->group->all->share));
        share_fall_to(d, SHARE_MEETING, "others have taken this process for dead");
        share_meet(d);
        return;
    }
    if (share->step > SHARE_MEETING) {
        seek_schema(d, reply->element[3], incarnation);
        return;
    }
    if (share->step < SHARE_MEETING)
        return;
    struct share_place *place = place_of(d, incarnation);
    if (place == NULL)
        return;
    begin_legacy(d);
    if (share->legacy == NULL)
        adopt(d, place);
    else
        share->is_meeting = mark_legacy(d, place);
}

/* Why Redis is not fit for a ledger; NULL when it is. */
static const char *judge_redis(const struct redis_server *server)
{
    if (server->run_id[0] == '\0')
        return "Redis does not say who it is: INFO must be allowed";
    if (strcmp(server->role, "master") != 0)
        return "Redis is a replica";
    if (strncmp(server->eviction, "allkeys", 7) == 0)
        return "Redis may forget marks: maxmemory-policy allkeys-* has to be noeviction or volatile-*";
    return NULL;
}

void share_meet(struct cache_database *d)
{
    struct database_share *share = &d->share;
    struct share *s = d->group->all->share;
    if (share->is_meeting || share->step < SHARE_MEETING || share->database_oid == 0)
        return;
    struct redis_link *link = share_client_node(s->client, d);
    if (link == NULL || !redis_link_is_up(link)) {
        if (share->step == SHARE_MEETING)
            set_reason(d, "Redis does not answer");
        return;
    }
    const struct redis_server *server = redis_link_server(link);
    const char *objection = judge_redis(server);
    struct share_place *place = atomic_load(&share->place);
    if (objection != NULL) {
        share_fall_to(d, SHARE_MEETING, objection);
        return;
    }
    if (place != NULL && strcmp(place->run_id, server->run_id) != 0) {
        share_fall_to(d, SHARE_MEETING, "Redis is another one than before");
        place = NULL;
    }
    char numbers[4][LEDGER_NUMBER_SIZE], key[160];
    snprintf(share->met_run_id, sizeof(share->met_run_id), "%s", server->run_id);
    name_ledger(d, key, sizeof(key));
    const struct slice words[] = {
        place != NULL ? ledger_number(place->incarnation, numbers[0]) : SLICE_LITERAL(""),
        ledger_number(atomic_load(&s->owner), numbers[1]), ledger_number(share_token(s), numbers[2]),
        ledger_number(s->lease_us, numbers[3])};
    share->is_meeting = ledger_ask(link, LEDGER_MEET, key, words, 4, s->lease_us, on_met, d);
}

/* --- from settling to belief --- */

static void on_quiet(struct cache_database *d, bool is_done)
{
    d->share.is_quieting = false;
    if (!is_done || d->share.step != SHARE_QUIET || d->share.older == NULL)
        return;
    step_up(d, SHARE_SCHEMA, "the catalog is to be looked at");
    share_step_on(d, clock_now_us());
}

struct bump {
    struct cache_database *database;
    uint64_t epochs;
    uint32_t turn;
};

static void on_bumped(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                      uint64_t now_us)
{
    struct bump bump = *(struct bump *)context;
    struct cache_database *d = bump.database;
    free(context);
    d->share.is_bumping = false;
    if (share_is_stopping(d) || share_client_answer(client_of(d), d, outcome, reply) != LEDGER_OK)
        return;
    if (bump.turn != d->share.turn || d->share.step != SHARE_EPOCH)
        return;
    atomic_store(&d->share.epochs_done, bump.epochs);
    if (bump.epochs == atomic_load(&d->share.epochs_wanted))
        step_up(d, SHARE_BELIEVED, "");
    share_step_on(d, now_us);
}

static void change_epoch(struct cache_database *d)
{
    struct share_place *place;
    struct share *s = d->group->all->share;
    struct redis_link *link = share_client_link(s->client, d, &place);
    struct bump *bump = link != NULL && !d->share.is_bumping ? malloc(sizeof(*bump)) : NULL;
    char numbers[2][LEDGER_NUMBER_SIZE];
    if (bump == NULL)
        return;
    *bump = (struct bump){d, atomic_load(&d->share.epochs_wanted), d->share.turn};
    const struct slice words[] = {ledger_number(place->incarnation, numbers[0]),
                                  ledger_number(share_token(s), numbers[1]), SLICE_LITERAL("0")};
    d->share.is_bumping = ledger_ask(link, LEDGER_BUMP, place->key, words, 3, s->lease_us, on_bumped, bump);
    if (!d->share.is_bumping)
        free(bump);
}

void share_step_on(struct cache_database *d, uint64_t now_us)
{
    struct database_share *share = &d->share;
    (void)now_us;
    switch (share->step) {
    case SHARE_MEETING:
        share_meet(d);
        break;
    case SHARE_LOCKING:
        lock(d);
        break;
    case SHARE_SETTLING:
        if (share->clean_since_us == 0 ||
            share->clean_asked_us < share->clean_since_us + SETTLE_LEASES * lease_of(d))
            break;
        step_up(d, SHARE_QUIET,
                "transactions have not ended that are older than the belief in the ledger would be");
        /* fall through */
    case SHARE_QUIET:
        if (!share->is_quieting)
            share->is_quieting = share_ask_quiet(d, &share->older, on_quiet);
        break;
    case SHARE_SCHEMA:
        if (share->check == 0)
            share_meet(d);
        break;
    case SHARE_EPOCH:
        change_epoch(d);
        break;
    case SHARE_APART:
    case SHARE_BELIEVED:
        break;
    }
}

/* --- looks --- */

static const char *judge_look(const struct cache_database *d, const struct share_look *look)
{
    if (look->has_strangers)
        return "a member of another ledger is there: do all Weirs use the same Redis?";
    if (look->is_fence_up)
        return d->share.is_fenced ? "Redis does not answer, so writes go without marks"
                                  : "another Weir writes without marks, since Redis does not answer it";
    return NULL;
}

static void note_fence(struct cache_database *d, const struct share_look *look, uint64_t asked_us)
{
    struct database_share *share = &d->share;
    if (share->is_fenced && !look->has_fence && !share->is_fencing) {
        share->is_fenced = false;
        atomic_store(&share->fence_until_us, 0);
    }
    if (!share->is_fenced || share->is_fencing)
        return;
    uint64_t now = clock_now_us(), lease = lease_of(d);
    bool is_well = share->step > SHARE_LOCKING && now < share->heard_us + lease &&
                   now >= atomic_load(&share->member_from_us) && now >= share->fence_wanted_us + lease &&
                   now < atomic_load(&share->member_until_us);
    share->is_leaving = is_well;
    atomic_store(&share->fence_until_us, is_well ? 0 : asked_us + lease);
}

static void note_server(struct cache_database *d, const struct share_look *look)
{
    struct database_share *share = &d->share;
    if (share->database_oid == look->database_oid && share->server_start_us == look->server_start_us)
        return;
    share_fall_to(d, SHARE_MEETING, "PostgreSQL is another one than before");
    share->database_oid = look->database_oid;
    share->server_start_us = look->server_start_us;
}

static void on_looked(struct cache_database *d, const struct share_look *look)
{
    struct database_share *share = &d->share;
    uint64_t asked = share->look_asked_us, now = clock_now_us(), lease = lease_of(d);
    share->is_looking = false;
    if (share_is_stopping(d))
        return;
    atomic_store(&share->is_connected, look != NULL);
    if (look == NULL || !look->is_primary) {
        if (now > share->clean_asked_us + lease)
            share_fall_to(d, SHARE_SETTLING, "the control connection does not answer");
        return;
    }
    if (share->step == SHARE_APART) {
        share->step = SHARE_MEETING;
        set_reason(d, "Redis has not been asked yet");
    }
    note_server(d, look);
    if (share->step > SHARE_LOCKING && !look->has_lock)
        share_fall_to(d, SHARE_LOCKING, "the member's lock was lost");
    note_fence(d, look, asked);
    if (share->step > SHARE_LOCKING) {
        const char *objection = judge_look(d, look);
        atomic_store(&share->member_until_us, asked + lease);
        if (objection != NULL) {
            share->clean_since_us = 0;
            share_fall_to(d, SHARE_SETTLING, objection);
        } else {
            if (share->clean_since_us == 0 || now > share->clean_asked_us + lease) {
                share_fall_to(d, SHARE_SETTLING, "it waits until all others know of this process");
                share->clean_since_us = asked;
            }
            share->clean_asked_us = asked;
            if (share->step == SHARE_BELIEVED)
                atomic_store(&share->until_us, asked + lease);
        }
    }
    share_step_on(d, now);
}

/* --- the fence --- */

static void on_raised(struct cache_database *d, bool is_done)
{
    struct database_share *share = &d->share;
    share->is_fencing = false;
    if (!is_done || share_is_stopping(d))
        return;
    uint64_t now = clock_now_us();
    share->is_fenced = true;
    share->is_leaving = false;
    atomic_store(&share->fence_from_us, now + lease_of(d) + lease_of(d) / 10);
    log_write(LOG_LEVEL_WARNING, database_name(d),
              "shared cache: Redis does not take marks: the fence is raised, and nobody believes the cache");
}

static void on_fence_wanted(struct mail *mail)
{
    struct cache_database *d = list_entry(mail, struct cache_database, share.fence_mail);
    struct database_share *share = &d->share;
    atomic_store(&share->is_fence_wanted, false);
    share->fence_wanted_us = clock_now_us();
    if (!share->is_fenced && !share->is_fencing && !share_is_stopping(d))
        share->is_fencing = share_ask_fence(d, true, on_raised);
}

static void on_lowered(struct cache_database *d, bool is_done)
{
    d->share.is_fencing = false;
    if (!is_done)
        return;
    d->share.is_fenced = false;
    log_write(LOG_LEVEL_LOG, database_name(d), "shared cache: the fence has fallen");
}

/* Once nobody goes by it any more, and those who did have ended. */
static void lower_fence(struct cache_database *d)
{
    struct database_share *share = &d->share;
    if (share->is_fenced && share->is_leaving && !share->is_fencing && atomic_load(&share->unmarked) == 0)
        share->is_fencing = share_ask_fence(d, false, on_lowered);
}

/* --- mail --- */

static void end_legacy(struct cache_database *d)
{
    struct database_share *share = &d->share;
    pthread_mutex_lock(&d->group->mutex);
    bool is_over = share->legacy_left == 0;
    pthread_mutex_unlock(&d->group->mutex);
    if (share->legacy == NULL || !is_over || share->step <= SHARE_MEETING)
        return;
    share_mark_end(share->legacy, share->legacy->client, true);
    share->legacy = NULL;
}

static void on_poked(struct mail *mail)
{
    struct cache_database *d = list_entry(mail, struct cache_database, share.poke_mail);
    struct database_share *share = &d->share;
    atomic_store(&share->is_poked, false);
    if (share_is_stopping(d))
        return;
    if (atomic_exchange(&share->is_schema_doubted, false))
        share_fall_to(d, SHARE_SCHEMA, "definitions have changed through another Weir");
    if (atomic_load(&share->epochs_wanted) != atomic_load(&share->epochs_done))
        share_fall_to(d, SHARE_EPOCH, "the ledger's epoch is being changed");
    end_legacy(d);
    share_meet(d);
    share_step_on(d, clock_now_us());
}

static void post_poke(struct cache_database *d)
{
    if (d->share.is_on && !atomic_exchange(&d->share.is_poked, true))
        worker_post(d->group->all->control, &d->share.poke_mail);
}

void share_poke(struct cache_database *d, bool is_schema)
{
    if (is_schema)
        atomic_store(&d->share.is_schema_doubted, true);
    post_poke(d);
}

void share_want_epoch(struct cache_database *d)
{
    if (d->group->all->share == NULL)
        return;
    atomic_fetch_add(&d->share.epochs_wanted, 1);
    post_poke(d);
}

bool share_is_believed(const struct cache_database *d, uint64_t now_us)
{
    return now_us < atomic_load(&d->share.until_us) &&
           atomic_load(&d->share.epochs_wanted) == atomic_load(&d->share.epochs_done);
}

/* --- every third of a lease --- */

static void on_timer(struct timer *timer)
{
    struct cache_database *d = list_entry(timer, struct cache_database, share.timer);
    struct database_share *share = &d->share;
    struct share_place *place = atomic_load(&share->place);
    uint64_t now = clock_now_us();
    timer_start(worker_loop(d->group->all->control), &share->timer, lease_of(d) / LOOKS_A_LEASE, on_timer);
    if (!share->is_looking) {
        share->look_asked_us = now;
        share->is_looking = share_ask_look(d, place != NULL ? place->incarnation : 0, on_looked);
        if (!share->is_looking)
            on_looked(d, NULL);
    }
    share_meet(d);
    share_mark_retry(d);
    lower_fence(d);
    end_legacy(d);
    share_bury(d, now);
}

/* --- what the watch says --- */

void share_database_ready(struct cache_database *d)
{
    if (!d->share.is_on)
        return;
    d->share.is_catalog_known = true;
    share_fall_to(d, SHARE_SCHEMA, "the catalog is to be looked at");
    share_step_on(d, clock_now_us());
}

void share_database_unready(struct cache_database *d)
{
    d->share.is_catalog_known = false;
    if (d->share.is_on)
        share_fall_to(d, SHARE_SCHEMA, "the catalog is not known");
}

void share_database_checked(struct cache_database *d, uint64_t check)
{
    struct database_share *share = &d->share;
    if (!share->is_on || share->step != SHARE_SCHEMA || share->check == 0 || check < share->check)
        return;
    atomic_store(&share->schema, share->schema_met);
    step_up(d, SHARE_EPOCH, "the ledger's epoch is being changed");
    share_step_on(d, clock_now_us());
}

/* --- life --- */

void share_database_init(struct cache_database *d)
{
    list_init(&d->share.owed);
    d->share.fence_mail.run = on_fence_wanted;
    d->share.poke_mail.run = on_poked;
}

void share_database_start(struct cache_database *d, bool is_exact)
{
    struct database_share *share = &d->share;
    struct share *s = d->group->all->share;
    if (s == NULL || s->is_stopping)
        return;
    atomic_store(&share->is_exact, is_exact);
    share->is_on = true;
    share->step = SHARE_APART;
    set_reason(d, "the control connection is not up yet");
    list_push_back(&s->databases, &share->node);
    timer_start(worker_loop(s->control), &share->timer, 1, on_timer);
}

void share_database_stop(struct cache_database *d)
{
    struct database_share *share = &d->share;
    if (!share->is_on)
        return;
    share_fall_to(d, SHARE_APART, "the database is not watched any more");
    timer_stop(&share->timer);
    list_remove(&d->group->all->share->databases, &share->node);
    atomic_store(&share->is_connected, false);
    atomic_store(&share->fence_until_us, 0);
    share->is_fenced = false;
    share->database_oid = 0;
    share->is_on = false;
}

void share_database_free(struct cache_database *d)
{
    struct database_share *share = &d->share;
    for (struct list_node *node; (node = list_pop_front(&share->owed)) != NULL;)
        share_mark_unref(list_entry(node, struct share_mark, node));
    if (share->legacy != NULL)
        share_mark_unref(share->legacy);
    for (struct share_place *p = share->places, *next; p != NULL; p = next) {
        next = p->next;
        free(p);
    }
    free(share->older);
    free(share->burial.older);
}

void share_stop(struct share *s)
{
    if (s == NULL)
        return;
    s->is_stopping = true;
    for (struct list_node *node; (node = list_first(&s->databases)) != NULL;)
        share_database_stop(list_entry(node, struct cache_database, share.node));
    share_client_stop(s->client);
}
