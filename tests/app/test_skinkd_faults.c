/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd_faults.c - many kinds of faults at once over real sockets,
 * and metrics that know each of them. */
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The value of the sample with this name and labels; -1 without it. */
static long sample(const struct skinkd *server, const char *name)
{
    char start[256];
    char *answer = http_get(server->stats_port, "/metrics");
    snprintf(start, sizeof start, "\n%s ", name);
    const char *line = strstr(answer, start);
    long value = line ? atol(line + strlen(start)) : -1;
    free(answer);
    return value;
}

static long present(const struct skinkd *server, const char *name)
{
    long value = sample(server, name);
    return value < 0 ? 0 : value;
}

static int ask(const struct skinkd *server, const char *target)
{
    char *answer = http_get(server->http_port, target);
    int status = http_status(answer);
    free(answer);
    return status;
}

#define INCIDENTS(cause)                                                                                               \
    "skink_incidents_total{action=\"takeover\",cause=\"" cause "\",method=\"GET\",route=\"/stick\"}"

#define SPINS(cause) "skink_incidents_total{action=\"takeover\",cause=\"" cause "\",method=\"GET\",route=\"/spin\"}"

/* Goal: counters equal to what was injected, by cause, route and action.
 * | injected                          | how often | counted as                       |
 * | /stick?how=sleep, 600 ms or more  | 3         | syscall                          |
 * | /stick?how=read, the same         | 2         | syscall                          |
 * | /stick?how=spin, 1.5 s            | 2         | cpu_loop                         |
 * | /stick?how=mutex, the same        | 2         | lock                             |
 * | /spin                             | 1         | cpu_loop, of its own route       |
 * | /hello, /stick below the timeout  | 9         | nothing                          | */
static void mixed_faults_are_counted_exactly(void **state)
{
    (void)state;
    struct skinkd *server =
        START("--set", "loop.deadlock_timeout=150ms", "--set", "recovery.late_window=10s", "--set",
              "quarantine.strikes=0", "--set", "recovery.burst=0", "--set", "recovery.reports_per_minute=4");
    static const char *const faults[] = { "sleep", "spin", "mutex", "sleep", "read", "spin", "sleep", "mutex", "read" };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        char target[64];
        /* One that computes gets less than all of a busy machine: that is declared as well, at the latest as starved.
         * The others last until somebody has looked at them, who at the first one has to get ready for that. */
        int ms = strcmp(faults[i], "spin") == 0 ? 1500 : (int)test_patience(i == 0 ? 800 : 300);
        snprintf(target, sizeof target, "/stick?ms=%d&how=%s", ms, faults[i]);
        assert_int_equal(ask(server, target), 200);
        assert_int_equal(ask(server, i % 2 ? "/hello" : "/stick?ms=5"), 200);
    }
    test_wait_until(sample(server, INCIDENTS("syscall")) == 5, 8000);
    test_wait_until(present(server, INCIDENTS("cpu_loop")) + present(server, INCIDENTS("starved")) == 2, 8000);
    test_wait_until(sample(server, INCIDENTS("lock")) == 2, 8000);
    assert_int_equal(sample(server, "skink_deadlocks_total"), 9);
    assert_int_equal(sample(server, "skink_takeovers_total"), 9);
    assert_int_equal(sample(server, "skink_strays_abandoned_total"), 9);
    test_wait_until(sample(server, "skink_strays_returned_total") == 9, 8000);
    test_wait_until(sample(server, "skink_strays") == 0, 8000);
    /* One that is starved is declared at the ceiling, and half of its time need not have counted by then. */
    long notes = sample(server, "skink_notes_total{method=\"GET\",route=\"/stick\"}");
    assert_in_range(notes, 9 - present(server, INCIDENTS("starved")), 9);
    assert_int_equal(sample(server, "skink_reports_lost_total"), 0);
    /* Four reports a minute, one of each stack: sleep and mutex once each, read once, spin at one of its places. */
    long suppressed = sample(server, "skink_reports_suppressed_total");
    assert_in_range(suppressed, 5, 6);
    int spinning = http_begin(server->http_port, "GET", "/spin");
    test_wait_until(present(server, SPINS("cpu_loop")) + present(server, SPINS("starved")) == 1, 8000);
    assert_int_equal(sample(server, INCIDENTS("unknown")), -1);
    close(spinning);
    skinkd_free(server);
}

