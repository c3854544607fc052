/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd.c - the program as its users meet it: options, exit statuses, the demo's routes, signals. */
#include "config_fixture.h"
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FREE_PORTS "--set", "http.listen=127.0.0.1:0", "--set", "stats.listen=127.0.0.1:0"

static void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part)) return;
    print_error("\"%s\" is not in:\n%s\n", part, text);
    fail();
}

/* --- options and exit statuses --- */

static void version_and_help_end_with_0(void **state)
{
    (void)state;
    struct ended *ended = RUN("--version");
    assert_int_equal(ended->status, 0);
    assert_string_equal(ended->out, "skinkd 0.1.0\n");
    free(ended);
    ended = RUN("--help");
    assert_int_equal(ended->status, 0);
    assert_contains(ended->out, "usage: skinkd [--config FILE]");
    assert_string_equal(ended->err, "");
    free(ended);
}

/* A file that is not whole must not look like one. */
static void output_that_cannot_be_written_ends_with_1(void **state)
{
    (void)state;
    static const char *const options[] = { "--print-config", "--check", "--help", "--version" };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const char *const arguments[] = { "-c", "exec \"$0\" \"$1\" > /dev/full", TEST_SKINKD, options[i], NULL };
        struct ended *ended = program_run("/bin/sh", arguments, NULL);
        assert_int_equal(ended->status, 1);
        assert_string_equal(ended->err, "skinkd: cannot write to standard output: No space left on device\n");
        free(ended);
    }
}

static void wrong_usage_ends_with_2(void **state)
{
    (void)state;
    static const char *const wrong[] = { "--frobnicate", "--config", "file.yaml", "-x" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct ended *ended = RUN(wrong[i]);
        assert_int_equal(ended->status, 2);
        assert_contains(ended->err, "skinkd: see skinkd --help\n");
        free(ended);
    }
}

static void check_tells_all_mistakes_and_ends_with_2(void **state)
{
    (void)state;
    static const char text[] = "loop:\n"
                               "  deadlok_timeout: 5s\n"
                               "  stack_size: 64\n"
                               "http.max_body: 1kb\n"
                               "http.max_body: 5mb\n"
                               "recovery: {max_strays: 5000}\n";
    char *file = temporary_file(text, strlen(text));
    const char *const environment[] = { "SKINK_LOOP_MAX_TASKS=many", NULL };
    struct ended *ended =
        skinkd_run((const char *const[]){ "--check", "--config", file, "--set", "a.b=c", NULL }, environment);
    assert_int_equal(ended->status, 2);
    assert_string_equal(ended->out, "");
    char expected[256];
    static const char *const places[] = { ":2:3: unknown key", ":3:15: loop.stack_size: \"64\" has no unit",
                                          ":5:1: http.max_body is set twice",
                                          ":6:24: recovery.max_strays: \"5000\" is" };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(expected, sizeof expected, "%s%s", file, places[i]);
        assert_contains(ended->err, expected);
    }
    assert_contains(ended->err, "environment SKINK_LOOP_MAX_TASKS: loop.max_tasks: \"many\" is not a number");
    assert_contains(ended->err, "--set: unknown key \"a.b\"");
    assert_contains(ended->err, "skinkd: 6 mistakes in the configuration\n");
    free(ended);
    ended = RUN("--config", file); /* without --check it is the same */
    assert_int_equal(ended->status, 2);
    free(ended);
    unlink(file);
    free(file);
}

static void texts_with_a_grammar_are_checked_too(void **state)
{
    (void)state;
    struct ended *ended = RUN("--check", "--set", "http.trusted_proxies=127.0.0.1, 10.0.0.0/40");
    assert_int_equal(ended->status, 2);
    assert_contains(ended->err, "--set: http.trusted_proxies: \"10.0.0.0/40\" is neither an address nor a network");
    free(ended);
    ended = RUN("--check", "--set", "http.server_header=sk\xc3\xadnk");
    assert_int_equal(ended->status, 2);
    assert_contains(ended->err, "http.server_header: ");
    free(ended);
}

static void the_server_header_and_the_trusted_proxies_are_configured(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "http.server_header=", "--set", "http.trusted_proxies=127.0.0.1");
    char *answer = http_get(server->http_port, "/hello");
    assert_null(strstr(answer, "\r\nServer:"));
    assert_non_null(strstr(answer, "\r\nX-Request-Id: "));
    free(answer);
    skinkd_free(server);
}

