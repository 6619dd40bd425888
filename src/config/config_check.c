/*
 * Whether values fit together; each rule names the keys and what to do.
 */
#include "config_build.h"

#include <string.h>
#include <strings.h>

static bool is_loopback(const char *addr)
{
    return strcasecmp(addr, "localhost") == 0 || strncmp(addr, "127.", 4) == 0 || strcmp(addr, "::1") == 0;
}

/* One identity: where it is written, its mode and its time to live; `feed` is of its database. */
static void check_cache(const struct config *config, const char *where, enum cache_mode mode, uint64_t ttl_us,
                        enum cache_feed feed, struct config_problems *problems)
{
    if (mode == CACHE_EXACT && feed == CACHE_FEED_OFF &&
        config->settings.cache_writes != CACHE_WRITES_THROUGH_WEIR)
        config_problem(
            problems, where, 0,
            "cache = exact needs cache_feed = on or synchronous, by which Weir learns of writes that "
            "others make, or cache_writes = through_weir, the promise that there are none");
    if (mode == CACHE_EXACT && config->settings.so_reuseport && !config->settings.cache_share)
        config_problem(
            problems, where, 0,
            "cache = exact and so_reuseport = 1: another process on the same port would take writes "
            "that this one does not see; use cache_share = 1 in all of them, cache = ttl, or a port of its "
            "own");
    if (mode != CACHE_OFF && feed != CACHE_FEED_OFF && config->settings.cache_share)
        config_problem(
            problems, where, 0,
            "cache_share = 1 does not go together with cache_feed: what a feed tells is not shared; use "
            "cache_writes = through_weir without a feed, or cache_share = 0");
    if (mode == CACHE_TTL && ttl_us == 0)
        config_problem(problems, where, 0,
                       "cache = ttl needs a cache_ttl above 0: nothing else ends the life of an answer");
}

/* What PostgreSQL takes for the name of a slot. */
static void check_slot(const struct config_database *db, struct config_problems *problems)
{
    size_t len = strlen(db->cache_feed_slot);
    if (len > 63 || strspn(db->cache_feed_slot, "abcdefghijklmnopqrstuvwxyz0123456789_") != len)
        config_problem(
            problems, db->origin, 0,
            "cache_feed_slot = \"%.80s\": a replication slot is called by up to 63 lower case letters, "
            "digits and underscores",
            db->cache_feed_slot);
}

static void check_tls(const struct config *config, struct config_problems *problems)
{
    const struct config_settings *s = &config->settings;
    if (s->auth_type == AUTH_CERT && s->client_tls_sslmode < SSL_MODE_VERIFY_CA)
        config_problem(problems, config->path, 0,
                       "auth_type = cert needs client_tls_sslmode = verify-full, and client_tls_ca_file");
    if (s->server_tls_sslmode >= SSL_MODE_VERIFY_CA && s->server_tls_ca_file[0] == '\0' && config->has_cache)
        config_problem(
            problems, config->path, 0,
            "with a cache, server_tls_sslmode = verify-ca and verify-full need server_tls_ca_file: "
            "libpq, by which the cache watches the databases, knows no authorities of its own");
}

/* Where the handshake comes first, plain text is no way out. */
static void check_negotiation(const struct config *config, const struct config_database *db,
                              struct config_problems *problems)
{
    enum ssl_mode mode = config->settings.server_tls_sslmode;
    if (db->sslnegotiation == SSL_NEGOTIATION_DIRECT && mode < SSL_MODE_REQUIRE)
        config_problem(
            problems, db->origin, 0,
            "database \"%s\": sslnegotiation=direct with server_tls_sslmode = %s: it needs require, "
            "verify-ca or verify-full",
            db->name, ssl_mode_name(mode));
}

/* A certificate that is not looked at would make believe that something is encrypted. */
static void check_redis_tls(const struct config *config, struct config_problems *problems)
{
    const struct config_settings *s = &config->settings;
    const struct {
        const char *key, *value;
    } files[] = {{"cache_redis_tls_ca_file", s->cache_redis_tls_ca_file},
                 {"cache_redis_tls_cert_file", s->cache_redis_tls_cert_file},
                 {"cache_redis_tls_key_file", s->cache_redis_tls_key_file}};
    char where[200];
    bool is_tls = strncmp(s->cache_redis, "rediss", 6) == 0;
    for (size_t i = 0; !is_tls && i < sizeof(files) / sizeof(files[0]); i++) {
        config_where(config, files[i].key, where, sizeof(where));
        if (files[i].value[0] != '\0')
            config_problem(
                problems, where, 0,
                "%s = \"%s\" is for TLS, and cache_redis is without: begin it with rediss instead of redis",
                files[i].key, files[i].value);
    }
}

void config_check(const struct config *config, struct config_problems *problems)
{
    const struct config_settings *s = &config->settings;
    check_cache(config, config->path, s->cache, s->cache_ttl_us, s->cache_feed, problems);
    for (size_t i = 0; i < config->database_count; i++) {
        const struct config_database *db = config->databases[i];
        check_negotiation(config, db, problems);
        check_slot(db, problems);
        if (db->cache != CONFIG_INHERIT || db->cache_ttl_us != CONFIG_INHERIT_US ||
            db->cache_feed != CONFIG_INHERIT)
            check_cache(config, db->origin, config_cache_mode(config, db, NULL),
                        config_cache_ttl_us(config, db, NULL), config_cache_feed(config, db), problems);
    }
    for (size_t i = 0; i < config->user_count; i++) {
        const struct config_user *user = config->users[i];
        enum cache_mode mode = user->cache != CONFIG_INHERIT ? (enum cache_mode)user->cache : s->cache;
        uint64_t ttl_us = user->cache_ttl_us != CONFIG_INHERIT_US ? user->cache_ttl_us : s->cache_ttl_us;
        if (user->cache != CONFIG_INHERIT || user->cache_ttl_us != CONFIG_INHERIT_US)
            check_cache(config, user->name, mode, ttl_us, s->cache_feed, problems);
    }
    if (strcmp(s->auth_dbname, "pgbouncer") == 0)
        config_problem(problems, config->path, 0,
                       "cannot use the reserved \"pgbouncer\" database as an auth_dbname");
    if (s->auth_type == AUTH_HBA && s->auth_hba_file[0] == '\0')
        config_problem(problems, config->path, 0,
                       "auth_type = hba needs auth_hba_file, the file with the rules");
    check_tls(config, problems);
    check_redis_tls(config, problems);
    if (s->cache_share && s->cache_redis[0] == '\0')
        config_problem(
            problems, config->path, 0,
            "cache_share = 1 needs cache_redis, the Redis by which the Weirs tell each other of writes");
    if (s->http_port != 0 && !is_loopback(s->http_addr) && s->http_token_file[0] == '\0')
        config_problem(problems, config->path, 0,
                       "http_addr = %s is not a loopback address: http_token_file is needed", s->http_addr);
    if (s->http_port != 0 && s->http_port == s->listen_port)
        config_problem(problems, config->path, 0, "http_port and listen_port are both %d", s->http_port);
    if (s->listen_addr[0] == '\0' && s->unix_socket_dir[0] == '\0')
        config_problem(problems, config->path, 0,
                       "nowhere to listen: listen_addr and unix_socket_dir are both empty");
}
