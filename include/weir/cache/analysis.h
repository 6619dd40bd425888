/*
 * analysis: what PostgreSQL said of a template, shared by all workers of a process.
 *
 * An analysis belongs to what it depends on: the template (or exact text, where its literals matter), the
 * types given for its parameters, the role, the search_path, and the version of the catalog. It is pending,
 * then done; done, it does not change. The table is bounded in number and bytes: the oldest go, and those of
 * another version. Any thread.
 */
#ifndef WEIR_CACHE_ANALYSIS_H
#define WEIR_CACHE_ANALYSIS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "weir/cache/oid_policy.h"
#include "weir/cache/reason.h"
#include "weir/net/mailbox.h"
#include "weir/util/list.h"
#include "weir/util/slice.h"

struct analyses;
struct analyst_facts;
struct cache_database;

enum { ANALYSES_MAX = 4096, ANALYSES_BYTES_MAX = 16 * 1024 * 1024, ANALYSIS_TEXT_MAX = 32 * 1024 };

struct analysis_key {
    struct slice template; /* its bytes as sql/template makes them, or the exact text */
    bool is_exact;
    const uint32_t *types;
    size_t type_count;
    struct slice role;
    struct slice search_path;
    struct slice client_encoding; /* empty: the text is ASCII */
    uint64_t version;
};

struct analysis {
    struct mail mail; /* on its way to the control thread */
    struct list_node node;
    struct analysis *next;           /* in its bucket */
    struct cache_database *database; /* of the question; outlives it */
    struct analysis_key key;         /* of own copies */
    struct slice text;               /* one that has this template; NUL behind it */
    bool has_params;
    uint64_t hash;
    size_t size_bytes;
    _Atomic uint32_t references;
    _Atomic bool is_done;
    _Atomic uint64_t expires_us; /* of one that failed, when to ask again; 0 for never */
    /* when done: */
    enum cache_reason reason;
    char detail[OID_POLICY_DETAIL_MAX];
    uint32_t *relations; /* tables and materialized views that the answer depends on */
    size_t relation_count;
    char *names;    /* of all relations, views included, with commas; NULL for none */
    char *settings; /* that the session's profile must say; each ended by NUL */
    size_t settings_len;
    uint8_t bytes[]; /* of key and text */
};

struct analyses *analyses_new(void);
void analyses_free(struct analyses *all);

/*
 * The one with this key, with a reference for the caller. `is_new`: nobody has asked yet, the caller must see
 * that PostgreSQL is. NULL when memory is out, or the text too long. An analysis whose time is over is
 * replaced.
 */
struct analysis *analyses_get(struct analyses *all, const struct analysis_key *key, struct slice text,
                              bool has_params, uint64_t now_us, bool *is_new);

struct analysis *analysis_ref(struct analysis *a);
void analysis_unref(struct analysis *a);

/* Once: facts are judged, and what matters of them kept. What has failed is over after a while. */
void analysis_finish(struct analysis *a, const struct analyst_facts *facts, uint64_t now_us);

static inline bool analysis_is_done(const struct analysis *a)
{
    return atomic_load_explicit(&a->is_done, memory_order_acquire);
}

static inline bool analysis_is_over(const struct analysis *a, uint64_t now_us)
{
    uint64_t expires = atomic_load_explicit(&a->expires_us, memory_order_relaxed);
    return expires != 0 && now_us >= expires;
}

#endif
