/*
 * redis_target: where a Redis is and who we are there. Made by redis_target_parse (store_redis.h), then
 * immutable.
 */
#ifndef WEIR_CACHE_REDIS_TARGET_H
#define WEIR_CACHE_REDIS_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "weir/util/error.h"

struct tls_context;

struct redis_host {
    char *name;
    unsigned port;
};

struct redis_target {
    char *host; /* NULL with a path, with Sentinels, and with a Cluster */
    char *path; /* of a Unix socket */
    char *user; /* NULL: AUTH with the password alone */
    char *password;
    unsigned port;
    unsigned database;
    struct redis_host *guides; /* Sentinels, or nodes of a Cluster: who know where to go; NULL without */
    size_t guide_count;
    char *master; /* what Sentinels call it; NULL without Sentinels */
    bool is_cluster;
    bool is_tls;
    struct tls_context *tls; /* a reference; what `is_tls` asks for, put here by who knows the files */
    char name[128];          /* for the log: without user and password */
};

/* redis://[user:password@]host[:port][/db],
 * redis+sentinel://[user:password@]host[:port][,host[:port]…]/master[/db],
 * redis+cluster://[user:password@]host[:port][,host[:port]…], each also with rediss, for TLS, or
 * unix:///path; parts percent-encoded. NULL,
 * with `error` set, otherwise. */
struct redis_target *redis_target_parse(const char *url, struct error *error);
/* One node of a Cluster, as who we are in the whole of it. NULL when memory is out. */
struct redis_target *redis_target_node(const struct redis_target *cluster, const char *host, unsigned port);
/* Wipes the password. NULL is allowed. */
void redis_target_free(struct redis_target *target);
const char *redis_target_name(const struct redis_target *target);

#endif
