/*
 * settings: what each configuration key becomes in memory. Plain typed fields, named like the keys with their
 * unit.
 *
 * Text is never NULL: unset and empty are both "". In databases and users, CONFIG_INHERIT (ints, enums) and
 * CONFIG_INHERIT_US mean that the key does not stand there; the getters of config.h resolve that.
 */
#ifndef WEIR_CONFIG_SETTINGS_H
#define WEIR_CONFIG_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

#define CONFIG_INHERIT    (-1)
#define CONFIG_INHERIT_US UINT64_MAX

enum auth_type {
    AUTH_ANY,
    AUTH_TRUST,
    AUTH_PLAIN,
    AUTH_MD5,
    AUTH_CERT,
    AUTH_HBA,
    AUTH_LDAP,
    AUTH_PAM,
    AUTH_SCRAM_SHA_256,
};

enum pool_mode { POOL_MODE_SESSION, POOL_MODE_TRANSACTION, POOL_MODE_STATEMENT };
enum ssl_mode {
    SSL_MODE_DISABLE,
    SSL_MODE_ALLOW,
    SSL_MODE_PREFER,
    SSL_MODE_REQUIRE,
    SSL_MODE_VERIFY_CA,
    SSL_MODE_VERIFY_FULL,
};
enum load_balance { LOAD_BALANCE_ROUND_ROBIN, LOAD_BALANCE_DISABLE };
enum target_session {
    TARGET_SESSION_ANY,
    TARGET_SESSION_PRIMARY,
    TARGET_SESSION_STANDBY,
    TARGET_SESSION_PREFER_STANDBY,
    TARGET_SESSION_READ_WRITE,
    TARGET_SESSION_READ_ONLY,
};
enum ssl_negotiation { SSL_NEGOTIATION_POSTGRES, SSL_NEGOTIATION_DIRECT };
enum cache_mode { CACHE_OFF, CACHE_TTL, CACHE_EXACT };
enum cache_hints { CACHE_HINTS_OFF, CACHE_HINTS_RESTRICT, CACHE_HINTS_ALLOW };
enum cache_writes { CACHE_WRITES_ANYWHERE, CACHE_WRITES_THROUGH_WEIR };
enum cache_feed { CACHE_FEED_OFF, CACHE_FEED_ON, CACHE_FEED_SYNCHRONOUS };
enum defer_begin { DEFER_BEGIN_AUTO, DEFER_BEGIN_ON, DEFER_BEGIN_OFF };
enum auth_query_unknown { AUTH_QUERY_UNKNOWN_REVEAL, AUTH_QUERY_UNKNOWN_HIDE };
enum pin_policy { PIN_ALLOW, PIN_REFUSE };

/* [weir], alias [pgbouncer] */
struct config_settings {
    /* listening */
    const char *listen_addr;
    int listen_port;
    int listen_backlog;
    const char *unix_socket_dir;
    int unix_socket_mode;
    const char *unix_socket_group;
    int so_reuseport;
    int tcp_defer_accept;
    int tcp_keepalive;
    int tcp_keepcnt;
    int tcp_keepidle;
    int tcp_keepintvl;
    int tcp_user_timeout;
    int tcp_socket_buffer;

    /* process */
    int workers;
    const char *logfile;
    const char *pidfile;
    const char *user;
    int syslog;
    const char *syslog_facility;
    const char *syslog_ident;
    int verbose;
    int log_connections;
    int log_disconnections;
    int log_pooler_errors;
    int log_stats;
    int stats_period; /* seconds */
    const char *job_name;
    const char *service_name;
    const char *conffile;

    /* authentication */
    enum auth_type auth_type;
    const char *auth_file;
    const char *auth_hba_file;
    const char *auth_ident_file;
    const char *auth_ldap_options;
    const char *auth_query;
    const char *auth_user;
    const char *auth_dbname;
    enum auth_query_unknown auth_query_unknown_user;
    int scram_iterations;
    const char *admin_users;
    const char *stats_users;

    /* pools */
    enum pool_mode pool_mode;
    int default_pool_size;
    int min_pool_size;
    int reserve_pool_size;
    uint64_t reserve_pool_timeout_us;
    int max_client_conn;
    int max_db_connections;
    int max_db_client_connections;
    int max_user_connections;
    int max_user_client_connections;
    int max_prepared_statements;
    int pool_adaptive;
    int server_round_robin;
    int server_fast_close;
    const char *server_reset_query;
    int server_reset_query_always;
    const char *server_check_query;
    uint64_t server_check_delay_us;
    enum pin_policy pin;
    enum defer_begin defer_begin;
    const char *harmless_functions;

    /* times */
    uint64_t query_timeout_us;
    uint64_t query_wait_timeout_us;
    uint64_t cancel_wait_timeout_us;
    uint64_t client_idle_timeout_us;
    uint64_t client_login_timeout_us;
    uint64_t idle_transaction_timeout_us;
    uint64_t transaction_timeout_us;
    uint64_t server_lifetime_us;
    uint64_t server_idle_timeout_us;
    uint64_t server_connect_timeout_us;
    uint64_t server_login_retry_us;
    uint64_t suspend_timeout_us;
    uint64_t autodb_idle_timeout_us;
    uint64_t pool_idle_timeout_us;
    int query_wait_notify; /* seconds */
    uint64_t dns_max_ttl_us;
    uint64_t dns_nxdomain_ttl_us;
    uint64_t dns_zone_check_period_us;
    const char *resolv_conf;

    /* protocol */
    int max_packet_size;
    int pkt_buf;
    int sbuf_loopcnt;
    int disable_pqexec;
    int application_name_add_host;
    const char *ignore_startup_parameters;
    const char *track_extra_parameters;
    const char *login_notify_message;
    int peer_id;

    /* TLS */
    enum ssl_mode client_tls_sslmode;
    const char *client_tls_ca_file;
    const char *client_tls_cert_file;
    const char *client_tls_key_file;
    const char *client_tls_ciphers;
    const char *client_tls13_ciphers;
    const char *client_tls_protocols;
    const char *client_tls_dheparams;
    const char *client_tls_ecdhcurve;
    enum ssl_mode server_tls_sslmode;
    const char *server_tls_ca_file;
    const char *server_tls_cert_file;
    const char *server_tls_key_file;
    const char *server_tls_ciphers;
    const char *server_tls13_ciphers;
    const char *server_tls_protocols;

    /* cache */
    enum cache_mode cache;
    uint64_t cache_ttl_us;
    size_t cache_memory_bytes;
    size_t cache_max_result_bytes;
    const char *cache_redis;
    uint64_t cache_redis_timeout_us;
    enum ssl_mode cache_redis_tls_sslmode;
    const char *cache_redis_tls_ca_file;
    const char *cache_redis_tls_cert_file;
    const char *cache_redis_tls_key_file;
    int cache_share;
    uint64_t cache_lease_us;
    enum cache_hints cache_hints;
    enum cache_writes cache_writes;
    int cache_check;
    enum cache_feed cache_feed;
    uint64_t cache_max_lag_us;

    /* HTTP */
    const char *http_addr;
    int http_port;
    const char *http_token_file;
};

#endif
