/*
 * From entries to fields: which section, which row, which object. Every problem is collected, none stops the
 * rest.
 */
#include "config_build.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "weir/config/connstr.h"

static const char *const section_names[] = {"weir", "databases", "users", "peers"};

void config_problem(struct config_problems *problems, const char *file, int line, const char *format, ...)
{
    struct error problem = ERROR_INIT;
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (line > 0)
        error_set_state(&problem, "F0000", "%s:%d: %s", file, line, text);
    else
        error_set_state(&problem, "F0000", "%s: %s", file, text);
    if (problems->count++ == 0)
        problems->first = problem;
    if (problems->report != NULL)
        problems->report(problems->report_arg, &problem);
}

/* May the value of a key that nobody knows be printed, or does it look like a password? */
static bool looks_secret(const char *key, const struct option *near)
{
    return (near != NULL && near->is_secret) || strcasestr(key, "pass") != NULL ||
           strcasestr(key, "secret") != NULL || strcasestr(key, "token") != NULL;
}

static void report_unknown(const struct ini_entry *entry, enum option_scope scope, const char *key,
                           const char *value, struct config_problems *problems)
{
    const struct option *near = option_nearest(scope, key);
    const char *shown = looks_secret(key, near) ? "..." : value;
    if (near != NULL)
        config_problem(problems, entry->file, entry->line,
                       "unknown key %.80s (value \"%.80s\") in [%s]; did you mean %s?", key, shown,
                       section_names[scope], near->name);
    else
        config_problem(
            problems, entry->file, entry->line,
            "unknown key %.80s (value \"%.80s\") in [%s]; see weir --help-options for what is accepted", key,
            shown, section_names[scope]);
}

static void set_key(const struct ini_entry *entry, enum option_scope scope, const char *key,
                    const char *value, void *base, struct config_problems *problems)
{
    const struct option *option = option_find(scope, key);
    struct error why = ERROR_INIT;
    if (option == NULL)
        report_unknown(entry, scope, key, value, problems);
    else if (!option_parse(option, value, base, &why))
        config_problem(problems, entry->file, entry->line, "%s", why.message);
}

/* Reads `key=value key=value` into a database or user. */
static void set_pairs(const struct ini_entry *entry, enum option_scope scope, void *base,
                      struct config_problems *problems)
{
    struct slice rest = slice_str(entry->value), key;
    struct buf value = BUF_INIT;
    struct error why = ERROR_INIT;
    while (connstr_next(&rest, &key, &value, &why)) {
        char *name = slice_dup(key);
        const char *text = buf_text(&value);
        if (name != NULL && text != NULL)
            set_key(entry, scope, name, text, base, problems);
        else
            config_problem(problems, entry->file, entry->line, "out of memory");
        free(name);
    }
    if (why.message[0] != '\0')
        config_problem(problems, entry->file, entry->line, "%s: %s", entry->key, why.message);
    buf_wipe(&value);
}

static void free_database(struct config_database_node *node)
{
    option_free_values(OPTION_DATABASE, &node->database);
    free(node);
}

static void free_user(struct config_user_node *node)
{
    option_free_values(OPTION_USER, &node->user);
    free(node);
}

static void free_peer(struct config_peer_node *node)
{
    option_free_values(OPTION_PEER, &node->peer);
    free(node);
}

static void add_database(struct config *config, const struct ini_entry *entry,
                         struct config_problems *problems)
{
    if (strcmp(entry->key, "pgbouncer") == 0) {
        config_problem(problems, entry->file, entry->line, "the name pgbouncer is reserved for the console");
        return;
    }
    struct config_database_node *node = NULL;
    HASH_FIND_STR(config->database_hash, entry->key, node);
    if (node != NULL) { /* the last one counts */
        HASH_DEL(config->database_hash, node);
        free_database(node);
    }
    node = calloc(1, sizeof(*node));
    if (node == NULL || !option_set_defaults(OPTION_DATABASE, &node->database))
        goto out_of_memory;
    node->database.name = arena_text(&config->texts, slice_str(entry->key));
    struct buf origin = BUF_INIT;
    buf_printf(&origin, "%s:%d", entry->file, entry->line);
    node->database.origin = arena_text(&config->texts, buf_slice(&origin));
    buf_free(&origin);
    if (node->database.name == NULL || node->database.origin == NULL)
        goto out_of_memory;
    node->database.is_fallback = strcmp(entry->key, "*") == 0;
    set_pairs(entry, OPTION_DATABASE, &node->database, problems);
    size_t len = strlen(node->database.name);
    HASH_ADD_KEYPTR(hh, config->database_hash, node->database.name, len, node);
    if (node->hh.tbl != NULL)
        return;
out_of_memory:
    config_problem(problems, entry->file, entry->line, "out of memory");
    if (node != NULL)
        free_database(node);
}

