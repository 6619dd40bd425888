/*
 * What is worth keeping, on traces that are made up: the database time that hits save, beside what a store
 * saves that forgets what has not been used for longest. And the memory that the store takes, as the
 * allocator counts it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/cache/key.h"
#include "weir/cache/store_memory.h"

static struct generations *generations;
static struct generation *slot;
static struct buf scratch;

static int set_up(void **state)
{
    (void)state;
    generations = generations_new();
    slot = generations_get(generations, 1, GENERATION_ANY);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_free(&scratch);
    generation_unref(slot);
    generations_free(generations);
    return 0;
}

/* --- a world of queries --- */

struct query {
    size_t bytes;
    uint64_t cost_us;
};

static uint64_t random_state;

static uint64_t random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static double random_share(void)
{
    return (double)(random_number() >> 11) / (double)(UINT64_C(1) << 53);
}

static double random_between(double low, double high) /* evenly by orders of magnitude */
{
    return low * pow(high / low, random_share());
}

static struct entry_key key_of(uint64_t id)
{
    char text[64];
    struct entry_key key;
    snprintf(text, sizeof(text), "SELECT * FROM orders WHERE id = %llu", (unsigned long long)id);
    const struct key_parts parts = {.scope = 1, .text = slice_str(text)};
    assert_true(key_build(&scratch, &parts, 0, &key));
    return key;
}

static struct entry *answer_of(const struct entry_key *key, struct query query)
{
    static uint8_t rows[4 << 20];
    struct vector_item item = {.slot = slot, .value = generation_read(slot)};
    struct entry_contents contents = {
        .key = *key, .vector = &item, .vector_count = 1, .cost_us = query.cost_us, .expires_us = UINT64_MAX};
    contents.parts[ENTRY_ROWS] = slice_make(rows, query.bytes);
    return entry_new(&contents);
}

/* Asks the store, fills it after a miss, and gives the time saved. */
static uint64_t ask_store(struct store_memory *s, uint64_t id, struct query query)
{
    struct entry *entry;
    struct entry_key key = key_of(id);
    if (store_memory_find(s, &key, 0, &entry) == STORE_FOUND) {
        entry_unref(entry);
        return query.cost_us;
    }
    entry = answer_of(&key, query);
    store_memory_put(s, entry, 0);
    entry_unref(entry);
    return 0;
}

/* --- the other store: least recently used goes first --- */

enum { LRU_OVERHEAD = 250 }; /* header, key, vector, node: what the store in question has, too */

struct lru {
    uint64_t limit, bytes;
    struct lru_item {
        uint64_t older, newer; /* 0: none */
        size_t bytes;          /* 0: not there */
    } * items;                 /* by id, from 1 */
    uint64_t oldest, newest;
};

static void lru_remove(struct lru *l, uint64_t id)
{
    struct lru_item *item = &l->items[id];
    *(item->older != 0 ? &l->items[item->older].newer : &l->oldest) = item->newer;
    *(item->newer != 0 ? &l->items[item->newer].older : &l->newest) = item->older;
    l->bytes -= item->bytes;
    item->bytes = 0;
}

static uint64_t ask_lru(struct lru *l, uint64_t id, struct query query)
{
    struct lru_item *item = &l->items[id];
    bool is_hit = item->bytes > 0;
    if (is_hit)
        lru_remove(l, id);
    *item = (struct lru_item){.older = l->newest, .bytes = query.bytes + LRU_OVERHEAD};
    *(l->newest != 0 ? &l->items[l->newest].newer : &l->oldest) = id;
    l->newest = id;
    l->bytes += item->bytes;
    while (l->bytes > l->limit)
        lru_remove(l, l->oldest);
    return is_hit ? query.cost_us : 0;
}

/* --- traces --- */

