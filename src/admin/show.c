/*
 * The table of SHOW commands at the end, the functions that write their rows before it.
 */
#include "show.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/config/options.h"

void show_begin(struct show *show, uint16_t columns)
{
    show->row = encode_row_begin(show->out, columns);
    show->rows++;
}

void show_end(struct show *show)
{
    encode_end(show->out, show->row);
}

void show_text(struct show *show, const char *text)
{
    encode_row_value(show->out, text != NULL ? slice_make(text, strlen(text)) : SLICE_EMPTY);
}

void show_int(struct show *show, int64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, value);
    show_text(show, text);
}

void show_number(struct show *show, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    show_text(show, text);
}

static void show_yes(struct show *show, const char *name, bool is_so)
{
    show_begin(show, 2);
    show_text(show, name);
    show_text(show, is_so ? "yes" : "no");
    show_end(show);
}

void show_pair(struct show *show, const char *name, uint64_t value)
{
    show_begin(show, 2);
    show_text(show, name);
    show_number(show, value);
    show_end(show);
}

static const struct encode_column config_columns[] = {SHOW_TEXT("key"), SHOW_TEXT("value"),
                                                      SHOW_TEXT("default"), SHOW_TEXT("changeable")};

static void show_config(struct show *show)
{
    size_t count;
    const struct option *rows = option_table(OPTION_GLOBAL, &count);
    struct buf value = BUF_INIT;
    for (size_t i = 0; i < count; i++) {
        buf_clear(&value);
        bool is_set = option_format(&rows[i], config_settings(show->config), &value);
        show_begin(show, 4);
        show_text(show, rows[i].name);
        show_text(show, is_set ? buf_text(&value) : NULL);
        show_text(show, rows[i].default_text);
        show_text(show, rows[i].is_reloadable ? "yes" : "no");
        show_end(show);
    }
    buf_free(&value);
}

static const struct encode_column pools_columns[] = {SHOW_TEXT("database"),
                                                     SHOW_TEXT("user"),
                                                     SHOW_INT("cl_active"),
                                                     SHOW_INT("cl_waiting"),
                                                     SHOW_INT("cl_active_cancel_req"),
                                                     SHOW_INT("cl_waiting_cancel_req"),
                                                     SHOW_INT("sv_active"),
                                                     SHOW_INT("sv_active_cancel"),
                                                     SHOW_INT("sv_being_canceled"),
                                                     SHOW_INT("sv_idle"),
                                                     SHOW_INT("sv_used"),
                                                     SHOW_INT("sv_tested"),
                                                     SHOW_INT("sv_login"),
                                                     SHOW_INT("maxwait"),
                                                     SHOW_INT("maxwait_us"),
                                                     SHOW_TEXT("pool_mode"),
                                                     SHOW_TEXT("load_balance_hosts")};

static void write_pool(struct show *show, const struct show_pool *pool)
{
    const int counts[] = {pool->cl_active,
                          pool->cl_waiting,
                          pool->cl_active_cancel_req,
                          pool->cl_waiting_cancel_req,
                          pool->sv_active,
                          pool->sv_active_cancel,
                          pool->sv_being_canceled,
                          pool->sv_idle,
                          pool->sv_used,
                          pool->sv_tested,
                          pool->sv_login};
    show_begin(show, 17);
    show_text(show, pool->database);
    show_text(show, pool->user);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        show_int(show, counts[i]);
    show_number(show, pool->maxwait_us / 1000000);
    show_number(show, pool->maxwait_us % 1000000);
    show_text(show, pool->pool_mode);
    show_text(show, pool->load_balance_hosts[0] != '\0' ? pool->load_balance_hosts : NULL);
    show_end(show);
}

static void show_pools(struct show *show)
{
    const struct show_pool *rows;
    size_t count = snapshot_pools(show->snapshot, &rows);
    for (size_t i = 0; i < count; i++)
        write_pool(show, &rows[i]);
    struct show_pool console = {.database = "pgbouncer",
                                .user = "pgbouncer",
                                .cl_active = snapshot_get_lists(show->snapshot)->console_clients,
                                .pool_mode = "statement",
                                .load_balance_hosts = ""};
    write_pool(show, &console);
}

