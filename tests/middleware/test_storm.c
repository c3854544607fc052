/* SPDX-License-Identifier: MIT */
/* test_storm.c - ten thousand requests queued behind and between a hundred deadlocks, over real sockets. */
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 20, EACH = TEST_TSAN ? 200 : 500, DEADLOCKS = TEST_TSAN ? 50 : 100, STICKERS = 10, TIMEOUT_MS = 20 };

struct storm {
    struct fixture fixture;
    skink_recovery *recovery;
    _Atomic int inside; /* handlers that run, but for those that were declared stuck */
    _Atomic int together;
    _Atomic int answered, out_of_order, stuck_answered;
};

static void give_number(skink_request *request, void *arg)
{
    struct storm *storm = arg;
    if (atomic_fetch_add(&storm->inside, 1) != 0) atomic_fetch_add(&storm->together, 1);
    char text[32];
    snprintf(text, sizeof text, "%s", skink_request_param(request, "number"));
    atomic_fetch_sub(&storm->inside, 1);
    (void)!skink_respond_text(request, 200, text);
}

static uint64_t deadlocks(struct storm *storm)
{
    return fixture_recovery_stats(storm->recovery).deadlocks;
}

/* Blocks the loop thread until that has been declared a deadlock, then answers by itself, within the late window. */
static void stick(skink_request *request, void *arg)
{
    struct storm *storm = arg;
    uint64_t before = deadlocks(storm); /* nobody else's: no other slice runs before this one is declared */
    while (deadlocks(storm) == before)
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    (void)!skink_respond_text(request, 200, "stuck");
}

static void *ask_numbers(void *arg)
{
    struct storm *storm = arg;
    enum { AT_ONCE = 50 };
    int fd = client_connect(storm->fixture.port);
    for (int base = 0; base < EACH; base += AT_ONCE) {
        for (int i = base; i < base + AT_ONCE; i++) {
            char request[64];
            snprintf(request, sizeof request, "GET /number/%d HTTP/1.1\r\nHost: a\r\n\r\n", i);
            client_send_text(fd, request);
        }
        for (int i = base; i < base + AT_ONCE; i++) {
            struct reply reply;
            client_read(fd, &reply, false);
            if (reply.status != 200 || atoi(reply.body) != i) atomic_fetch_add(&storm->out_of_order, 1);
            atomic_fetch_add(&storm->answered, 1);
            reply_free(&reply);
        }
    }
    close(fd);
    return NULL;
}

static void *ask_sticks(void *arg)
{
    struct storm *storm = arg;
    int fd = client_connect(storm->fixture.port);
    for (int i = 0; i < DEADLOCKS / STICKERS; i++) {
        client_expect(fd, "GET /stick HTTP/1.1\r\nHost: a\r\n\r\n", 200, "stuck");
        atomic_fetch_add(&storm->stuck_answered, 1);
    }
    close(fd);
    return NULL;
}

static void every_other_request_is_answered_once_and_in_order(void **state)
{
    (void)state;
    static struct storm storm;
    pthread_t threads[CLIENTS + STICKERS];
    skink_http_options http = SKINK_HTTP_OPTIONS_INIT;
    http.late_window_ns = 30 * SKINK_S;
    fixture_create(&storm.fixture, NULL, &http);
    fixture_route(&storm.fixture, "GET", "/number/{number}", give_number, &storm);
    fixture_route(&storm.fixture, "GET", "/stick", stick, &storm);
    skink_recovery_options recovery = SKINK_RECOVERY_OPTIONS_INIT;
    recovery.deadlock_timeout_ns = TIMEOUT_MS * SKINK_MS;
    recovery.max_strays = DEADLOCKS;
    storm.recovery = fixture_watch(&storm.fixture, &recovery);
    fixture_start(&storm.fixture);
    for (int i = 0; i < CLIENTS + STICKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i < CLIENTS ? ask_numbers : ask_sticks, &storm), 0);
    for (int i = 0; i < CLIENTS + STICKERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&storm.answered), CLIENTS * EACH);
    assert_int_equal(atomic_load(&storm.out_of_order), 0);
    assert_int_equal(atomic_load(&storm.together), 0);
    assert_int_equal(atomic_load(&storm.stuck_answered), DEADLOCKS);
    assert_int_equal(deadlocks(&storm), DEADLOCKS);
    assert_int_equal(fixture_code_count(&storm.fixture, 200), CLIENTS * EACH + DEADLOCKS);
    fixture_destroy(&storm.fixture);
    skink_recovery_destroy(storm.recovery);
}

/* Goal: thirty requests at once never run together; thirty that wait are all in flight, interleaved. */
enum { THIRTY = 30 };

struct thirty {
    _Atomic int inside, most_inside, waiting, most_waiting;
};

static void wait_a_little(skink_request *request, void *arg)
{
    struct thirty *thirty = arg;
    for (int i = 0; i < 3; i++) {
        int inside = atomic_fetch_add(&thirty->inside, 1) + 1;
        if (inside > atomic_load(&thirty->most_inside)) atomic_store(&thirty->most_inside, inside);
        atomic_fetch_sub(&thirty->inside, 1);
        int waiting = atomic_fetch_add(&thirty->waiting, 1) + 1;
        if (waiting > atomic_load(&thirty->most_waiting)) atomic_store(&thirty->most_waiting, waiting);
        do /* all of them meet, however late one comes */
            if (skink_sleep(10 * SKINK_MS)) return;
        while (atomic_load(&thirty->most_waiting) < THIRTY);
        atomic_fetch_sub(&thirty->waiting, 1);
    }
    (void)!skink_respond_text(request, 200, "done");
}

static void *ask_once(void *arg)
{
    const struct fixture *fixture = arg;
    int fd = client_connect(fixture->port);
    client_expect(fd, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n", 200, "done");
    close(fd);
    return NULL;
}

static void thirty_requests_never_run_together_and_wait_all_at_once(void **state)
{
    (void)state;
    struct fixture fixture;
    struct thirty thirty = { 0 };
    pthread_t threads[THIRTY];
    fixture_serve_handler(&fixture, "/wait", wait_a_little, &thirty);
    for (int i = 0; i < THIRTY; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_once, &fixture), 0);
    for (int i = 0; i < THIRTY; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&thirty.most_inside), 1);
    assert_int_equal(atomic_load(&thirty.most_waiting), THIRTY);
    fixture_destroy(&fixture);
}

static const struct test_case cases[] = {
    CASE_SERIAL(every_other_request_is_answered_once_and_in_order, 60),
    CASE(thirty_requests_never_run_together_and_wait_all_at_once),
};
TEST_MAIN(cases, NULL, NULL)
