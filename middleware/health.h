/* SPDX-License-Identifier: MIT */
/* middleware/health.h - may requests be sent here? One answer for /health/ready and for the metric skink_healthy; and:
 * should it live on? */
#ifndef SKINK_MIDDLEWARE_HEALTH_H
#define SKINK_MIDDLEWARE_HEALTH_H
#include "skink/recovery.h"
#include "skink/stats_server.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* For what the server is unhealthy besides being in trouble. 0: not for that. Any thread writes and reads. */
struct skink__health_limits {
    _Atomic uint64_t max_rss_bytes;
    _Atomic uint64_t max_queue_ns;
};

enum skink__probe {
    SKINK__PROBE_LIVE, /* should the process go on? */
    SKINK__PROBE_READY /* may requests be sent here? */
};

/* What is known of the watched scheduler and its recovery at one moment. Of what there is none, zero is well. */
struct skink__health_facts {
    bool stopped;       /* it is not running */
    bool draining;      /* the server said that it goes */
    bool stopping;      /* it refuses new tasks */
    bool held;          /* it runs no task until a stray returns */
    bool watchdog_late; /* the watchdog did not look when it was asked to; `recovery` is not known then */
    bool memory;        /* more of it than the limit */
    bool queue_full;    /* for longer than the limit */
    skink_health recovery;
    uint64_t routes_quarantined; /* told, and no reason to call the rest unhealthy */
};

struct skink__health_verdict {
    bool healthy;
    const char *reason;  /* one word for programs, "ok" when healthy; static */
    const char *message; /* a sentence for people, without quotes in it; static */
};

/* Any thread; takes no lock that a loop thread holds across a task. Asks the watchdog for a look, and takes a second
 * where that does not come. */
struct skink__health_facts skink__health_read(const skink_stats_sources *sources,
                                              const struct skink__health_limits *limits);

/* The worst of what holds and matters to this probe. */
struct skink__health_verdict skink__health_judge(const struct skink__health_facts *facts, enum skink__probe probe);
#endif
