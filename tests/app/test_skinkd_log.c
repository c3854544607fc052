/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd_log.c - the log of requests and files of logs, with the real skinkd. */
#include "config_fixture.h"
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char text[1 << 20];

static const char *read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[length < 0 ? 0 : length] = '\0';
    if (fd >= 0) close(fd);
    return text;
}

static int count(const char *in, const char *what)
{
    int n = 0;
    for (const char *at = in; (at = strstr(at, what)); at += strlen(what))
        n++;
    return n;
}

static void get(int port, const char *target)
{
    free(http_get(port, target));
}

/* A number of the line of requests to this path; -1 without. */
static double field(const char *log, const char *path, const char *name)
{
    char part[128];
    snprintf(part, sizeof part, " path=%s ", path);
    const char *line = strstr(log, part);
    snprintf(part, sizeof part, " %s=", name);
    const char *found = line ? strstr(line, part) : NULL;
    return found ? strtod(found + strlen(part), NULL) : -1;
}

static bool has_outcome(const char *log, const char *path, const char *outcome)
{
    char part[128], expected[64];
    snprintf(part, sizeof part, " path=%s ", path);
    snprintf(expected, sizeof expected, " outcome=%s\n", outcome);
    const char *line = strstr(log, part), *end = line ? strchr(line, '\n') : NULL;
    const char *found = line ? strstr(line, expected) : NULL;
    return found && found < end;
}

static void each_request_has_one_line_with_its_outcome(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "log.access=yes", "--set", "loop.deadlock_timeout=300ms", "--set",
                                  "recovery.late_window=20s", "--set", "quarantine.strikes=0");
    free(http_finish(http_send(server->http_port,
                               "GET /hello HTTP/1.1\r\nHost: a\r\nX-Request-Id: my-id\r\nConnection: close\r\n\r\n"),
                     5000));
    get(server->http_port, "/nowhere%0aevent=forged");
    get(server->http_port, "/sleep?ms=200&secret=1");
    get(server->http_port, "/stick?ms=450&how=sleep"); /* late, and yet in the window */
    free(http_finish(http_send(server->http_port, "BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n"), 5000));
    int leaving = http_begin(server->http_port, "GET", "/sleep/");
    close(leaving);
    leaving = http_begin(server->http_port, "GET", "/sleep?ms=60000");
    get(server->http_port, "/hello"); /* so it has arrived */
    struct linger reset = { .l_onoff = 1 };
    setsockopt(leaving, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(leaving);
    assert_true(skinkd_says(server, "outcome=client_gone", 5000));
    assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
    const char *log = server->err;
    assert_int_equal(count(log, " event=request "), 8);
    assert_int_equal(count(log, "\nevent=forged"), 0);
    assert_non_null(
        strstr(log, " event=request id=my-id index=1 client=127.0.0.1 method=GET path=/hello status=200 bytes="));
    assert_non_null(strstr(log, " path=\"/nowhere\\nevent=forged\" status=404 "));
    assert_null(strstr(log, "secret"));
    assert_true(has_outcome(log, "/hello", "ok"));
    assert_true(has_outcome(log, "/stick", "late_answer"));
    assert_true(field(log, "/stick", "run_s") >= 0.45); /* it did not suspend */
    assert_true(field(log, "/stick", "wall_s") >= 0.45);
    assert_true(field(log, "/sleep", "wall_s") >= 0.2);
    assert_true(field(log, "/sleep", "wall_s") - field(log, "/sleep", "run_s") >= 0.19); /* it did nothing else */
    assert_true(field(log, "/hello", "bytes") > 50);
    assert_int_equal(count(log, "outcome=client_gone"), 1);
    assert_int_equal(count(log, "outcome=rejected"), 1);
    skinkd_free(server);
}

