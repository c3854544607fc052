/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_health.c - live or not, ready or not, and who may ask: over sockets. */
#include "middleware/health.h"
#include "recovery/state.h"
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct probed {
    struct fixture fixture;
    skink_recovery *recovery;
    skink_stats_server *stats;
    int port;
};

static void start(struct probed *p, const skink_http_options *http, skink_stats_sources *sources)
{
    memset(p, 0, sizeof *p);
    fixture_create(&p->fixture, NULL, http);
    fixture_add_common_routes(&p->fixture);
    p->recovery = fixture_watch(&p->fixture, NULL);
    sources->scheduler = p->fixture.scheduler;
    sources->recovery = p->recovery;
    sources->http_server = p->fixture.server;
    assert_int_equal(skink_stats_server_start(sources, "127.0.0.1:0", &p->port, &p->stats), 0);
    fixture_start(&p->fixture);
}

static void stop(struct probed *p)
{
    skink_stats_server_destroy(p->stats);
    (void)!skink_scheduler_stop(p->fixture.scheduler, skink_now());
    skink_recovery_unwatch(p->recovery, p->fixture.scheduler);
    fixture_destroy(&p->fixture);
    skink_recovery_destroy(p->recovery);
}

/* GET it on a connection of its own; its status, and its body if the caller wants it. */
static int get(int port, const char *path, const char *more_headers, char *ret_body, size_t size)
{
    char request[512];
    struct reply reply;
    int fd = client_connect(port);
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", path, more_headers);
    client_send_text(fd, request);
    client_read(fd, &reply, false);
    if (ret_body) snprintf(ret_body, size, "%s", reply.body);
    int status = reply.status;
    reply_free(&reply);
    close(fd);
    return status;
}

/* Does the page say this status with this reason? */
static bool says(const struct probed *p, const char *page, int status, const char *reason)
{
    char body[512], part[64];
    snprintf(part, sizeof part, "\"reason\":\"%s\"", reason);
    return get(p->port, page, "", body, sizeof body) == status && strstr(body, part);
}

static void a_server_that_is_well_is_live_and_ready(void **state)
{
    (void)state;
    struct probed p;
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    start(&p, NULL, &sources);
    test_wait_until(says(&p, "/health", 200, "ok"), 5000);
    test_wait_until(says(&p, "/health/ready", 200, "ok"), 5000);
    test_wait_until(says(&p, "/health/live", 200, "ok"), 5000);
    assert_int_equal(get(p.port, "/health/other", "", NULL, 0), 404);
    stop(&p);
}

static void one_that_goes_is_live_and_not_ready(void **state)
{
    (void)state;
    struct probed p;
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    start(&p, NULL, &sources);
    skink_http_server_drain(p.fixture.server);
    test_wait_until(says(&p, "/health/ready", 503, "draining"), 5000);
    test_wait_until(says(&p, "/health", 503, "draining"), 5000);
    test_wait_until(says(&p, "/health/live", 200, "ok"), 5000);
    stop(&p);
}

static void too_much_memory_is_neither(void **state)
{
    (void)state;
    struct probed p;
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    sources.max_rss_bytes = 4096; /* less than any process has */
    start(&p, NULL, &sources);
    test_wait_until(says(&p, "/health/ready", 503, "memory"), 5000);
    test_wait_until(says(&p, "/health/live", 503, "memory"), 5000);
    skink_stats_server_set_health(p.stats, UINT64_C(1) << 50, 0);
    test_wait_until(says(&p, "/health/ready", 200, "ok"), 5000);
    skink_stats_server_set_health(p.stats, 0, 0);
    test_wait_until(says(&p, "/health/live", 200, "ok"), 5000);
    stop(&p);
}

/* Goal: a queue that is full for a moment is what it is there for;
 * one that stays full is a server that has too much. */
