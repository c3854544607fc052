/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd_reload.c - SIGHUP: what changes, what stays, and what is refused. */
#include "config_fixture.h"
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void rewrite(const char *file, const char *text)
{
    int fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static struct skinkd *start_with(const char *text, char **ret_file)
{
    *ret_file = temporary_file(text, strlen(text));
    return START("--config", *ret_file);
}

static void end(struct skinkd *server, char *file)
{
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
    skinkd_free(server);
    unlink(file);
    free(file);
}

static int get_status(int port, const char *target)
{
    char *answer = http_get(port, target);
    int status = http_status(answer);
    free(answer);
    return status;
}

/* A metric's value; -1 without it. */
static double metric(const struct skinkd *server, const char *name)
{
    char *answer = http_get(server->stats_port, "/metrics"), line[128];
    int length = snprintf(line, sizeof line, "\n%s ", name);
    const char *found = strstr(answer, line);
    double value = found ? strtod(found + length, NULL) : -1;
    free(answer);
    return value;
}

static void a_changed_file_is_taken_over(void **state)
{
    (void)state;
    char *file;
    struct skinkd *server = start_with("http.request_timeout: 0s\nloop.deadlock_timeout: 30s\n", &file);
    assert_int_equal(get_status(server->http_port, "/sleep?ms=300"), 200);
    double started = metric(server, "skinkd_reload_last_success_timestamp_seconds");
    assert_true(started > 1e9);
    rewrite(file, "http.request_timeout: 100ms\nloop.deadlock_timeout: 200ms\nrecovery.late_window: 10ms\n"
                  "health.max_rss: 1kb\nroutes: [{path: /hello, max_requests: 5}]\n");
    kill(server->pid, SIGHUP);
    assert_true(skinkd_says(server, "event=reloaded changed=4 routes=1", 5000));
    assert_int_equal(get_status(server->http_port, "/sleep?ms=60000"), 504);
    assert_int_equal(get_status(server->http_port, "/hello"), 200);
    test_wait_until(get_status(server->stats_port, "/health/live") == 503, 5000);
    test_wait_until(metric(server, "skinkd_reloads_total") == 1, 5000);
    test_wait_until(metric(server, "skinkd_reload_failures_total") == 0, 5000);
    assert_true(metric(server, "skinkd_reload_last_success_timestamp_seconds") >= started);
    rewrite(file, "");
    kill(server->pid, SIGHUP);
    assert_true(skinkd_says(server, "event=reloaded changed=4 routes=0", 5000));
    assert_int_equal(get_status(server->http_port, "/sleep?ms=300"), 200);
    test_wait_until(get_status(server->stats_port, "/health/live") == 200, 5000);
    end(server, file);
}

static void a_bad_file_is_refused_whole(void **state)
{
    (void)state;
    char *file;
    struct skinkd *server = start_with("http.request_timeout: 200ms\n", &file);
    rewrite(file, "http.request_timeout: 0s\nhttp.max_body: lots\nloop.deadlok_timeout: 1s\n");
    kill(server->pid, SIGHUP);
    assert_true(skinkd_says(server, "level=error event=reload_failed mistakes=2", 5000));
    assert_non_null(strstr(server->err, ":2:16: http.max_body: \"lots\" is not a number"));
    assert_non_null(strstr(server->err, "did you mean loop.deadlock_timeout?"));
    assert_int_equal(get_status(server->http_port, "/sleep?ms=60000"), 504); /* the old value */
    rewrite(file, "http.request_timeout: 0s\nroutes: [{path: /helo}]\n"); /* only the modules know that this is wrong */
    kill(server->pid, SIGHUP);
    assert_true(skinkd_says(server, "event=reload_failed mistakes=1", 5000));
    assert_non_null(strstr(server->err, "no module adds a route /helo; did you mean /hello?"));
    assert_int_equal(get_status(server->http_port, "/sleep?ms=60000"), 504);
    unlink(file); /* nor can one be read that is not there */
    kill(server->pid, SIGHUP);
    test_wait_until(metric(server, "skinkd_reload_failures_total") == 3, 5000);
    test_wait_until(metric(server, "skinkd_reloads_total") == 0, 5000);
    end(server, file);
}

/* Nobody reads what it says on stderr, and there is much to be said: it goes on, and can be told to end. */
static void mistakes_that_nobody_reads_stop_nothing(void **state)
{
    (void)state;
    enum { MISTAKES = 200, RELOADS = 8 }; /* more than a pipe holds */
    char text[MISTAKES * 80] = "", *file;
    char *at = text;
    for (int i = 0; i < MISTAKES; i++)
        at += sprintf(at, "there_is_certainly_no_key_with_a_name_as_long_as_this_%d: 1\n", i);
    struct skinkd *server = start_with("", &file);
    rewrite(file, text);
    for (int i = 1; i <= RELOADS; i++) {
        kill(server->pid, SIGHUP);
        test_wait_until(metric(server, "skinkd_reload_failures_total") == i, 5000);
    }
    end(server, file);
}

static void mistakes_are_where_the_log_is(void **state)
{
    (void)state;
    char *file = temporary_file("", 0), *log = temporary_file("", 0), setting[64];
    snprintf(setting, sizeof setting, "log.file=%s", log);
    const char *const arguments[] = { "--config", file,
                                      "--set",    "http.listen=127.0.0.1:0",
                                      "--set",    "stats.listen=127.0.0.1:0",
                                      "--set",    "shutdown.delay=0s",
                                      "--set",    "log.format=json",
                                      "--set",    setting,
                                      NULL };
    struct skinkd *server = program_start(TEST_SKINKD, arguments);
    test_wait_until(file_says(log, "\"event\":\"started\""), 10000);
    rewrite(file, "http.max_body: lots\n");
    kill(server->pid, SIGHUP);
    test_wait_until(file_says(log, "\"event\":\"reload_failed\""), 5000);
    assert_true(file_says(log, "\"level\":\"error\",\"message\":\"| /tmp/"));
    assert_true(file_says(log, ":1:16: http.max_body: \\\"lots\\\" is not a number"));
    unlink(log);
    free(log);
    end(server, file);
}

static void what_cannot_change_is_named_and_stays(void **state)
{
    (void)state;
    char *file;
    struct skinkd *server = start_with("http.max_body: 1mb\n", &file);
    rewrite(file, "http.max_body: 2kb\nloop.stack_size: 128kb\nhttp.request_timeout: 200ms\n");
    kill(server->pid, SIGHUP);
    assert_true(skinkd_says(server, "event=reloaded changed=1", 5000));
    assert_non_null(strstr(server->err, "level=warning event=reload_ignored key=http.max_body"));
    assert_non_null(strstr(server->err, "level=warning event=reload_ignored key=loop.stack_size"));
    assert_int_equal(get_status(server->http_port, "/sleep?ms=60000"), 504);
    kill(server->pid, SIGHUP); /* and it is named again for as long as the file says so */
    assert_true(skinkd_says(server, "event=reloaded changed=0", 5000));
    end(server, file);
}

static unsigned count_of(const struct skinkd *server, const char *text)
{
    unsigned count = 0;
    for (const char *at = server->err; (at = strstr(at, text)) != NULL; at += strlen(text))
        count++;
    return count;
}

/* Send SIGHUP, and wait until the file has been taken. */
static void reload(struct skinkd *server, const char *file, const char *text, unsigned number)
{
    static const char line[] = "level=info event=reloaded";
    rewrite(file, text);
    kill(server->pid, SIGHUP);
    uint64_t deadline = test_now_ns() + test_ms(5000);
    while (count_of(server, line) < number && test_now_ns() < deadline)
        (void)skinkd_says(server, "event=nothing", 20); /* reads what there is */
    assert_int_equal(count_of(server, line), number);
}

static void where_requests_run_cannot_change_and_is_named(void **state)
{
    (void)state;
    static const char first[] = "loop.count: 1\nconcurrency.threads: 2\n"
                                "routes: [{path: /hello, execution: threads}, {path: /sleep, max_requests: 3}]\n";
    static const char hello[] =
        "event=reload_ignored key=routes.execution route=\"/hello\" advice=\"changed in the file, "
        "takes effect at the next start\"";
    static const char nap[] = "event=reload_ignored key=routes.execution route=\"/sleep\"";
    static const char loops[] = "event=reload_ignored key=loop.count ";
    static const char threads[] = "event=reload_ignored key=concurrency.threads ";
    char *file;
    struct skinkd *server = start_with(first, &file);
    reload(server, file,
           "loop.count: 2\nconcurrency.threads: 3\n"
           "routes: [{path: /hello, execution: serial}, {path: /sleep, execution: loop, max_requests: 4}]\n",
           1);
    assert_int_equal(count_of(server, "event=reload_ignored"), 4);
    assert_int_equal(count_of(server, hello), 1);
    assert_int_equal(count_of(server, nap), 1);
    assert_int_equal(count_of(server, loops), 1);
    assert_int_equal(count_of(server, threads), 1);
    reload(server, file, "loop.count: 1\nconcurrency.threads: 2\n", 2); /* a path that has gone has changed, too */
    assert_int_equal(count_of(server, "event=reload_ignored"), 5);
    assert_int_equal(count_of(server, hello), 2);
    reload(server, file, "loop.count: 1\nconcurrency.threads: 2\n",
           3); /* compared with the start, not with the last one */
    assert_int_equal(count_of(server, "event=reload_ignored"), 6);
    assert_int_equal(count_of(server, hello), 3);
    reload(server, file, first, 4);
    assert_int_equal(count_of(server, "event=reload_ignored"), 6);
    assert_int_equal(get_status(server->http_port, "/hello"), 200);
    end(server, file);
}

/* Requests wait for the one permit of their route while the same file is read again and again: none gets past it. */
static void a_limit_of_a_route_holds_while_it_is_read_again(void **state)
{
    (void)state;
    enum { WAITING = 8, RELOADS = 5 };
    static const char text[] = "routes: [{path: /sleep, max_requests: 1, max_queue: 20}]\n";
    char *file;
    struct skinkd *server = start_with(text, &file);
    int clients[1 + WAITING];
    for (unsigned i = 0; i < 1 + WAITING; i++)
        clients[i] = http_begin(server->http_port, "GET", "/sleep?ms=60000");
    test_wait_until(metric(server, "skink_queue_length{route=\"/sleep\"}") == WAITING, 5000);
    for (unsigned i = 1; i <= RELOADS; i++)
        reload(server, file, text, i);
    assert_int_equal(metric(server, "skink_queue_length{route=\"/sleep\"}"), WAITING);
    assert_int_equal(metric(server, "skink_permits_in_use{route=\"/sleep\"}"), 1);
    reload(server, file, "", RELOADS + 1); /* without the path it has no limit of its own any more */
    test_wait_until(metric(server, "skink_requests_in_flight") == 1 + WAITING, 5000);
    for (unsigned i = 0; i < 1 + WAITING; i++)
        close(clients[i]);
    test_wait_until(metric(server, "skink_requests_in_flight") == 0, 5000);
    end(server, file);
}

static void settings_still_win_over_the_file(void **state)
{
    (void)state;
    static const char text[] = "http.request_timeout: 1s\n";
    char *file = temporary_file(text, strlen(text));
    struct skinkd *server = START("--config", file, "--set", "http.request_timeout=100ms");
    rewrite(file, "http.request_timeout: 0s\n");
    kill(server->pid, SIGHUP);
    assert_true(skinkd_says(server, "event=reloaded changed=0", 5000));
    assert_int_equal(get_status(server->http_port, "/sleep?ms=60000"), 504);
    end(server, file);
}

/* The loops are as many as at the start, whatever the file says now: a limit that they cannot share is refused. */
static void limits_are_checked_against_the_loops_that_run(void **state)
{
    (void)state;
    char *file;
    struct skinkd *server = start_with("loop.count: 3\nconcurrency.max_requests: 6\n", &file);
    rewrite(file, "loop.count: 1\nconcurrency.max_requests: 2\nroutes: [{path: /hello, max_requests: 1}]\n");
    kill(server->pid, SIGHUP);
    assert_true(skinkd_says(server, ":2:27: concurrency.max_requests: 2 is less than loop.count, which is 3;", 5000));
    assert_true(skinkd_says(server, ": routes: max_requests: 1 is less than loop.count, which is 3;", 5000));
    assert_true(skinkd_says(server, "event=reload_failed mistakes=2", 5000));
    assert_true(metric(server, "skink_permits_limit{route=\"(all)\"}") == 6);
    rewrite(file, "loop.count: 9\nconcurrency.max_requests: 9\n");
    kill(server->pid, SIGHUP);
    assert_true(skinkd_says(server, "event=reloaded changed=1", 5000));
    assert_true(metric(server, "skink_permits_limit{route=\"(all)\"}") == 9);
    end(server, file);
}

/* Goal: what can be read only once changes nothing, and holds up nobody:
 * a pipe without a writer would be waited for. */
static void a_pipe_is_not_read_again(void **state)
{
    (void)state;
    static const char text[] = "http.request_timeout: 100ms\n";
    char *file = temporary_file("", 0);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(mkfifo(file, 0600), 0);
    pid_t writer = fork();
    if (writer == 0) {
        int fd = open(file, O_WRONLY | O_CLOEXEC);
        _exit(write(fd, text, sizeof text - 1) == sizeof text - 1 ? 0 : 1);
    }
    struct skinkd *server = START("--config", file);
    int status;
    assert_int_equal(waitpid(writer, &status, 0), writer);
    assert_int_equal(status, 0);
    assert_int_equal(get_status(server->http_port, "/sleep?ms=60000"), 504);
    kill(server->pid, SIGHUP);
    assert_true(skinkd_says(server, "it is a pipe, which can be read only once", 5000));
    assert_true(skinkd_says(server, "event=reload_failed mistakes=1", 5000));
    assert_int_equal(get_status(server->http_port, "/sleep?ms=60000"), 504);
    end(server, file);
}

static const struct test_case cases[] = {
    CASE(a_changed_file_is_taken_over),
    CASE(a_bad_file_is_refused_whole),
    CASE(mistakes_that_nobody_reads_stop_nothing),
    CASE(mistakes_are_where_the_log_is),
    CASE(what_cannot_change_is_named_and_stays),
    CASE(where_requests_run_cannot_change_and_is_named),
    CASE(a_limit_of_a_route_holds_while_it_is_read_again),
    CASE(settings_still_win_over_the_file),
    CASE(a_pipe_is_not_read_again),
    CASE(limits_are_checked_against_the_loops_that_run),
};
TEST_MAIN(cases, NULL, NULL)
