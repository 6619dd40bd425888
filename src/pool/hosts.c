/*
 * hosts: facts about the hosts are kept, and what follows from them for target_session_attrs is worked out
 * anew for every pick.
 *
 * Whoever is in doubt is tried by one connection at a time: a host that has failed, and one whose role is
 * wanted and not known. Once it works, as many are opened as are needed.
 */
#include "hosts.h"

#include <stdlib.h>
#include <string.h>

#include "pool_shared.h"
#include "role.h"
#include "weir/util/clock.h"

enum {
    BACKOFF_FIRST_US = 50 * 1000, /* after the first failure of a host; doubles up to server_login_retry */
    ATTEMPT_LOOK_US = 20 * 1000,  /* how soon to look again whether another worker's attempt has ended */
    MISFIT_ASK_US = 1000 * 1000,  /* while no host fits, the longest time until one is asked again */
};

/* With the mutex held. NULL when memory is out. */
static struct host_state *states(struct pool_part *part)
{
    struct pool_shared *shared = part->pool->shared;
    size_t count = part->database->host_count;
    if (shared->host_count < count) {
        struct host_state *more = realloc(shared->hosts, count * sizeof(*more));
        if (more == NULL)
            return NULL;
        memset(more + shared->host_count, 0, (count - shared->host_count) * sizeof(*more));
        shared->hosts = more;
        shared->host_count = count;
    }
    return shared->hosts;
}

/* Locks; NULL, and not locked, when there is no such host any more. */
static struct host_state *lock_host(struct pool_part *part, int host)
{
    pthread_mutex_lock(&part->pool->shared->mutex);
    struct host_state *hosts = states(part);
    if (hosts != NULL && (size_t)host < part->pool->shared->host_count)
        return &hosts[host];
    pthread_mutex_unlock(&part->pool->shared->mutex);
    return NULL;
}

static void unlock(struct pool_part *part)
{
    pthread_mutex_unlock(&part->pool->shared->mutex);
}

static enum target_session target_of(const struct pool_part *part)
{
    return (enum target_session)part->database->target_session_attrs;
}

/* Until the next attempt: doubled for each failure, up to `longest`, up to a quarter less by chance. */
static uint64_t backoff_us(int failures, uint64_t longest, uint64_t seed)
{
    uint64_t wait = failures > 20 ? longest : (uint64_t)BACKOFF_FIRST_US << (failures > 0 ? failures - 1 : 0);
    if (wait > longest)
        wait = longest;
    uint64_t random = seed * UINT64_C(0x9E3779B97F4A7C15) >> 40; /* 24 bits */
    return wait - (wait / 4) * random / (UINT64_C(1) << 24);
}

static bool is_misfit(const struct host_state *host, enum target_session target)
{
    return target != TARGET_SESSION_ANY && role_is_known(&host->role) && !role_fits(&host->role, target);
}

static bool is_fit(const struct host_state *host, enum target_session target)
{
    return host->failures == 0 && role_is_known(&host->role) && role_fits(&host->role, target);
}

static bool is_in_doubt(const struct host_state *host, enum target_session target)
{
    if (host->failures > 0 || target == TARGET_SESSION_ANY)
        return host->failures > 0;
    /* A primary is as good as any, should it come to that. */
    bool is_second_choice = target == TARGET_SESSION_PREFER_STANDBY && is_misfit(host, target);
    return !is_second_choice && !is_fit(host, target);
}

/* Is it worth while to wait for what it says, where a standby is preferred? */
static bool may_be_standby(const struct host_state *host, uint64_t now)
{
    return !is_misfit(host, TARGET_SESSION_PREFER_STANDBY) && host->retry_at_us <= now &&
           !(host->failures > 0 && host->attempts > 0);
}

/* When one that does not fit is asked again: soon, where nobody fits and all wait for a promotion. */
static uint64_t ask_at_us(const struct pool_part *part, const struct host_state *hosts, int host)
{
    uint64_t longest = part->settings.server_login_retry_us;
    if (target_of(part) == TARGET_SESSION_PREFER_STANDBY)
        return hosts[host].asked_at_us + longest;
    for (size_t i = 0; i < part->database->host_count; i++)
        if (is_fit(&hosts[i], target_of(part)))
            return hosts[host].asked_at_us + longest;
    if (longest > MISFIT_ASK_US)
        longest = MISFIT_ASK_US;
    return hosts[host].asked_at_us + backoff_us(hosts[host].misfits, longest, hosts[host].asked_at_us);
}

/* When it may be tried. */
static uint64_t free_at_us(const struct pool_part *part, const struct host_state *hosts, int host,
                           uint64_t now)
{
    uint64_t at = hosts[host].retry_at_us;
    if (hosts[host].attempts > 0 && is_in_doubt(&hosts[host], target_of(part)) && at < now + ATTEMPT_LOOK_US)
        at = now + ATTEMPT_LOOK_US;
    if (is_misfit(&hosts[host], target_of(part))) {
        uint64_t ask_at = ask_at_us(part, hosts, host);
        at = ask_at > at ? ask_at : at;
    }
    return at;
}