/* The first of the sums that is not below this one. */
static size_t draw(const double *up_to, size_t count, double at)
{
    size_t low = 0, high = count - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (up_to[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct trace {
    size_t queries; /* that are asked again and again */
    double skew;    /* of Zipf's law among them */
    size_t requests;
    double scanned; /* share of the requests that are for something never asked again, from the middle on */
    struct query (*make)(bool is_scanned);
    double share; /* of all the bytes that fit */
};

/* How much more is saved than by the other store, from the middle on. */
static double play(const char *name, const struct trace *t)
{
    random_state = 88172645463325252U;
    struct query *queries = calloc(t->queries, sizeof(*queries));
    double *up_to = calloc(t->queries, sizeof(*up_to));
    double total = 0, bytes = 0;
    for (size_t i = 0; i < t->queries; i++) {
        queries[i] = t->make(false);
        bytes += (double)queries[i].bytes + LRU_OVERHEAD;
        total += pow((double)i + 1, -t->skew);
        up_to[i] = total;
    }
    uint64_t limit = (uint64_t)(bytes * t->share);
    struct store_memory *store = store_memory_new(limit, 1);
    struct lru lru = {.limit = limit, .items = calloc(t->queries + t->requests + 1, sizeof(struct lru_item))};
    uint64_t saved = 0, saved_by_lru = 0, wanted = 0, next = t->queries;
    for (size_t i = 0; i < t->requests; i++) {
        bool is_later = i > t->requests / 2;
        if (is_later && random_share() < t->scanned) {
            struct query query = t->make(true);
            next++;
            assert_int_equal(ask_store(store, next, query) + ask_lru(&lru, next, query), 0);
            continue;
        }
        size_t rank = draw(up_to, t->queries, random_share() * total);
        uint64_t cost = queries[rank].cost_us;
        saved += ask_store(store, rank + 1, queries[rank]) * is_later;
        saved_by_lru += ask_lru(&lru, rank + 1, queries[rank]) * is_later;
        wanted += cost * is_later;
    }
    struct store_memory_stats stats;
    store_memory_get_stats(store, &stats);
    double ratio = (double)saved / (double)saved_by_lru;
    print_message(
        "%s: saves %.1f %% of the time, %.2f times as much; %llu entries, %llu evicted, %llu not taken\n",
        name, 100.0 * (double)saved / (double)wanted, ratio, (unsigned long long)stats.entries,
        (unsigned long long)stats.evictions, (unsigned long long)stats.rejected);
    assert_true(stats.bytes <= limit);
    store_memory_free(store);
    free(lru.items);
    free(queries);
    free(up_to);
    return ratio;
}

static struct query plain(bool is_scanned)
{
    (void)is_scanned;
    return (struct query){.bytes = 800, .cost_us = 1000};
}

static struct query dear_when_scanned(bool is_scanned)
{
    return (struct query){.bytes = 800, .cost_us = is_scanned ? 100000 : 1000};
}

static struct query mixed(bool is_scanned)
{
    (void)is_scanned;
    double bytes = random_between(100, 100000);
    return (struct query){.bytes = (size_t)bytes, .cost_us = (uint64_t)random_between(100, 1000000)};
}

static struct query large_and_cheap_or_small_and_dear(bool is_scanned)
{
    (void)is_scanned;
    bool is_large = random_share() < 0.3;
    return (struct query){.bytes = is_large ? 200000 : 500, .cost_us = is_large ? 1000 : 50000};
}

static void test_c36_a_scan_does_not_push_out_what_is_asked_often(void **state)
{
    (void)state;
    const struct trace t = {10000, 0.9, 150000, 0.9, plain, 0.05};
    assert_true(play("a scan", &t) > 2.0);
    const struct trace dear = {10000, 0.9, 150000, 0.9, dear_when_scanned, 0.05};
    assert_true(play("a scan of dear ones", &dear) > 1.2);
}

static void test_c36_time_saved_counts_and_bytes_count(void **state)
{
    (void)state;
    const struct trace t = {3000, 0.8, 60000, 0.2, mixed, 0.05};
    assert_true(play("mixed sizes and costs", &t) > 2.0);
    const struct trace large = {2000, 0.7, 40000, 0.0, large_and_cheap_or_small_and_dear, 0.01};
    assert_true(play("large and cheap beside small and dear", &large) > 5.0);
}

/* What was asked often last week makes room for what is asked now. */
static void former_fame_fades(void **state)
{
    (void)state;
    struct store_memory *s = store_memory_new(1 << 20, 1);
    const struct query query = {.bytes = 800, .cost_us = 1000};
    for (int round = 0; round < 60; round++)
        for (uint64_t id = 0; id < 800; id++)
            ask_store(s, id, query);
    int asked = 0;
    uint64_t saved = 0;
    for (int round = 0; round < 40; round++)
        for (uint64_t id = 10000; id < 10800; id++) {
            uint64_t now = ask_store(s, id, query);
            saved += round >= 35 ? now : 0;
            asked += round >= 35;
        }
    assert_true(saved >= (uint64_t)asked * query.cost_us * 8 / 10);
    store_memory_free(s);
}

/* --- memory --- */

static size_t allocated(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static bool is_counted_by_the_allocator(void)
{
    size_t before = allocated();
    void *block = malloc(100000);
    bool is_so = block != NULL && allocated() >= before + 100000;
    free(block);
    return is_so;
}

struct sizes {
    double low, high;
};

/* Random sizes, many times over what fits, and half of it outdated now and then. */
static void test_c36_memory_is_what_it_says(void **state)
{
    (void)state;
    if (!is_counted_by_the_allocator()) { /* under a sanitizer, which has an allocator of its own */
        skip();
    }
    const struct sizes all[] = {{40, 1 << 20}, {40, 200}, {1 << 10, 1 << 14}, {1 << 19, 1 << 20}};
    const uint64_t limit = 16 << 20;
    for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++) {
        random_state = 88172645463325252U + k;
        free(malloc(4 << 20)); /* the allocator has made what it makes once */
        struct entry_key key = key_of(1 << 30);
        entry_unref(answer_of(&key, (struct query){100, 1}));
        size_t before = allocated(), most = 0, count = 0;
        struct store_memory *s = store_memory_new(limit, 1);
        for (uint64_t bytes = 0; bytes < 3 * limit; count++) {
            size_t size = (size_t)random_between(all[k].low, all[k].high);
            ask_store(s, count, (struct query){size, 1 + random_number() % 1000});
            bytes += size;
            if (count % 512 != 0) /* asking takes a while */
                continue;
            size_t now = allocated() - before;
            most = now > most ? now : most;
        }
        struct store_memory_stats stats;
        store_memory_get_stats(s, &stats);
        print_message(
            "%.0f to %.0f bytes: at most %.2f %% of the limit, now %.2f %%, told %.2f %%, %llu entries\n",
            all[k].low, all[k].high, 100.0 * (double)most / (double)limit,
            100.0 * (double)(allocated() - before) / (double)limit,
            100.0 * (double)stats.bytes / (double)limit, (unsigned long long)stats.entries);
        assert_true(most <= limit + limit / 20);
        assert_true(allocated() - before >= limit - limit / 10);
        store_memory_free(s);
        assert_true(allocated() <= before + 65536);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c36_a_scan_does_not_push_out_what_is_asked_often),
        cmocka_unit_test(test_c36_time_saved_counts_and_bytes_count),
        cmocka_unit_test(former_fame_fades),
        cmocka_unit_test(test_c36_memory_is_what_it_says),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
