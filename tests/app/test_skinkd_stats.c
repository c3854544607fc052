/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd_stats.c - who may ask skinkd how it is, and what it says of its own health. */
#include "config_fixture.h"
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int get_status(int port, const char *target, const char *token)
{
    char request[512];
    snprintf(request, sizeof request,
             "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n", target, token);
    char *answer = http_finish(http_send(port, request), 10000);
    int status = http_status(answer);
    free(answer);
    return status;
}

static void a_token_file_guards_the_metrics(void **state)
{
    (void)state;
    char *file = temporary_file("  tok-en_123 \nsecond line\n", 26), setting[512];
    chmod(file, 0600);
    snprintf(setting, sizeof setting, "stats.token_file=%s", file);
    struct skinkd *server = START("--set", setting);
    assert_int_equal(get_status(server->stats_port, "/metrics", "tok-en_123"), 200);
    assert_int_equal(get_status(server->stats_port, "/metrics", "tok-en_12"), 401);
    assert_int_equal(get_status(server->stats_port, "/health/live", "none"), 200);
    assert_int_equal(get_status(server->http_port, "/hello", "none"), 200);
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
    assert_null(strstr(server->err, "event=token_readable"));
    assert_null(strstr(server->err, "tok-en_123"));
    skinkd_free(server);
    chmod(file, 0644);
    server = START("--set", setting);
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
    assert_non_null(strstr(server->err, "event=token_readable"));
    skinkd_free(server);
    unlink(file);
    free(file);
}

static void a_token_file_without_a_token_ends_with_1_and_says_what_is_in_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *said;
    } wrong[] = { { "", "its first line is empty" },
                  { "\nabc\n", "its first line is empty" },
                  { "a b\n", "expected visible characters without blanks between them" } };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *file = temporary_file(wrong[i].text, strlen(wrong[i].text)), setting[512];
        snprintf(setting, sizeof setting, "stats.token_file=%s", file);
        struct ended *ended =
            RUN("--set", "http.listen=127.0.0.1:0", "--set", "stats.listen=127.0.0.1:0", "--set", setting);
        assert_int_equal(ended->status, 1);
        assert_non_null(strstr(ended->err, wrong[i].said));
        free(ended);
        unlink(file);
        free(file);
    }
    struct ended *ended = RUN("--set", "http.listen=127.0.0.1:0", "--set", "stats.token_file=/nowhere/at/all");
    assert_int_equal(ended->status, 1);
    assert_non_null(strstr(ended->err, "stats.token_file: /nowhere/at/all: No such file or directory"));
    free(ended);
}

static void a_stats_endpoint_for_everybody_is_warned_of(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "stats.listen=0.0.0.0:0");
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
    assert_non_null(strstr(server->err, "level=warning event=stats_exposed address=0.0.0.0:0"));
    skinkd_free(server);
    server = START_PLAIN();
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
    assert_null(strstr(server->err, "event=stats_exposed"));
    skinkd_free(server);
}

static void health_turns_bad_with_the_memory(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "health.max_rss=1kb", "--set", "stats.max_connections=5");
    assert_int_equal(get_status(server->stats_port, "/health/live", ""), 503);
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
    skinkd_free(server);
}

static const struct test_case cases[] = {
    CASE(a_token_file_guards_the_metrics),
    CASE(a_token_file_without_a_token_ends_with_1_and_says_what_is_in_its_place),
    CASE(a_stats_endpoint_for_everybody_is_warned_of),
    CASE(health_turns_bad_with_the_memory),
};
TEST_MAIN(cases, NULL, NULL)
