/* SPDX-License-Identifier: MIT */
/* app/config_check.c - texts with a grammar of their own, and values that must fit each other (config_check.h). */
#include "app/config_check.h"
#include "skink/clock.h"
#include "skink/http_server.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { SERVER_HEADER_MAX = 128 }; /* skink_http_server_create() takes no longer one */

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
static void check_share(const struct config_value *value, const char *name, uint64_t loop_count, const char *expected,
                        struct problems *problems)
{
    if (value->number && value->number < loop_count)
        skink__problem_add(problems, &value->origin, "%s: %llu is less than loop.count, which is %llu; expected %s",
                           name, (unsigned long long)value->number, (unsigned long long)loop_count, expected);
}

void skink__config_check_limits(const struct config *config, uint64_t loop_count, struct problems *problems)
{
    static const char one[] = "at least one for each loop", none_or_one[] = "0 or at least one for each loop";
    check_share(&config->values[CONFIG_HTTP_MAX_CONNECTIONS], skink__config_keys[CONFIG_HTTP_MAX_CONNECTIONS].name,
                loop_count, one, problems);
    check_share(&config->values[CONFIG_CONCURRENCY_MAX_REQUESTS],
                skink__config_keys[CONFIG_CONCURRENCY_MAX_REQUESTS].name, loop_count, none_or_one, problems);
    for (size_t i = 0; i < config->route_count; i++)
        check_share(&config->routes[i].values[CONFIG_ROUTE_MAX_REQUESTS], CONFIG_LIST_NAME ": max_requests", loop_count,
                    none_or_one, problems);
}

/* ---- advice: what works, and does not do what its parts promise ---- */

static uint64_t number(const struct config *config, enum config_id id)
{
    return config->values[id].number;
}

static double seconds(uint64_t ns)
{
    return (double)ns / SKINK_S;
}

/* Where the first of these stands that somebody has set; each list ends with the one to blame if nobody has. */
static const struct origin *origin_of(const struct config *config, const enum config_id *ids, size_t count)
{
    size_t i = 0;
    while (i + 1 < count && config->values[ids[i]].origin.kind == ORIGIN_DEFAULT)
        i++;
    return &config->values[ids[i]].origin;
}
#define ORIGIN_OF(config, ...)                                                                                         \
    origin_of(config, (const enum config_id[]){ __VA_ARGS__ },                                                         \
              sizeof((const enum config_id[]){ __VA_ARGS__ }) / sizeof(enum config_id))

/* One route whose requests never come back: on its first loop the strikes and a trial, on each other loop one. */
static void advise_on_strays(const struct config *config, struct problems *problems)
{
    uint64_t strikes = number(config, CONFIG_QUARANTINE_STRIKES), loops = number(config, CONFIG_LOOP_COUNT);
    uint64_t strays = number(config, CONFIG_RECOVERY_MAX_STRAYS);
    const struct origin *at =
        ORIGIN_OF(config, CONFIG_QUARANTINE_STRIKES, CONFIG_RECOVERY_MAX_STRAYS, CONFIG_LOOP_COUNT);
    if (!strikes)
        skink__problem_warn(problems, at,
                            "quarantine.strikes: 0 is no quarantine: requests of one route that never come back reach "
                            "recovery.max_strays, which is %llu, and then nobody is served",
                            (unsigned long long)strays);
    else if (strikes + loops >= strays)
        skink__problem_warn(
            problems, at,
            "quarantine.strikes: requests of one route that never come back leave up to %llu threads "
            "(quarantine.strikes is %llu, loop.count is %llu) and so reach recovery.max_strays, which is "
            "%llu, before its quarantine can help; raise recovery.max_strays, or lower "
            "quarantine.strikes",
            (unsigned long long)strikes + loops, (unsigned long long)strikes, (unsigned long long)loops,
            (unsigned long long)strays);
}

/* The same for those that come back, and get stuck at each trial. At the last strike each other loop may have one that
 * is stuck already. */
static void advise_on_burst(const struct config *config, struct problems *problems)
{
    uint64_t strikes = number(config, CONFIG_QUARANTINE_STRIKES), burst = number(config, CONFIG_RECOVERY_BURST);
    uint64_t window_ns = number(config, CONFIG_RECOVERY_BURST_WINDOW);
    uint64_t period_ns = number(config, CONFIG_QUARANTINE_PERIOD), loops = number(config, CONFIG_LOOP_COUNT);
    if (!burst || !strikes) return;
    uint64_t most = strikes + loops - 1 + window_ns / period_ns;
    if (most <= burst) return;
    const struct origin *at = ORIGIN_OF(config, CONFIG_RECOVERY_BURST, CONFIG_QUARANTINE_STRIKES,
                                        CONFIG_QUARANTINE_PERIOD, CONFIG_RECOVERY_BURST_WINDOW, CONFIG_LOOP_COUNT);
    skink__problem_warn(
        problems, at,
        "recovery.burst: one route that keeps getting stuck can reach it in spite of its quarantine: "
        "quarantine.strikes is %llu, loop.count is %llu, and with a trial each quarantine.period of %g s there are up "
        "to %llu in recovery.burst_window of %g s, more than the %llu of recovery.burst",
        (unsigned long long)strikes, (unsigned long long)loops, seconds(period_ns), (unsigned long long)most,
        seconds(window_ns), (unsigned long long)burst);
}

