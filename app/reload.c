/* SPDX-License-Identifier: MIT */
/* app/reload.c - a second configuration, compared with the one that holds (see reload.h). */
#include "app/reload.h"
#include "app/log.h"
#include "loop/log_value.h"
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Main thread writes, the stats thread reads; each stands for itself. */
static _Atomic uint64_t successes, failures, last_success_unix;

static uint64_t read_counter(void *counter)
{
    return atomic_load_explicit((_Atomic uint64_t *)counter, memory_order_relaxed);
}

const skink_host_metric skink__reload_metrics[SKINK__RELOAD_METRICS] = {
    { "skinkd_reloads_total", "Times the configuration was read again and taken over.", true, read_counter,
      &successes },
    { "skinkd_reload_failures_total", "Times it was read again and refused.", true, read_counter, &failures },
    { "skinkd_reload_last_success_timestamp_seconds",
      "When the configuration was last taken over, at the start or after; since 1970.", false, read_counter,
      &last_success_unix },
};

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static bool is_same(const struct config_value *a, const struct config_value *b)
{
    return a->number == b->number && (a->text == NULL) == (b->text == NULL) &&
           (!a->text || strcmp(a->text, b->text) == 0);
}

static void swap(struct config_value *a, struct config_value *b)
{
    struct config_value kept = *a;
    *a = *b;
    *b = kept;
}

static const struct config_value *find_value(const struct config_route *routes, size_t count, const char *path,
                                             enum config_route_id id)
{
    for (size_t i = 0; i < count; i++) {
        const struct config_value *value = &routes[i].values[id];
        if (strcmp(routes[i].values[CONFIG_ROUTE_PATH].text, path) == 0)
            return value->origin.kind == ORIGIN_DEFAULT ? NULL : value;
    }
    return NULL;
}

/* What stays as it was at the start of the routes' settings is named, with its path. */
static void name_what_stays(const struct config *running, const struct config *next, const char *path)
{
    const struct config_route *first = running->routes_replaced ? running->first_routes : running->routes;
    size_t first_count = running->routes_replaced ? running->first_route_count : running->route_count;
    for (enum config_route_id id = CONFIG_ROUTE_PATH + 1; id < CONFIG_ROUTE_ID_COUNT; id++) {
        const struct config_value *was = find_value(first, first_count, path, id);
        const struct config_value *is = find_value(next->routes, next->route_count, path, id);
        if (skink__config_route_keys[id].reloadable || (!was && !is) || (was && is && is_same(was, is))) continue;
        skink__log_line(SKINK_LOG_WARNING,
                        "event=reload_ignored key=" CONFIG_LIST_NAME ".%s route=%s advice=\"changed in the file, takes "
                        "effect at the next start\"",
                        skink__config_route_keys[id].name, SKINK__QUOTED(path));
    }
}

static void name_what_stays_of_routes(const struct config *running, const struct config *next)
{
    const struct config_route *first = running->routes_replaced ? running->first_routes : running->routes;
    size_t first_count = running->routes_replaced ? running->first_route_count : running->route_count;
    for (size_t i = 0; i < next->route_count; i++)
        name_what_stays(running, next, next->routes[i].values[CONFIG_ROUTE_PATH].text);
    for (size_t i = 0; i < first_count; i++) {
        const char *path = first[i].values[CONFIG_ROUTE_PATH].text;
        if (!find_value(next->routes, next->route_count, path, CONFIG_ROUTE_PATH)) name_what_stays(running, next, path);
    }
}

static void replace_routes(struct config *running, struct config *next)
{
    struct config_route *routes = running->routes;
    size_t route_count = running->route_count;
    running->routes = next->routes;
    running->route_count = next->route_count;
    next->routes = NULL;
    next->route_count = 0;
    if (running->routes_replaced) {
        next->routes = routes; /* and they go with it */
        next->route_count = route_count;
    } else {
        running->first_routes = routes;
        running->first_route_count = route_count;
    }
    running->routes_replaced = true;
}

/* Take over what can be changed; what stays is named. Returns how many keys have another value now. */
static unsigned take_over(struct config *running, struct config *next)
{
    unsigned changed = 0;
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++) {
        if (is_same(&running->values[i], &next->values[i])) continue;
        if (skink__config_keys[i].reloadable) {
            swap(&running->values[i], &next->values[i]);
            changed++;
        } else {
            skink__log_line(
                SKINK_LOG_WARNING,
                "event=reload_ignored key=%s advice=\"changed in the file, takes effect at the next start\"",
                skink__config_keys[i].name);
        }
    }
    name_what_stays_of_routes(running, next);
    replace_routes(running, next);
    return changed;
}

/* To the log, which never makes anybody wait: who waits here hears no SIGTERM any more. */
static void log_problems(struct problems *problems)
{
    skink__problems_sort(problems);
    for (size_t i = 0; i < problems->count; i++) {
        const struct problem *problem = &problems->items[i];
        skink__log_line(problem->warning ? SKINK_LOG_WARNING : SKINK_LOG_ERROR, "| %s", problem->text);
    }
    if (problems->dropped) skink__log_line(SKINK_LOG_ERROR, "| ... and %zu more", problems->dropped);
}

void skink__reload(struct config *running, const struct config_sources *sources, struct assembly *assembly)
{
    struct config next;
    struct problems problems = { 0 };
    struct config_sources again = *sources;
    again.again = true;
    skink__config_load(&next, &again, &problems);
    if (problems.errors == 0) skink__assembly_check(assembly, &next, &problems);
    log_problems(&problems);
    if (problems.errors) {
        count(&failures);
        skink__log_line(SKINK_LOG_ERROR, "event=reload_failed mistakes=%zu advice=\"the old configuration holds\"",
                        problems.errors);
    } else {
        skink__assembly_forget_routes(assembly, &next);
        unsigned changed = take_over(running, &next);
        skink__assembly_apply(assembly);
        skink__reload_note_success();
        count(&successes);
        skink__log_line(SKINK_LOG_INFO, "event=reloaded changed=%u routes=%zu", changed, running->route_count);
    }
    skink__problems_fini(&problems);
    skink__config_fini(&next);
}

void skink__reload_note_success(void)
{
    atomic_store_explicit(&last_success_unix, (uint64_t)time(NULL), memory_order_relaxed);
}
