/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd_concurrency.c - skinkd under load that gets stuck, however its requests are executed. */
#include "tests/app/config_fixture.h"
#include "tests/app/skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *metrics(const struct skinkd *server)
{
    char *page = http_get(server->stats_port, "/metrics");
    assert_int_equal(http_status(page), 200);
    return page;
}

/* The value of a series, as its line begins; -1 without it. */
static double value_of(const struct skinkd *server, const char *series)
{
    char *page = metrics(server), line[128];
    snprintf(line, sizeof line, "\n%s ", series);
    const char *at = strstr(page, line);
    double value = at ? atof(at + strlen(line)) : -1;
    free(page);
    return value;
}

static struct skinkd *start_with(const char *text)
{
    char *file = temporary_file(text, strlen(text));
    struct skinkd *server = START("--config", file);
    unlink(file);
    free(file);
    return server;
}

static int status_of(int fd)
{
    char *answer = http_finish(fd, 15000);
    int status = http_status(answer);
    free(answer);
    return status;
}

/* ---- the same load under each model ---- */

enum { SLEEPERS = TEST_TIMES ? 200 : 100, HELLOS = 100, HELLO_MS = 20 };

/* Goal: one request that blocks for ever, at a timeout of 1 s, costs nobody else an answer.
 * | 200 clients        | one client           | 50 a second                              |
 * | /sleep?ms=2500     |                      |                                          |
 * |                    | /stick               | /hello                                   |
 * |                    | 503 or 504 after 1 s | 200, those before after 1 s at most      |
 * | 200                |                      |                                          | */
static void only_the_stuck_one_suffers(const char *configuration, int stuck_status)
{
    char text[1024];
    snprintf(text, sizeof text,
             "loop.deadlock_timeout: 1s\nrecovery.late_window: 50ms\ndetection.mode: off\nshutdown.grace: 500ms\n%s",
             configuration);
    struct skinkd *server = start_with(text);
    int sleepers[SLEEPERS], hellos[HELLOS];
    for (int i = 0; i < SLEEPERS; i++)
        sleepers[i] = http_begin(server->http_port, "GET", "/sleep?ms=2500");
    test_wait_until(value_of(server, "skink_connections_accepted_total") >= SLEEPERS, 5000);
    uint64_t begun = test_now_ns();
    int stuck = http_begin(server->http_port, "GET", "/stick");
    for (int i = 0; i < HELLOS; i++) {
        test_wait_until(test_now_ns() - begun >= test_ms((uint64_t)i * HELLO_MS), 10000);
        hellos[i] = http_begin(server->http_port, "GET", "/hello");
    }
    /* The last ones came long after the takeover. */
    uint64_t asked = test_now_ns();
    assert_int_equal(status_of(hellos[HELLOS - 1]), 200);
    assert_true(test_now_ns() - asked < test_ms(test_patience(900)));
    for (int i = 0; i < HELLOS - 1; i++)
        assert_int_equal(status_of(hellos[i]), 200);
    assert_int_equal(status_of(stuck), stuck_status);
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(status_of(sleepers[i]), 200);
    assert_true(value_of(server, "skink_deadlocks_total") == 1);
    assert_true(value_of(server, "skink_strays") == 1);
    test_wait_until(value_of(server, "skink_permits_in_use{route=\"(all)\"}") == 0, 5000);
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 3); /* one thread is stuck for ever */
    skinkd_free(server);
}

static void on_the_loop_only_the_stuck_one_suffers(void **state)
{
    (void)state;
    only_the_stuck_one_suffers("", 503);
}

static void on_threads_only_the_stuck_one_suffers(void **state)
{
    (void)state;
    only_the_stuck_one_suffers("concurrency: {execution: threads, threads: 256}\n", 504);
}

/* Sleeping would take its turn, too, so that is left to the loop. */
static void in_serial_only_the_stuck_one_suffers(void **state)
{
    (void)state;
    only_the_stuck_one_suffers("concurrency: {execution: serial, threads: 4}\n"
                               "routes: [{path: /sleep, execution: loop}]\n",
                               504);
}

/* ---- limits ---- */

