/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd_shutdown.c - SIGTERM as an operator sees it: readiness, delay, grace, exit status. */
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int get_status(int port, const char *target)
{
    char *answer = http_get(port, target);
    int status = http_status(answer);
    free(answer);
    return status;
}

/* Goal: a balancer that asks for readiness is told long before the door closes.
 * | SIGTERM            | /health: 503 draining | /hello: 200, Connection: close |
 * | shutdown.delay on  | the listener closes   | the process ends with 0        | */
static void during_the_delay_readiness_is_bad_and_requests_are_answered(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "shutdown.delay=1500ms");
    assert_int_equal(get_status(server->stats_port, "/health"), 200);
    uint64_t start = test_now_ns();
    kill(server->pid, SIGTERM);
    assert_true(skinkd_says(server, "event=stopping signal=TERM", 5000));
    test_wait_until(get_status(server->stats_port, "/health") == 503, 1000);
    char *answer = http_get(server->stats_port, "/health");
    assert_non_null(strstr(answer, "\"reason\":\"draining\""));
    free(answer);
    int fd = http_send(server->http_port, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    answer = http_finish(fd, 5000);
    assert_int_equal(http_status(answer), 200);
    assert_non_null(strstr(answer, "Connection: close\r\n"));
    free(answer);
    assert_int_equal(skinkd_end(server, 0, 10000), 0);
    assert_true(test_now_ns() - start >= test_ms(1500));
    skinkd_free(server);
}

static void ctrl_c_does_not_wait_for_a_balancer(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "shutdown.delay=1h");
    assert_int_equal(skinkd_end(server, SIGINT, 10000), 0);
    skinkd_free(server);
}

static void a_request_that_outlives_the_grace_is_cut_and_the_status_says_so(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "shutdown.grace=300ms");
    int sleeping = http_begin(server->http_port, "GET", "/sleep?ms=60000");
    assert_int_equal(get_status(server->http_port, "/hello"), 200); /* so the one before has arrived */
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 3);
    assert_non_null(strstr(server->err, "event=stop_cut"));
    char *answer = http_finish(sleeping, 5000);
    assert_true(http_status(answer) >= 500); /* its token fired, and the demo answered */
    free(answer);
    skinkd_free(server);
}

static void a_second_sigterm_ends_at_once_even_in_the_delay(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "shutdown.delay=1h");
    kill(server->pid, SIGTERM);
    assert_true(skinkd_says(server, "event=stopping", 5000));
    test_wait_until(skinkd_end(server, SIGTERM, 200) == 3, 5000);
    skinkd_free(server);
}

static const struct test_case cases[] = {
    CASE(during_the_delay_readiness_is_bad_and_requests_are_answered),
    CASE(ctrl_c_does_not_wait_for_a_balancer),
    CASE(a_request_that_outlives_the_grace_is_cut_and_the_status_says_so),
    CASE(a_second_sigterm_ends_at_once_even_in_the_delay),
};
TEST_MAIN(cases, NULL, NULL)
