/*
 * json: a snapshot as the JSON text of /stats. Pure; control thread.
 */
#ifndef WEIR_ADMIN_JSON_H
#define WEIR_ADMIN_JSON_H

#include "weir/admin/snapshot.h"
#include "weir/config/config.h"
#include "weir/util/buf.h"

/* What the process says about itself, beside the snapshot. */
struct json_process {
    uint64_t uptime_us;
    uint64_t wall_us;
    bool is_paused;
    bool is_shutting_down;
    bool is_ready;
};

/* Appends one JSON object to `out` (shape: docs in json.c); sticky failure in `out` when memory is out. */
void json_stats(const struct admin_snapshot *snapshot, const struct config *config,
                const struct json_process *process, struct buf *out);

#endif
