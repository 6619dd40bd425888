/*
 * profile: interned sorted arrays of (name, value).
 *
 * A new profile is built in one block of memory, looked up in its shard, and thrown away if its twin is
 * there. Only the last reference takes the shard's mutex: a count may drop to zero under that mutex alone, so
 * that a lookup never finds a profile that is about to be freed.
 */
#include "weir/track/profile.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define SHARDS      64u
#define MIN_BUCKETS 16u

struct profile {
    struct profile_table *table;
    struct profile *next; /* in its bucket */
    _Atomic uint32_t refs;
    uint32_t count;
    uint64_t hash;
    size_t bytes;                      /* of all names and values */
    struct slice isolation;            /* default_transaction_isolation; empty when not set */
    struct profile_setting settings[]; /* by name; the text follows */
};

struct shard {
    pthread_mutex_t lock;
    struct profile **buckets; /* power of two */
    size_t n_buckets;
    size_t count;
};

struct profile_table {
    struct shard shards[SHARDS];
    struct profile *empty; /* kept by the table */
};

/* --- building --- */

static int compare_names(struct slice a, struct slice b)
{
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* Where `name` (lower case) is or would be. */
static size_t find(const struct profile *p, struct slice name, bool *is_there)
{
    size_t low = 0, high = p->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_names(p->settings[middle].name, name);
        if (order == 0) {
            *is_there = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *is_there = false;
    return low;
}

static char *copy_text(char *to, struct slice text, struct slice *out)
{
    if (text.len > 0)
        memcpy(to, text.data, text.len);
    to[text.len] = '\0';
    *out = slice_make(to, text.len);
    return to + text.len + 1;
}

static uint64_t hash_of(const struct profile *p)
{
    uint64_t hash = p->count;
    for (uint32_t i = 0; i < p->count; i++) {
        hash = XXH3_64bits_withSeed(p->settings[i].name.data, p->settings[i].name.len, hash);
        hash = XXH3_64bits_withSeed(p->settings[i].value.data, p->settings[i].value.len, hash + 1);
    }
    return hash;
}

/* A profile of its own with copies of these; NULL when memory is out or it would be too big. */
static struct profile *build(struct profile_table *table, const struct profile_setting *settings,
                             size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += settings[i].name.len + settings[i].value.len;
    if (count > PROFILE_MAX_SETTINGS || bytes > PROFILE_MAX_BYTES)
        return NULL;
    struct profile *p = malloc(sizeof(*p) + count * sizeof(*settings) + bytes + 2 * count);
    if (p == NULL)
        return NULL;
    p->table = table;
    p->next = NULL;
    atomic_init(&p->refs, 1);
    p->count = (uint32_t)count;
    p->bytes = bytes;
    char *text = (char *)&p->settings[count];
    for (size_t i = 0; i < count; i++) {
        text = copy_text(text, settings[i].name, &p->settings[i].name);
        text = copy_text(text, settings[i].value, &p->settings[i].value);
    }
    bool has_isolation;
    size_t at = find(p, SLICE_LITERAL("default_transaction_isolation"), &has_isolation);
    p->isolation = has_isolation ? p->settings[at].value : SLICE_EMPTY;
    p->hash = hash_of(p);
    return p;
}

/* --- interning --- */

static struct shard *shard_of(struct profile_table *table, uint64_t hash)
{
    return &table->shards[hash >> 58];
}

static bool is_same(const struct profile *a, const struct profile *b)
{
    if (a->hash != b->hash || a->count != b->count || a->bytes != b->bytes)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        if (!slice_equal(a->settings[i].name, b->settings[i].name) ||
            !slice_equal(a->settings[i].value, b->settings[i].value))
            return false;
    }
    return true;
}

static void shard_grow(struct shard *shard)
{
    size_t n = shard->n_buckets * 2;
    struct profile **buckets = calloc(n, sizeof(struct profile *));
    if (buckets == NULL)
        return; /* longer chains, nothing worse */
    for (size_t i = 0; i < shard->n_buckets; i++) {
        for (struct profile *p = shard->buckets[i], *next; p != NULL; p = next) {
            next = p->next;
            p->next = buckets[p->hash & (n - 1)];
            buckets[p->hash & (n - 1)] = p;
        }
    }
    free(shard->buckets);
    shard->buckets = buckets;
    shard->n_buckets = n;
}

/* Takes `fresh`, which nobody else knows: returns it or its twin, with a reference. NULL stays NULL. */
static struct profile *intern(struct profile *fresh)
{
    if (fresh == NULL)
        return NULL;
    struct shard *shard = shard_of(fresh->table, fresh->hash);
    pthread_mutex_lock(&shard->lock);
    struct profile *p = shard->buckets[fresh->hash & (shard->n_buckets - 1)];
    while (p != NULL && !is_same(p, fresh))
        p = p->next;
    if (p != NULL) {
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    } else {
        if (shard->count >= shard->n_buckets)
            shard_grow(shard);
        struct profile **bucket = &shard->buckets[fresh->hash & (shard->n_buckets - 1)];
        fresh->next = *bucket;
        *bucket = fresh;
        shard->count++;
    }
    pthread_mutex_unlock(&shard->lock);
    if (p == NULL)
        return fresh;
    free(fresh);
    return p;
}

struct profile *profile_ref(struct profile *profile)
{
    if (profile != NULL)
        atomic_fetch_add_explicit(&profile->refs, 1, memory_order_relaxed);
    return profile;
}

void profile_unref(struct profile *profile)
{
    if (profile == NULL)
        return;
    uint32_t refs = atomic_load_explicit(&profile->refs, memory_order_relaxed);
    while (refs > 1) {
        if (atomic_compare_exchange_weak_explicit(&profile->refs, &refs, refs - 1, memory_order_release,
                                                  memory_order_relaxed))
            return;
    }
    struct shard *shard = shard_of(profile->table, profile->hash);
    pthread_mutex_lock(&shard->lock);
    bool is_last = atomic_fetch_sub_explicit(&profile->refs, 1, memory_order_acq_rel) == 1;
    if (is_last) {
        struct profile **at = &shard->buckets[profile->hash & (shard->n_buckets - 1)];
        while (*at != profile)
            at = &(*at)->next;
        *at = profile->next;
        shard->count--;
    }
    pthread_mutex_unlock(&shard->lock);
    if (is_last)
        free(profile);
}

/* --- the table --- */

struct profile_table *profile_table_new(void)
{
    struct profile_table *table = calloc(1, sizeof(*table));
    if (table == NULL)
        return NULL;
    bool ok = true;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&table->shards[i].lock, NULL);
        table->shards[i].buckets = calloc(MIN_BUCKETS, sizeof(struct profile *));
        table->shards[i].n_buckets = MIN_BUCKETS;
        ok = ok && table->shards[i].buckets != NULL;
    }
    table->empty = ok ? intern(build(table, NULL, 0)) : NULL;
    if (table->empty != NULL)
        return table;
    profile_table_free(table);
    return NULL;
}

