/*
 * Private to config: what a snapshot looks like inside, and the building of one from entries.
 */
#ifndef WEIR_CONFIG_CONFIG_BUILD_H
#define WEIR_CONFIG_CONFIG_BUILD_H

#include <stdatomic.h>

/* What uthash does when memory is out: the entry is simply not added, which the caller checks. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "weir/config/config.h"
#include "weir/util/arena.h"

struct config_database_node {
    struct config_database database;
    UT_hash_handle hh;
};

struct config_user_node {
    struct config_user user;
    UT_hash_handle hh;
};

struct config_peer_node {
    struct config_peer peer;
    UT_hash_handle hh;
};

/* A [weir] key set on the console. */
struct config_override {
    char *key;
    char *value;
};

struct config {
    atomic_int refs;
    struct ini *ini;
    struct config_override *overrides;
    size_t override_count;
    struct config_settings settings;
    struct config_database_node *database_hash; /* order of insertion is the order of the files */
    struct config_user_node *user_hash;
    struct config_peer_node *peer_hash; /* by id */
    const struct config_peer **peers;
    size_t peer_count;
    const struct config_database **databases;
    const struct config_user **users;
    size_t database_count;
    size_t user_count;
    const struct config_database *fallback;
    bool has_cache;     /* any user of any database; asked for every new pool */
    struct arena texts; /* names, hosts, origins, the path */
    const char *path;
};

/* Collects what is wrong. */
struct config_problems {
    ini_report_fn *report;
    void *report_arg;
    struct error first;
    int count;
};

void config_problem(struct config_problems *problems, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Fills `config`, which has ini and overrides, from them. False when there were problems. */
bool config_build(struct config *config, const struct config *previous, struct config_problems *problems);

/* Whether the values fit together. */
void config_check(const struct config *config, struct config_problems *problems);

#endif