static void add_user(struct config *config, const struct ini_entry *entry, struct config_problems *problems)
{
    struct config_user_node *node = NULL;
    HASH_FIND_STR(config->user_hash, entry->key, node);
    if (node != NULL) {
        HASH_DEL(config->user_hash, node);
        free_user(node);
    }
    node = calloc(1, sizeof(*node));
    if (node == NULL || !option_set_defaults(OPTION_USER, &node->user))
        goto out_of_memory;
    node->user.name = arena_text(&config->texts, slice_str(entry->key));
    if (node->user.name == NULL)
        goto out_of_memory;
    set_pairs(entry, OPTION_USER, &node->user, problems);
    size_t len = strlen(node->user.name);
    HASH_ADD_KEYPTR(hh, config->user_hash, node->user.name, len, node);
    if (node->hh.tbl != NULL)
        return;
out_of_memory:
    config_problem(problems, entry->file, entry->line, "out of memory");
    if (node != NULL)
        free_user(node);
}

static void add_peer(struct config *config, const struct ini_entry *entry, struct config_problems *problems)
{
    char *end;
    long id = strtol(entry->key, &end, 10);
    if (*end != '\0' || id < 1 || id > CONFIG_PEER_MAX) {
        config_problem(problems, entry->file, entry->line,
                       "[peers] are named by their peer_id, 1 to %d, not \"%.80s\"", CONFIG_PEER_MAX,
                       entry->key);
        return;
    }
    struct config_peer_node *node = NULL;
    int key = (int)id;
    HASH_FIND_INT(config->peer_hash, &key, node);
    if (node != NULL) {
        HASH_DEL(config->peer_hash, node);
        free_peer(node);
    }
    node = calloc(1, sizeof(*node));
    if (node != NULL && option_set_defaults(OPTION_PEER, &node->peer)) {
        node->peer.id = key;
        set_pairs(entry, OPTION_PEER, &node->peer, problems);
        if (node->peer.host[0] == '\0')
            config_problem(problems, entry->file, entry->line, "peer %d needs a host", key);
        HASH_ADD_INT(config->peer_hash, peer.id, node);
        if (node->hh.tbl != NULL)
            return;
    }
    config_problem(problems, entry->file, entry->line, "out of memory");
    if (node != NULL)
        free_peer(node);
}

static void add_entry(struct config *config, const struct ini_entry *entry, struct config_problems *problems)
{
    if (strcmp(entry->section, "weir") == 0 || strcmp(entry->section, "pgbouncer") == 0)
        set_key(entry, OPTION_GLOBAL, entry->key, entry->value, &config->settings, problems);
    else if (strcmp(entry->section, "databases") == 0)
        add_database(config, entry, problems);
    else if (strcmp(entry->section, "users") == 0)
        add_user(config, entry, problems);
    else if (strcmp(entry->section, "peers") == 0)
        add_peer(config, entry, problems);
    else if (entry->section[0] == '\0')
        config_problem(problems, entry->file, entry->line, "%.80s stands before any [section]", entry->key);
    else
        config_problem(
            problems, entry->file, entry->line,
            "unknown section [%.80s]; known: [weir] (or [pgbouncer]), [databases], [users], [peers]",
            entry->section);
}

/* Keys that only a restart changes keep the value of the running snapshot; that is said, and is no error. */
static void keep_unreloadable(struct config *config, const struct config *previous,
                              const struct config_problems *problems)
{
    size_t count;
    const struct option *rows = option_table(OPTION_GLOBAL, &count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].is_reloadable || option_is_equal(&rows[i], &config->settings, &previous->settings))
            continue;
        struct error note = ERROR_INIT;
        error_set_state(&note, "01000",
                        "%s: %s cannot change while running; it keeps its value until a restart",
                        config->path, rows[i].name);
        if (option_copy(&rows[i], &previous->settings, &config->settings) && problems->report != NULL)
            problems->report(problems->report_arg, &note);
    }
}