void profile_table_free(struct profile_table *table)
{
    if (table == NULL)
        return;
    profile_unref(table->empty);
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_destroy(&table->shards[i].lock);
        free(table->shards[i].buckets);
    }
    free(table);
}

size_t profile_table_count(struct profile_table *table)
{
    size_t count = 0;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&table->shards[i].lock);
        count += table->shards[i].count;
        pthread_mutex_unlock(&table->shards[i].lock);
    }
    return count;
}

struct profile *profile_empty(struct profile_table *table)
{
    return profile_ref(table->empty);
}

/* --- changing --- */

#define MAX_NAME 256u

/* Lower case into `to`; false for what cannot be a name. */
static bool fold_name(struct slice name, char to[MAX_NAME], struct slice *out)
{
    if (name.len == 0 || name.len > MAX_NAME)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];
        if (c == '\0' || c == '=')
            return false;
        to[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    *out = slice_make(to, name.len);
    return true;
}

/* `base` with the setting changed: `value` NULL removes it. */
static struct profile *change(struct profile *base, struct slice name, const struct slice *value)
{
    bool is_there;
    size_t at = find(base, name, &is_there), n = 0;
    bool drops_role =
        slice_equal_str(name, "session_authorization") && profile_get(base, SLICE_LITERAL("role"), NULL);
    bool is_same_value =
        value == NULL ? !is_there : is_there && slice_equal(base->settings[at].value, *value);
    if (is_same_value && !drops_role)
        return profile_ref(base);
    struct profile_setting *settings = malloc((base->count + 1) * sizeof(*settings));
    if (settings == NULL)
        return NULL;
    for (size_t i = 0; i <= base->count; i++) {
        if (i == at && value != NULL)
            settings[n++] = (struct profile_setting){name, *value};
        if (i < base->count && !(i == at && is_there) &&
            !(drops_role && slice_equal_str(base->settings[i].name, "role")))
            settings[n++] = base->settings[i];
    }
    struct profile *changed = intern(build(base->table, settings, n));
    free(settings);
    return changed;
}

