/* SPDX-License-Identifier: MIT */
/* app/assembly_routes.c - what the configuration says of routes: checked, and set (see assembly_parts.h). */
#include "app/assembly_parts.h"
#include "app/config_check.h"
#include "app/suggest.h"
#include "skink/error.h"
#include <errno.h>
#include <string.h>

bool skink__route_sets_execution(const struct config_value *route_values)
{
    return route_values && route_values[CONFIG_ROUTE_EXECUTION].origin.kind != ORIGIN_DEFAULT;
}

/* A path of the configuration that no module added: say which there are, and which was probably meant. */
static void report_unknown_route(const struct assembly *a, const struct config_value *path, struct problems *problems)
{
    struct suggestion suggestion = SUGGEST_INIT;
    const char *method, *pattern, *last = "";
    char known[512] = "";
    size_t length = 0;
    for (size_t i = 0; skink_http_route_at(a->http[0], i, &method, &pattern); i++) {
        skink__suggest_offer(&suggestion, path->text, pattern);
        if (strcmp(pattern, last) == 0) continue; /* one path with several methods, most often added in a row */
        last = pattern;
        if (length < sizeof known)
            length += (size_t)snprintf(known + length, sizeof known - length, "%s%s", length ? ", " : "", pattern);
    }
    if (suggestion.best)
        skink__problem_add(problems, &path->origin, CONFIG_LIST_NAME ": no module adds a route %s; did you mean %s?",
                           path->text, suggestion.best);
    else
        skink__problem_add(problems, &path->origin, CONFIG_LIST_NAME ": no module adds a route %s; expected one of: %s",
                           path->text, length ? known : "(there are none; is a --module missing?)");
}

/* On one loop; NULL: as the server has it. */
static int set_route_on(struct assembly *a, size_t i, const char *pattern, const struct config_value *values)
{
    skink_http_server *http = a->http[i];
    int error = skink_http_route_set_timeout(http, pattern, values ? values[CONFIG_ROUTE_DEADLOCK_TIMEOUT].number : 0);
    if (error) return error;
    error =
        skink_http_route_set_request_timeout(http, pattern, values ? values[CONFIG_ROUTE_REQUEST_TIMEOUT].number : 0);
    if (error) return error;
    error = skink_http_route_set_action(http, pattern,
                                        values ? skink__action_of(&values[CONFIG_ROUTE_ACTION]) : SKINK_ACTION_DEFAULT);
    if (error) return error;
    return skink_http_route_set_limits(
        http, pattern, values ? skink__share_of_limit(a, values[CONFIG_ROUTE_MAX_REQUESTS].number, i) : 0,
        values ? skink__share(a, values[CONFIG_ROUTE_MAX_QUEUE].number, i) : 0);
}

static int set_route(struct assembly *a, const char *pattern, const struct config_value *values)
{
    int error = 0;
    for (size_t i = 0; i < a->loop_count && !error; i++)
        error = set_route_on(a, i, pattern, values);
    return error;
}

void skink__assembly_set_routes(struct assembly *a, struct problems *problems)
{
    for (size_t i = 0; i < a->config->route_count; i++) {
        const struct config_value *values = a->config->routes[i].values;
        const struct config_value *path = &values[CONFIG_ROUTE_PATH];
        int error = set_route(a, path->text, values);
        if (error == -ENOENT)
            report_unknown_route(a, path, problems);
        else if (error)
            skink__problem_add(problems, &path->origin, CONFIG_LIST_NAME ": %s: %s", path->text, skink_strerror(error));
    }
}

/* Where requests run is settled before the server listens. Paths without a route have been reported. */
static int set_executions(struct assembly *a)
{
    int error = 0;
    for (size_t i = 0; i < a->config->route_count; i++) {
        const struct config_value *values = a->config->routes[i].values;
        for (size_t j = 0; j < a->loop_count && skink__route_sets_execution(values) && !error; j++)
            error = skink_http_route_set_execution(a->http[j], values[CONFIG_ROUTE_PATH].text,
                                                   skink__execution_of(&values[CONFIG_ROUTE_EXECUTION]));
    }
    return error;
}

enum exit_status skink__assembly_configure_routes(struct assembly *a)
{
    struct problems problems = { 0 };
    skink__assembly_set_routes(a, &problems);
    int error = problems.errors ? 0 : set_executions(a);
    if (error) return skink__cannot_start("cannot say where requests of a route run: %s", skink_strerror(error));
    skink__problems_print(&problems, stderr);
    enum exit_status status = problems.errors ? EXIT_STATUS_CONFIGURATION : EXIT_STATUS_OK;
    skink__problems_fini(&problems);
    return status;
}

/* --- changes while it runs --- */

static bool has_route(const struct assembly *a, const char *path)
{
    const char *method, *pattern;
    for (size_t i = 0; skink_http_route_at(a->http[0], i, &method, &pattern); i++)
        if (strcmp(pattern, path) == 0) return true;
    return false;
}

void skink__assembly_check(const struct assembly *assembly, const struct config *next, struct problems *problems)
{
    /* The file may have another loop.count, which would hold only after a restart. */
    if (next->values[CONFIG_LOOP_COUNT].number != assembly->loop_count)
        skink__config_check_limits(next, assembly->loop_count, problems);
    for (size_t i = 0; i < next->route_count; i++) {
        const struct config_value *path = &next->routes[i].values[CONFIG_ROUTE_PATH];
        if (!has_route(assembly, path->text)) report_unknown_route(assembly, path, problems);
    }
}

static bool names_route(const struct config *config, const char *path)
{
    for (size_t i = 0; i < config->route_count; i++)
        if (strcmp(config->routes[i].values[CONFIG_ROUTE_PATH].text, path) == 0) return true;
    return false;
}

/* What both name goes from its old values straight to the new ones: a moment without its limits would let in who
 * waits. */
void skink__assembly_forget_routes(struct assembly *assembly, const struct config *next)
{
    for (size_t i = 0; i < assembly->config->route_count; i++) {
        const char *path = assembly->config->routes[i].values[CONFIG_ROUTE_PATH].text;
        if (!names_route(next, path)) (void)!set_route(assembly, path, NULL);
    }
}
