/*
 * scope: one hash table under one mutex, which is taken when a session's settings change, not for a query.
 *
 * The table itself holds one reference to each scope. When there are too many, those that nobody else holds
 * go.
 */
#include "mix.h"
#include "weir/cache/scope.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "weir/cache/database.h"
#include "weir/track/profile.h"
#include "weir/util/buf.h"

enum { BUCKETS = 4096 };

struct scopes {
    pthread_mutex_t mutex;
    uint64_t seed;
    uint64_t next_id;
    size_t count;
    size_t sweep_at; /* count at which to look for idle ones */
    struct cache_scope *buckets[BUCKETS];
};

struct scopes *scopes_new(uint64_t seed)
{
    struct scopes *scopes = calloc(1, sizeof(*scopes));
    if (scopes == NULL)
        return NULL;
    pthread_mutex_init(&scopes->mutex, NULL);
    scopes->seed = seed;
    scopes->sweep_at = SCOPES_IDLE_MAX;
    return scopes;
}

static void free_scope(struct cache_scope *s)
{
    search_path_free(&s->path);
    free(s->role);
    profile_unref(s->profile);
    cache_database_unref(s->database);
    free(s);
}

void scopes_free(struct scopes *scopes)
{
    if (scopes == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct cache_scope *s = scopes->buckets[i], *next; s != NULL; s = next) {
            next = s->next;
            free_scope(s);
        }
    }
    pthread_mutex_destroy(&scopes->mutex);
    free(scopes);
}

static uint64_t hash_of(const struct scopes *scopes, const struct cache_scope_options *o)
{
    uint64_t hash = scopes->seed ^ UINT64_C(0xCBF29CE484222325);
    hash = mix(hash, slice_make(&o->database->id, sizeof(o->database->id)));
    hash = mix(hash, slice_make(&o->profile, sizeof(struct profile *)));
    hash = mix(hash, slice_str(o->user));
    hash = mix(hash, o->baseline);
    return mix(hash, o->search_path);
}

/* Profiles are interned: same contents, same pointer, and the scope's reference keeps it from being used
 * again. */
static bool is_same(const struct cache_scope *s, const struct cache_scope_options *o)
{
    return s->database == o->database && s->profile == o->profile && slice_equal_str(s->user, o->user) &&
           slice_equal(s->baseline, o->baseline) && slice_equal(s->baseline_path, o->search_path);
}

static struct slice copy(uint8_t **at, struct slice s)
{
    if (s.len > 0)
        memcpy(*at, s.data, s.len);
    struct slice result = slice_make(*at, s.len);
    *at += s.len;
    return result;
}

/* The role that "$user" means: SET ROLE, else SET SESSION AUTHORIZATION, else the login role. */
static char *effective_role(const struct cache_scope_options *o)
{
    struct slice value;
    if (profile_get(o->profile, SLICE_LITERAL("role"), &value) && !slice_equal_str(value, "none"))
        return slice_dup(value);
    if (profile_get(o->profile, SLICE_LITERAL("session_authorization"), &value) &&
        !slice_equal_str(value, "default"))
        return slice_dup(value);
    return slice_dup(slice_str(o->user));
}

static bool find_path(struct cache_scope *s, const struct cache_scope_options *o)
{
    struct slice text = o->search_path;
    profile_get(o->profile, SLICE_LITERAL("search_path"), &text);
    s->role = effective_role(o);
    return s->role != NULL && search_path_parse(&s->path, text, s->role);
}

static void digest_text(struct buf *all, struct slice text)
{
    buf_append_u32(all, (uint32_t)text.len);
    buf_append_slice(all, text);
}

/* The baseline names the server and the database in it. False when memory is out. */
static bool make_digest(struct cache_scope *s)
{
    struct buf all = BUF_INIT;
    unsigned len = 0;
    digest_text(&all, s->user);
    digest_text(&all, s->baseline);
    digest_text(&all, s->baseline_path);
    for (size_t i = 0; i < profile_count(s->profile); i++) {
        struct profile_setting setting = profile_at(s->profile, i);
        digest_text(&all, setting.name);
        digest_text(&all, setting.value);
    }
    bool is_made =
        !buf_failed(&all) && EVP_Digest(all.data, all.len, s->digest, &len, EVP_sha256(), NULL) == 1;
    buf_free(&all);
    return is_made;
}

static struct cache_scope *scope_new(const struct cache_scope_options *o)
{
    struct slice user = slice_str(o->user);
    struct cache_scope *s = calloc(1, sizeof(*s) + user.len + o->baseline.len + o->search_path.len);
    if (s == NULL)
        return NULL;
    if (!find_path(s, o)) {
        free(s->role);
        free(s);
        return NULL;
    }
    uint8_t *at = s->bytes;
    s->user = copy(&at, user);
    s->baseline = copy(&at, o->baseline);
    s->baseline_path = copy(&at, o->search_path);
    s->database = database_ref(o->database);
    s->profile = profile_ref(o->profile);
    atomic_init(&s->references, 1);
    if (!make_digest(s)) {
        free_scope(s);
        return NULL;
    }
    return s;
}

/* Drops what only the table holds; with the lock, under which alone the table's own references become
 * others'. */
static void sweep(struct scopes *scopes)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct cache_scope **at = &scopes->buckets[i]; *at != NULL;) {
            struct cache_scope *s = *at;
            if (atomic_load_explicit(&s->references, memory_order_acquire) > 1) {
                at = &s->next;
                continue;
            }
            *at = s->next;
            scopes->count--;
            free_scope(s);
        }
    }
    scopes->sweep_at = scopes->count + SCOPES_IDLE_MAX;
}

struct cache_scope *scopes_get(struct scopes *scopes, const struct cache_scope_options *options)
{
    uint64_t hash = hash_of(scopes, options);
    struct cache_scope **head = &scopes->buckets[hash % BUCKETS];
    pthread_mutex_lock(&scopes->mutex);
    struct cache_scope *s = *head;
    while (s != NULL && !(s->hash == hash && is_same(s, options)))
        s = s->next;
    if (s == NULL) {
        if (scopes->count >= scopes->sweep_at)
            sweep(scopes);
        s = scope_new(options);
        if (s != NULL) {
            s->hash = hash;
            s->id = ++scopes->next_id;
            s->next = *head;
            *head = s;
            scopes->count++;
        }
    }
    if (s != NULL)
        cache_scope_ref(s);
    pthread_mutex_unlock(&scopes->mutex);
    return s;
}

struct cache_scope *cache_scope_ref(struct cache_scope *s)
{
    atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
    return s;
}

void cache_scope_unref(struct cache_scope *s)
{
    if (s != NULL)
        atomic_fetch_sub_explicit(&s->references, 1, memory_order_release);
}
