/*
 * prometheus: a snapshot in Prometheus' text exposition format 0.0.4, as `promtool check metrics` accepts it.
 * Pure.
 */
#ifndef WEIR_ADMIN_PROMETHEUS_H
#define WEIR_ADMIN_PROMETHEUS_H

#include "weir/admin/json.h"
#include "weir/admin/snapshot.h"
#include "weir/config/config.h"
#include "weir/util/buf.h"

#define PROMETHEUS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

void prometheus_metrics(const struct admin_snapshot *snapshot, const struct config *config,
                        const struct json_process *process, struct buf *out);

#endif
