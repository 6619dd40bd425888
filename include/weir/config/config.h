/*
 * config: an immutable, reference-counted snapshot of everything that was configured.
 *
 * Built once, then read by every thread without locks; a reload builds another one. Holds the parsed files,
 * so that SET can make a new snapshot without reading them again. Opens no file itself. Names are found in
 * constant time.
 */
#ifndef WEIR_CONFIG_CONFIG_H
#define WEIR_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/config/ini.h"
#include "weir/config/options.h"
#include "weir/config/settings.h"
#include "weir/util/error.h"

struct config_host {
    const char *name; /* host name, address, "/directory" or "@abstract" of a Unix socket */
    int port;
};

/* Fields up to `hosts` are written by the option table; CONFIG_INHERIT where the key is absent. */
struct config_database {
    const char *name;
    const char *dbname; /* "" in the fallback: the name that the client asked for */
    const char *host;   /* as written; use `hosts` */
    int port;
    const char *user; /* forced user, "" if none */
    const char *password;
    const char *auth_user;
    const char *auth_query;
    const char *auth_dbname;
    int pool_size;
    int min_pool_size;
    int reserve_pool_size;
    int pool_mode; /* enum pool_mode or CONFIG_INHERIT */
    const char *connect_query;
    uint64_t query_wait_timeout_us;
    int load_balance_hosts;   /* enum load_balance */
    int target_session_attrs; /* enum target_session */
    int sslnegotiation;       /* enum ssl_negotiation */
    int max_db_connections;
    int max_db_client_connections;
    uint64_t server_lifetime_us;
    const char *client_encoding;
    const char *datestyle;
    const char *timezone;
    const char *application_name;
    int cache; /* enum cache_mode or CONFIG_INHERIT */
    uint64_t cache_ttl_us;
    int cache_feed; /* enum cache_feed or CONFIG_INHERIT */
    const char *cache_feed_slot;
    uint64_t cache_max_lag_us;
    int defer_begin; /* enum defer_begin or CONFIG_INHERIT */
    const char *control_user;
    const char *control_password;

    const struct config_host *hosts; /* at least one */
    size_t host_count;
    bool is_fallback;   /* the entry called "*" */
    const char *origin; /* "file:line" */
};

enum { CONFIG_PEER_MAX = 16383 };

/* Another process to whom a client's cancel request may have to be passed on. */
struct config_peer {
    int id;
    const char *host;
    int port;
    int pool_size; /* CONFIG_INHERIT: default_pool_size */
};

struct config_user {
    const char *name;
    int pool_size;
    int reserve_pool_size;
    int pool_mode;
    int max_user_connections;
    int max_user_client_connections;
    uint64_t query_timeout_us;
    uint64_t query_wait_timeout_us;
    uint64_t idle_transaction_timeout_us;
    uint64_t transaction_timeout_us;
    uint64_t client_idle_timeout_us;
    int cache;
    uint64_t cache_ttl_us;
};

struct config; /* its settings: config_settings() */

/* Where a configuration comes from. Everything is borrowed for the call only. */
struct config_source {
    const char *path;
    ini_read_fn *read;
    void *read_arg;
    ini_report_fn *report; /* every problem, and on reload every change that has to wait for a restart */
    void *report_arg;
    const struct config
        *previous; /* on reload: keys that cannot change while running keep its values; else NULL */
};

/*
 * Reads and checks everything. NULL when anything is wrong: all problems go to `report`, the first one (with
 * the number of others) to `error`. The caller owns one reference.
 */
struct config *config_load(const struct config_source *source, struct error *error);

/*
 * The same with one [weir] key changed (console SET). NULL with the reason when the key is unknown, not
 * changeable while running, or the value is not accepted. A following config_load forgets it.
 */
struct config *config_set(struct config *old, const char *key, const char *value, struct error *error);

struct config *config_ref(struct config *config);
void config_unref(struct config *config); /* NULL is allowed; any thread */

const struct config_settings *config_settings(const struct config *config);

