/* SPDX-License-Identifier: MIT */
/* app/config_check.c - texts with a grammar of their own, and values that must fit each other (config_check.h). */
#include "app/config_check.h"
#include "skink/http_server.h"
#include <errno.h>
#include <string.h>

enum { SERVER_HEADER_MAX = 128 };

static void check_proxies(const struct config *config, struct problems *problems)
{
    const struct config_key *key = &skink__config_keys[CONFIG_HTTP_TRUSTED_PROXIES];
    const struct config_value *value = &config->values[CONFIG_HTTP_TRUSTED_PROXIES];
    size_t at;
    if (skink_http_check_proxies(value->text, &at) != -EINVAL) return;
    const char *wrong = value->text + at;
    skink__problem_add(problems, &value->origin, "%s: \"%.*s\" is neither an address nor a network; expected %s",
                       key->name, (int)strcspn(wrong, ", \t"), wrong, key->takes);
}

static void check_server_header(const struct config *config, struct problems *problems)
{
    const struct config_key *key = &skink__config_keys[CONFIG_HTTP_SERVER_HEADER];
    const struct config_value *value = &config->values[CONFIG_HTTP_SERVER_HEADER];
    if (!value->text) return;
    size_t length = strlen(value->text);
    bool fits = length <= SERVER_HEADER_MAX;
    for (size_t i = 0; i < length; i++)
        fits = fits && value->text[i] >= ' ' && value->text[i] <= '~';
    if (!fits)
        skink__problem_add(problems, &value->origin, "%s: \"%s\" cannot be a header; expected %s", key->name,
                           value->text, key->takes);
}

/* Limits are shared out among the loops, and no loop can do with less than one. */
static void check_share(const struct config *config, const struct config_value *value, const char *name,
                        struct problems *problems)
{
    const struct config_value *count = &config->values[CONFIG_LOOP_COUNT];
    if (value->number && value->number < count->number)
        skink__problem_add(problems, &value->origin,
                           "%s: %llu is less than loop.count, which is %llu; expected 0 or at least one for each loop",
                           name, (unsigned long long)value->number, (unsigned long long)count->number);
}

static void check_limits(const struct config *config, struct problems *problems)
{
    check_share(config, &config->values[CONFIG_CONCURRENCY_MAX_REQUESTS],
                skink__config_keys[CONFIG_CONCURRENCY_MAX_REQUESTS].name, problems);
    for (size_t i = 0; i < config->route_count; i++)
        check_share(config, &config->routes[i].values[CONFIG_ROUTE_MAX_REQUESTS], CONFIG_LIST_NAME ": max_requests",
                    problems);
}

void skink__config_check(const struct config *config, struct problems *problems)
{
    check_proxies(config, problems);
    check_server_header(config, problems);
    check_limits(config, problems);
}