static const struct encode_column databases_columns[] = {
    SHOW_TEXT("name"),
    SHOW_TEXT("host"),
    SHOW_INT("port"),
    SHOW_TEXT("database"),
    SHOW_TEXT("force_user"),
    SHOW_INT("pool_size"),
    SHOW_INT("min_pool_size"),
    SHOW_INT("reserve_pool_size"),
    SHOW_INT("server_lifetime"),
    SHOW_TEXT("pool_mode"),
    SHOW_TEXT("load_balance_hosts"),
    SHOW_INT("max_connections"),
    SHOW_INT("current_connections"),
    SHOW_INT("max_client_connections"),
    SHOW_INT("current_client_connections"),
    SHOW_INT("paused"),
    SHOW_INT("disabled"),
};

/* Both kinds of rows begin with their name, so one order serves them. */
_Static_assert(offsetof(struct show_database, name) == 0 && offsetof(struct show_user, name) == 0,
               "name first");

static int by_name(const void *a, const void *b)
{
    return strcmp(**(const char *const *const *)a, **(const char *const *const *)b);
}

/* Pointers to the rows, sorted by name, for find_row; NULL when memory is out. The caller frees. */
static const void **sort_rows(const void *rows, size_t count, size_t size)
{
    const void **sorted = calloc(count + 1, sizeof(*sorted));
    for (size_t i = 0; sorted != NULL && i < count; i++)
        sorted[i] = (const char *)rows + i * size;
    if (sorted != NULL)
        qsort(sorted, count, sizeof(*sorted), by_name);
    return sorted;
}

static const void *find_row(const void **sorted, size_t count, const char *name)
{
    const char *const *key = &name;
    const void *const *found = sorted != NULL ? bsearch(&key, sorted, count, sizeof(*sorted), by_name) : NULL;
    return found != NULL ? *found : NULL;
}

static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static void write_database(struct show *show, const char *name, const struct config_database *db,
                           const struct show_database *state)
{
    static const struct show_database none = {.name = "", .host = ""};
    const struct config *c = show->config;
    state = state != NULL ? state : &none;
    show_begin(show, 17);
    show_text(show, name);
    show_text(show, state->host[0] != '\0' ? state->host : or_null(db->host));
    show_int(show, db->port);
    show_text(show, config_dbname(db, name));
    show_text(show, or_null(db->user));
    show_int(show, config_pool_size(c, db, NULL));
    show_int(show, config_min_pool_size(c, db));
    show_int(show, config_reserve_pool_size(c, db, NULL));
    show_number(show, config_server_lifetime_us(c, db) / 1000000);
    show_text(show, db->pool_mode != CONFIG_INHERIT ? pool_mode_name((enum pool_mode)db->pool_mode) : NULL);
    show_text(show, load_balance_name(db->load_balance_hosts));
    show_int(show, config_max_db_connections(c, db));
    show_int(show, state->current_connections);
    show_int(show, config_max_db_client_connections(c, db));
    show_int(show, state->current_client_connections);
    show_int(show, state->is_paused);
    show_int(show, state->is_disabled);
    show_end(show);
}

static void write_console_database(struct show *show, const struct show_database *state)
{
    show_begin(show, 17);
    show_text(show, "pgbouncer");
    show_text(show, NULL);
    show_int(show, config_settings(show->config)->listen_port);
    show_text(show, "pgbouncer");
    show_text(show, "pgbouncer");
    for (int i = 0; i < 4; i++)
        show_int(show, i == 0 ? 2 : 0);
    show_text(show, "statement");
    show_text(show, NULL);
    show_int(show, 0);
    show_int(show, 0);
    show_int(show, config_settings(show->config)->max_db_client_connections);
    show_int(show, state != NULL ? state->current_client_connections : 0);
    show_int(show, 0);
    show_int(show, 0);
    show_end(show);
}

