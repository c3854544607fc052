/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd_haproxy.c - three instances behind HAProxy, of which one goes bad in the worst ways. */
#include "config_fixture.h"
#include "load.h"
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { INSTANCES = 3 };

struct balanced {
    struct skinkd *instances[INSTANCES];
    struct skinkd *haproxy;
    char *file;
    int port;
};

static const char *program(void)
{
    static const char *const places[] = { "/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy" };
    for (size_t i = 0; i < 3; i++)
        if (access(places[i], X_OK) == 0) return places[i];
    test_skip("haproxy is not installed");
    return NULL;
}

static int free_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    close(fd);
    return ntohs(address.sin_port);
}

/* The example's text, with `from` replaced where it stands first. */
static void replace(char *text, size_t size, const char *from, int to)
{
    char *at = strstr(text, from), number[16], rest[8192];
    assert_non_null(at);
    snprintf(rest, sizeof rest, "%s", at + strlen(from));
    snprintf(number, sizeof number, "%d", to);
    snprintf(at, size - (size_t)(at - text), "%s%s", number, rest);
}

static void start(struct balanced *b)
{
    static char text[8192];
    const char *haproxy = program();
    FILE *stream = fopen(TEST_SOURCE_DIR "/examples/haproxy/haproxy.cfg", "r");
    assert_non_null(stream);
    text[fread(text, 1, sizeof text - 512, stream)] = '\0';
    fclose(stream);
    for (int i = 0; i < INSTANCES; i++) {
        b->instances[i] = START("--set", "loop.deadlock_timeout=200ms", "--set", "recovery.late_window=10ms", "--set",
                                "recovery.max_strays=1", "--set", "quarantine.strikes=0");
        char http[16], stats[16];
        snprintf(http, sizeof http, "%d", 8081 + i);
        snprintf(stats, sizeof stats, "%d", 9481 + i);
        replace(text, sizeof text, http, b->instances[i]->http_port);
        replace(text, sizeof text, stats, b->instances[i]->stats_port);
    }
    b->port = free_port();
    replace(text, sizeof text, "8000", b->port);
    b->file = temporary_file(text, strlen(text));
    const char *const arguments[] = { "-f", b->file, "-db", NULL };
    b->haproxy = program_start(haproxy, arguments);
    bool up = false;
    for (uint64_t deadline_ns = test_deadline_ns(10000); !up && test_now_ns() < deadline_ns; test_nap()) {
        struct sockaddr_in address = { .sin_family = AF_INET,
                                       .sin_port = htons((uint16_t)b->port),
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        up = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
        close(fd);
    }
    if (!up) skinkd_says(b->haproxy, "never said", 0), print_error("%s\n", b->haproxy->err);
    assert_true(up);
}

static void stop(struct balanced *b)
{
    skinkd_free(b->haproxy);
    for (int i = 0; i < INSTANCES; i++)
        skinkd_free(b->instances[i]);
    unlink(b->file);
    free(b->file);
}

static void wait_for_answers(struct load *load, uint64_t more)
{
    uint64_t before = atomic_load(&load->answered);
    test_wait_until(atomic_load(&load->answered) >= before + more || atomic_load(&load->failed), 15000);
}

static bool metric_is(const struct skinkd *instance, const char *name, int value)
{
    char line[128];
    snprintf(line, sizeof line, "\n%s %d\n", name, value);
    char *metrics = http_get(instance->stats_port, "/metrics");
    bool is = strstr(metrics, line) != NULL;
    free(metrics);
    return is;
}

static void run_under_load(void (*spoil)(struct balanced *b))
{
    struct balanced b;
    start(&b);
    struct load load = { .port = b.port, .target = "/hello", .per_connection = 20 };
    load_start(&load, 4);
    wait_for_answers(&load, 200);
    spoil(&b);
    uint64_t until_ns = test_now_ns() + test_ms(4000); /* longer than every timeout of HAProxy's */
    while (test_now_ns() < until_ns && !atomic_load(&load.failed))
        test_nap();
    wait_for_answers(&load, 200);
    load_stop(&load);
    if (atomic_load(&load.failed)) print_error("%s\n", load.failure);
    assert_int_equal(atomic_load(&load.failed), 0);
    stop(&b);
}

/* Two requests that never come back: one more than max_strays allows, and no task runs in this process any more. */
static void wedge(struct balanced *b)
{
    int first = http_begin(b->instances[1]->http_port, "GET", "/stick");
    int second = http_begin(b->instances[1]->http_port, "GET", "/stick");
    assert_true(skinkd_says(b->instances[1], "event=deadlock", 5000));
    close(first);
    close(second);
}

static void freeze(struct balanced *b)
{
    kill(b->instances[1]->pid, SIGSTOP);
}

static void end_gracefully(struct balanced *b)
{
    kill(b->instances[1]->pid, SIGTERM);
}

static void an_instance_that_runs_no_task_any_more_costs_no_client_anything(void **state)
{
    (void)state;
    run_under_load(wedge);
}

static void an_instance_that_stands_still_costs_no_client_anything_but_time(void **state)
{
    (void)state;
    run_under_load(freeze);
}

static void an_instance_that_ends_costs_no_client_anything(void **state)
{
    (void)state;
    run_under_load(end_gracefully);
}

/* There, and not run once more at another one. */
static void what_is_in_flight_on_an_instance_that_ends_is_answered(void **state)
{
    (void)state;
    struct balanced b;
    start(&b);
    int fds[2 * INSTANCES];
    for (int i = 0; i < 2 * INSTANCES; i++)
        fds[i] = http_begin(b.port, "GET", "/sleep?ms=2000");
    test_wait_until(metric_is(b.instances[1], "skink_requests_in_flight", 2), 10000);
    end_gracefully(&b);
    assert_true(skinkd_says(b.haproxy, "skinkd/two is DOWN", 10000));
    for (int i = 0; i < 2 * INSTANCES; i++) {
        char *answer = http_finish(fds[i], 10000);
        assert_int_equal(http_status(answer), 200);
        free(answer);
    }
    for (int i = 0; i < INSTANCES; i += 2)
        assert_true(metric_is(b.instances[i], "skink_requests_total{code=\"200\",method=\"GET\",route=\"/sleep\"}", 2));
    stop(&b);
}

static const struct test_case cases[] = {
    CASE_PLAIN(an_instance_that_runs_no_task_any_more_costs_no_client_anything, 40),
    CASE_PLAIN(an_instance_that_stands_still_costs_no_client_anything_but_time, 40),
    CASE_PLAIN(an_instance_that_ends_costs_no_client_anything, 40),
    CASE_PLAIN(what_is_in_flight_on_an_instance_that_ends_is_answered, 40),
};
TEST_MAIN(cases, NULL, NULL)
