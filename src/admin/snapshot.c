/*
 * Rows are plain arrays; texts live in one arena, which a merge joins. Rows of one name are found by hash, so
 * that merging the workers' snapshots is linear in the number of rows.
 */
#include "weir/admin/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "weir/util/arena.h"

struct rows {
    void *data;
    size_t size; /* of one row */
    size_t count;
    size_t cap;
};

struct admin_snapshot {
    struct arena texts;
    struct rows pools, databases, users, sockets, pins, templates, memory, workers, names, peers, feeds,
        feed_needs;
    struct show_lists lists;
    struct show_store store;
    bool has_store;
    bool failed;
};

struct admin_snapshot *snapshot_new(void)
{
    struct admin_snapshot *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->pools.size = sizeof(struct show_pool);
    s->databases.size = sizeof(struct show_database);
    s->users.size = sizeof(struct show_user);
    s->sockets.size = sizeof(struct show_socket);
    s->pins.size = sizeof(struct show_pin);
    s->templates.size = sizeof(struct show_template);
    s->memory.size = sizeof(struct show_memory);
    s->workers.size = sizeof(struct show_worker);
    s->names.size = sizeof(struct show_name);
    s->peers.size = sizeof(struct show_peer);
    s->feeds.size = sizeof(struct show_feed);
    s->feed_needs.size = sizeof(struct show_feed_need);
    s->store.redis = "off";
    s->store.redis_nodes = "";
    s->store.disabled = "";
    return s;
}

void snapshot_free(struct admin_snapshot *s)
{
    if (s == NULL)
        return;
    struct show_pool *pools = s->pools.data;
    for (size_t i = 0; i < s->pools.count; i++)
        if (pools[i].ledger != NULL)
            ledger_free(pools[i].ledger);
    struct rows *all[] = {&s->pools,  &s->databases, &s->users, &s->sockets, &s->pins,  &s->templates,
                          &s->memory, &s->workers,   &s->names, &s->peers,   &s->feeds, &s->feed_needs};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]->data);
    arena_free(&s->texts);
    free(s);
}

const char *snapshot_text(struct admin_snapshot *s, const char *text)
{
    if (text == NULL || text[0] == '\0')
        return "";
    const char *copy = arena_text(&s->texts, slice_str(text));
    s->failed = s->failed || copy == NULL;
    return copy != NULL ? copy : "";
}

static void *add_row(struct admin_snapshot *s, struct rows *rows)
{
    if (rows->count == rows->cap) {
        size_t cap = rows->cap == 0 ? 16 : rows->cap * 2;
        void *grown = realloc(rows->data, cap * rows->size);
        if (grown == NULL) {
            s->failed = true;
            return NULL;
        }
        rows->data = grown;
        rows->cap = cap;
    }
    void *row = (char *)rows->data + rows->count++ * rows->size;
    memset(row, 0, rows->size);
    return row;
}

struct show_pool *snapshot_add_pool(struct admin_snapshot *s)
{
    struct show_pool *row = add_row(s, &s->pools);
    if (row != NULL)
        row->database = row->user = row->pool_mode = row->load_balance_hosts = row->cache_mode =
            row->cache_state = "";
    return row;
}

struct show_database *snapshot_add_database(struct admin_snapshot *s)
{
    struct show_database *row = add_row(s, &s->databases);
    if (row != NULL)
        row->name = row->host = "";
    return row;
}

struct show_user *snapshot_add_user(struct admin_snapshot *s)
{
    struct show_user *row = add_row(s, &s->users);
    if (row != NULL)
        row->name = "";
    return row;
}

struct show_socket *snapshot_add_socket(struct admin_snapshot *s, char type)
{
    struct show_socket *row = add_row(s, &s->sockets);
    if (row == NULL)
        return NULL;
    row->type = type;
    row->user = row->database = row->state = row->addr = row->local_addr = row->tls = row->application_name =
        "";
    row->replication = "none";
    return row;
}

struct show_pin *snapshot_add_pin(struct admin_snapshot *s)
{
    struct show_pin *row = add_row(s, &s->pins);
    if (row != NULL)
        row->database = row->user = row->addr = row->reason = "";
    return row;
}