/* One after the other, each takes a timeout until it is declared. */
static void advise_on_window(const struct config *config, struct problems *problems)
{
    uint64_t strikes = number(config, CONFIG_QUARANTINE_STRIKES);
    uint64_t window_ns = number(config, CONFIG_QUARANTINE_WINDOW);
    uint64_t timeout_ns = number(config, CONFIG_LOOP_DEADLOCK_TIMEOUT);
    if (strikes < 2 || window_ns >= (strikes - 1) * (timeout_ns + timeout_ns / 20)) return;
    const struct origin *at =
        ORIGIN_OF(config, CONFIG_QUARANTINE_WINDOW, CONFIG_LOOP_DEADLOCK_TIMEOUT, CONFIG_QUARANTINE_STRIKES);
    skink__problem_warn(problems, at,
                        "quarantine.window: on one loop %llu strikes (quarantine.strikes) take %g s, as each takes a "
                        "loop.deadlock_timeout of %g s until it is declared, so they never fit into %g s; raise "
                        "quarantine.window",
                        (unsigned long long)strikes, seconds((strikes - 1) * timeout_ns), seconds(timeout_ns),
                        seconds(window_ns));
}

/* ---- the same on workers, where what is sent at once gets stuck at once ---- */

static bool runs_on_many(const struct config_value *execution)
{
    return execution->number + SKINK_EXECUTE_LOOP == SKINK_EXECUTE_THREADS;
}

static uint64_t smaller_limit(uint64_t a, uint64_t b)
{
    return !a || (b && b < a) ? b : a; /* 0: none */
}

/* Of a route with such a limit, all that run when the last strike falls are stuck as well. */
static void advise_on_side_by_side(const struct config *config, const struct origin *at, const char *name,
                                   uint64_t max_requests, struct problems *problems)
{
    uint64_t at_once = smaller_limit(number(config, CONFIG_CONCURRENCY_THREADS), max_requests);
    uint64_t most = number(config, CONFIG_QUARANTINE_STRIKES) - 1 + at_once;
    uint64_t trials = number(config, CONFIG_RECOVERY_BURST_WINDOW) / number(config, CONFIG_QUARANTINE_PERIOD);
    uint64_t strays = number(config, CONFIG_RECOVERY_MAX_STRAYS), burst = number(config, CONFIG_RECOVERY_BURST);
    bool too_many = most >= strays, too_fast = burst && most + trials > burst;
    char limits[128] = "";
    size_t length = 0;
    if (too_many)
        length =
            (size_t)snprintf(limits, sizeof limits, "recovery.max_strays, which is %llu,", (unsigned long long)strays);
    if (too_fast)
        (void)snprintf(limits + length, sizeof limits - length, "%srecovery.burst, which is %llu,",
                       too_many ? " and " : "", (unsigned long long)burst);
    if (!*limits) return;
    skink__problem_warn(problems, at,
                        "%s: up to %llu requests of one route can get stuck side by side on workers, and reach %s in "
                        "spite of its quarantine; give it a smaller max_requests, or raise what is reached",
                        name, (unsigned long long)at_once, limits);
}

static void advise_on_workers(const struct config *config, struct problems *problems)
{
    const struct config_value *of_all = &config->values[CONFIG_CONCURRENCY_EXECUTION];
    uint64_t limit_of_all = number(config, CONFIG_CONCURRENCY_MAX_REQUESTS);
    if (!number(config, CONFIG_QUARANTINE_STRIKES)) return; /* no quarantine, so none is broken */
    if (runs_on_many(of_all))
        advise_on_side_by_side(config, &of_all->origin, skink__config_keys[CONFIG_CONCURRENCY_EXECUTION].name,
                               limit_of_all, problems);
    /* Those that have their execution from there are told with it. */
    for (size_t i = 0; i < config->route_count; i++) {
        const struct config_value *values = config->routes[i].values;
        const struct config_value *own = &values[CONFIG_ROUTE_EXECUTION];
        if (own->origin.kind == ORIGIN_DEFAULT || !runs_on_many(own)) continue;
        advise_on_side_by_side(config, &own->origin, CONFIG_LIST_NAME ": execution",
                               smaller_limit(values[CONFIG_ROUTE_MAX_REQUESTS].number, limit_of_all), problems);
    }
}

void skink__config_check(const struct config *config, struct problems *problems)
{
    check_proxies(config, problems);
    check_server_header(config, problems);
    skink__config_check_limits(config, number(config, CONFIG_LOOP_COUNT), problems);
    if (problems->errors) return; /* a value that was refused is not there to be judged */
    advise_on_strays(config, problems);
    advise_on_burst(config, problems);
    advise_on_window(config, problems);
    advise_on_workers(config, problems);
}