static void check_of_a_good_file_says_ok(void **state)
{
    (void)state;
    struct ended *ended = RUN("--check", "--config", TEST_SOURCE_DIR "/app/skinkd.yaml");
    assert_int_equal(ended->status, 0);
    assert_string_equal(ended->out, TEST_SOURCE_DIR "/app/skinkd.yaml: ok\n");
    assert_string_equal(ended->err, "");
    free(ended);
    ended = RUN("--check");
    assert_int_equal(ended->status, 0);
    assert_string_equal(ended->out, "configuration: ok\n");
    free(ended);
}

static void print_config_shows_values_and_origins(void **state)
{
    (void)state;
    const char *const environment[] = { "SKINK_LOOP_DEADLOCK_TIMEOUT=2s", NULL };
    struct ended *ended =
        skinkd_run((const char *const[]){ "--print-config", "--set", "http.max_body=3mb", NULL }, environment);
    assert_int_equal(ended->status, 0);
    assert_contains(ended->out,
                    "  deadlock_timeout: 2s                       # environment SKINK_LOOP_DEADLOCK_TIMEOUT\n");
    assert_contains(ended->out, "  max_body: 3mb                              # --set\n");
    assert_contains(ended->out, "  listen: 127.0.0.1:9464                     # default\n");
    free(ended);
}

static int listen_on_free_port(int *ret_port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void an_address_in_use_ends_with_1_and_is_named(void **state)
{
    (void)state;
    int port;
    int fd = listen_on_free_port(&port);
    char http[64], stats[64], said[128];
    snprintf(http, sizeof http, "http.listen=127.0.0.1:%d", port);
    snprintf(stats, sizeof stats, "stats.listen=127.0.0.1:%d", port);
    snprintf(said, sizeof said, "skinkd: cannot listen on 127.0.0.1:%d: address already in use; another program has it",
             port);

    struct ended *ended = RUN(FREE_PORTS, "--set", http);
    assert_int_equal(ended->status, 1);
    assert_contains(ended->err, said);
    assert_contains(ended->err, "(http.listen, from --set)\n");
    free(ended);

    ended = RUN(FREE_PORTS, "--set", stats);
    assert_int_equal(ended->status, 1);
    assert_contains(ended->err, said);
    assert_contains(ended->err, "(stats.listen, from --set)\n");
    free(ended);
    close(fd);
}

static void a_route_that_no_module_adds_ends_with_2(void **state)
{
    (void)state;
    static const char text[] = "routes:\n"
                               "  - {path: /stick, deadlock_timeout: 1s}\n"
                               "  - {path: /slep, deadlock_timeout: 1s}\n"
                               "  - {path: /elsewhere}\n";
    char *file = temporary_file(text, strlen(text));
    struct ended *ended = RUN(FREE_PORTS, "--config", file, "--module", TEST_DEMO_MODULE);
    assert_int_equal(ended->status, 2);
    assert_contains(ended->err, ":3:12: routes: no module adds a route /slep; did you mean /sleep?\n");
    assert_contains(ended->err,
                    ":4:12: routes: no module adds a route /elsewhere; expected one of: /hello, /echo, /sleep, "
                    "/stick, /spin\n");
    assert_null(strstr(ended->err, ":2:"));
    free(ended);
    ended = RUN(FREE_PORTS, "--config", file);
    assert_int_equal(ended->status, 2);
    assert_contains(ended->err, "is a --module missing?");
    free(ended);
    unlink(file);
    free(file);
}

/* --- the demo's routes --- */

static void check_get(const struct skinkd *server, const char *target, int status, const char *body)
{
    char *answer = http_get(server->http_port, target);
    if (http_status(answer) != status) print_error("%s: %s\n", target, answer);
    assert_int_equal(http_status(answer), status);
    if (body) assert_string_equal(http_body(answer), body);
    free(answer);
}

static void demo_routes_answer(void **state)
{
    (void)state;
    struct skinkd *server = START_PLAIN();
    check_get(server, "/hello", 200, "hello\n");
    uint64_t start = test_now_ns();
    check_get(server, "/sleep?ms=100", 200, "slept\n");
    assert_true(test_now_ns() - start >= test_ms(100));
    check_get(server, "/nowhere", 404, NULL);
    check_get(server, "/echo", 405, NULL);

    int fd = http_send(server->http_port, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/x-test\r\n"
                                          "Content-Length: 9\r\nConnection: close\r\n\r\nabc\n\x01\x02xyz");
    char *answer = http_finish(fd, 10000);
    assert_int_equal(http_status(answer), 200);
    assert_contains(answer, "text/x-test\r\n");
    assert_memory_equal(http_body(answer), "abc\n\x01\x02xyz", 9);
    free(answer);

    int stats = http_begin(server->stats_port, "GET", "/metrics");
    answer = http_finish(stats, 10000);
    assert_int_equal(http_status(answer), 200);
    free(answer);
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
    skinkd_free(server);
}

static void bad_parameters_get_400(void **state)
{
    (void)state;
    struct skinkd *server = START_PLAIN();
    static const char *const targets[] = {
        "/sleep",
        "/sleep?ms=",
        "/sleep?ms=x",
        "/sleep?ms=-1",
        "/sleep?ms=1.5",
        "/sleep?ms=1e3",
        "/sleep?ms=forever",
        "/sleep?ms=86400001",
        "/sleep?ms=99999999999999999999999",
        "/stick?how=pow",
        "/stick?ms=5&how=",
        "/stick?ms=x&how=sleep",
        "/stick?ms=86400001",
    };
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        check_get(server, targets[i], 400, NULL);
    assert_int_equal(skinkd_end(server, SIGINT, 10000), 0);
    skinkd_free(server);
}

static const char *const ways[] = { "sleep", "mutex", "read", "spin", "selfwait" };
#define WAY_COUNT (sizeof ways / sizeof *ways)

static void stick_each_way(const struct skinkd *server, unsigned ms)
{
    for (size_t i = 0; i + 1 < WAY_COUNT; i++) { /* selfwait, the last, ends by recovery only */
        char target[64], body[64];
        snprintf(target, sizeof target, "/stick?ms=%u&how=%s", ms, ways[i]);
        snprintf(body, sizeof body, "stuck: %s\n", ways[i]);
        uint64_t start = test_now_ns();
        check_get(server, target, 200, body);
        assert_true(test_now_ns() - start >= test_ms(ms));
    }
}

/* Each helper thread that nobody has joined keeps its stack, which is two mappings. */
static int mapping_count(const struct skinkd *server)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)server->pid);
    FILE *stream = fopen(path, "r");
    assert_non_null(stream);
    int count = 0;
    while (fgets(line, sizeof line, stream))
        count++;
    fclose(stream);
    return count;
}