struct show_template *snapshot_add_template(struct admin_snapshot *s)
{
    struct show_template *row = add_row(s, &s->templates);
    if (row != NULL)
        row->database = row->user = row->text = row->cacheable = row->reason = "";
    return row;
}

struct show_memory *snapshot_add_memory(struct admin_snapshot *s)
{
    struct show_memory *row = add_row(s, &s->memory);
    if (row != NULL)
        row->name = "";
    return row;
}

struct show_worker *snapshot_add_worker(struct admin_snapshot *s)
{
    return add_row(s, &s->workers);
}

struct show_feed *snapshot_add_feed(struct admin_snapshot *s)
{
    struct show_feed *row = add_row(s, &s->feeds);
    if (row != NULL)
        row->database = row->host = row->slot = row->mode = row->state = "";
    return row;
}

struct show_feed_need *snapshot_add_feed_need(struct admin_snapshot *s)
{
    struct show_feed_need *row = add_row(s, &s->feed_needs);
    if (row != NULL)
        row->database = row->what = row->found = row->remedy = row->sql = "";
    return row;
}

struct show_peer *snapshot_add_peer(struct admin_snapshot *s)
{
    struct show_peer *row = add_row(s, &s->peers);
    if (row != NULL)
        row->host = "";
    return row;
}

struct show_name *snapshot_add_name(struct admin_snapshot *s)
{
    struct show_name *row = add_row(s, &s->names);
    if (row != NULL)
        row->host = row->addresses = "";
    return row;
}

struct show_lists *snapshot_lists(struct admin_snapshot *s)
{
    return &s->lists;
}

struct show_store *snapshot_store(struct admin_snapshot *s)
{
    s->has_store = true;
    return &s->store;
}

struct ledger *snapshot_add_ledger(struct admin_snapshot *s, struct show_pool *pool)
{
    pool->ledger = arena_alloc(&s->texts, sizeof(*pool->ledger));
    if (pool->ledger != NULL)
        ledger_init(pool->ledger);
    else
        s->failed = true;
    return pool->ledger;
}

/* ---- merging ---- */

/* What a row is called: two texts, the second may be "". */
typedef void name_fn(const void *row, const char **first, const char **second);
/* Adds `from` to a row of the same name. */
typedef void add_fn(void *into, void *from);

static uint64_t hash_name(const char *first, const char *second)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a, the NUL between the two included */
    for (const char *text = first;; text = second) {
        for (const char *c = text;; c++) {
            hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
            if (*c == '\0')
                break;
        }
        if (text == second)
            return hash;
    }
}

static void *row_at(const struct rows *rows, size_t index)
{
    return (char *)rows->data + index * rows->size;
}

/* The slot of a name in an open-addressed table of row numbers + 1; it holds 0 when the name is new. */
static size_t *find_slot(size_t *table, size_t mask, const struct rows *rows, name_fn *name, const void *row)
{
    const char *first, *second, *a, *b;
    name(row, &first, &second);
    size_t at = (size_t)hash_name(first, second) & mask;
    for (; table[at] != 0; at = (at + 1) & mask) {
        name(row_at(rows, table[at] - 1), &a, &b);
        if (strcmp(a, first) == 0 && strcmp(b, second) == 0)
            break;
    }
    return &table[at];
}

static void merge_named(struct admin_snapshot *s, struct rows *into, const struct rows *from, name_fn *name,
                        add_fn *add)
{
    if (from->count == 0)
        return;
    size_t size = 16;
    while (size < 2 * (into->count + from->count))
        size *= 2;
    size_t *table = calloc(size, sizeof(*table));
    if (table == NULL) {
        s->failed = true;
        return;
    }
    for (size_t i = 0; i < into->count; i++)
        *find_slot(table, size - 1, into, name, row_at(into, i)) = i + 1;
    for (size_t i = 0; i < from->count; i++) {
        void *row = row_at(from, i);
        size_t *slot = find_slot(table, size - 1, into, name, row);
        if (*slot != 0) {
            add(row_at(into, *slot - 1), row);
            continue;
        }
        void *fresh = add_row(s, into);
        if (fresh == NULL)
            break;
        memcpy(fresh, row, into->size);
        memset(row, 0, into->size); /* what it owned has moved */
        *slot = into->count;
    }
    free(table);
}

