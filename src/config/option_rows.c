/*
 * One row per key. A field of its own keeps a key's value; its unit is in the field's name.
 */
#include "option_rows.h"

#include <limits.h>
#include <stddef.h>

#include "weir/config/config.h"

#define SECOND                 INT64_C(1000000)
#define LONGEST                (INT64_C(1) << 50) /* microseconds: more than 30 years */
#define SCRAM_ITERATIONS_LIMIT 1000000

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

/* RELOAD: takes effect on reload; RESTART: on start only. Status: WORKS, NO_EFFECT or LATER. */
#define RELOAD  true
#define RESTART false

#define ROW(key, field, kind, defaults, change, state, text)                                                 \
    .name = #key, .type = OPTION_##kind, .status = OPTION_##state, .is_reloadable = change, .group = GROUP,  \
    .default_text = defaults, .help = text, .offset = offsetof(struct SCOPE, field)

#define TEXT(key, defaults, change, state, text) ROW(key, key, TEXT, defaults, change, state, text)
#define BOOL(key, defaults, change, state, text)                                                             \
    ROW(key, key, BOOL, defaults, change, state, text), .min = 0, .max = 1
#define MODE(key, defaults, change, state, text)                                                             \
    ROW(key, key, MODE, defaults, change, state, text), .min = 0, .max = 07777
#define INT(key, defaults, change, state, least, most, text)                                                 \
    ROW(key, key, INT, defaults, change, state, text), .min = least, .max = most
