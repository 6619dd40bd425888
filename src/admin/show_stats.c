/*
 * SHOW STATS and its relatives. One row of `fields` for each figure, in the order of the columns.
 */
#include <stdio.h>
#include <stdlib.h>

#include "show.h"

enum average { PER_SECOND, PER_XACT, PER_QUERY };

static const struct {
    size_t offset; /* in struct counters_sum */
    enum average average;
    const char *total; /* in TOTALS */
    const char *mean;
} fields[] = {
#define FIELD(field, average, name)                                                                          \
    {                                                                                                        \
        offsetof(struct counters_sum, field), average, "total_" name, "avg_" name                            \
    }
    FIELD(server_assignment_count, PER_SECOND, "server_assignment_count"),
    FIELD(xact_count, PER_SECOND, "xact_count"),
    FIELD(query_count, PER_SECOND, "query_count"),
    FIELD(bytes_received, PER_SECOND, "bytes_received"),
    FIELD(bytes_sent, PER_SECOND, "bytes_sent"),
    FIELD(xact_time, PER_XACT, "xact_time"),
    FIELD(query_time, PER_QUERY, "query_time"),
    FIELD(wait_time, PER_SECOND, "wait_time"),
    FIELD(client_parse_count, PER_SECOND, "client_parse_count"),
    FIELD(server_parse_count, PER_SECOND, "server_parse_count"),
    FIELD(bind_count, PER_SECOND, "bind_count"),
    FIELD(client_login_count, PER_SECOND, "client_login_count"),
#undef FIELD
};

#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

const struct encode_column show_stats_columns[25] = {
    SHOW_TEXT("database"),
    SHOW_NUMERIC("total_server_assignment_count"),
    SHOW_NUMERIC("total_xact_count"),
    SHOW_NUMERIC("total_query_count"),
    SHOW_NUMERIC("total_received"),
    SHOW_NUMERIC("total_sent"),
    SHOW_NUMERIC("total_xact_time"),
    SHOW_NUMERIC("total_query_time"),
    SHOW_NUMERIC("total_wait_time"),
    SHOW_NUMERIC("total_client_parse_count"),
    SHOW_NUMERIC("total_server_parse_count"),
    SHOW_NUMERIC("total_bind_count"),
    SHOW_NUMERIC("total_client_login_count"),
    SHOW_NUMERIC("avg_server_assignment_count"),
    SHOW_NUMERIC("avg_xact_count"),
    SHOW_NUMERIC("avg_query_count"),
    SHOW_NUMERIC("avg_recv"),
    SHOW_NUMERIC("avg_sent"),
    SHOW_NUMERIC("avg_xact_time"),
    SHOW_NUMERIC("avg_query_time"),
    SHOW_NUMERIC("avg_wait_time"),
    SHOW_NUMERIC("avg_client_parse_count"),
    SHOW_NUMERIC("avg_server_parse_count"),
    SHOW_NUMERIC("avg_bind_count"),
    SHOW_NUMERIC("avg_client_login_count"),
};

const struct encode_column show_stats_totals_columns[13] = {
    SHOW_TEXT("database"),
    SHOW_NUMERIC("server_assignment_count"),
    SHOW_NUMERIC("xact_count"),
    SHOW_NUMERIC("query_count"),
    SHOW_NUMERIC("bytes_received"),
    SHOW_NUMERIC("bytes_sent"),
    SHOW_NUMERIC("xact_time"),
    SHOW_NUMERIC("query_time"),
    SHOW_NUMERIC("wait_time"),
    SHOW_NUMERIC("client_parse_count"),
    SHOW_NUMERIC("server_parse_count"),
    SHOW_NUMERIC("bind_count"),
    SHOW_NUMERIC("client_login_count"),
};

const struct encode_column show_stats_averages_columns[13] = {
    SHOW_TEXT("database"),
    SHOW_NUMERIC("server_assignment_count"),
    SHOW_NUMERIC("xact_count"),
    SHOW_NUMERIC("query_count"),
    SHOW_NUMERIC("bytes_received"),
    SHOW_NUMERIC("bytes_sent"),
    SHOW_NUMERIC("xact_time"),
    SHOW_NUMERIC("query_time"),
    SHOW_NUMERIC("wait_time"),
    SHOW_NUMERIC("avg_client_parse_count"),
    SHOW_NUMERIC("avg_server_parse_count"),
    SHOW_NUMERIC("avg_bind_count"),
    SHOW_NUMERIC("avg_client_login_count"),
};

_Static_assert(FIELD_COUNT == 12, "twelve figures, as the columns have");

static uint64_t value_of(const struct counters_sum *sum, size_t field)
{
    return *(const uint64_t *)(const void *)((const char *)sum + fields[field].offset);
}

static uint64_t average_of(const struct counters_sum *counted, uint64_t length_us, size_t field)
{
    uint64_t value = value_of(counted, field);
    uint64_t by = length_us;
    if (fields[field].average == PER_XACT)
        by = counted->xact_count;
    else if (fields[field].average == PER_QUERY)
        by = counted->query_count;
    else
        return (uint64_t)((double)value * 1e6 / (double)by);
    return by == 0 ? 0 : value / by;
}

static void write_totals(struct show *show, const struct counters_sum *sum)
{
    for (size_t i = 0; i < FIELD_COUNT; i++)
        show_number(show, value_of(sum, i));
}

static void write_averages(struct show *show, const char *database, const struct counters_sum *sum)
{
    struct counters_sum counted;
    uint64_t length_us = averages_get(show->averages, database, sum, show->now_us, &counted);
    for (size_t i = 0; i < FIELD_COUNT; i++)
        show_number(show, average_of(&counted, length_us, i));
}

/* The console comes last; all there is to count of it are commands. */
static struct counters_sum console_sum(const struct show *show)
{
    uint64_t commands = snapshot_get_lists(show->snapshot)->console_commands;
    return (struct counters_sum){.xact_count = commands, .query_count = commands};
}

static void write_databases(struct show *show, bool has_totals, bool has_averages)
{
    struct database_sum *sums;
    size_t count = averages_by_database(show->snapshot, &sums);
    const struct counters_sum console = console_sum(show);
    for (size_t i = 0; i <= count; i++) {
        const char *database = i < count ? sums[i].database : "pgbouncer";
        const struct counters_sum *sum = i < count ? &sums[i].sum : &console;
        show_begin(show, (uint16_t)(1 + FIELD_COUNT * ((has_totals ? 1u : 0u) + (has_averages ? 1u : 0u))));
        show_text(show, database);
        if (has_totals)
            write_totals(show, sum);
        if (has_averages)
            write_averages(show, database, sum);
        show_end(show);
    }
    free(sums);
}

void show_stats(struct show *show)
{
    write_databases(show, true, true);
}

void show_stats_totals(struct show *show)
{
    write_databases(show, true, false);
}

void show_stats_averages(struct show *show)
{
    write_databases(show, false, true);
}

void show_totals(struct show *show)
{
    struct counters_sum sum, counted;
    const struct counters_sum console = console_sum(show);
    snapshot_total(show->snapshot, &sum, NULL);
    counters_sum_add(&sum, &console);
    uint64_t length_us = averages_get(show->averages, NULL, &sum, show->now_us, &counted);
    for (size_t i = 0; i < 2 * FIELD_COUNT; i++) {
        size_t field = i % FIELD_COUNT;
        show_begin(show, 2);
        show_text(show, i < FIELD_COUNT ? fields[field].total : fields[field].mean);
        show_number(show, i < FIELD_COUNT ? value_of(&sum, field) : average_of(&counted, length_us, field));
        show_end(show);
    }
}