static void append(struct admin_snapshot *s, struct rows *into, const struct rows *from)
{
    for (size_t i = 0; i < from->count; i++) {
        void *fresh = add_row(s, into);
        if (fresh == NULL)
            return;
        memcpy(fresh, row_at(from, i), into->size);
    }
}

static void name_pool(const void *row, const char **first, const char **second)
{
    *first = ((const struct show_pool *)row)->database;
    *second = ((const struct show_pool *)row)->user;
}

static void add_pool(void *into, void *from)
{
    struct show_pool *a = into, *b = from;
    a->cl_active += b->cl_active;
    a->cl_waiting += b->cl_waiting;
    a->cl_active_cancel_req += b->cl_active_cancel_req;
    a->cl_waiting_cancel_req += b->cl_waiting_cancel_req;
    a->sv_active += b->sv_active;
    a->sv_active_cancel += b->sv_active_cancel;
    a->sv_being_canceled += b->sv_being_canceled;
    a->sv_idle += b->sv_idle;
    a->sv_used += b->sv_used;
    a->sv_tested += b->sv_tested;
    a->sv_login += b->sv_login;
    if (b->maxwait_us > a->maxwait_us)
        a->maxwait_us = b->maxwait_us;
    if (a->cache_state[0] == '\0')
        a->cache_state = b->cache_state;
    counters_sum_add(&a->counters, &b->counters);
    if (a->ledger == NULL) {
        a->ledger = b->ledger;
        b->ledger = NULL;
    } else if (b->ledger != NULL) {
        ledger_merge(a->ledger, b->ledger);
    }
}

static void name_database(const void *row, const char **first, const char **second)
{
    *first = ((const struct show_database *)row)->name;
    *second = "";
}

static void add_database(void *into, void *from)
{
    struct show_database *a = into;
    const struct show_database *b = from;
    a->current_connections += b->current_connections;
    a->current_client_connections += b->current_client_connections;
    a->is_paused = a->is_paused || b->is_paused;
    a->is_disabled = a->is_disabled || b->is_disabled;
    if (a->host[0] == '\0')
        a->host = b->host;
}

static void name_user(const void *row, const char **first, const char **second)
{
    *first = ((const struct show_user *)row)->name;
    *second = "";
}

static void add_user(void *into, void *from)
{
    struct show_user *a = into;
    const struct show_user *b = from;
    a->current_connections += b->current_connections;
    a->current_client_connections += b->current_client_connections;
}

static void name_memory(const void *row, const char **first, const char **second)
{
    *first = ((const struct show_memory *)row)->name;
    *second = "";
}

static void add_memory(void *into, void *from)
{
    struct show_memory *a = into;
    const struct show_memory *b = from;
    a->used += b->used;
    a->free += b->free;
    a->memtotal += b->memtotal;
}

/* One row for a text of a user in a database. */
static void name_template(const void *row, const char **first, const char **second)
{
    *first = ((const struct show_template *)row)->text;
    *second = ((const struct show_template *)row)->identity;
}

static void add_template(void *into, void *from)
{
    struct show_template *a = into;
    const struct show_template *b = from;
    if (b->calls > a->calls) { /* workers learn at different times */
        a->cacheable = b->cacheable;
        a->reason = b->reason;
        a->found = b->found;
        a->relations = b->relations;
    }
    a->calls += b->calls;
    a->hits += b->hits;
    a->misses += b->misses;
    a->saved_us += b->saved_us;
    if (b->since_wall_us < a->since_wall_us)
        a->since_wall_us = b->since_wall_us;
}

static void add_lists(struct show_lists *a, const struct show_lists *b)
{
    a->free_clients += b->free_clients;
    a->used_clients += b->used_clients;
    a->login_clients += b->login_clients;
    a->free_servers += b->free_servers;
    a->used_servers += b->used_servers;
    a->dns_names += b->dns_names;
    a->dns_zones += b->dns_zones;
    a->dns_queries += b->dns_queries;
    a->dns_pending += b->dns_pending;
    a->console_clients += b->console_clients;
    a->console_commands += b->console_commands;
}

