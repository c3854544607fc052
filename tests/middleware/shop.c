/* SPDX-License-Identifier: MIT */
/* tests/middleware/shop.c - see shop.h. */
#include "tests/middleware/shop.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int enter(struct shop *shop, skink_request *request)
{
    const char *n = skink_request_query(request, "n");
    int place = atomic_fetch_add(&shop->entered, 1);
    if (place < MANY) atomic_store(&shop->order[place], n ? atoi(n) : -1);
    int inside = atomic_fetch_add(&shop->inside, 1) + 1, most = atomic_load(&shop->most);
    while (inside > most && !atomic_compare_exchange_weak(&shop->most, &most, inside)) {
    }
    return place;
}

static void leave(struct shop *shop, skink_request *request, const char *text)
{
    atomic_fetch_sub(&shop->inside, 1);
    atomic_store(&shop->result, skink_respond_text(request, 200, text));
    atomic_fetch_add(&shop->left, 1);
}

/* Blocks its thread until it is let go. */
static void block(skink_request *request, void *arg)
{
    struct shop *shop = arg;
    int place = enter(shop, request);
    for (int release; (release = atomic_load(&shop->release)) >= 0 && release <= place;)
        usleep(1000);
    leave(shop, request, "blocked");
}

void shop_step(skink_request *request, void *arg)
{
    enter(arg, request);
    usleep(2000);
    leave(arg, request, "stepped");
}

/* Suspends, for as long as it may. */
static void sleep_on(skink_request *request, void *arg)
{
    struct shop *shop = arg;
    enter(shop, request);
    int err = skink_sleep(100 * SKINK_S);
    leave(shop, request, "slept");
    atomic_store(&shop->result, err);
}

void shop_create(struct shop *shop, const struct shop_setup *setup)
{
    memset(shop, 0, sizeof *shop);
    skink_workers_options workers = SKINK_WORKERS_OPTIONS_INIT;
    workers.threads = setup->threads;
    workers.deadlock_timeout_ns = setup->timeout_ns;
    workers.time_limit_ns = setup->timeout_ns;
    assert_int_equal(skink_workers_create(&workers, &shop->workers), 0);
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.workers = shop->workers;
    options.execution = setup->execution;
    options.max_requests = setup->max_requests;
    options.max_queue = setup->max_queue;
    options.access = setup->access;
    options.access_arg = shop;
    fixture_create(&shop->fixture, NULL, &options);
    fixture_add_common_routes(&shop->fixture);
    assert_int_equal(skink_http_route_set_execution(shop->fixture.server, "/hello", SKINK_EXECUTE_LOOP), 0);
    fixture_route(&shop->fixture, "GET", "/block", block, shop);
    fixture_route(&shop->fixture, "GET", "/step", shop_step, shop);
    fixture_route(&shop->fixture, "GET", "/long", sleep_on, shop);
    if (!setup->timeout_ns) return;
    skink_recovery_options recovery = SKINK_RECOVERY_OPTIONS_INIT;
    recovery.deadlock_timeout_ns = setup->timeout_ns;
    recovery.max_strays = setup->max_strays;
    assert_int_equal(skink_recovery_create(&recovery, &shop->recovery), 0);
    assert_int_equal(skink_recovery_watch(shop->recovery, shop->fixture.scheduler), 0);
    skink_scheduler *scheduler;
    for (size_t i = 0; (scheduler = skink_workers_scheduler_at(shop->workers, i)) != NULL; i++)
        assert_int_equal(skink_recovery_watch(shop->recovery, scheduler), 0);
}

void shop_start(struct shop *shop)
{
    assert_int_equal(skink_workers_start(shop->workers), 0);
    fixture_start(&shop->fixture);
}

void shop_destroy(struct shop *shop)
{
    atomic_store(&shop->release, -1);
    (void)!skink_workers_stop(shop->workers, skink_after(5 * SKINK_S));
    (void)!skink_scheduler_stop(shop->fixture.scheduler, skink_after(5 * SKINK_S));
    if (shop->recovery) {
        skink_scheduler *scheduler;
        skink_recovery_unwatch(shop->recovery, shop->fixture.scheduler);
        for (size_t i = 0; (scheduler = skink_workers_scheduler_at(shop->workers, i)) != NULL; i++)
            skink_recovery_unwatch(shop->recovery, scheduler);
    }
    skink_workers_destroy(shop->workers);
    fixture_destroy(&shop->fixture);
    skink_recovery_destroy(shop->recovery);
    assert_int_equal(atomic_load(&shop->failures), 0);
}

skink_workers_stats shop_stats(const struct shop *shop)
{
    skink_workers_stats values = SKINK_WORKERS_STATS_INIT;
    assert_int_equal(skink_workers_stats_read(shop->workers, &values), 0);
    return values;
}

skink_recovery_stats shop_recovery_stats(const struct shop *shop)
{
    skink_recovery_stats values = SKINK_RECOVERY_STATS_INIT;
    assert_int_equal(skink_recovery_stats_read(shop->recovery, &values), 0);
    return values;
}

int shop_ask(const struct shop *shop, const char *path, int n)
{
    char text[128];
    int fd = client_connect(shop->fixture.port);
    snprintf(text, sizeof text, "GET %s?n=%d HTTP/1.1\r\n" H "\r\n", path, n);
    client_send_text(fd, text);
    return fd;
}

void shop_expect_error(int fd, int status, const char *number, bool has_incident)
{
    struct reply reply;
    client_read(fd, &reply, false);
    if (reply.status != status) print_error("%s%s\n", reply.head, reply.body);
    assert_int_equal(reply.status, status);
    assert_non_null(strstr(reply.body, number));
    assert_int_equal(strstr(reply.body, "\"incident\":") != NULL, has_incident);
    reply_free(&reply);
}

void shop_hello(const struct shop *shop)
{
    int fd = client_connect(shop->fixture.port);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(fd);
}

static void read_permits(const struct skink__http_limit_stats *limit, void *arg)
{
    if (strcmp(limit->route, "(all)") == 0) *(uint64_t *)arg = limit->in_use;
}

uint64_t shop_permits(const struct shop *shop)
{
    uint64_t in_use = 0;
    skink__http_stats_limits(shop->fixture.server, read_permits, &in_use);
    return in_use;
}

void shop_note_way_out(skink_request *request, skink_next *next, void *arg)
{
    struct shop *shop = arg;
    skink_next_run(next, request);
    /* Those before may still be on their way out, on the other worker. */
    if (skink_request_status(request) == 404) atomic_store(&shop->result, 404);
}