static void past_limit_and_queue_there_is_429(void **state)
{
    (void)state;
    struct skinkd *server = start_with("concurrency: {max_requests: 2, max_queue: 1}\n"
                                       "routes: [{path: /hello, max_requests: 5}]\n");
    int fds[4];
    for (int i = 0; i < 3; i++) /* the first two for as long as they may */
        fds[i] = http_begin(server->http_port, "GET", i < 2 ? "/sleep?ms=60000" : "/sleep?ms=1");
    test_wait_until(value_of(server, "skink_queue_length{route=\"(all)\"}") == 1, 5000);
    fds[3] = http_begin(server->http_port, "GET", "/hello");
    assert_int_equal(status_of(fds[3]), 429);
    close(fds[0]), close(fds[1]); /* now it is the third one's turn */
    assert_int_equal(status_of(fds[2]), 200);
    assert_true(value_of(server, "skink_requests_rejected_total{route=\"(all)\"}") == 1);
    assert_true(value_of(server, "skink_permits_limit{route=\"/hello\"}") == 5);
    assert_true(value_of(server, "skink_queue_seconds_count{route=\"(all)\"}") == 1);
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 0);
    skinkd_free(server);
}

/* ---- several loops ---- */

static void several_loops_share_port_routes_and_limits(void **state)
{
    (void)state;
    char text[] = "loop: {count: 3, deadlock_timeout: 200ms}\n"
                  "concurrency: {max_requests: 10, max_queue: 5}\n"
                  "recovery.late_window: 10ms\n"
                  "detection.mode: off\n";
    char *file = temporary_file(text, strlen(text));
    struct skinkd *server = START("--config", file);
    /* The kernel spreads connections at random, over listeners that nobody counts:
     * enough of them, and each has some. */
    static const char *const slices[] = { "skink_scheduler_slices_total{scheduler=\"loop-1\"}",
                                          "skink_scheduler_slices_total{scheduler=\"loop-2\"}",
                                          "skink_scheduler_slices_total{scheduler=\"loop-3\"}" };
    int asked = 0;
    for (; asked < 1000 &&
           (value_of(server, slices[0]) < 1 || value_of(server, slices[1]) < 1 || value_of(server, slices[2]) < 1);
         asked++)
        assert_int_equal(status_of(http_begin(server->http_port, "GET", "/hello")), 200);
    assert_true(asked < 1000);
    assert_true(value_of(server, "skink_requests_total{code=\"200\",method=\"GET\",route=\"/hello\"}") == asked);
    assert_true(value_of(server, "skink_loop_running") == 3);
    assert_true(value_of(server, "skink_permits_limit{route=\"(all)\"}") == 10);
    /* One watchdog for all: whichever loop it is, the others do not even notice. */
    int stuck = http_begin(server->http_port, "GET", "/stick");
    for (int i = 0; i < 20; i++)
        assert_int_equal(status_of(http_begin(server->http_port, "GET", "/hello")), 200);
    assert_int_equal(status_of(stuck), 503);
    test_wait_until(value_of(server, "skink_deadlocks_total") == 1, 5000);
    test_wait_until(value_of(server, "skink_loop_generation") == 2, 5000);
    /* A reload is for all of them. */
    FILE *stream = fopen(file, "w");
    assert_non_null(stream);
    fputs("loop: {count: 3, deadlock_timeout: 200ms}\nconcurrency: {max_requests: 31, max_queue: 2}\n"
          "recovery.late_window: 10ms\ndetection.mode: off\n",
          stream);
    fclose(stream);
    assert_int_equal(kill(server->pid, SIGHUP), 0);
    test_wait_until(value_of(server, "skink_permits_limit{route=\"(all)\"}") == 31, 5000);
    test_wait_until(value_of(server, "skink_queue_limit{route=\"(all)\"}") == 2, 5000); /* one loop has none */
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 3);
    skinkd_free(server);
    unlink(file);
    free(file);
}

/* How many tasks of one scheduler does the page tell? 0 when it is not there. */
static int told_of(const char *page, const char *scheduler)
{
    char line[64];
    snprintf(line, sizeof line, "\n  %s: ", scheduler);
    const char *at = strstr(page, line);
    return at ? atoi(at + strlen(line)) : 0;
}

/* Goal: /tasks has the tasks of all loops and of the workers, also while one loop stands still in a task.
 * | clients                             | skinkd                     | /tasks                                  |
 * | /sleep until both loops have some   | suspended on both          | one stack, counted over both            |
 * | /spin                               | on a worker                | that worker's task                      |
 * | /stick                              | one loop stuck, for longer | the others of that loop all the same    | */