/* Goal: below the timeout each way of sticking is only slow; nothing is left of it but its answer. */
static void short_sticks_answer_200_and_leave_nothing(void **state)
{
    (void)state;
    struct skinkd *server = START_PLAIN();
    stick_each_way(server, 100); /* what is opened at the first need is open now */
    int threads = test_thread_count(server->pid), descriptors = test_fd_count_but_code(server->pid);
    int mappings = mapping_count(server);
    for (int i = 0; i < 30; i++)
        stick_each_way(server, 1);
    test_wait_until(test_thread_count(server->pid) <= threads, 5000);
    test_wait_until(test_fd_count_but_code(server->pid) <= descriptors + 1, 5000);
    if (!TEST_TSAN) assert_true(mapping_count(server) < mappings + 30); /* it has mappings of its own for each thread */
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
    skinkd_free(server);
}

/* Goal: a stick longer than the timeout, but within the late window, gets its own answer; others go on meanwhile.
 * | /stick?ms=600 (timeout 200 ms, window 10 s) | /hello                |
 * | blocks the loop thread                      | waits for <= 200 ms + |
 * | declared stuck                              | 200                   |
 * | 200 after 600 ms                            |                       |
 * The first one is longer than the window that holds by default. */
static void long_sticks_answer_within_the_late_window(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "loop.deadlock_timeout=200ms", "--set", "quarantine.strikes=0", "--set",
                                  "recovery.late_window=10s", "--set", "detection.mode=off");
    for (size_t i = 0; i < WAY_COUNT; i++) {
        char target[64];
        snprintf(target, sizeof target, "/stick?ms=%d&how=%s", i ? 600 : 1600, ways[i]);
        int stuck = http_begin(server->http_port, "GET", target);
        check_get(server, "/hello", 200, "hello\n");
        char *answer = http_finish(stuck, 10000);
        if (http_status(answer) != 200) print_error("%s: %s\n", target, answer);
        assert_int_equal(http_status(answer), 200);
        free(answer);
    }
    check_get(server, "/stick?how=selfwait", 200, "stuck: selfwait\n");
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 0);
    skinkd_free(server);
}

