/*
 * redis_target: where a Redis is and who we are there. Made by redis_target_parse (store_redis.h), then
 * immutable.
 */
#ifndef WEIR_CACHE_REDIS_TARGET_H
#define WEIR_CACHE_REDIS_TARGET_H

#include "weir/util/error.h"

struct redis_target {
    char *host; /* NULL with a path */
    char *path; /* of a Unix socket */
    char *user; /* NULL: AUTH with the password alone */
    char *password;
    unsigned port;
    unsigned database;
    char name[128]; /* for the log: without user and password */
};

/* redis://[user:password@]host[:port][/db] or unix:///path; parts percent-encoded. NULL, with `error` set,
 * otherwise. */
struct redis_target *redis_target_parse(const char *url, struct error *error);
/* Wipes the password. NULL is allowed. */
void redis_target_free(struct redis_target *target);
const char *redis_target_name(const struct redis_target *target);

#endif
