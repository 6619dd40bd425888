/*
 * A process that does not exist: an admin_source over a fixed configuration and fixed rows. Gathering and
 * commands are answered at once, or held back until fake_release.
 */
#ifndef WEIR_TESTS_ADMIN_FAKE_SOURCE_H
#define WEIR_TESTS_ADMIN_FAKE_SOURCE_H

#include <stdio.h>
#include <string.h>

#include "weir/admin/gather.h"

struct fake {
    struct config *config;
    struct admin_flags flags;
    bool is_ready;
    bool holds_back;
    bool fails; /* commands end with an error */
    uint64_t now_us;
    uint64_t factor; /* of all counters */
    int gathers;
    struct admin_command last; /* texts are copied below */
    char database[64], key[64], value[64], relation[128];
    admin_done_fn *held_done;
    admin_gathered_fn *held_gathered;
    unsigned held_parts;
    void *held_arg;
};

static bool fake_read(void *arg, const char *path, struct buf *out, struct error *error)
{
    (void)path;
    (void)error;
    buf_append_str(out, arg);
    return true;
}

static const char fake_ini[] = "[databases]\n"
                               "shop = host=10.0.0.1 dbname=shop_live pool_size=3 cache=ttl\n"
                               "* = host=db\n"
                               "[users]\n"
                               "anna = pool_mode=transaction\n"
                               "[weir]\n"
                               "admin_users = root, boss\n"
                               "stats_users = watcher\n"
                               "cache_redis = redis://u:sesame@r:1\n";

static struct config *fake_config(void *arg)
{
    return config_ref(((struct fake *)arg)->config);
}

static void fake_pool(struct admin_snapshot *s, const char *database, const char *user, uint64_t n,
                      bool ledgers)
{
    struct show_pool *pool = snapshot_add_pool(s);
    pool->database = snapshot_text(s, database);
    pool->user = snapshot_text(s, user);
    pool->cl_active = 4;
    pool->cl_waiting = 1;
    pool->sv_active = 2;
    pool->sv_idle = 1;
    pool->maxwait_us = 2500000;
    pool->pool_size = 3;
    pool->pool_mode = "transaction";
    pool->cache_mode = "ttl";
    pool->counters.xact_count = 100 * n;
    pool->counters.query_count = 200 * n;
    pool->counters.query_time = 200000 * n;
    pool->counters.bytes_sent = 3000 * n;
    pool->counters.cache_hits = 30 * n;
    pool->counters.cache_misses = 10 * n;
    pool->counters.pins[0] = 2 * n;
    struct ledger *ledger = ledgers ? snapshot_add_ledger(s, pool) : NULL;
    for (uint64_t i = 0; ledger != NULL && i < 200; i++)
        ledger_record(ledger, &(struct request_times){
                                  .wait_us = i, .server_us = 1000 + i, .weir_us = 7, .is_hit = i % 4 == 0});
}

/* Two workers' parts, merged as app does it. */
static struct admin_snapshot *fake_snapshot(const struct fake *fake, unsigned parts)
{
    struct admin_snapshot *all = snapshot_new();
    for (int worker = 0; worker < 2; worker++) {
        struct admin_snapshot *s = snapshot_new();
        if (parts & SNAPSHOT_POOLS) {
            fake_pool(s, "shop", "anna", fake->factor, (parts & SNAPSHOT_LEDGERS) != 0);
            if (worker == 1)
                fake_pool(s, "odd\"db\\\n", "ben", fake->factor, (parts & SNAPSHOT_LEDGERS) != 0);
            snapshot_lists(s)->used_clients = 5;
            snapshot_lists(s)->console_clients = worker;
            struct show_worker *w = snapshot_add_worker(s);
            w->index = worker;
            w->cpu_us = 1500000;
            struct show_feed *f = snapshot_add_feed(s);
            f->database = f->slot = worker == 0 ? "shop" : "say \"x\"";
            f->host = "db1";
            f->port = 5432;
            f->mode = "on";
            f->state = worker == 0 ? "" : "lost";
            f->is_current = worker == 0;
            f->lag_us = worker == 0 ? 1500000 : UINT64_MAX;
            f->lag_bytes = 64;
            f->transactions = 7;
            f->gaps = 2;
        }
        struct show_database *db = snapshot_add_database(s);
        db->name = snapshot_text(s, worker == 0 ? "shop" : "auto");
        db->current_connections = 3;
        db->is_paused = worker == 1;
        if (worker == 1) {
            struct show_database *console = snapshot_add_database(s);
            console->name = snapshot_text(s, "pgbouncer");
            console->current_client_connections = 1;
        }
        snapshot_add_user(s)->name = snapshot_text(s, "ben");
        struct show_socket *client = snapshot_add_socket(s, worker == 0 ? 'C' : 'S');
        client->user = snapshot_text(s, "anna");
        client->database = snapshot_text(s, "shop");
        client->state = worker == 0 ? "active" : "idle";
        client->addr = "10.0.0.7";
        client->port = 51234;
        client->wait_us = 1000002;
        client->ptr = 0xabc;
        client->id = 17;
        client->connect_wall_us = UINT64_C(1700000000000000);
        struct show_pin *pin = snapshot_add_pin(s);
        pin->reason = "temp_table";
        pin->client_id = 17;
        struct show_template *t = snapshot_add_template(s);
        t->text = snapshot_text(s, "SELECT * FROM t WHERE id = $1");
        t->database = "shop";
        t->identity = "shop/anna";
        t->user = snapshot_text(s, "anna");
        t->calls = 7 + (uint64_t)worker;
        t->cacheable = worker == 0 ? "asking" : "yes";
        t->found = "postgresql";
        t->relations = "public.t";
        struct show_memory *m = snapshot_add_memory(s);
        m->name = "client";
        m->size = 500;
        m->used = 2;
        m->memtotal = 1000;
        if (worker == 0) {
            snapshot_store(s)->memory_used_bytes = 4096;
            snapshot_store(s)->redis = snapshot_text(s, "up");
            snapshot_store(s)->redis_nodes = snapshot_text(s, "r:1 up, 16384 slots");
        }
        snapshot_merge(all, s);
    }
    return all;
}