/* The path it was loaded from. */
const char *config_path(const struct config *config);

/* Where a [weir] key was set, "file:line", for messages; the path alone where it has its default, "SET" for
 * the console's. `out` may be cut. */
void config_where(const struct config *config, const char *key, char *out, size_t size);

/* The entry of this very name, else the fallback "*", else NULL. */
const struct config_database *config_database_find(const struct config *config, const char *name);
/* NULL when there is no such entry in [users]; the getters below accept that. */
const struct config_user *config_user_find(const struct config *config, const char *name);

/* In the order of the files; the fallback is among them. */
size_t config_database_count(const struct config *config);
const struct config_database *config_database_at(const struct config *config, size_t index);
size_t config_user_count(const struct config *config);
const struct config_user *config_user_at(const struct config *config, size_t index);

/* NULL when there is no such entry in [peers]. */
const struct config_peer *config_peer_find(const struct config *config, int id);
size_t config_peer_count(const struct config *config);
const struct config_peer *config_peer_at(const struct config *config, size_t index);
int config_peer_pool_size(const struct config *config, const struct config_peer *peer);

/* The database name to ask PostgreSQL for when a client asked for `requested`. */
const char *config_dbname(const struct config_database *database, const char *requested);

/* True when server connections made for `a` serve `b` as well: hosts, port, dbname, forced user,
 * connect_query, ... */
bool config_database_is_same_server(const struct config_database *a, const struct config_database *b);

/* True when both snapshots say the same about TLS with servers. */
bool config_has_same_server_tls(const struct config *a, const struct config *b);

/* Resolved values: user beats database beats global. `database` is never NULL, `user` may be. */
int config_pool_size(const struct config *, const struct config_database *, const struct config_user *);
int config_min_pool_size(const struct config *, const struct config_database *);
int config_reserve_pool_size(const struct config *, const struct config_database *,
                             const struct config_user *);
enum pool_mode config_pool_mode(const struct config *, const struct config_database *,
                                const struct config_user *);
int config_max_db_connections(const struct config *, const struct config_database *);        /* 0: no limit */
int config_max_db_client_connections(const struct config *, const struct config_database *); /* 0: no limit */
int config_max_user_connections(const struct config *, const struct config_user *);          /* 0: no limit */
int config_max_user_client_connections(const struct config *, const struct config_user *);   /* 0: no limit */
/* Microseconds; 0 means no limit. */
uint64_t config_query_timeout_us(const struct config *, const struct config_user *);
uint64_t config_query_wait_timeout_us(const struct config *, const struct config_database *,
                                      const struct config_user *);
uint64_t config_idle_transaction_timeout_us(const struct config *, const struct config_user *);
uint64_t config_transaction_timeout_us(const struct config *, const struct config_user *);
uint64_t config_client_idle_timeout_us(const struct config *, const struct config_user *);
uint64_t config_server_lifetime_us(const struct config *, const struct config_database *);
enum cache_mode config_cache_mode(const struct config *, const struct config_database *,
                                  const struct config_user *);
/* Over all users of the database; and whether any user of any database has a cache. */
enum cache_mode config_strongest_cache_mode(const struct config *, const struct config_database *);
bool config_has_cache(const struct config *);
uint64_t config_cache_ttl_us(const struct config *, const struct config_database *,
                             const struct config_user *);
enum cache_feed config_cache_feed(const struct config *, const struct config_database *);
uint64_t config_cache_max_lag_us(const struct config *, const struct config_database *);
/* AUTO and ON resolved by the caller, who knows whether the session is cached. */
enum defer_begin config_defer_begin(const struct config *, const struct config_database *);

/* Is `name` in a comma separated list such as admin_users? Blanks around names do not count. */
bool config_list_contains(const char *list, const char *name);

const char *pool_mode_name(enum pool_mode mode);
const char *cache_mode_name(enum cache_mode mode);
const char *load_balance_name(int mode);
const char *target_session_name(int target);
const char *ssl_mode_name(enum ssl_mode mode);

#endif