static void finish_hosts(struct config *config, struct config_database *db, struct config_problems *problems)
{
    const char *list = db->host;
    if (list[0] == '\0')
        list = config->settings.unix_socket_dir[0] != '\0' ? config->settings.unix_socket_dir : "localhost";
    size_t most = 1;
    for (const char *p = list; *p != '\0'; p++)
        most += *p == ',';
    struct config_host *hosts = arena_alloc(&config->texts, most * sizeof(*hosts));
    while (hosts != NULL) {
        list += strspn(list, " \t,");
        size_t len = strcspn(list, " \t,");
        if (len == 0)
            break;
        hosts[db->host_count].name = arena_text(&config->texts, slice_make(list, len));
        hosts[db->host_count].port = db->port;
        db->host_count += hosts[db->host_count].name != NULL;
        list += len;
    }
    db->hosts = hosts;
    if (db->host_count == 0)
        config_problem(problems, db->origin, 0, "host = \"%.80s\" names no host", db->host);
}

/* A user's own mode beats that of every database, so neither has to be looked at with each of the other. */
static bool has_cache(const struct config *config)
{
    for (size_t i = 0; i < config->database_count; i++)
        if (config_cache_mode(config, config->databases[i], NULL) != CACHE_OFF)
            return true;
    for (size_t i = 0; i < config->user_count && config->database_count > 0; i++)
        if (config_cache_mode(config, config->databases[0], config->users[i]) != CACHE_OFF)
            return true;
    return false;
}

/* What depends on other keys, and the arrays. */
static void finish(struct config *config, struct config_problems *problems)
{
    config->databases = arena_alloc(&config->texts, HASH_COUNT(config->database_hash) * sizeof(void *) + 1);
    config->users = arena_alloc(&config->texts, HASH_COUNT(config->user_hash) * sizeof(void *) + 1);
    config->peers = arena_alloc(&config->texts, HASH_COUNT(config->peer_hash) * sizeof(void *) + 1);
    if (config->databases == NULL || config->users == NULL || config->peers == NULL) {
        config_problem(problems, config->path, 0, "out of memory");
        return;
    }
    struct config_database_node *node, *next;
    HASH_ITER(hh, config->database_hash, node, next)
    {
        struct config_database *db = &node->database;
        finish_hosts(config, db, problems);
        if (db->is_fallback)
            config->fallback = db;
        else if (db->dbname[0] == '\0' &&
                 !option_parse(option_find(OPTION_DATABASE, "dbname"), db->name, db, NULL))
            config_problem(problems, db->origin, 0, "out of memory");
        config->databases[config->database_count++] = db;
    }
    struct config_user_node *user, *next_user;
    HASH_ITER(hh, config->user_hash, user, next_user)
    {
        config->users[config->user_count++] = &user->user;
    }
    struct config_peer_node *peer, *next_peer;
    HASH_ITER(hh, config->peer_hash, peer, next_peer)
    {
        config->peers[config->peer_count++] = &peer->peer;
    }
    config->has_cache = has_cache(config);
}

bool config_build(struct config *config, const struct config *previous, struct config_problems *problems)
{
    if (!option_set_defaults(OPTION_GLOBAL, &config->settings))
        config_problem(problems, config->path, 0, "out of memory");
    for (size_t i = 0; i < ini_count(config->ini); i++)
        add_entry(config, ini_entry(config->ini, i), problems);
    for (size_t i = 0; i < config->override_count; i++) {
        const struct config_override *o = &config->overrides[i];
        struct ini_entry entry = {"SET", 0, "weir", o->key, o->value};
        add_entry(config, &entry, problems);
    }
    if (problems->count == 0 && previous != NULL)
        keep_unreloadable(config, previous, problems);
    if (problems->count == 0)
        finish(config, problems);
    if (problems->count == 0)
        config_check(config, problems);
    return problems->count == 0;
}