void snapshot_merge(struct admin_snapshot *into, struct admin_snapshot *from)
{
    if (from == NULL)
        return;
    merge_named(into, &into->pools, &from->pools, name_pool, add_pool);
    merge_named(into, &into->databases, &from->databases, name_database, add_database);
    merge_named(into, &into->users, &from->users, name_user, add_user);
    merge_named(into, &into->memory, &from->memory, name_memory, add_memory);
    merge_named(into, &into->templates, &from->templates, name_template, add_template);
    append(into, &into->sockets, &from->sockets);
    append(into, &into->pins, &from->pins);
    append(into, &into->workers, &from->workers);
    append(into, &into->names, &from->names);
    append(into, &into->feeds, &from->feeds);
    append(into, &into->feed_needs, &from->feed_needs);
    add_lists(&into->lists, &from->lists);
    if (from->has_store) {
        into->store = from->store;
        into->has_store = true;
    }
    into->failed = into->failed || from->failed;
    /* Ledgers that did not move are emptied before their memory changes hands. */
    struct show_pool *pools = from->pools.data;
    for (size_t i = 0; i < from->pools.count; i++) {
        if (pools[i].ledger != NULL)
            ledger_free(pools[i].ledger);
        pools[i].ledger = NULL;
    }
    arena_join(&into->texts, &from->texts);
    snapshot_free(from);
}

/* ---- reading ---- */

size_t snapshot_pools(const struct admin_snapshot *s, const struct show_pool **rows)
{
    *rows = s->pools.data;
    return s->pools.count;
}

size_t snapshot_databases(const struct admin_snapshot *s, const struct show_database **rows)
{
    *rows = s->databases.data;
    return s->databases.count;
}

size_t snapshot_users(const struct admin_snapshot *s, const struct show_user **rows)
{
    *rows = s->users.data;
    return s->users.count;
}

size_t snapshot_sockets(const struct admin_snapshot *s, const struct show_socket **rows)
{
    *rows = s->sockets.data;
    return s->sockets.count;
}

size_t snapshot_pins(const struct admin_snapshot *s, const struct show_pin **rows)
{
    *rows = s->pins.data;
    return s->pins.count;
}

size_t snapshot_templates(const struct admin_snapshot *s, const struct show_template **rows)
{
    *rows = s->templates.data;
    return s->templates.count;
}

size_t snapshot_memory(const struct admin_snapshot *s, const struct show_memory **rows)
{
    *rows = s->memory.data;
    return s->memory.count;
}

size_t snapshot_workers(const struct admin_snapshot *s, const struct show_worker **rows)
{
    *rows = s->workers.data;
    return s->workers.count;
}

size_t snapshot_feeds(const struct admin_snapshot *s, const struct show_feed **rows)
{
    *rows = s->feeds.data;
    return s->feeds.count;
}

size_t snapshot_feed_needs(const struct admin_snapshot *s, const struct show_feed_need **rows)
{
    *rows = s->feed_needs.data;
    return s->feed_needs.count;
}

size_t snapshot_peers(const struct admin_snapshot *s, const struct show_peer **rows)
{
    *rows = s->peers.data;
    return s->peers.count;
}

size_t snapshot_names(const struct admin_snapshot *s, const struct show_name **rows)
{
    *rows = s->names.data;
    return s->names.count;
}

const struct show_lists *snapshot_get_lists(const struct admin_snapshot *s)
{
    return &s->lists;
}

const struct show_store *snapshot_get_store(const struct admin_snapshot *s)
{
    return &s->store;
}

void snapshot_total(const struct admin_snapshot *s, struct counters_sum *sum, struct ledger *ledger)
{
    const struct show_pool *pools = s->pools.data;
    memset(sum, 0, sizeof(*sum));
    for (size_t i = 0; i < s->pools.count; i++) {
        counters_sum_add(sum, &pools[i].counters);
        if (ledger != NULL && pools[i].ledger != NULL)
            ledger_merge(ledger, pools[i].ledger);
    }
}

bool snapshot_failed(const struct admin_snapshot *s)
{
    return s->failed;
}