/* Second choice, for whom a standby is preferred: a primary that works. */
static int pick_other(const struct pool_part *part, const struct host_state *hosts, int start, uint64_t now)
{
    int count = (int)part->database->host_count;
    for (int i = 0; i < count; i++) {
        int host = (start + i) % count;
        if (is_misfit(&hosts[host], TARGET_SESSION_PREFER_STANDBY) && hosts[host].retry_at_us <= now)
            return host;
    }
    return -1;
}

int hosts_pick(struct pool_part *part, uint64_t now, uint64_t *retry_at)
{
    int count = (int)part->database->host_count, found = -1;
    int start = part->database->load_balance_hosts == LOAD_BALANCE_DISABLE ? 0 : part->next_host % count;
    *retry_at = UINT64_MAX;
    pthread_mutex_lock(&part->pool->shared->mutex);
    const struct host_state *hosts = states(part);
    bool may_come = false; /* a standby, from a host that is being asked */
    for (int i = 0; i < count && hosts != NULL && found < 0; i++) {
        int host = (start + i) % count;
        uint64_t at = free_at_us(part, hosts, host, now);
        may_come = may_come || may_be_standby(&hosts[host], now);
        if (at <= now)
            found = host;
        else if (at < *retry_at)
            *retry_at = at;
    }
    if (found < 0 && hosts != NULL && !may_come && target_of(part) == TARGET_SESSION_PREFER_STANDBY)
        found = pick_other(part, hosts, start, now);
    unlock(part);
    if (found >= 0)
        part->next_host = (found + 1) % count;
    return found;
}

bool hosts_attempt(struct pool_part *part, int host)
{
    struct host_state *state = lock_host(part, host);
    if (state == NULL)
        return false;
    bool is_attempt = is_in_doubt(state, target_of(part));
    if (is_attempt)
        state->attempts++;
    unlock(part);
    return is_attempt;
}

void hosts_attempt_over(struct pool_part *part, int host)
{
    struct host_state *state = lock_host(part, host);
    if (state == NULL)
        return;
    if (state->attempts > 0) /* the list may have been another one when it began */
        state->attempts--;
    unlock(part);
}

void hosts_work(struct pool_part *part, int host)
{
    struct host_state *state = lock_host(part, host);
    if (state == NULL)
        return;
    state->failures = 0;
    state->retry_at_us = 0;
    unlock(part);
}

/* With the mutex held. */
static void forget_all(struct pool_part *part)
{
    struct pool_shared *shared = part->pool->shared;
    for (size_t i = 0; i < shared->host_count; i++) {
        shared->hosts[i].role = (struct server_role){0};
        shared->hosts[i].asked_at_us = 0;
        shared->hosts[i].misfits = 0;
    }
}

void hosts_failed(struct pool_part *part, int host)
{
    uint64_t now = clock_now_us();
    struct host_state *state = lock_host(part, host);
    if (state == NULL)
        return;
    /* Of several attempts that were under way together the first counts, the others have met the same. */
    if (state->retry_at_us <= now) {
        state->failures++;
        state->retry_at_us = now + backoff_us(state->failures, part->settings.server_login_retry_us, now);
    }
    if (role_is_known(&state->role) && role_fits(&state->role, target_of(part)))
        forget_all(part); /* somebody else may have taken its place */
    unlock(part);
}

bool hosts_accept(struct pool_part *part, int host, const struct server_role *role)
{
    enum target_session target = target_of(part);
    uint64_t now = clock_now_us();
    bool is_accepted = target == TARGET_SESSION_ANY || role_fits(role, target);
    struct host_state *state = lock_host(part, host);
    if (state == NULL)
        return is_accepted;
    state->role = *role;
    state->asked_at_us = now;
    state->misfits = role_fits(role, target) ? 0 : state->misfits + 1;
    if (!is_accepted && target == TARGET_SESSION_PREFER_STANDBY) {
        const struct host_state *hosts = part->pool->shared->hosts;
        is_accepted = true;
        for (int i = 0; i < (int)part->database->host_count; i++)
            if (i != host && may_be_standby(&hosts[i], now))
                is_accepted = false;
    }
    unlock(part);
    return is_accepted;
}

void hosts_forget_roles(struct pool_part *part)
{
    if (target_of(part) == TARGET_SESSION_ANY)
        return;
    pthread_mutex_lock(&part->pool->shared->mutex);
    forget_all(part);
    unlock(part);
}

bool hosts_none_fits(struct pool_part *part)
{
    bool is_none = true;
    pthread_mutex_lock(&part->pool->shared->mutex);
    const struct host_state *hosts = states(part);
    for (size_t i = 0; i < part->database->host_count && hosts != NULL; i++)
        is_none = is_none && hosts[i].failures == 0 && is_misfit(&hosts[i], target_of(part));
    unlock(part);
    return is_none;
}

void hosts_reset(struct pool_part *part)
{
    struct pool_shared *shared = part->pool->shared;
    pthread_mutex_lock(&shared->mutex);
    if (shared->hosts != NULL)
        memset(shared->hosts, 0, shared->host_count * sizeof(*shared->hosts));
    unlock(part);
}