static void show_databases(struct show *show)
{
    const struct show_database *rows;
    size_t count = snapshot_databases(show->snapshot, &rows);
    const void **sorted = sort_rows(rows, count, sizeof(*rows));
    for (size_t i = 0; i < config_database_count(show->config); i++) {
        const struct config_database *db = config_database_at(show->config, i);
        if (!db->is_fallback)
            write_database(show, db->name, db, find_row(sorted, count, db->name));
    }
    const struct show_database *console = find_row(sorted, count, "pgbouncer");
    free(sorted);
    /* Those made from the fallback are known at run time only. */
    for (size_t i = 0; i < count; i++) {
        const struct config_database *db = config_database_find(show->config, rows[i].name);
        if (db != NULL && db->is_fallback && &rows[i] != console)
            write_database(show, rows[i].name, db, &rows[i]);
    }
    write_console_database(show, console);
}

static const struct encode_column users_columns[] = {
    SHOW_TEXT("name"),
    SHOW_TEXT("pool_size"),
    SHOW_TEXT("reserve_pool_size"),
    SHOW_TEXT("pool_mode"),
    SHOW_INT("max_user_connections"),
    SHOW_INT("current_connections"),
    SHOW_INT("max_user_client_connections"),
    SHOW_INT("current_client_connections"),
};

static void show_own(struct show *show, const struct config_user *user, int value)
{
    if (user == NULL || value == CONFIG_INHERIT)
        show_text(show, NULL);
    else
        show_int(show, value);
}

static void write_user(struct show *show, const char *name, const struct show_user *state)
{
    const struct config_user *user = config_user_find(show->config, name);
    show_begin(show, 8);
    show_text(show, name);
    show_own(show, user, user != NULL ? user->pool_size : 0);
    show_own(show, user, user != NULL ? user->reserve_pool_size : 0);
    show_text(show, user != NULL && user->pool_mode != CONFIG_INHERIT
                        ? pool_mode_name((enum pool_mode)user->pool_mode)
                        : NULL);
    show_int(show, config_max_user_connections(show->config, user));
    show_int(show, state != NULL ? state->current_connections : 0);
    show_int(show, config_max_user_client_connections(show->config, user));
    show_int(show, state != NULL ? state->current_client_connections : 0);
    show_end(show);
}

/* Users of [users] that nobody has met yet, after those that are known at run time. */
static void show_users(struct show *show)
{
    const struct show_user *rows;
    size_t count = snapshot_users(show->snapshot, &rows);
    const void **sorted = sort_rows(rows, count, sizeof(*rows));
    for (size_t i = 0; i < count; i++)
        write_user(show, rows[i].name, &rows[i]);
    for (size_t i = 0; i < config_user_count(show->config); i++) {
        const char *name = config_user_at(show->config, i)->name;
        if (find_row(sorted, count, name) == NULL)
            write_user(show, name, NULL);
    }
    free(sorted);
}

static const struct encode_column version_columns[] = {SHOW_TEXT("version")};

static void show_version(struct show *show)
{
    show_begin(show, 1);
    show_text(show, "Weir " WEIR_VERSION);
    show_end(show);
}

static const struct encode_column lists_columns[] = {SHOW_TEXT("list"), SHOW_INT("items")};

/* How many rows another command would show. */
static uint64_t count_rows(const struct show *show, void (*write)(struct show *))
{
    struct buf scratch = BUF_INIT;
    struct show counting = *show;
    counting.out = &scratch;
    counting.rows = 0;
    write(&counting);
    buf_free(&scratch);
    return counting.rows;
}

static void show_peers(struct show *show)
{
    const struct show_peer *rows;
    size_t count = snapshot_peers(show->snapshot, &rows);
    for (size_t i = 0; i < count; i++) {
        show_begin(show, 4);
        show_number(show, (uint64_t)rows[i].id);
        show_text(show, rows[i].host);
        show_number(show, (uint64_t)rows[i].port);
        show_number(show, (uint64_t)rows[i].pool_size);
        show_end(show);
    }
}

/* Each request has a connection of its own: that of the client and that to the peer are told by the same
 * figures. */
