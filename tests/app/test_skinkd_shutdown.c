/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd_shutdown.c - SIGTERM as an operator sees it: readiness, delay, grace, exit status. */
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
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

/* Bit n - 1 of the result: signal n. All bits for a thread that has ended meanwhile. */
static unsigned long long blocked_by(pid_t pid, const char *thread)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/task/%.16s/status", (int)pid, thread);
    unsigned long long blocked = ~0ULL;
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "SigBlk: %llx", &blocked) == 1) break;
    if (file) fclose(file);
    return blocked;
}

/* The last of them is that by which the server asks itself to stop. A thread that did not block it could take it from
 * the one that waits for it, and the server would go on. */
static void no_thread_takes_a_signal_from_the_one_that_waits_for_it(void **state)
{
    (void)state;
    const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGRTMIN };
    struct skinkd *server = START("--set", "loop.deadlock_timeout=100ms", "--set", "loop.count=2");
    close(http_begin(server->http_port, "GET", "/stick?ms=60000"));
    assert_true(skinkd_says(server, "event=deadlock", 5000)); /* threads of each kind are there now */
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)server->pid);
    DIR *tasks = opendir(path);
    assert_non_null(tasks);
    int thread_count = 0;
    for (struct dirent *entry; (entry = readdir(tasks));) {
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == server->pid) continue; /* the first thread waits */
        unsigned long long blocked = blocked_by(server->pid, entry->d_name);
        for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
            assert_true(blocked & 1ULL << (signals[i] - 1));
        thread_count++;
    }
    closedir(tasks);
    assert_true(thread_count >= 5);
    skinkd_free(server);
}

static const struct test_case cases[] = {
    CASE(during_the_delay_readiness_is_bad_and_requests_are_answered),
    CASE(ctrl_c_does_not_wait_for_a_balancer),
    CASE(a_request_that_outlives_the_grace_is_cut_and_the_status_says_so),
    CASE(a_second_sigterm_ends_at_once_even_in_the_delay),
    CASE(no_thread_takes_a_signal_from_the_one_that_waits_for_it),
};
TEST_MAIN(cases, NULL, NULL)
