/* SPDX-License-Identifier: MIT */
/* app/assembly_parts.h - what the files of the assembly share: its parts, and how they read the configuration. */
#ifndef SKINK_APP_ASSEMBLY_PARTS_H
#define SKINK_APP_ASSEMBLY_PARTS_H
#include "app/assembly.h"
#include "app/inherited.h"
#include "app/reload.h"
#include "skink/http_server.h"
#include "skink/scheduler.h"
#include "skink/stats_server.h"
#include "skink/workers.h"

enum { LOOPS_MAX = 256 }; /* the schema says so, too */

struct assembly {
    const struct config *config;
    skink_recovery *recovery;
    struct loop {
        skink_scheduler *scheduler;
        bool watched;
    } loops[LOOPS_MAX];
    skink_http_server *http[LOOPS_MAX]; /* each on its own loop */
    size_t loop_count;
    skink_workers *workers; /* NULL: no request needs them */
    skink_stats_server *stats;
    skink_host_metric metrics[SKINK__RELOAD_METRICS + 1];
    struct inherited inherited; /* while the sockets are opened */
    bool wedged;                /* the loop thread is stuck where nobody can take over: nothing may be freed */
};

static inline uint64_t skink__setting(const struct assembly *a, enum config_id id)
{
    return a->config->values[id].number;
}

/* Words of the configuration are in the order of the library's enumerators, from the one that is named here on.
 * Without a text the key is not set. */
static inline skink_action skink__action_of(const struct config_value *value)
{
    return value->text ? (skink_action)(value->number + SKINK_ACTION_TAKEOVER) : SKINK_ACTION_DEFAULT;
}

static inline skink_execution skink__execution_of(const struct config_value *value)
{
    return (skink_execution)(value->number + SKINK_EXECUTE_LOOP);
}

/* Limits of the process are shared out among its loops. */
static inline uint32_t skink__share(const struct assembly *a, uint64_t whole, size_t i)
{
    return (uint32_t)(whole / a->loop_count + (i < whole % a->loop_count));
}

/* Where 0 is no limit. Less than one for each loop comes only from a reload that would change their number as well. */
static inline uint32_t skink__share_of_limit(const struct assembly *a, uint64_t whole, size_t i)
{
    uint32_t part = skink__share(a, whole, i);
    return whole && !part ? 1 : part;
}

/* The reason to stderr. */
__attribute__((format(printf, 1, 2))) enum exit_status skink__cannot_start(const char *format, ...);

/* assembly_routes.c: the routes' settings, once the modules have said which routes there are; those that a reload may
 * change, again; and whether a route has an execution of its own (NULL: it is not in the configuration). */
enum exit_status skink__assembly_configure_routes(struct assembly *a);
void skink__assembly_set_routes(struct assembly *a, struct problems *problems);
bool skink__route_sets_execution(const struct config_value *route_values);

/* assembly_sockets.c: those that skinkd was started with, else those of the configuration. */
enum exit_status skink__assembly_open_sockets(struct assembly *a);
#endif