#define BYTES(key, defaults, change, state, least, most, text)                                               \
    ROW(key, key##_bytes, BYTES, defaults, change, state, text), .min = least, .max = most
#define SECONDS_IN(key, defaults, change, state, least, most, text)                                          \
    ROW(key, key##_us, SECONDS, defaults, change, state, text), .min = least, .max = most
#define SECONDS(key, defaults, change, state, text) SECONDS_IN(key, defaults, change, state, 0, LONGEST, text)
#define ENUM(key, defaults, change, state, list, text)                                                       \
    ROW(key, key, ENUM, defaults, change, state, text), .names = list

_Static_assert(sizeof(enum pool_mode) == sizeof(int), "enums are read and written as int");

static const struct option_name auth_type_names[] = {{"any", AUTH_ANY},
                                                     {"trust", AUTH_TRUST},
                                                     {"plain", AUTH_PLAIN},
                                                     {"md5", AUTH_MD5},
                                                     {"cert", AUTH_CERT},
                                                     {"hba", AUTH_HBA},
                                                     {"ldap", AUTH_LDAP},
                                                     {"pam", AUTH_PAM},
                                                     {"scram-sha-256", AUTH_SCRAM_SHA_256},
                                                     {NULL, 0}};
const struct option_name option_pool_mode_names[] = {{"session", POOL_MODE_SESSION},
                                                     {"transaction", POOL_MODE_TRANSACTION},
                                                     {"statement", POOL_MODE_STATEMENT},
                                                     {NULL, 0}};
const struct option_name option_ssl_mode_names[] = {{"disable", SSL_MODE_DISABLE},
                                                    {"allow", SSL_MODE_ALLOW},
                                                    {"prefer", SSL_MODE_PREFER},
                                                    {"require", SSL_MODE_REQUIRE},
                                                    {"verify-ca", SSL_MODE_VERIFY_CA},
                                                    {"verify-full", SSL_MODE_VERIFY_FULL},
                                                    {NULL, 0}};
const struct option_name option_load_balance_names[] = {
    {"round-robin", LOAD_BALANCE_ROUND_ROBIN}, {"disable", LOAD_BALANCE_DISABLE}, {NULL, 0}};
const struct option_name option_target_session_names[] = {{"any", TARGET_SESSION_ANY},
                                                          {"primary", TARGET_SESSION_PRIMARY},
                                                          {"standby", TARGET_SESSION_STANDBY},
                                                          {"prefer-standby", TARGET_SESSION_PREFER_STANDBY},
                                                          {"read-write", TARGET_SESSION_READ_WRITE},
                                                          {"read-only", TARGET_SESSION_READ_ONLY},
                                                          {NULL, 0}};
static const struct option_name ssl_negotiation_names[] = {
    {"postgres", SSL_NEGOTIATION_POSTGRES}, {"direct", SSL_NEGOTIATION_DIRECT}, {NULL, 0}};
const struct option_name option_cache_mode_names[] = {
    {"off", CACHE_OFF}, {"ttl", CACHE_TTL}, {"exact", CACHE_EXACT}, {NULL, 0}};
static const struct option_name cache_redis_tls_names[] = {{"require", SSL_MODE_REQUIRE},
                                                           {"verify-ca", SSL_MODE_VERIFY_CA},
                                                           {"verify-full", SSL_MODE_VERIFY_FULL},
                                                           {NULL, 0}};
static const struct option_name cache_hints_names[] = {
    {"off", CACHE_HINTS_OFF}, {"restrict", CACHE_HINTS_RESTRICT}, {"allow", CACHE_HINTS_ALLOW}, {NULL, 0}};
static const struct option_name cache_writes_names[] = {
    {"anywhere", CACHE_WRITES_ANYWHERE}, {"through_weir", CACHE_WRITES_THROUGH_WEIR}, {NULL, 0}};
static const struct option_name cache_feed_names[] = {
    {"off", CACHE_FEED_OFF}, {"on", CACHE_FEED_ON}, {"synchronous", CACHE_FEED_SYNCHRONOUS}, {NULL, 0}};
static const struct option_name defer_begin_names[] = {
    {"auto", DEFER_BEGIN_AUTO}, {"on", DEFER_BEGIN_ON}, {"off", DEFER_BEGIN_OFF}, {NULL, 0}};
static const struct option_name auth_query_unknown_names[] = {
    {"reveal", AUTH_QUERY_UNKNOWN_REVEAL}, {"hide", AUTH_QUERY_UNKNOWN_HIDE}, {NULL, 0}};
static const struct option_name pin_names[] = {{"allow", PIN_ALLOW}, {"refuse", PIN_REFUSE}, {NULL, 0}};

const struct option option_global_rows[] = {
#define SCOPE config_settings

#define GROUP "Listening"
    {TEXT(listen_addr, "", RESTART, WORKS,
          "Addresses to accept clients on, comma separated; * for all; empty: only the Unix socket.")},
    {INT(listen_port, "6432", RESTART, WORKS, 1, 65535, "Port for TCP and in the name of the Unix socket.")},
    {INT(listen_backlog, "128", RESTART, WORKS, 1, 65535,
         "How many connections may queue in the kernel before they are accepted.")},
    {TEXT(unix_socket_dir, "/tmp", RESTART, WORKS,
          "Directory of the Unix socket, @name for an abstract one, empty for none; also where databases "
          "without host are looked for.")},
    {MODE(unix_socket_mode, "0777", RESTART, WORKS, "Permissions of the Unix socket.")},
    {TEXT(unix_socket_group, "", RESTART, WORKS,
          "Group that owns the Unix socket; empty: that of the process.")},
    {BOOL(so_reuseport, "0", RESTART, WORKS, "Let several processes listen on the same port.")},
    {BOOL(tcp_defer_accept, "1", RELOAD, WORKS,
          "Accept TCP clients only once they have sent something (Linux); never with so_reuseport.")},
    {BOOL(tcp_keepalive, "1", RELOAD, WORKS, "Have the kernel probe silent TCP connections.")},
    {INT(tcp_keepcnt, "0", RELOAD, WORKS, 0, 127,
         "Probes without answer before a connection counts as dead; 0: the system's default.")},
    {INT(tcp_keepidle, "0", RELOAD, WORKS, 0, 32767,
         "Seconds of silence before the first probe; 0: the system's default.")},
    {INT(tcp_keepintvl, "0", RELOAD, WORKS, 0, 32767, "Seconds between probes; 0: the system's default.")},
    {INT(tcp_user_timeout, "0", RELOAD, WORKS, 0, INT_MAX,
         "Milliseconds that sent data may stay unacknowledged; 0: the system's default.")},
    {INT(tcp_socket_buffer, "0", RELOAD, WORKS, 0, INT_MAX,
         "Size in bytes of the kernel's socket buffers; 0: the system's default.")},
#undef GROUP

#define GROUP "Process and log"
    {INT(workers, "1", RESTART, WORKS, 1, 256,
         "Threads that serve clients. Pool sizes hold for the process, however many there are.")},
    {TEXT(logfile, "", RELOAD, WORKS, "File that the log is appended to; empty: none.")},
    {TEXT(pidfile, "", RESTART, WORKS, "File that receives the process id; needed with -d.")},
    {TEXT(user, NULL, RESTART, WORKS, "User to become when started as root.")},
    {BOOL(syslog, "0", RELOAD, WORKS, "Log to syslog as well.")},
    {TEXT(syslog_facility, "daemon", RELOAD, WORKS,
          "Facility for syslog: auth, authpriv, daemon, user, local0 to local7.")},
    {TEXT(syslog_ident, "pgbouncer", RELOAD, WORKS, "Name of the program in syslog.")},
    {INT(verbose, NULL, RELOAD, WORKS, 0, 9,
         "Adds detail to the log: 0, 1 or 2; -v on the command line does the same.")},
    {BOOL(log_connections, "1", RELOAD, WORKS, "Log every login.")},
    {BOOL(log_disconnections, "1", RELOAD, WORKS, "Log every end of a connection, with the reason.")},
    {BOOL(log_pooler_errors, "1", RELOAD, WORKS, "Log the errors that Weir itself sends to clients.")},
    {BOOL(log_stats, "1", RELOAD, WORKS, "Log a summary line every stats_period.")},
    {INT(stats_period, "60", RELOAD, WORKS, 1, 86400,
         "Seconds between summary lines; also the span of the averages in SHOW STATS.")},
    {TEXT(job_name, "pgbouncer", RESTART, NO_EFFECT, "Name of this process among others, for people.")},
    {TEXT(service_name, NULL, RESTART, NO_EFFECT, "Name of the Windows service.")},
    {TEXT(conffile, NULL, RELOAD, NO_EFFECT,
          "Path of the configuration; the one given on the command line counts.")},
#undef GROUP

#define GROUP "Who may log in"
    {ENUM(auth_type, "md5", RELOAD, LATER, auth_type_names, "How clients prove who they are."),
     .accepts = "any,trust,plain,md5,cert,hba,scram-sha-256"},
    {TEXT(auth_file, NULL, RELOAD, WORKS, "File with users and their secrets.")},
    {TEXT(auth_hba_file, "", RELOAD, WORKS,
          "File with rules by host, user and database, for auth_type hba; read again on reload.")},
    {TEXT(auth_ident_file, NULL, RELOAD, WORKS,
          "File that maps names of the system and of certificates to users, for map= in auth_hba_file.")},
    {TEXT(auth_ldap_options, NULL, RELOAD, LATER, "How to ask an LDAP server.")},
    {TEXT(auth_query,
          "SELECT rolname, CASE WHEN rolvaliduntil < pg_catalog.now() THEN NULL ELSE rolpassword END FROM "
          "pg_catalog.pg_authid WHERE rolname = $1 AND rolcanlogin",
          RELOAD, WORKS, "Query that returns name and secret of a user that auth_file does not know.")},
    {TEXT(auth_user, NULL, RELOAD, WORKS,
          "User that runs auth_query; unset: only the users of auth_file can log in.")},
    {TEXT(auth_dbname, NULL, RELOAD, WORKS, "Database in which auth_query runs; unset: the client's.")},
    {ENUM(
        auth_query_unknown_user, "reveal", RELOAD, WORKS, auth_query_unknown_names,
        "Whether users that auth_query does not find are told so at once, or asked for a password in vain.")},
    {INT(scram_iterations, "4096", RELOAD, WORKS, 1, SCRAM_ITERATIONS_LIMIT,
         "Iterations of SCRAM secrets that Weir makes from plain passwords.")},
    {TEXT(admin_users, "", RELOAD, WORKS, "Users who may do everything on the console, comma separated.")},
    {TEXT(stats_users, "", RELOAD, WORKS, "Users who may use SHOW on the console, comma separated.")},
#undef GROUP

#define GROUP "Pools"
    {ENUM(pool_mode, "session", RELOAD, WORKS, option_pool_mode_names,
          "How long a client keeps a server connection.")},
    {INT(default_pool_size, "20", RELOAD, WORKS, 0, INT_MAX,
         "Server connections for each database and user, in the whole process.")},
    {INT(min_pool_size, "0", RELOAD, WORKS, 0, INT_MAX, "Server connections that a pool in use keeps open.")},
    {INT(reserve_pool_size, "0", RELOAD, WORKS, 0, INT_MAX,
         "Server connections that a pool may add when clients wait too long.")},
    {SECONDS(reserve_pool_timeout, "5", RELOAD, WORKS, "Wait after which the reserve is used.")},
    {INT(max_client_conn, "100", RELOAD, WORKS, 1, INT_MAX, "Client connections in all.")},
    {INT(max_db_connections, "0", RELOAD, WORKS, 0, INT_MAX,
         "Server connections for one database, over all its users; 0: no limit.")},
    {INT(max_db_client_connections, "0", RELOAD, WORKS, 0, INT_MAX,
         "Client connections to one database; 0: no limit.")},
    {INT(max_user_connections, "0", RELOAD, WORKS, 0, INT_MAX,
         "Server connections of one user, over all databases; 0: no limit.")},
    {INT(max_user_client_connections, "0", RELOAD, WORKS, 0, INT_MAX,
         "Client connections of one user; 0: no limit.")},
    {INT(max_prepared_statements, "200", RELOAD, WORKS, 0, INT_MAX,
         "Prepared statements kept on one server connection in transaction and statement mode; 0: none are "
         "tracked.")},
    {BOOL(pool_adaptive, "0", RELOAD, LATER, "Let Weir find the best pool size below the limit.")},
    {BOOL(server_round_robin, "0", RELOAD, WORKS,
          "Use idle servers in turn, rather than the one used last.")},
    {BOOL(server_fast_close, "0", RELOAD, WORKS,
          "When a server has to close, do so at the end of the transaction even in session mode.")},
    {TEXT(server_reset_query, "DISCARD ALL", RELOAD, WORKS,
          "Sent to a server between two clients in session mode; empty: nothing.")},
    {BOOL(server_reset_query_always, "0", RELOAD, WORKS, "Send it in the other pool modes as well.")},
    {TEXT(server_check_query, "<empty>", RELOAD, WORKS,
          "Tests an idle server before use; <empty> is a query without text, an empty value tests nothing.")},
    {SECONDS(server_check_delay, "30", RELOAD, WORKS, "A server idle for less is handed out untested.")},
    {ENUM(pin, "allow", RELOAD, WORKS, pin_names,
          "Whether a session may keep its server in transaction mode for what cannot be moved (temporary "
          "tables, session locks).")},
    {ENUM(defer_begin, "auto", RELOAD, WORKS, defer_begin_names,
          "Hold BEGIN back until a statement needs a server; auto: where the cache is on.")},
    {TEXT(harmless_functions, "", RELOAD, WORKS,
          "Functions that change neither settings nor anything else of a session, comma separated; "
          "schema.name or name.")},
#undef GROUP

#define GROUP "Times, in seconds; 0 means no limit unless said otherwise"
    {SECONDS(query_timeout, "0", RELOAD, WORKS, "Longest time for one query.")},
    {SECONDS(query_wait_timeout, "120", RELOAD, WORKS, "Longest wait for a server.")},
    {SECONDS(cancel_wait_timeout, "10", RELOAD, WORKS,
             "Longest time for a cancel request to be answered; its server is kept for so long. 0: 10 s.")},
    {SECONDS(client_idle_timeout, "0", RELOAD, WORKS,
             "Ends clients that are idle outside a transaction for longer.")},
    {SECONDS(client_login_timeout, "60", RELOAD, WORKS, "Longest time for a login.")},
    {SECONDS(idle_transaction_timeout, "0", RELOAD, WORKS,
             "Ends clients that are idle inside a transaction for longer.")},
    {SECONDS(transaction_timeout, "0", RELOAD, WORKS, "Longest time for one transaction.")},
    {SECONDS(server_lifetime, "3600", RELOAD, WORKS,
             "Age at which a free server connection is closed; 0: after one use.")},
    {SECONDS(server_idle_timeout, "600", RELOAD, WORKS,
             "Idle time after which a server connection is closed.")},
    {SECONDS(server_connect_timeout, "15", RELOAD, WORKS, "Longest time to connect and log in to a server.")},
    {SECONDS(server_login_retry, "15", RELOAD, WORKS,
             "Pause after a failed login to a server before the next attempt.")},
    {SECONDS(
        suspend_timeout, "10", RELOAD, WORKS,
        "Longest wait of SUSPEND for servers in use; they stay in use after it, while nothing new begins.")},
    {SECONDS(autodb_idle_timeout, "3600", RELOAD, WORKS,
             "Databases made from the * entry are forgotten after this time without use; 0: never.")},
    {SECONDS(pool_idle_timeout, "0", RELOAD, WORKS,
             "Pools without any connection are forgotten after this time; 0: never.")},
    {INT(query_wait_notify, "5", RELOAD, WORKS, 0, 86400,
         "Seconds of waiting after which the client gets a notice; 0: none.")},
    {SECONDS(dns_max_ttl, "15", RELOAD, WORKS,
             "How long the addresses of a host are remembered; 0: asked for with every new connection.")},
    {SECONDS(dns_nxdomain_ttl, "15", RELOAD, WORKS, "How long a failed look-up is remembered.")},
    {SECONDS(dns_zone_check_period, "0", RELOAD, NO_EFFECT,
             "How often PgBouncer looks for changed DNS zones.")},
    {TEXT(resolv_conf, "", RESTART, NO_EFFECT,
          "File that replaces /etc/resolv.conf in PgBouncer; Weir asks the system's resolver.")},
#undef GROUP

#define GROUP "Protocol"
    {INT(max_packet_size, "2147483647", RELOAD, WORKS, 1024, INT_MAX, "Largest message accepted, in bytes.")},
    {INT(pkt_buf, "4096", RESTART, NO_EFFECT, 0, INT_MAX, "Size of buffers in PgBouncer.")},
    {INT(sbuf_loopcnt, "5", RELOAD, NO_EFFECT, 0, INT_MAX, "Rounds of reading in PgBouncer.")},
    {BOOL(disable_pqexec, "0", RESTART, WORKS, "Refuse the simple query protocol.")},
    {BOOL(application_name_add_host, "0", RELOAD, WORKS,
          "Append the client's address to application_name at login.")},
    {TEXT(ignore_startup_parameters, "", RELOAD, WORKS,
          "Startup parameters that are dropped instead of honoured, comma separated.")},
    {TEXT(track_extra_parameters, "IntervalStyle", RESTART, NO_EFFECT,
          "Further parameters to keep per client; Weir keeps all of them anyway.")},
    {TEXT(login_notify_message, "", RELOAD, WORKS, "Text sent as a notice to every client that logs in.")},
    {INT(peer_id, "0", RELOAD, WORKS, 0, 16383,
         "Number of this process among its peers; part of the cancel keys of clients that log in from then "
         "on. 0: none.")},
#undef GROUP

#define GROUP "TLS with clients"
    {ENUM(client_tls_sslmode, "disable", RELOAD, WORKS, option_ssl_mode_names,
          "Whether clients may use TLS (allow, prefer), must (require), or must show a certificate signed by "
          "client_tls_ca_file too (verify-ca, verify-full).")},
    {TEXT(client_tls_ca_file, "", RELOAD, WORKS, "Authorities that sign client certificates.")},
    {TEXT(client_tls_cert_file, "", RELOAD, WORKS,
          "Weir's certificate, in PEM, with those in between it and its authority.")},
    {TEXT(client_tls_key_file, "", RELOAD, WORKS, "Its private key, in PEM, without a passphrase.")},
    {TEXT(client_tls_ciphers, "default", RELOAD, WORKS,
          "Ciphers up to TLS 1.2: default, all, or a list as OpenSSL takes it.")},
    {TEXT(client_tls13_ciphers, NULL, RELOAD, WORKS, "Ciphers of TLS 1.3, as OpenSSL takes them.")},
    {TEXT(client_tls_protocols, "secure", RELOAD, WORKS,
          "Versions of TLS: secure (1.2 and 1.3), all, or a list such as tlsv1.2,tlsv1.3.")},
    {TEXT(client_tls_dheparams, "auto", RELOAD, WORKS,
          "DHE key exchange up to TLS 1.2: auto, none or legacy (1024 bits).")},
    {TEXT(client_tls_ecdhcurve, "auto", RELOAD, WORKS,
          "Curves of the key exchange: auto, none, or names as OpenSSL takes them.")},
#undef GROUP

#define GROUP "TLS with servers"
    {ENUM(server_tls_sslmode, "prefer", RELOAD, WORKS, option_ssl_mode_names,
          "Whether servers are asked for TLS (allow, prefer), must use it (require), must show a certificate "
          "signed by server_tls_ca_file (verify-ca) that bears their host name (verify-full).")},
    {TEXT(server_tls_ca_file, "", RELOAD, WORKS,
          "Authorities that sign server certificates; empty: the system's.")},
    {TEXT(server_tls_cert_file, "", RELOAD, WORKS,
          "Weir's certificate for servers that ask for one, in PEM.")},
    {TEXT(server_tls_key_file, "", RELOAD, WORKS, "Its private key, in PEM, without a passphrase.")},
    {TEXT(server_tls_ciphers, "default", RELOAD, WORKS,
          "Ciphers up to TLS 1.2: default, all, or a list as OpenSSL takes it.")},
    {TEXT(server_tls13_ciphers, NULL, RELOAD, WORKS, "Ciphers of TLS 1.3, as OpenSSL takes them.")},
    {TEXT(server_tls_protocols, "secure", RELOAD, WORKS,
          "Versions of TLS: secure (1.2 and 1.3), all, or a list such as tlsv1.2,tlsv1.3.")},
#undef GROUP

#define GROUP "Cache"
    {ENUM(cache, "off", RELOAD, WORKS, option_cache_mode_names,
          "What may be answered from the cache: nothing, answers up to cache_ttl old, or only what "
          "PostgreSQL would answer now.")},
    {SECONDS(cache_ttl, "10", RELOAD, WORKS,
             "Age at which a stored answer is dropped; 0 (with exact only): never.")},
    {BYTES(cache_memory, "64MB", RESTART, WORKS, 64 * 1024, INT64_C(1) << 46, "Memory for stored answers.")},
    {BYTES(cache_max_result, "1MB", RELOAD, WORKS, 0, INT64_C(1) << 30,
           "Larger answers are relayed and not stored.")},
    {TEXT(cache_redis, "", RESTART, WORKS,
          "Redis behind the memory: redis://[user:password@]host[:port][/db], "
          "redis+sentinel://[user:password@]host[:port][,...]/master[/db], "
          "redis+cluster://[user:password@]host[:port][,...] or unix:///path; "
          "rediss instead of redis: with TLS; empty: none."),
     .is_secret = true},
    {SECONDS_IN(cache_redis_timeout, "0.005", RELOAD, WORKS, 100, 60 * SECOND,
                "Longest wait for Redis before PostgreSQL is asked.")},
    {ENUM(cache_redis_tls_sslmode, "verify-full", RESTART, WORKS, cache_redis_tls_names,
          "With rediss://, whether Redis must show a certificate signed by cache_redis_tls_ca_file "
          "(verify-ca) that bears the host name Weir connects to (verify-full), or any (require).")},
    {TEXT(cache_redis_tls_ca_file, "", RESTART, WORKS,
          "Authorities that sign the certificates of Redis; empty: the system's.")},
    {TEXT(cache_redis_tls_cert_file, "", RESTART, WORKS,
          "Weir's certificate for a Redis that asks for one, in PEM.")},
    {TEXT(cache_redis_tls_key_file, "", RESTART, WORKS, "Its private key, in PEM, without a passphrase.")},
    {BOOL(cache_share, "0", RESTART, WORKS,
          "Other Weirs use these databases, with the same Redis: each is told what the others write.")},
    {SECONDS_IN(cache_lease, "1", RESTART, WORKS, 100000, 3600 * SECOND,
                "With cache_share, how long a look at PostgreSQL is trusted; the same in all Weirs.")},
    {ENUM(cache_hints, "restrict", RELOAD, LATER, cache_hints_names,
          "What /* weir: ... */ comments may do: nothing, only lessen caching, or allow it too."),
     .accepts = "off"},
    {ENUM(cache_writes, "anywhere", RELOAD, WORKS, cache_writes_names,
          "Where writes come from; through_weir promises that all pass through this process, which exact "
          "needs where there is no feed.")},
    {INT(cache_check, "1000", RELOAD, WORKS, 0, INT_MAX,
         "One hit in so many (with exact) is asked of PostgreSQL as well, and compared; 0: none.")},
    {ENUM(cache_feed, "off", RELOAD, WORKS, cache_feed_names,
          "Learn of writes around Weir by logical decoding; synchronous: before their commit returns.")},
    {SECONDS_IN(cache_max_lag, "1", RELOAD, WORKS, 50000, 3600 * SECOND,
                "How far the feed may be behind before hits stop.")},
#undef GROUP

#define GROUP "HTTP"
    {TEXT(http_addr, "127.0.0.1", RESTART, WORKS, "Address for the dashboard, /stats and /metrics.")},
    {INT(http_port, "0", RESTART, WORKS, 0, 65535, "Port for them; 0: off.")},
    {TEXT(http_token_file, "", RESTART, WORKS,
          "File with the token that requests must carry; needed when http_addr is not a loopback address.")},
#undef GROUP
#undef SCOPE
};
const size_t option_global_count = COUNT(option_global_rows);

const struct option option_database_rows[] = {
#define SCOPE config_database
#define GROUP NULL
    {TEXT(dbname, NULL, RELOAD, WORKS, "Name of the database on the server; absent: the same name.")},
    {TEXT(host, NULL, RELOAD, WORKS,
          "Host names, addresses or Unix socket directories, comma separated; absent: the Unix socket.")},
    {INT(port, "5432", RELOAD, WORKS, 1, 65535, "Port of the server.")},
    {TEXT(user, NULL, RELOAD, WORKS, "User for all server connections; absent: the client's.")},
    {TEXT(password, NULL, RELOAD, WORKS, "Password of that user; absent: from auth_file."),
     .is_secret = true},
    {TEXT(auth_user, NULL, RELOAD, WORKS, "User that runs auth_query for this database.")},
    {TEXT(auth_query, NULL, RELOAD, WORKS, "auth_query of this database.")},
    {TEXT(auth_dbname, NULL, RELOAD, WORKS, "Database in which auth_query runs.")},
    {INT(pool_size, NULL, RELOAD, WORKS, -1, INT_MAX, "Server connections for each user.")},
    {INT(min_pool_size, NULL, RELOAD, WORKS, -1, INT_MAX, "Server connections that are kept open.")},
    {INT(reserve_pool_size, NULL, RELOAD, WORKS, -1, INT_MAX,
         "Server connections that may be added when clients wait too long."),
     .alias = "reserve_pool"},
    {ENUM(pool_mode, NULL, RELOAD, WORKS, option_pool_mode_names, "Pool mode of this database.")},
    {TEXT(connect_query, NULL, RELOAD, WORKS, "Run on every new server connection.")},
    {SECONDS(query_wait_timeout, NULL, RELOAD, WORKS, "Longest wait for a server.")},
    {ENUM(load_balance_hosts, "round-robin", RELOAD, WORKS, option_load_balance_names,
          "How several hosts are used: in turn, or the first that works.")},
    {ENUM(target_session_attrs, "any", RELOAD, WORKS, option_target_session_names,
          "Which of the hosts may be used, by the role of the server: any, primary, standby, prefer-standby, "
          "read-write, read-only.")},
    {ENUM(sslnegotiation, "postgres", RELOAD, WORKS, ssl_negotiation_names,
          "How TLS with the server begins: after a question (postgres), or at once (direct; PostgreSQL 17 "
          "and later).")},
    {INT(max_db_connections, NULL, RELOAD, WORKS, -1, INT_MAX,
         "Server connections over all users; 0: no limit.")},
    {INT(max_db_client_connections, NULL, RELOAD, WORKS, -1, INT_MAX, "Client connections; 0: no limit.")},
    {SECONDS(server_lifetime, NULL, RELOAD, WORKS,
             "Age at which a free server connection is closed; 0: after one use.")},
    {TEXT(client_encoding, NULL, RELOAD, WORKS, "Setting of every server connection.")},
    {TEXT(datestyle, NULL, RELOAD, WORKS, "Setting of every server connection.")},
    {TEXT(timezone, NULL, RELOAD, WORKS, "Setting of every server connection.")},
    {TEXT(application_name, NULL, RELOAD, WORKS, "Setting of every server connection.")},
    {ENUM(cache, NULL, RELOAD, WORKS, option_cache_mode_names, "Cache mode of this database.")},
    {SECONDS(cache_ttl, NULL, RELOAD, WORKS, "Age at which a stored answer is dropped.")},
    {ENUM(cache_feed, NULL, RELOAD, WORKS, cache_feed_names, "cache_feed of this database.")},
    {TEXT(cache_feed_slot, NULL, RELOAD, WORKS,
          "Replication slot of the feed, and its name as a standby; absent: weir_, the name, and a number.")},
    {SECONDS_IN(cache_max_lag, NULL, RELOAD, WORKS, 50000, 3600 * SECOND, "cache_max_lag of this database.")},
    {ENUM(defer_begin, NULL, RELOAD, WORKS, defer_begin_names, "defer_begin of this database.")},
    {TEXT(control_user, NULL, RELOAD, WORKS,
          "User for Weir's own questions to the catalog; absent: the forced user.")},
    {TEXT(control_password, NULL, RELOAD, WORKS, "Password of that user."), .is_secret = true},
#undef GROUP
#undef SCOPE
};
const size_t option_database_count = COUNT(option_database_rows);

const struct option option_user_rows[] = {
#define SCOPE config_user
#define GROUP NULL
    {INT(pool_size, NULL, RELOAD, WORKS, -1, INT_MAX, "Server connections in each database.")},
    {INT(reserve_pool_size, NULL, RELOAD, WORKS, -1, INT_MAX,
         "Server connections that may be added when clients wait too long."),
     .alias = "reserve_pool"},
    {ENUM(pool_mode, NULL, RELOAD, WORKS, option_pool_mode_names,
          "Pool mode of this user; beats that of the database.")},
    {INT(max_user_connections, NULL, RELOAD, WORKS, -1, INT_MAX,
         "Server connections over all databases; 0: no limit.")},
    {INT(max_user_client_connections, NULL, RELOAD, WORKS, -1, INT_MAX, "Client connections; 0: no limit.")},
    {SECONDS(query_timeout, NULL, RELOAD, WORKS, "Longest time for one query.")},
    {SECONDS(query_wait_timeout, NULL, RELOAD, WORKS, "Longest wait for a server.")},
    {SECONDS(idle_transaction_timeout, NULL, RELOAD, WORKS,
             "Ends clients idle inside a transaction for longer.")},
    {SECONDS(transaction_timeout, NULL, RELOAD, WORKS, "Longest time for one transaction.")},
    {SECONDS(client_idle_timeout, NULL, RELOAD, WORKS,
             "Ends clients idle outside a transaction for longer.")},
    {ENUM(cache, NULL, RELOAD, WORKS, option_cache_mode_names,
          "Cache mode of this user; beats that of the database.")},
    {SECONDS(cache_ttl, NULL, RELOAD, WORKS, "Age at which a stored answer is dropped.")},
#undef GROUP
#undef SCOPE
};
const size_t option_user_count = COUNT(option_user_rows);

const struct option option_peer_rows[] = {
#define SCOPE config_peer
#define GROUP NULL
    {TEXT(host, NULL, RELOAD, WORKS, "Host name, address or Unix socket directory of the other process.")},
    {INT(port, "6432", RELOAD, WORKS, 1, 65535, "Its port.")},
    {INT(pool_size, NULL, RELOAD, WORKS, -1, INT_MAX,
         "Cancel requests that may be on their way to it at once; absent: default_pool_size.")},
#undef GROUP
#undef SCOPE
};
const size_t option_peer_count = COUNT(option_peer_rows);