static void fake_gather(void *arg, unsigned parts, admin_gathered_fn *done, void *done_arg)
{
    struct fake *fake = arg;
    fake->gathers++;
    if (fake->holds_back) {
        fake->held_gathered = done;
        fake->held_parts = parts;
        fake->held_arg = done_arg;
    } else {
        done(done_arg, fake_snapshot(fake, parts));
    }
}

static void fake_command(void *arg, const struct admin_command *command, admin_done_fn *done, void *done_arg)
{
    struct fake *fake = arg;
    fake->last = *command;
    strncpy(fake->database, command->database != NULL ? command->database : "(all)", 63);
    snprintf(fake->relation, sizeof(fake->relation), "%s%s%s", command->schema != NULL ? command->schema : "",
             command->schema != NULL ? "." : "", command->relation != NULL ? command->relation : "(all)");
    strncpy(fake->key, command->key != NULL ? command->key : "", 63);
    strncpy(fake->value, command->value != NULL ? command->value : "", 63);
    struct error error = ERROR_INIT;
    error_set_state(&error, "22023", "client not found");
    if (fake->holds_back) {
        fake->held_done = done;
        fake->held_arg = done_arg;
    } else {
        done(done_arg, fake->fails ? &error : NULL);
    }
}

/* Completes what was held back. */
static inline void fake_release(struct fake *fake)
{
    if (fake->held_done != NULL)
        fake->held_done(fake->held_arg, NULL);
    else if (fake->held_gathered != NULL)
        fake->held_gathered(fake->held_arg, fake_snapshot(fake, fake->held_parts));
    fake->held_done = NULL;
    fake->held_gathered = NULL;
}

static struct admin_flags fake_flags(void *arg)
{
    return ((struct fake *)arg)->flags;
}

static bool fake_is_ready(void *arg, struct error *why)
{
    return ((struct fake *)arg)->is_ready || error_set(why, "shutting down");
}

static uint64_t fake_now(void *arg)
{
    return ((struct fake *)arg)->now_us;
}

static uint64_t fake_wall(void *arg)
{
    (void)arg;
    return UINT64_C(1700000000000000);
}

/* The text, as reason. */
static void fake_explain(void *arg, const struct admin_explain *question, admin_explained_fn *done,
                         void *done_arg)
{
    struct fake *fake = arg;
    struct error error = ERROR_INIT;
    error_set(&error, "refused for the test");
    snprintf(fake->value, sizeof(fake->value), "%.*s", (int)question->text.len,
             (const char *)question->text.data);
    const struct admin_explanation explanation = {.database = question->database != NULL ? question->database
                                                                                         : "(one)",
                                                  .user = question->user != NULL ? question->user : "(any)",
                                                  .cacheable = "no",
                                                  .reason = fake->value,
                                                  .found = "names",
                                                  .relations = "public.t",
                                                  .generations = "epoch 1, public.t 2",
                                                  .stored = "memory",
                                                  .ttl_us = 10000000,
                                                  .calls = 5,
                                                  .hits = 3,
                                                  .misses = 2,
                                                  .saved_us = 900};
    done(done_arg, fake->fails ? NULL : &explanation, fake->fails ? &error : NULL);
}

static struct admin_source fake_source(struct fake *fake)
{
    struct config_source source = {
        .path = "fake.ini", .read = fake_read, .read_arg = (void *)(uintptr_t)fake_ini};
    memset(fake, 0, sizeof(*fake));
    fake->config = config_load(&source, NULL);
    fake->is_ready = true;
    fake->factor = 1;
    fake->now_us = 11000000;
    return (struct admin_source){.arg = fake,
                                 .config = fake_config,
                                 .gather = fake_gather,
                                 .command = fake_command,
                                 .explain = fake_explain,
                                 .flags = fake_flags,
                                 .is_ready = fake_is_ready,
                                 .now_us = fake_now,
                                 .wall_us = fake_wall,
                                 .started_us = 1000000};
}

#endif