static void a_route_can_have_its_own_action(void **state)
{
    (void)state;
    static const char text[] = "loop.deadlock_timeout: 150ms\n"
                               "recovery.action: report\n"
                               "routes: [{path: /spin, action: takeover}]\n";
    char file[] = "/tmp/skink-test-XXXXXX";
    int fd = mkstemp(file);
    assert_true(fd >= 0);
    FILE *stream = fdopen(fd, "w");
    fputs(text, stream);
    fclose(stream);
    struct skinkd *server = START("--config", file);
    assert_int_equal(ask(server, "/stick?ms=1000"), 200); /* in the way of all others, as it is only reported */
    test_wait_until(
        sample(server, "skink_incidents_total{action=\"report\",cause=\"syscall\",method=\"GET\",route=\"/stick\"}") ==
            1,
        8000);
    assert_int_equal(sample(server, "skink_takeovers_total"), 0);
    assert_true(skinkd_says(server, "action=report", 4000));
    assert_true(skinkd_says(server, "event=stuck_over id=", 4000));
    int spinning = http_begin(server->http_port, "GET", "/spin");
    test_wait_until(sample(server, "skink_takeovers_total") == 1, 8000);
    assert_int_equal(ask(server, "/hello"), 200);
    close(spinning);
    skinkd_free(server);
    remove(file);
}

static void a_burst_drains_the_server_with_status_70(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "loop.deadlock_timeout=100ms", "--set", "recovery.late_window=10s", "--set",
                                  "recovery.burst=1", "--set", "recovery.on_limit=drain");
    /* Much longer than the timeout: of a watchdog that gets no processor only a part of the time counts. */
    assert_int_equal(ask(server, "/stick?ms=1000"), 200);
    assert_int_equal(ask(server, "/stick?ms=1000"), 200);
    assert_true(skinkd_says(server, "event=limit_reached limit=burst action=drain", 4000));
    assert_true(skinkd_says(server, "event=stopped status=70", 15000));
    assert_int_equal(skinkd_end(server, 0, 8000), 70);
    skinkd_free(server);
}

static void an_operator_may_go_on_in_spite_of_a_limit(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "loop.deadlock_timeout=100ms", "--set", "recovery.late_window=10ms", "--set",
                                  "recovery.max_strays=1", "--set", "quarantine.strikes=1");
    assert_int_equal(ask(server, "/stick"), 503);
    test_wait_until(sample(server, "skink_strays") == 1, 4000); /* its client may know before the limit does */
    assert_int_equal(ask(server, "/hello"), 503);
    char *answer = http_get(server->stats_port, "/health");
    assert_int_equal(http_status(answer), 503);
    assert_non_null(strstr(answer, "\"reason\":\"stray_limit\""));
    assert_non_null(strstr(answer, "\"routes_quarantined\":1"));
    free(answer);
    assert_int_equal(kill(server->pid, SIGUSR2), 0);
    assert_true(skinkd_says(server, "event=resumed", 4000));
    assert_int_equal(ask(server, "/hello"), 200);
    assert_int_equal(ask(server, "/stick?ms=1"), 200); /* out of quarantine, too */
    skinkd_free(server);
}

static void abort_ends_the_process_once_the_incident_is_told(void **state)
{
    (void)state;
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
    struct skinkd *server = START("--set", "loop.deadlock_timeout=100ms", "--set", "recovery.action=abort");
    int stuck = http_begin(server->http_port, "GET", "/stick");
    assert_true(skinkd_says(server, "event=abort tid=", 8000));
    assert_int_equal(skinkd_end(server, 0, 8000), 128 + SIGABRT);
    const char *told = strstr(server->err, "event=deadlock");
    assert_non_null(told);
    assert_true(told < strstr(server->err, "event=abort"));
    close(stuck);
    skinkd_free(server);
}

static const struct test_case cases[] = {
    CASE_TIMEOUT(mixed_faults_are_counted_exactly, 60),     CASE(a_route_can_have_its_own_action),
    CASE(a_burst_drains_the_server_with_status_70),         CASE(an_operator_may_go_on_in_spite_of_a_limit),
    CASE(abort_ends_the_process_once_the_incident_is_told),
};

TEST_MAIN(cases, NULL, NULL)