static void the_tasks_of_all_loops_and_workers_are_told(void **state)
{
    (void)state;
    struct skinkd *server = start_with("loop: {count: 2, deadlock_timeout: 60s}\n"
                                       "concurrency.threads: 4\n"
                                       "routes: [{path: /spin, execution: threads}]\n"
                                       "shutdown.grace: 100ms\n");
    enum { CLIENTS_MAX = 100 };
    int sleepers[CLIENTS_MAX], count = 0;
    char *page = NULL;
    do {
        assert_true(count < CLIENTS_MAX);
        sleepers[count++] = http_begin(server->http_port, "GET", "/sleep?ms=60000");
        test_wait_until(value_of(server, "skink_requests_in_flight") == count, 5000);
        free(page);
        page = http_get(server->stats_port, "/tasks");
        assert_int_equal(http_status(page), 200);
        assert_int_equal(told_of(page, "loop-1") + told_of(page, "loop-2"), count);
    } while (!told_of(page, "loop-1") || !told_of(page, "loop-2"));
    char line[64];
    snprintf(line, sizeof line, "\n%d suspended  GET /sleep\n    skink_sleep", count);
    assert_non_null(strstr(page, line));
    assert_non_null(strstr(page, "\n  and 4 workers without a task\n"));
    free(page);

    int spinning = http_begin(server->http_port, "GET", "/spin");
    test_wait_until(value_of(server, "skink_workers_busy") == 1, 5000);
    page = http_get(server->stats_port, "/tasks");
    int on_workers = 0;
    for (const char *at = page; (at = strstr(at, "\n  worker-")); at++)
        on_workers += atoi(strstr(at, ": ") + 2);
    assert_int_equal(on_workers, 1);
    assert_non_null(strstr(page, "\n  and 3 workers without a task\n"));
    assert_non_null(strstr(page, "\n1 running  GET /spin\n"));
    free(page);

    int stuck = http_begin(server->http_port, "GET", "/stick");
    test_wait_until(value_of(server, "skink_requests_in_flight") == count + 2, 5000);
    uint64_t deadline_ns = test_deadline_ns(8000);
    for (bool stands = false; !stands;) { /* it may be a moment before its first instruction */
        assert_true(test_now_ns() < deadline_ns);
        page = http_get(server->stats_port, "/tasks");
        assert_int_equal(told_of(page, "loop-1") + told_of(page, "loop-2"), count + 1);
        stands = strstr(page, "GET /stick\n") && strstr(page, " tasks; note: the loop is stuck in a task") &&
                 strstr(page, line) && !strstr(page, "INCOMPLETE");
        free(page);
    }
    close(stuck);
    close(spinning);
    while (count > 0)
        close(sleepers[--count]);
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 3); /* two threads are stuck */
    skinkd_free(server);
}

static void loops_that_stop_finish_what_they_have(void **state)
{
    (void)state;
    struct skinkd *server = start_with("loop.count: 2\nconcurrency.execution: threads\n");
    int fds[8];
    for (int i = 0; i < 8; i++)
        fds[i] = http_begin(server->http_port, "GET", i % 2 ? "/sleep?ms=1000" : "/stick?ms=1000");
    test_wait_until(value_of(server, "skink_workers_busy") == 8, 5000);
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 0);
    for (int i = 0; i < 8; i++)
        assert_int_equal(status_of(fds[i]), 200);
    skinkd_free(server);
}

static void a_limit_that_cannot_be_shared_out_is_a_mistake(void **state)
{
    (void)state;
    struct ended *ended = RUN("--check", "--set", "loop.count=4", "--set", "concurrency.max_requests=3");
    assert_int_equal(ended->status, 2);
    assert_non_null(strstr(ended->err, "concurrency.max_requests: 3 is less than loop.count, which is 4"));
    free(ended);
    ended = RUN("--check", "--set", "loop.count=4", "--set", "http.max_connections=3");
    assert_int_equal(ended->status, 2);
    assert_non_null(
        strstr(ended->err, "http.max_connections: 3 is less than loop.count, which is 4; expected at least"));
    free(ended);
    ended = RUN("--check", "--set", "concurrency.execution=fibers");
    assert_int_equal(ended->status, 2);
    assert_non_null(strstr(ended->err, "one of loop, threads, serial"));
    free(ended);
}

static const struct test_case cases[] = {
    CASE_TIMEOUT(on_the_loop_only_the_stuck_one_suffers, 40),
    CASE_TIMEOUT(on_threads_only_the_stuck_one_suffers, 40),
    CASE_TIMEOUT(in_serial_only_the_stuck_one_suffers, 40),
    CASE(past_limit_and_queue_there_is_429),
    CASE(several_loops_share_port_routes_and_limits),
    CASE(loops_that_stop_finish_what_they_have),
    CASE_TIMEOUT(the_tasks_of_all_loops_and_workers_are_told, 60),
    CASE(a_limit_that_cannot_be_shared_out_is_a_mistake),
};
TEST_MAIN(cases, NULL, NULL)
