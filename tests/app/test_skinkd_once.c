/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd_once.c - a stampede on a cold cache:
 * what all need is loaded once, and nobody blocks the loop. */
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REQUESTS = 500 };

static void five_hundred_requests_on_a_cold_cache_load_it_once(void **state)
{
    (void)state;
    static int sockets[REQUESTS];
    struct skinkd *server = START("--module", TEST_TOUR_MODULE, "--set", "loop.deadlock_timeout=500ms");
    /* Its client goes away: it loads on, for the others. */
    int first = http_begin(server->http_port, "GET", "/cold?ms=1000");
    char *answer = http_get(server->http_port, "/hello");
    assert_int_equal(http_status(answer), 200); /* so the first has been read */
    free(answer);
    close(first);
    for (int i = 0; i < REQUESTS; i++)
        sockets[i] = http_begin(server->http_port, "GET", "/cold?ms=1000");
    answer =
        http_get(server->http_port, "/hello"); /* the loop goes on meanwhile: else that would be a deadlock, below */
    assert_int_equal(http_status(answer), 200);
    free(answer);
    for (int i = 0; i < REQUESTS; i++) {
        answer = http_finish(sockets[i], 20000);
        if (http_status(answer) != 200 || strcmp(http_body(answer), "loaded 1 time\n") != 0)
            fail_msg("%d: %s", i, answer);
        free(answer);
    }
    answer = http_get(server->stats_port, "/metrics");
    assert_non_null(strstr(answer, "\nskink_deadlocks_total 0\n"));
    free(answer);
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 0);
    skinkd_free(server);
}

static const struct test_case cases[] = {
    CASE(five_hundred_requests_on_a_cold_cache_load_it_once),
};
TEST_MAIN(cases, NULL, NULL)
