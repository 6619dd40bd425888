/* analysis: one hash table and one list by age, under one mutex, which is taken when a template is new to a
 * worker. */
#include "mix.h"
#include "weir/cache/analysis.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "weir/cache/database.h"
#include "weir/control/analyst.h"
#include "weir/util/buf.h"
#include "weir/util/clock.h"

enum { BUCKETS = 1024, AGAIN_US = 10000000 };

struct analyses {
    pthread_mutex_t mutex;
    struct list by_age; /* oldest first; each holds a reference of the table */
    size_t bytes;
    struct analysis *buckets[BUCKETS];
};

struct analyses *analyses_new(void)
{
    struct analyses *all = calloc(1, sizeof(*all));
    if (all == NULL)
        return NULL;
    pthread_mutex_init(&all->mutex, NULL);
    list_init(&all->by_age);
    return all;
}

/* With the lock. */
static void drop(struct analyses *all, struct analysis *a)
{
    struct analysis **at = &all->buckets[a->hash % BUCKETS];
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    list_remove(&all->by_age, &a->node);
    all->bytes -= a->size_bytes;
    analysis_unref(a);
}

static void drop_oldest(struct analyses *all)
{
    drop(all, list_entry(list_first(&all->by_age), struct analysis, node));
}

void analyses_free(struct analyses *all)
{
    if (all == NULL)
        return;
    while (!list_is_empty(&all->by_age))
        drop_oldest(all);
    pthread_mutex_destroy(&all->mutex);
    free(all);
}

/* --- keys --- */

static struct slice types_of(const struct analysis_key *key)
{
    return slice_make(key->types, key->type_count * sizeof(*key->types));
}

static uint64_t hash_of(const struct analysis_key *key)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325) ^ key->version ^ (uint64_t)key->is_exact << 63;
    hash = mix(hash, key->template);
    hash = mix(hash, types_of(key));
    hash = mix(hash, key->role);
    hash = mix(hash, key->search_path);
    return mix(hash, key->client_encoding);
}

static bool is_same(const struct analysis_key *a, const struct analysis_key *b)
{
    return a->version == b->version && a->is_exact == b->is_exact && slice_equal(a->template, b->template) &&
           slice_equal(types_of(a), types_of(b)) && slice_equal(a->role, b->role) &&
           slice_equal(a->search_path, b->search_path) && slice_equal(a->client_encoding, b->client_encoding);
}

/* With a NUL behind it, which does not count. */
static struct slice copy(uint8_t **at, struct slice s)
{
    struct slice result = slice_make(*at, s.len);
    if (s.len > 0)
        memcpy(*at, s.data, s.len);
    (*at)[s.len] = '\0';
    *at += s.len + 1;
    return result;
}

static struct analysis *analysis_new(const struct analysis_key *key, struct slice text)
{
    struct slice types = types_of(key);
    size_t size = sizeof(struct analysis) + types.len + key->template.len + key->role.len +
                  key->search_path.len + key->client_encoding.len + text.len + 6;
    struct analysis *a = calloc(1, size);
    if (a == NULL)
        return NULL;
    uint8_t *at = a->bytes;
    a->key = *key;
    a->key.types = (const void *)copy(&at, types).data; /* first: bytes[] is aligned for them */
    a->key.template = copy(&at, key->template);
    a->key.role = copy(&at, key->role);
    a->key.search_path = copy(&at, key->search_path);
    a->key.client_encoding = copy(&at, key->client_encoding);
    a->text = copy(&at, text);
    a->size_bytes = size;
    atomic_init(&a->references, 1);
    return a;
}

static struct analysis *find(struct analyses *all, const struct analysis_key *key, uint64_t hash)
{
    struct analysis *a = all->buckets[hash % BUCKETS];
    while (a != NULL && !(a->hash == hash && is_same(&a->key, key)))
        a = a->next;
    return a;
}

/* Those of older versions will not be asked for again. */
static void make_room(struct analyses *all, const struct analysis_key *key, size_t size)
{
    while (!list_is_empty(&all->by_age)) {
        struct analysis *oldest = list_entry(list_first(&all->by_age), struct analysis, node);
        bool is_full = all->by_age.count >= ANALYSES_MAX || all->bytes + size > ANALYSES_BYTES_MAX;
        if (!is_full && oldest->key.version >= key->version)
            return;
        drop_oldest(all);
    }
}

struct analysis *analyses_get(struct analyses *all, const struct analysis_key *key, struct slice text,
                              bool has_params, uint64_t now_us, bool *is_new)
{
    uint64_t hash = hash_of(key);
    *is_new = false;
    if (text.len > ANALYSIS_TEXT_MAX)
        return NULL;
    pthread_mutex_lock(&all->mutex);
    struct analysis *a = find(all, key, hash);
    if (a != NULL && analysis_is_over(a, now_us)) {
        drop(all, a);
        a = NULL;
    }
    if (a == NULL && (a = analysis_new(key, text)) != NULL) {
        make_room(all, key, a->size_bytes);
        a->hash = hash;
        a->has_params = has_params;
        a->next = all->buckets[hash % BUCKETS];
        all->buckets[hash % BUCKETS] = a;
        list_push_back(&all->by_age, &a->node);
        all->bytes += a->size_bytes;
        *is_new = true;
    }
    if (a != NULL)
        analysis_ref(a);
    pthread_mutex_unlock(&all->mutex);
    return a;
}

struct analysis *analysis_ref(struct analysis *a)
{
    atomic_fetch_add_explicit(&a->references, 1, memory_order_relaxed);
    return a;
}

void analysis_unref(struct analysis *a)
{
    if (a == NULL || atomic_fetch_sub_explicit(&a->references, 1, memory_order_acq_rel) != 1)
        return;
    free(a->relations);
    free(a->names);
    free(a->settings);
    free(a);
}

/* --- the answer --- */

/* What the answer depends on, and how people call it. False when memory is out. */
static bool keep_relations(struct analysis *a, const struct analyst_facts *facts)
{
    struct buf names = BUF_INIT;
    a->relations = calloc(facts->relation_count + 1, sizeof(*a->relations));
    for (size_t i = 0; a->relations != NULL && i < facts->relation_count; i++) {
        const struct analyst_relation *r = &facts->relations[i];
        buf_printf(&names, "%s%s", i > 0 ? ", " : "", r->name);
        if (r->kind != 'v')
            a->relations[a->relation_count++] = r->oid;
    }
    a->names = buf_text(&names) != NULL ? strdup(buf_text(&names)) : NULL;
    buf_free(&names);
    return a->relations != NULL && a->names != NULL;
}

static bool keep_settings(struct analysis *a, const struct analyst_facts *facts)
{
    a->settings = malloc(facts->settings_len + 1);
    if (a->settings == NULL)
        return false;
    if (facts->settings_len > 0)
        memcpy(a->settings, facts->settings, facts->settings_len);
    a->settings_len = facts->settings_len;
    return true;
}

void analysis_finish(struct analysis *a, const struct analyst_facts *facts, uint64_t now_us)
{
    a->reason = oid_policy_judge(facts, a->detail);
    if (!keep_relations(a, facts) || !keep_settings(a, facts))
        a->reason = CACHE_REASON_MEMORY;
    bool has_failed = a->reason == CACHE_REASON_NOT_ANALYSED || a->reason == CACHE_REASON_MEMORY;
    atomic_store_explicit(&a->expires_us, has_failed ? now_us + AGAIN_US : 0, memory_order_relaxed);
    atomic_store_explicit(&a->is_done, true, memory_order_release);
}
