/* SPDX-License-Identifier: MIT */
/* middleware/health.h - may requests be sent here? One answer for /health and for the metric skink_healthy. */
#ifndef SKINK_MIDDLEWARE_HEALTH_H
#define SKINK_MIDDLEWARE_HEALTH_H
#include "skink/recovery.h"
#include "skink/stats_server.h"
#include <stdbool.h>

/* What is known of the watched scheduler and its recovery at one moment. Of what there is none, zero is well. */
struct skink__health_facts {
    bool stopped;  /* it is not running */
    bool draining; /* the server said that it goes */
    bool stopping; /* it refuses new tasks */
    bool held;     /* it runs no task until a stray returns */
    skink_health recovery;
    uint64_t routes_quarantined; /* told, and no reason to call the rest unhealthy */
};

struct skink__health_verdict {
    bool healthy;
    const char *reason;  /* one word for programs, "ok" when healthy; static */
    const char *message; /* a sentence for people, without quotes in it; static */
};

/* Any thread; takes no lock that a loop thread holds across a task. */
struct skink__health_facts skink__health_read(const skink_stats_sources *sources);

/* The worst of what holds. */
struct skink__health_verdict skink__health_judge(const struct skink__health_facts *facts);
#endif