static void a_deadlock_is_an_outcome_and_json_can_be_read(void **state)
{
    (void)state;
    const char *const arguments[] = { "--set", "http.listen=127.0.0.1:0",   "--set",    "stats.listen=127.0.0.1:0",
                                      "--set", "shutdown.delay=0s",         "--set",    "log.access=yes",
                                      "--set", "log.format=json",           "--set",    "loop.deadlock_timeout=200ms",
                                      "--set", "recovery.late_window=10ms", "--module", TEST_DEMO_MODULE,
                                      NULL };
    struct skinkd *server = program_start(TEST_SKINKD, arguments);
    assert_true(skinkd_says(server, "\"event\":\"started\"", 10000));
    server->http_port = atoi(strstr(strstr(server->err, "\"what\":\"http\""), "\"port\":\"") + 8);
    get(server->http_port, "/stick?ms=600&how=sleep");
    assert_true(skinkd_says(server, "\"outcome\":\"deadlock\"", 5000));
    int status = skinkd_end(server, SIGTERM, 15000);
    assert_true(status == 0 || status == 3);
    char *next = server->err;
    int lines = 0;
    for (char *line; (line = strsep(&next, "\n")) && *line; lines++) {
        json_error_t error;
        json_t *object = json_loads(line, 0, &error);
        if (!object) print_error("%s\n", line);
        assert_non_null(object);
        assert_non_null(json_object_get(object, "time"));
        assert_true(json_object_get(object, "event") || json_object_get(object, "message")); /* a report's */
        json_decref(object);
    }
    assert_true(lines >= 5);
    skinkd_free(server);
}

static char *make_folder(void)
{
    char *folder = strdup("/tmp/skink-log-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return folder;
}

/* Goal: logrotate's two ways: move away and signal, or copy and truncate. */
static void files_are_reopened_and_appended_to(void **state)
{
    (void)state;
    char *folder = make_folder(), file[64], access[64], moved[64], file_setting[96], access_setting[96];
    snprintf(file, sizeof file, "%s/events", folder);
    snprintf(access, sizeof access, "%s/access", folder);
    snprintf(moved, sizeof moved, "%s/access.1", folder);
    snprintf(file_setting, sizeof file_setting, "log.file=%s", file);
    snprintf(access_setting, sizeof access_setting, "log.access_file=%s", access);
    const char *const arguments[] = { "--set",    "http.listen=127.0.0.1:0",
                                      "--set",    "stats.listen=127.0.0.1:0",
                                      "--set",    "shutdown.delay=0s",
                                      "--set",    "log.access=yes",
                                      "--set",    file_setting,
                                      "--set",    access_setting,
                                      "--module", TEST_DEMO_MODULE,
                                      NULL };
    struct skinkd *server = program_start(TEST_SKINKD, arguments);
    test_wait_until(strstr(read_file(file), "event=started"), 10000);
    const char *port = strstr(strstr(text, "what=http"), " port=");
    int http_port = atoi(port + 6);
    get(http_port, "/hello");
    test_wait_until(count(read_file(access), "event=request") == 1, 5000);
    assert_int_equal(rename(access, moved), 0);
    kill(server->pid, SIGUSR1);
    struct stat status;
    test_wait_until(stat(access, &status) == 0, 5000);
    get(http_port, "/hello");
    test_wait_until(count(read_file(access), "event=request") == 1, 5000);
    assert_int_equal(count(read_file(moved), "event=request"), 1);
    assert_int_equal(truncate(access, 0), 0); /* copytruncate */
    get(http_port, "/hello");
    test_wait_until(count(read_file(access), "event=request") == 1, 5000);
    assert_int_equal(text[0], 't'); /* "time=": no hole of zeros in front */
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
    assert_non_null(strstr(read_file(file), "event=stopped status=0"));
    assert_string_equal(server->err, "");
    skinkd_free(server);
    unlink(file), unlink(access), unlink(moved), rmdir(folder);
    free(folder);
}

static void a_full_disk_is_said_once_and_stops_nothing(void **state)
{
    (void)state;
    if (access("/dev/full", W_OK) != 0) test_skip("there is no /dev/full");
    struct skinkd *server = START("--set", "log.access=yes", "--set", "log.access_file=/dev/full");
    for (int i = 0; i < 20; i++)
        get(server->http_port, "/hello");
    assert_true(skinkd_says(server, "skinkd: cannot write the log /dev/full: No space left on device\n", 5000));
    char *answer = http_get(server->stats_port, "/metrics");
    assert_null(strstr(answer, "\nskinkd_log_lines_dropped_total 0\n"));
    assert_non_null(strstr(answer, "\nskinkd_log_lines_dropped_total "));
    free(answer);
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
    assert_int_equal(count(server->err, "cannot write the log"), 1);
    skinkd_free(server);
}

static void a_log_that_cannot_be_opened_ends_with_1(void **state)
{
    (void)state;
    struct ended *ended = RUN("--set", "log.file=/nowhere/at/all");
    assert_int_equal(ended->status, 1);
    assert_string_equal(ended->err, "skinkd: cannot open the log /nowhere/at/all: No such file or directory\n");
    free(ended);
}

/* Goal: whoever reads the log of requests may stop reading, and requests are answered all the same. */
static void a_reader_that_stops_costs_lines_and_nothing_else(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "log.access=yes");
    assert_true(fcntl(server->err_fd, F_SETPIPE_SZ, 4096) >= 0);
    for (int i = 0; i < 200; i++)
        get(server->http_port, "/hello");
    char *answer = http_get(server->stats_port, "/metrics");
    assert_null(strstr(answer, "\nskinkd_log_lines_dropped_total 0\n"));
    free(answer);
    assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
    assert_non_null(strstr(server->err, "event=log_dropped lines="));
    skinkd_free(server);
}