static void a_queue_that_stays_full_is_not_ready(void **state)
{
    (void)state;
    enum { LIMIT_MS = 300 };
    struct probed p;
    skink_http_options http = SKINK_HTTP_OPTIONS_INIT;
    http.max_requests = 1;
    http.max_queue = 1;
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    sources.max_queue_ns = LIMIT_MS * SKINK_MS;
    start(&p, &http, &sources);
    int working = client_connect(p.fixture.port), waiting = client_connect(p.fixture.port);
    client_send_text(working, "GET /sleep?ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n");
    test_wait_until(fixture_stats(&p.fixture).in_flight == 1, 5000);
    uint64_t full_ns = test_now_ns(); /* it is full at this moment at the earliest */
    client_send_text(waiting, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    test_wait_until(says(&p, "/health/ready", 503, "queue_full"), 5000);
    assert_true(test_now_ns() - full_ns >= test_ms(LIMIT_MS) / (TEST_TSAN || TEST_ASAN ? 10 : 1));
    test_wait_until(says(&p, "/health/live", 200, "ok"), 5000);
    close(waiting);
    test_wait_until(says(&p, "/health/ready", 200, "ok"), 5000);
    close(working);
    stop(&p);
}

/* Somebody holds what the watchdog needs, so it does not come to look. */
static void a_watchdog_that_does_not_answer_is_told(void **state)
{
    (void)state;
    struct probed p;
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    start(&p, NULL, &sources);
    pthread_mutex_lock(&p.recovery->mutex);
    test_wait_until(says(&p, "/health/live", 503, "watchdog_late"), 5000);
    test_wait_until(says(&p, "/health/ready", 503, "watchdog_late"), 5000);
    pthread_mutex_unlock(&p.recovery->mutex);
    test_wait_until(says(&p, "/health/live", 200, "ok"), 5000);
    stop(&p);
}

static void without_the_token_there_is_health_and_no_more_than_health_for_anybody(void **state)
{
    (void)state;
    struct probed p;
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    sources.token = "s3cret-token";
    start(&p, NULL, &sources);
    static const char *const wrong[] = { "",
                                         "Authorization: Bearer\r\n",
                                         "Authorization: Bearer s3cret-toke\r\n",
                                         "Authorization: Bearer s3cret-tokenn\r\n",
                                         "Authorization: Bearer s3cret-tokens3cret-token\r\n",
                                         "Authorization: Bearer S3CRET-TOKEN\r\n",
                                         "Authorization: Basic s3cret-token\r\n",
                                         "X-Authorization: Bearer s3cret-token\r\n" };
    static const char *const pages[] = { "/metrics", "/incidents", "/nowhere", "/healthy", "/health%2f../metrics" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        for (size_t k = 0; k < sizeof pages / sizeof *pages; k++) {
            char body[512];
            int status = get(p.port, pages[k], wrong[i], body, sizeof body);
            if (k == 4)
                assert_true(status == 401 || status == 404); /* below /health there is nothing but health */
            else
                assert_int_equal(status, 401);
            assert_null(strstr(body, "s3cret"));
        }
    assert_int_equal(get(p.port, "/metrics", "Authorization: Bearer s3cret-token\r\n", NULL, 0), 200);
    assert_int_equal(get(p.port, "/metrics", "authorization: bearer  s3cret-token\r\n", NULL, 0), 200);
    test_wait_until(says(&p, "/health", 200, "ok"), 5000);
    test_wait_until(says(&p, "/health/live", 200, "ok"), 5000);
    test_wait_until(says(&p, "/health/ready", 200, "ok"), 5000);
    stop(&p);
}

static void an_empty_token_is_refused(void **state)
{
    (void)state;
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    skink_stats_server *server;
    int port;
    sources.token = "";
    assert_int_equal(skink_stats_server_start(&sources, "127.0.0.1:0", &port, &server), -EINVAL);
}

static void connections_are_limited_to_the_number_given(void **state)
{
    (void)state;
    enum { MAX = 3 };
    struct probed p;
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    sources.max_connections = MAX;
    start(&p, NULL, &sources);
    int fds[MAX];
    for (int i = 0; i < MAX; i++) {
        fds[i] = client_connect(p.port);
        client_expect(fds[i], "GET /health HTTP/1.1\r\nHost: a\r\n\r\n", 200, NULL);
    }
    assert_int_equal(get(p.port, "/health", "", NULL, 0), 503);
    close(fds[0]);
    test_wait_until(get(p.port, "/health", "", NULL, 0) == 200, 5000);
    close(fds[1]);
    close(fds[2]);
    stop(&p);
}

/* A client may come to any of them. */
static void of_several_loops_the_worst_is_told(void **state)
{
    (void)state;
    struct fixture first, second;
    fixture_create_two(&first, &second);
    assert_int_equal(skink_http_copy_routes(first.server, second.server), 0);
    fixture_start(&first);
    fixture_start(&second);
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    sources.scheduler = first.scheduler;
    sources.http_server = first.server;
    static const struct skink__health_limits none;
    struct skink__health_facts facts = skink__health_read(&sources, &none);
    assert_string_equal(skink__health_judge(&facts, SKINK__PROBE_READY).reason, "ok");
    assert_int_equal(skink_scheduler_stop(second.scheduler, test_deadline_ns(5000)), 0);
    facts = skink__health_read(&sources, &none);
    assert_true(facts.stopping);
    assert_true(facts.stopped);
    assert_string_not_equal(skink__health_judge(&facts, SKINK__PROBE_READY).reason, "ok");
    fixture_destroy(&second);
    fixture_destroy(&first);
}

static const struct test_case cases[] = {
    CASE(of_several_loops_the_worst_is_told),
    CASE(a_server_that_is_well_is_live_and_ready),
    CASE(one_that_goes_is_live_and_not_ready),
    CASE(too_much_memory_is_neither),
    CASE(a_queue_that_stays_full_is_not_ready),
    CASE(a_watchdog_that_does_not_answer_is_told),
    CASE(without_the_token_there_is_health_and_no_more_than_health_for_anybody),
    CASE(an_empty_token_is_refused),
    CASE(connections_are_limited_to_the_number_given),
};
TEST_MAIN(cases, NULL, NULL)