struct profile *profile_set(struct profile *base, struct slice name, struct slice value)
{
    char folded[MAX_NAME];
    if (value.len > PROFILE_MAX_VALUE_BYTES ||
        (value.len > 0 && memchr(value.data, '\0', value.len) != NULL) || !fold_name(name, folded, &name))
        return NULL;
    return change(base, name, &value);
}

struct profile *profile_unset(struct profile *base, struct slice name)
{
    char folded[MAX_NAME];
    return fold_name(name, folded, &name) ? change(base, name, NULL) : profile_ref(base);
}

/* --- asking --- */

bool profile_get(const struct profile *profile, struct slice name, struct slice *value)
{
    char folded[MAX_NAME];
    bool is_there = false;
    size_t at = fold_name(name, folded, &name) ? find(profile, name, &is_there) : 0;
    if (is_there && value != NULL)
        *value = profile->settings[at].value;
    return is_there;
}

struct slice profile_isolation(const struct profile *profile)
{
    return profile->isolation;
}

uint64_t profile_hash(const struct profile *profile)
{
    return profile->hash;
}

size_t profile_count(const struct profile *profile)
{
    return profile->count;
}

struct profile_setting profile_at(const struct profile *profile, size_t index)
{
    return profile->settings[index];
}

/* --- differences --- */

/* 0: session_authorization, 1: role, 2: client_encoding, 3: all others. */
static int rank_of(struct slice name)
{
    return slice_equal_str(name, "session_authorization") ? 0
           : slice_equal_str(name, "role")                ? 1
           : slice_equal_str(name, "client_encoding")     ? 2
                                                          : 3;
}

struct difference {
    const struct profile *from, *to;
    void (*emit)(void *context, struct slice name, struct slice value);
    void *context;
};

/* All changes of one rank, in order of names. */
static void diff_rank(const struct difference *d, int rank)
{
    size_t a = 0, b = 0;
    while (a < d->from->count || b < d->to->count) {
        const struct profile_setting *old = a < d->from->count ? &d->from->settings[a] : NULL;
        const struct profile_setting *new = b < d->to->count ? &d->to->settings[b] : NULL;
        int order = old == NULL ? 1 : new == NULL ? -1 : compare_names(old->name, new->name);
        a += order <= 0;
        b += order >= 0;
        if (rank_of(order <= 0 ? old->name : new->name) != rank)
            continue;
        if (order < 0)
            d->emit(d->context, old->name, SLICE_EMPTY);
        else if (order > 0 || !slice_equal(old->value, new->value))
            d->emit(d->context, new->name, new->value);
    }
}

void profile_diff(const struct profile *from, const struct profile *to,
                  void (*emit)(void *context, struct slice name, struct slice value), void *context)
{
    struct slice session = SLICE_LITERAL("session_authorization"), role = SLICE_LITERAL("role");
    struct slice old_session = SLICE_EMPTY, new_session = SLICE_EMPTY, old_role = SLICE_EMPTY,
                 new_role = SLICE_EMPTY;
    if (from == to)
        return;
    bool had_session = profile_get(from, session, &old_session),
         had_role = profile_get(from, role, &old_role);
    bool has_session = profile_get(to, session, &new_session), has_role = profile_get(to, role, &new_role);
    bool changes_session = had_session != has_session || !slice_equal(old_session, new_session);
    /* A change of session_authorization ends the role as well. */
    bool changes_role = changes_session || had_role != has_role || !slice_equal(old_role, new_role);
    if (had_role && changes_role)
        emit(context, role, SLICE_EMPTY);
    if (had_session && changes_session)
        emit(context, session, SLICE_EMPTY);
    const struct difference d = {from, to, emit, context};
    diff_rank(&d, 2);
    diff_rank(&d, 3);
    if (has_session && changes_session)
        emit(context, session, new_session);
    if (has_role && changes_role)
        emit(context, role, new_role);
}