static void the_level_decides_and_can_be_changed(void **state)
{
    (void)state;
    static const char quiet[] = "log.level: error\n";
    char *file = temporary_file("", 0);
    struct skinkd *server = START("--config", file);
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, quiet, sizeof quiet - 1), (ssize_t)sizeof quiet - 1);
    close(fd);
    kill(server->pid, SIGHUP);
    char *answer;
    do
        answer = http_get(server->stats_port, "/metrics");
    while (!strstr(answer, "\nskinkd_reloads_total 1\n") && (free(answer), true));
    free(answer);
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
    assert_null(strstr(server->err, "event=stopped"));
    skinkd_free(server);
    unlink(file);
    free(file);
}

/* Goal: no name of a file can put a field into the log, or take one out of it. */
static void paths_with_quotes_stay_one_value(void **state)
{
    (void)state;
    char folder[] = "/tmp/skink-log-XXXXXX", module[128], listen[160];
    assert_non_null(mkdtemp(folder));
    snprintf(module, sizeof module, "%s/a\" level=\"error\\.so", folder);
    snprintf(listen, sizeof listen, "http.listen=unix:%s/b c=d", folder);
    assert_int_equal(symlink(TEST_DEMO_MODULE, module), 0);
    for (int json = 0; json < 2; json++) {
        struct skinkd *server = program_start(
            TEST_SKINKD, (const char *const[]){ "--module", module, "--set", listen, "--set",
                                                "stats.listen=127.0.0.1:0", "--set", "shutdown.delay=0s", "--set",
                                                json ? "log.format=json" : "log.format=logfmt", NULL });
        assert_true(skinkd_says(server, json ? "\"started\"" : "event=started", 5000));
        char expected[256];
        snprintf(expected, sizeof expected,
                 json ? "\"event\":\"module_loaded\",\"file\":\"%s/a\\\" level=\\\"error\\\\.so\"}\n"
                      : " event=module_loaded file=\"%s/a\\\" level=\\\"error\\\\.so\"\n",
                 folder);
        assert_true(skinkd_says(server, expected, 5000));
        snprintf(expected, sizeof expected, json ? "\"address\":\"unix:%s/b c=d\"}\n" : " address=\"unix:%s/b c=d\"\n",
                 folder);
        assert_true(skinkd_says(server, expected, 5000));
        assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
        skinkd_free(server);
    }
    unlink(module);
    rmdir(folder);
}

static const struct test_case cases[] = {
    CASE(each_request_has_one_line_with_its_outcome), CASE(a_deadlock_is_an_outcome_and_json_can_be_read),
    CASE(files_are_reopened_and_appended_to),         CASE(a_full_disk_is_said_once_and_stops_nothing),
    CASE(a_log_that_cannot_be_opened_ends_with_1),    CASE(a_reader_that_stops_costs_lines_and_nothing_else),
    CASE(the_level_decides_and_can_be_changed),       CASE(paths_with_quotes_stay_one_value),
};
TEST_MAIN(cases, NULL, NULL)