static void endless_sticks_get_503_and_others_go_on(void **state)
{
    (void)state;
    struct skinkd *server =
        START("--set", "loop.deadlock_timeout=200ms", "--set", "quarantine.strikes=0", "--set",
              "recovery.late_window=100ms", "--set", "detection.mode=off", "--set", "shutdown.grace=1s");
    static const char *const targets[] = { "/stick", "/stick?how=mutex", "/stick?ms=forever&how=read",
                                           "/stick?ms=forever&how=selfwait" };
    int sleeping = http_begin(server->http_port, "GET", "/sleep?ms=1500");
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        int stuck = http_begin(server->http_port, "GET", targets[i]);
        char *answer = http_finish(stuck, 10000);
        if (http_status(answer) != 503) print_error("%s: %s\n", targets[i], answer);
        assert_int_equal(http_status(answer), 503);
        assert_contains(http_body(answer), "\"error\":true");
        assert_contains(http_body(answer), "\"incident\":\"");
        free(answer);
        check_get(server, "/hello", 200, "hello\n");
    }
    char *answer = http_finish(sleeping, 10000);
    assert_int_equal(http_status(answer), 200);
    free(answer);
    assert_true(skinkd_says(server, "event=deadlock", 1000));
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 3); /* four threads are stuck for ever, and yet it ends */
    assert_contains(server->err, "event=stopped status=3");
    skinkd_free(server);
}

static void an_endless_loop_is_left_behind(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "loop.deadlock_timeout=200ms", "--set", "recovery.late_window=10ms", "--set",
                                  "shutdown.grace=1s");
    check_get(server, "/spin", 503, NULL);
    check_get(server, "/hello", 200, "hello\n");
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 3);
    skinkd_free(server);
}

static void a_route_can_have_its_own_timeout(void **state)
{
    (void)state;
    static const char text[] = "loop.deadlock_timeout: 1m\n"
                               "recovery.late_window: 10ms\n"
                               "routes:\n"
                               "  - path: /stick\n"
                               "    deadlock_timeout: 100ms\n"
                               "  - path: /hello\n";
    char *file = temporary_file(text, strlen(text));
    struct skinkd *server = START("--config", file);
    unlink(file);
    free(file);
    check_get(server, "/stick?ms=1000", 503, NULL);
    check_get(server, "/hello", 200, "hello\n");
    assert_true(skinkd_says(server, "event=deadlock", 1000));
    skinkd_free(server);
}

/* --- signals --- */

static void requests_in_flight_finish_after_sigterm(void **state)
{
    (void)state;
    struct skinkd *server = START_PLAIN();
    int sleeping = http_begin(server->http_port, "GET", "/sleep?ms=1000");
    check_get(server, "/hello", 200, "hello\n"); /* so the one before has arrived */
    assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
    char *answer = http_finish(sleeping, 5000);
    assert_int_equal(http_status(answer), 200);
    assert_string_equal(http_body(answer), "slept\n");
    free(answer);
    assert_contains(server->err, "event=stopping signal=TERM");
    assert_contains(server->err, "event=stopped status=0");
    skinkd_free(server);
}

static void sigterm_while_the_loop_thread_is_stuck_ends_all_the_same(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "shutdown.grace=2s"); /* nothing is declared before the stop */
    int stuck = http_begin(server->http_port, "GET", "/stick");
    int behind = http_begin(server->http_port, "GET", "/hello");
    struct pollfd answered = { .fd = behind, .events = POLLIN };
    assert_int_equal(poll(&answered, 1, 300), 0); /* the loop thread is stuck */
    close(behind);
    char *answer = http_finish(http_begin(server->stats_port, "GET", "/health"), 5000); /* the stats side lives on */
    assert_int_equal(http_status(answer), 200);
    free(answer);
    assert_int_equal(skinkd_end(server, SIGTERM, 30000), 3);
    close(stuck);
    skinkd_free(server);
}

static void a_second_signal_ends_at_once(void **state)
{
    (void)state;
    struct skinkd *server = START_PLAIN();
    int stuck = http_begin(server->http_port, "GET", "/sleep?ms=60000");
    check_get(server, "/hello", 200, "hello\n");
    kill(server->pid, SIGTERM);
    assert_true(skinkd_says(server, "event=stopping", 5000));
    test_wait_until(skinkd_end(server, SIGINT, 200) == 3, 5000); /* far less than the grace of the first */
    close(stuck);
    skinkd_free(server);
}