static void show_peer_pools(struct show *show)
{
    const struct show_peer *rows;
    size_t count = snapshot_peers(show->snapshot, &rows);
    for (size_t i = 0; i < count; i++) {
        show_begin(show, 5);
        show_number(show, (uint64_t)rows[i].id);
        show_number(show, (uint64_t)rows[i].active_cancels);
        show_number(show, (uint64_t)rows[i].waiting_cancels);
        show_number(show, (uint64_t)(rows[i].active_cancels - rows[i].login));
        show_number(show, (uint64_t)rows[i].login);
        show_end(show);
    }
}

static void show_lists(struct show *show)
{
    const struct show_lists *l = snapshot_get_lists(show->snapshot);
    const struct {
        const char *name;
        uint64_t count;
    } rows[] = {{"databases", count_rows(show, show_databases)},
                {"users", count_rows(show, show_users)},
                {"peers", count_rows(show, show_peers)},
                {"pools", count_rows(show, show_pools)},
                {"peer_pools", count_rows(show, show_peer_pools)},
                {"free_clients", (uint64_t)l->free_clients},
                {"used_clients", (uint64_t)l->used_clients},
                {"login_clients", (uint64_t)l->login_clients},
                {"free_servers", (uint64_t)l->free_servers},
                {"used_servers", (uint64_t)l->used_servers},
                {"dns_names", (uint64_t)l->dns_names},
                {"dns_zones", (uint64_t)l->dns_zones},
                {"dns_queries", (uint64_t)l->dns_queries},
                {"dns_pending", (uint64_t)l->dns_pending}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        show_pair(show, rows[i].name, rows[i].count);
}

static const struct encode_column totals_columns[] = {SHOW_TEXT("name"), SHOW_NUMERIC("value")};
static const struct encode_column state_columns[] = {SHOW_TEXT("key"), SHOW_TEXT("value")};

static void show_state(struct show *show)
{
    show_yes(show, "active", !show->flags.is_paused && !show->flags.is_suspended);
    show_yes(show, "paused", show->flags.is_paused);
    show_yes(show, "suspended", show->flags.is_suspended);
}

static const struct encode_column mem_columns[] = {SHOW_TEXT("name"), SHOW_INT("size"), SHOW_INT("used"),
                                                   SHOW_INT("free"), SHOW_INT("memtotal")};

static void show_mem(struct show *show)
{
    const struct show_memory *rows;
    size_t count = snapshot_memory(show->snapshot, &rows);
    for (size_t i = 0; i < count; i++) {
        show_begin(show, 5);
        show_text(show, rows[i].name);
        show_number(show, rows[i].size);
        show_number(show, rows[i].used);
        show_number(show, rows[i].free);
        show_number(show, rows[i].memtotal);
        show_end(show);
    }
}

static const struct encode_column fds_columns[] = {
    SHOW_INT("fd"),           SHOW_TEXT("task"),      SHOW_TEXT("user"),
    SHOW_TEXT("database"),    SHOW_TEXT("addr"),      SHOW_INT("port"),
    SHOW_BIGINT("cancel"),    SHOW_INT("link"),       SHOW_TEXT("client_encoding"),
    SHOW_TEXT("std_strings"), SHOW_TEXT("datestyle"), SHOW_TEXT("timezone"),
    SHOW_TEXT("password")};
static const struct encode_column dns_hosts_columns[] = {SHOW_TEXT("hostname"), SHOW_BIGINT("ttl"),
                                                         SHOW_TEXT("addrs")};
static const struct encode_column dns_zones_columns[] = {SHOW_TEXT("zonename"), SHOW_BIGINT("serial"),
                                                         SHOW_INT("count")};
static const struct encode_column peers_columns[] = {SHOW_INT("peer_id"), SHOW_TEXT("host"), SHOW_INT("port"),
                                                     SHOW_INT("pool_size")};
static const struct encode_column peer_pools_columns[] = {
    SHOW_INT("peer_id"), SHOW_INT("cl_active_cancel_req"), SHOW_INT("cl_waiting_cancel_req"),
    SHOW_INT("sv_active_cancel"), SHOW_INT("sv_login")};

static void show_dns_hosts(struct show *show)
{
    const struct show_name *rows;
    size_t count = snapshot_names(show->snapshot, &rows);
    for (size_t i = 0; i < count; i++) {
        show_begin(show, 3);
        show_text(show, rows[i].host);
        show_number(show, rows[i].ttl_s);
        show_text(show, rows[i].addresses);
        show_end(show);
    }
}

/* Nothing to show: descriptors are never handed over, zones are the system's affair. */
static void show_nothing(struct show *show)
{
    (void)show;
}

enum {
    POOLS = SNAPSHOT_POOLS,
    EVERYTHING_COUNTED =
        SNAPSHOT_POOLS | SNAPSHOT_DATABASES | SNAPSHOT_USERS | SNAPSHOT_NAMES | SNAPSHOT_PEERS,
    SOCKETS = SNAPSHOT_CLIENTS | SNAPSHOT_SERVERS,
};

#define SHOW(name, parts, columns, write)                                                                    \
    {                                                                                                        \
        name, parts, false, columns, sizeof(columns) / sizeof((columns)[0]), write                           \
    }

static const struct show_command commands[] = {
    SHOW("ACTIVE_SOCKETS", SOCKETS, show_socket_columns, show_active_sockets),
    SHOW("CACHE", POOLS, show_cache_columns, show_cache),
    SHOW("CACHE_STORE", POOLS, show_store_columns, show_cache_store),
    SHOW("CLIENTS", SNAPSHOT_CLIENTS, show_socket_columns, show_clients),
    SHOW("CONFIG", 0, config_columns, show_config),
    SHOW("DATABASES", SNAPSHOT_DATABASES | POOLS, databases_columns, show_databases),
    SHOW("DNS_HOSTS", SNAPSHOT_NAMES, dns_hosts_columns, show_dns_hosts),
    SHOW("DNS_ZONES", 0, dns_zones_columns, show_nothing),
    {"FDS", 0, true, fds_columns, sizeof(fds_columns) / sizeof(fds_columns[0]), show_nothing},
    SHOW("FEED_CHECK", SNAPSHOT_FEED_NEEDS, show_feed_check_columns, show_feed_check),
    SHOW("FEEDS", POOLS, show_feeds_columns, show_feeds),
    SHOW("LISTS", EVERYTHING_COUNTED, lists_columns, show_lists),
    SHOW("MEM", SNAPSHOT_MEMORY, mem_columns, show_mem),
    SHOW("PEERS", SNAPSHOT_PEERS, peers_columns, show_peers),
    SHOW("PEER_POOLS", SNAPSHOT_PEERS, peer_pools_columns, show_peer_pools),
    SHOW("PINS", SNAPSHOT_PINS, show_pins_columns, show_pins),
    SHOW("POOLS", POOLS, pools_columns, show_pools),
    SHOW("SERVERS", SNAPSHOT_SERVERS, show_socket_columns, show_servers),
    SHOW("SOCKETS", SOCKETS, show_socket_columns, show_sockets),
    SHOW("STATE", 0, state_columns, show_state),
    SHOW("STATS", POOLS, show_stats_columns, show_stats),
    SHOW("STATS_AVERAGES", POOLS, show_stats_averages_columns, show_stats_averages),
    SHOW("STATS_TOTALS", POOLS, show_stats_totals_columns, show_stats_totals),
    SHOW("TEMPLATES", SNAPSHOT_TEMPLATES, show_templates_columns, show_templates),
    SHOW("TOTALS", POOLS, totals_columns, show_totals),
    SHOW("USERS", SNAPSHOT_USERS, users_columns, show_users),
    SHOW("VERSION", 0, version_columns, show_version),
    SHOW("WORKERS", POOLS, show_workers_columns, show_workers),
};

const struct show_command *show_commands(size_t *count)
{
    *count = sizeof(commands) / sizeof(commands[0]);
    return commands;
}
