/*
 * Private to admin: the SHOW commands, one row each: what to gather, the columns, and a function that writes
 * the rows.
 */
#ifndef WEIR_ADMIN_SHOW_H
#define WEIR_ADMIN_SHOW_H

#include "averages.h"
#include "weir/admin/gather.h"
#include "weir/util/buf.h"
#include "weir/wire/encode.h"

/* What the functions read and where they write. */
struct show {
    const struct admin_snapshot *snapshot; /* NULL where nothing was to be gathered */
    const struct config *config;
    const struct averages *averages;
    struct admin_flags flags;
    uint64_t now_us;
    struct buf *out;
    size_t row;  /* of encode_row_begin */
    size_t rows; /* written so far */
};

struct show_command {
    const char *name;
    unsigned parts; /* of enum snapshot_part, 0: none */
    bool needs_admin;
    const struct encode_column *columns;
    uint16_t column_count;
    void (*write)(struct show *show);
};

const struct show_command *show_commands(size_t *count);

/* One value of a row; the number of calls between begin and end is the number of columns. */
void show_begin(struct show *show, uint16_t columns);
void show_end(struct show *show);
void show_text(struct show *show, const char *text); /* NULL is NULL */
void show_int(struct show *show, int64_t value);
void show_number(struct show *show, uint64_t value);
void show_pair(struct show *show, const char *name, uint64_t value); /* a row of two */
void show_time(struct show *show, uint64_t wall_us);                 /* 0 is "" */

#define SHOW_TEXT(name)                                                                                      \
    {                                                                                                        \
        name, 25, -1                                                                                         \
    }
#define SHOW_INT(name)                                                                                       \
    {                                                                                                        \
        name, 23, 4                                                                                          \
    }
#define SHOW_BIGINT(name)                                                                                    \
    {                                                                                                        \
        name, 20, 8                                                                                          \
    }
#define SHOW_NUMERIC(name)                                                                                   \
    {                                                                                                        \
        name, 1700, -1                                                                                       \
    }

/* The rows of these stand in files of their own. */
void show_stats(struct show *show);
void show_stats_totals(struct show *show);
void show_stats_averages(struct show *show);
void show_totals(struct show *show);
extern const struct encode_column show_stats_columns[25];
extern const struct encode_column show_stats_totals_columns[13];
extern const struct encode_column show_stats_averages_columns[13];

void show_clients(struct show *show);
void show_servers(struct show *show);
void show_sockets(struct show *show);
void show_active_sockets(struct show *show);
extern const struct encode_column show_socket_columns[21];

void show_cache(struct show *show);
void show_cache_store(struct show *show);
void show_pins(struct show *show);
void show_templates(struct show *show);
void show_workers(struct show *show);
void show_feeds(struct show *show);
void show_feed_check(struct show *show);
extern const struct encode_column show_cache_columns[15];
extern const struct encode_column show_store_columns[2];
extern const struct encode_column show_pins_columns[7];
extern const struct encode_column show_templates_columns[12];
extern const struct encode_column show_workers_columns[4];
extern const struct encode_column show_feeds_columns[10];
extern const struct encode_column show_feed_check_columns[6];

#endif
