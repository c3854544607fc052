/* SPDX-License-Identifier: MIT */
/*
 * middleware/metrics.h - the page of /metrics: which metric comes from where.
 *
 * docs/metrics.md says what each means; a test holds the two together.
 */
#ifndef SKINK_MIDDLEWARE_METRICS_H
#define SKINK_MIDDLEWARE_METRICS_H
#include "middleware/health.h"
#include "middleware/prometheus.h"
#include "skink/stats_server.h"

struct skink__metrics {
    skink_stats_sources sources;
    struct skink__health_limits limits;
    uint64_t created_ns;    /* uptime counts from here */
    uint64_t start_unix_ns; /* of the process; 0: not known */
};

void skink__metrics_init(struct skink__metrics *metrics, const skink_stats_sources *sources);

/* Write the whole page. Any one thread at a time; reads counters, and waits for no loop thread. Families of a source
 * that is not there are left out. */
void skink__metrics_write(const struct skink__metrics *metrics, struct skink__prometheus *writer);
#endif