/* Else a socket or the loop's wake-up has the number of stderr, and what is said there goes into it. */
static void closed_standard_descriptors_are_not_taken(void **state)
{
    (void)state;
    char *log = temporary_file("", 0), file_setting[64], path[64], target[64];
    snprintf(file_setting, sizeof file_setting, "log.file=%s", log);
    const char *const arguments[] = {
        "-c", "exec \"$0\" \"$@\" <&- >&- 2>&-", TEST_SKINKD, FREE_PORTS, "--set", file_setting, NULL
    };
    struct skinkd *server = program_start("/bin/sh", arguments);
    test_wait_until(file_says(log, "event=started"), 10000);
    for (int fd = 0; fd <= 2; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)server->pid, fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        assert_string_equal(target, "/dev/null");
    }
    assert_int_equal(skinkd_end(server, SIGINT, 10000), 0);
    skinkd_free(server);
    unlink(log);
    free(log);
}

/* Goal: whoever reads the log may stop reading, and requests are answered all the same. */
static void a_log_that_nobody_reads_stops_nothing(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "loop.deadlock_timeout=20ms", "--set", "quarantine.strikes=0", "--set",
                                  "recovery.burst=0", "--set", "recovery.late_window=10s");
    assert_true(fcntl(server->err_fd, F_SETPIPE_SZ, 4096) >= 0);
    for (int i = 0; i < 20; i++) /* each writes a line or more; nothing is read from the pipe meanwhile */
        check_get(server, "/stick?ms=60", 200, NULL);
    check_get(server, "/hello", 200, "hello\n");
    (void)skinkd_says(server, "event=log_dropped", 0); /* makes room; who logs next says it, which may be at once */
    assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
    assert_contains(server->err, "event=log_dropped lines=");
    skinkd_free(server);
}

static void a_log_whose_reader_is_gone_stops_nothing(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "loop.deadlock_timeout=20ms", "--set", "recovery.late_window=10s");
    close(server->err_fd);
    server->err_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    check_get(server, "/stick?ms=60", 200, NULL); /* is logged, or tried to be */
    check_get(server, "/hello", 200, "hello\n");
    assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
    skinkd_free(server);
}

static void a_client_that_hangs_up_harms_nobody(void **state)
{
    (void)state;
    struct skinkd *server = START_PLAIN();
    for (int i = 0; i < 20; i++) {
        int fd = http_begin(server->http_port, "GET", "/sleep?ms=50");
        struct linger reset = { .l_onoff = 1 };
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd);
    }
    check_get(server, "/sleep?ms=200", 200, "slept\n");
    assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
    skinkd_free(server);
}

static const struct test_case cases[] = {
    CASE(version_and_help_end_with_0),
    CASE(output_that_cannot_be_written_ends_with_1),
    CASE(wrong_usage_ends_with_2),
    CASE(check_tells_all_mistakes_and_ends_with_2),
    CASE(texts_with_a_grammar_are_checked_too),
    CASE(the_server_header_and_the_trusted_proxies_are_configured),
    CASE(check_of_a_good_file_says_ok),
    CASE(print_config_shows_values_and_origins),
    CASE(an_address_in_use_ends_with_1_and_is_named),
    CASE(a_route_that_no_module_adds_ends_with_2),
    CASE(demo_routes_answer),
    CASE(bad_parameters_get_400),
    CASE(short_sticks_answer_200_and_leave_nothing),
    CASE(long_sticks_answer_within_the_late_window),
    CASE(endless_sticks_get_503_and_others_go_on),
    CASE(an_endless_loop_is_left_behind),
    CASE(a_route_can_have_its_own_timeout),
    CASE(requests_in_flight_finish_after_sigterm),
    CASE(sigterm_while_the_loop_thread_is_stuck_ends_all_the_same),
    CASE(a_second_signal_ends_at_once),
    CASE(closed_standard_descriptors_are_not_taken),
    CASE(a_log_that_nobody_reads_stops_nothing),
    CASE(a_log_whose_reader_is_gone_stops_nothing),
    CASE(a_client_that_hangs_up_harms_nobody),
};
TEST_MAIN(cases, NULL, NULL)
