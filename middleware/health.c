/* SPDX-License-Identifier: MIT */
/* health.c - from what is known to one verdict, the worst first (see health.h). */
#include "middleware/health.h"
#include "loop/runtime.h"
#include "middleware/drain.h"
#include "middleware/http_stats.h"
#include "middleware/process_metrics.h"
#include "skink/clock.h"

#define LATE_NS SKINK_S /* a watchdog that has not looked so long after it was woken is no use */

static bool is_memory_over(const struct skink__health_limits *limits)
{
    uint64_t max_bytes = atomic_load_explicit(&limits->max_rss_bytes, memory_order_relaxed);
    return max_bytes && skink__process_resident_bytes() > max_bytes;
}

static bool is_queue_full(const struct skink__http_stats *http, const struct skink__health_limits *limits)
{
    uint64_t max_ns = atomic_load_explicit(&limits->max_queue_ns, memory_order_relaxed);
    uint64_t since_ns = http->queue_full_since_ns, now_ns = skink_now();
    return max_ns && since_ns && now_ns > since_ns && now_ns - since_ns > max_ns;
}

static void read_http(struct skink__health_facts *facts, const skink_http_server *server,
                      const struct skink__health_limits *limits)
{
    struct skink__http_stats http;
    skink__http_stats_read(server, &http);
    facts->routes_quarantined = http.routes_quarantined;
    facts->queue_full = is_queue_full(&http, limits);
    facts->draining = skink__drain_is_announced(server);
}

static void read_scheduler(struct skink__health_facts *facts, skink_scheduler *scheduler)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    if (skink_scheduler_stats_read(scheduler, &stats) != 0) return;
    if (!stats.running) facts->stopped = true;
    if (skink__scheduler_is_stopping(scheduler)) facts->stopping = true;
    if (stats.held) facts->held = true;
}

struct skink__health_facts skink__health_read(const skink_stats_sources *sources,
                                              const struct skink__health_limits *limits)
{
    struct skink__health_facts facts = { .memory = is_memory_over(limits) };
    /* With several loops: the worst of any. */
    skink_scheduler *scheduler = sources->scheduler;
    for (size_t i = 1; scheduler; scheduler = skink__http_stats_scheduler_at(sources->http_server, i++))
        read_scheduler(&facts, scheduler);
    if (sources->http_server) read_http(&facts, sources->http_server, limits);
    if (!sources->recovery) return facts;
    facts.watchdog_late = skink_recovery_ping(sources->recovery, skink_after(LATE_NS)) != 0;
    if (!facts.watchdog_late) facts.recovery = skink_recovery_health(sources->recovery);
    return facts;
}

static struct skink__health_verdict unhealthy(const char *reason, const char *message)
{
    return (struct skink__health_verdict){ .healthy = false, .reason = reason, .message = message };
}

static const struct skink__health_verdict well = { .healthy = true,
                                                   .reason = "ok",
                                                   .message = "requests are answered" };

/* What only a new process cures. */
static struct skink__health_verdict judge_life(const struct skink__health_facts *facts)
{
    if (facts->recovery == SKINK_HEALTH_STALLED) return unhealthy("stalled", skink_health_text(facts->recovery));
    if (facts->held)
        return unhealthy("held", "the limit of stray threads was passed: no task runs until a stray returns");
    if (facts->watchdog_late)
        return unhealthy("watchdog_late", "the watchdog does not answer: no deadlock would be seen");
    if (facts->memory) return unhealthy("memory", "the process has more in memory than health.max_rss allows");
    return well;
}

struct skink__health_verdict skink__health_judge(const struct skink__health_facts *facts, enum skink__probe probe)
{
    if (probe == SKINK__PROBE_LIVE) return judge_life(facts);
    if (facts->stopped) return unhealthy("stopped", "the scheduler is not running: no request is answered");
    struct skink__health_verdict life = judge_life(facts);
    if (!life.healthy) return life;
    if (facts->draining) return unhealthy("draining", "the server is on its way down: send new requests elsewhere");
    if (facts->stopping) return unhealthy("stopping", "the scheduler is stopping: new requests are refused");
    if (facts->recovery == SKINK_HEALTH_NO_STANDBY) return unhealthy("no_standby", skink_health_text(facts->recovery));
    if (facts->recovery == SKINK_HEALTH_STRAY_LIMIT)
        return unhealthy("stray_limit", skink_health_text(facts->recovery));
    if (facts->recovery == SKINK_HEALTH_BURST) return unhealthy("burst", skink_health_text(facts->recovery));
    if (facts->queue_full)
        return unhealthy("queue_full", "the queue of requests has been full for longer than health.max_queue_time");
    /* A state that this file does not know yet is not well. */
    if (facts->recovery != SKINK_HEALTH_OK) return unhealthy("unknown", skink_health_text(facts->recovery));
    return well;
}
