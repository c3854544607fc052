/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd_detection.c - what a client gets when a handler of skinkd waits for its own
 * loop, by detection.mode. */
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(const struct skinkd *server, const char *target, int status, const char *part)
{
    char *answer = http_get(server->http_port, target);
    if (http_status(answer) != status || !strstr(answer, part)) fail_msg("%s: %s", target, answer);
    free(answer);
}

static void check_metric(const struct skinkd *server, const char *line)
{
    char *answer = http_get(server->stats_port, "/metrics");
    if (!strstr(answer, line)) fail_msg("no %s in %s", line, answer);
    free(answer);
}

/* The timeout is the default, 30 s: nothing but detection can answer at once. */
static void a_request_that_waits_for_its_own_loop_gets_500_at_once(void **state)
{
    (void)state;
    struct skinkd *server = START_PLAIN();
    uint64_t begun = test_now_ns();
    check(server, "/stick?how=selfwait", 500, "\"number\":35");
    check(server, "/stick?how=selfwait&ms=forever", 500, "\"message\":\"it would wait for itself\"");
    check(server, "/stick?how=selfwait&ms=20", 500, "\"number\":35");
    assert_true(test_now_ns() - begun < test_ms(test_patience(10000)));
    check(server, "/hello", 200, "hello");
    check_metric(server, "\nskink_waits_refused_total 3\n");
    check_metric(server, "\nskink_deadlocks_total 0\n");
    assert_true(skinkd_says(server, "event=wait_refused", 5000));
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 0);
    skinkd_free(server);
}

/* The first of these pairs of key and value that is not there,
 * with or without a blank behind the colon; NULL: all are. */
static const char *first_missing(const char *json, const char *const *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char with_blank[128];
        const char *colon = strchr(pairs[i], ':');
        snprintf(with_blank, sizeof with_blank, "%.*s: %s", (int)(colon - pairs[i]), pairs[i], colon + 1);
        if (!strstr(json, pairs[i]) && !strstr(json, with_blank)) return pairs[i];
    }
    return NULL;
}

/* Both sides: where it waits, and where the task stands that it would have waited for. */
static void an_incident_tells_both_stacks(void **state)
{
    (void)state;
    struct skinkd *server = START_PLAIN();
    check(server, "/stick?how=selfwait&ms=3600000", 500, "\"number\":35");
    /* Beside the sanitizers' mappings elfutils may not find the functions of a module: there they may be missing. */
    static const char *const parts[] = {
        "\"cause\":\"self_wait\"",       "\"outcome\":\"refused\"",
        "\"route\":\"/stick\"",          "\"function\":\"skink_future_block\"",
        "\"what\":\"task task\"",        "\"function\":\"stick_selfwait\"",
        "\"function\":\"keep_promise\"",
    };
    const size_t count = sizeof parts / sizeof *parts - (TEST_ASAN || TEST_TSAN ? 2 : 0);
    /* Beside busy processes it may take more than one until the stacks are had in time. */
    uint64_t deadline_ns = test_deadline_ns(8000);
    char *answer = NULL;
    for (const char *missing = "any"; missing;) {
        check(server, "/stick?how=selfwait", 500, "\"number\":35");
        for (int i = 0; i < 100 && missing; i++, test_nap()) {
            free(answer);
            answer = http_get(server->stats_port, "/incidents");
            missing = first_missing(answer, parts, count);
        }
        if (missing && test_now_ns() > deadline_ns) fail_msg("no %s in %s", missing, answer);
    }
    free(answer);
    check_metric(server, "\nskink_deadlocks_total 0\n");
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 0);
    skinkd_free(server);
}

static void without_stack_traces_the_incident_is_there_all_the_same(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "detection.stack_traces=off");
    check(server, "/stick?how=selfwait", 500, "\"number\":35");
    char *answer = http_get(server->stats_port, "/incidents");
    assert_non_null(strstr(answer, "self_wait"));
    assert_null(strstr(answer, "skink_future_block"));
    free(answer);
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 0);
    skinkd_free(server);
}

static void potential_refuses_it_as_well(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "detection.mode=potential");
    check(server, "/stick?how=selfwait", 500, "\"number\":35");
    check_metric(server, "\nskink_waits_refused_total 1\n");
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 0);
    skinkd_free(server);
}

static void off_leaves_it_to_the_watchdog_and_it_gets_200(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "detection.mode=off", "--set", "loop.deadlock_timeout=200ms");
    check(server, "/stick?how=selfwait", 200, "stuck: selfwait");
    check_metric(server, "\nskink_waits_refused_total 0\n");
    check_metric(server, "\nskink_deadlocks_total 1\n");
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 0);
    skinkd_free(server);
}

static const struct test_case cases[] = {
    CASE(a_request_that_waits_for_its_own_loop_gets_500_at_once),  CASE(an_incident_tells_both_stacks),
    CASE(without_stack_traces_the_incident_is_there_all_the_same), CASE(potential_refuses_it_as_well),
    CASE(off_leaves_it_to_the_watchdog_and_it_gets_200),
};
TEST_MAIN(cases, NULL, NULL)
