/* SPDX-License-Identifier: MIT */
/* health.c - from what is known to one verdict, the worst first (see health.h). */
#include "middleware/health.h"
#include "loop/runtime.h"
#include "middleware/drain.h"
#include "middleware/http_stats.h"

struct skink__health_facts skink__health_read(const skink_stats_sources *sources)
{
    struct skink__health_facts facts = { 0 };
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    if (sources->scheduler && skink_scheduler_stats_read(sources->scheduler, &stats) == 0) {
        facts.stopped = !stats.running;
        facts.stopping = skink__scheduler_is_stopping(sources->scheduler);
        facts.held = stats.held;
    }
    if (sources->http_server) {
        struct skink__http_stats http;
        skink__http_stats_read(sources->http_server, &http);
        facts.routes_quarantined = http.routes_quarantined;
    }
    facts.draining = sources->http_server && skink__drain_is_announced(sources->http_server);
    if (sources->recovery) facts.recovery = skink_recovery_health(sources->recovery);
    return facts;
}

static struct skink__health_verdict unhealthy(const char *reason, const char *message)
{
    return (struct skink__health_verdict){ .healthy = false, .reason = reason, .message = message };
}

struct skink__health_verdict skink__health_judge(const struct skink__health_facts *facts)
{
    if (facts->stopped) return unhealthy("stopped", "the scheduler is not running: no request is answered");
    if (facts->recovery == SKINK_HEALTH_STALLED) return unhealthy("stalled", skink_health_text(facts->recovery));
    if (facts->held)
        return unhealthy("held", "the limit of stray threads was passed: no task runs until a stray returns");
    if (facts->draining) return unhealthy("draining", "the server is on its way down: send new requests elsewhere");
    if (facts->stopping) return unhealthy("stopping", "the scheduler is stopping: new requests are refused");
    if (facts->recovery == SKINK_HEALTH_NO_STANDBY) return unhealthy("no_standby", skink_health_text(facts->recovery));
    if (facts->recovery == SKINK_HEALTH_STRAY_LIMIT)
        return unhealthy("stray_limit", skink_health_text(facts->recovery));
    if (facts->recovery == SKINK_HEALTH_BURST) return unhealthy("burst", skink_health_text(facts->recovery));
    /* A state that this file does not know yet is not well. */
    if (facts->recovery != SKINK_HEALTH_OK) return unhealthy("unknown", skink_health_text(facts->recovery));
    return (struct skink__health_verdict){ .healthy = true, .reason = "ok", .message = "requests are answered" };
}
