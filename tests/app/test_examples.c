/* SPDX-License-Identifier: MIT */
/* tests/app/test_examples.c - the examples do what their comments say. */
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXAMPLES TEST_BINARY_DIR "/examples/"

/* The number behind `text` in what the program has written. */
static int number_behind(struct skinkd *program, const char *text)
{
    assert_true(skinkd_says(program, text, 10000));
    assert_true(skinkd_says(program, "\n", 10000));
    return atoi(strstr(program->err, text) + strlen(text));
}

static void core_ends_by_itself(void **state)
{
    (void)state;
    struct ended *ended = program_run(EXAMPLES "core", (const char *const[]){ NULL }, NULL);
    assert_int_equal(ended->status, 0);
    assert_string_equal(ended->out, "oven: hot\ncook: has milk\noven: done\ncook: serves cake and milk\n");
    free(ended);
}

static void deadlines_end_the_slow_one(void **state)
{
    (void)state;
    uint64_t start = test_now_ns();
    struct ended *ended = program_run(EXAMPLES "deadlines", (const char *const[]){ NULL }, NULL);
    assert_int_equal(ended->status, 0);
    assert_string_equal(ended->out, "quick: found\nslow: the deadline passed first\n"
                                    "shaky: answers after 3 attempts\nfirst: the pool\n");
    assert_true(test_now_ns() - start < test_ms(test_patience(10000)));
    free(ended);
}

static void middleware_keeps_strangers_out(void **state)
{
    (void)state;
    struct ended *ended = program_run(EXAMPLES "middleware", (const char *const[]){ NULL }, NULL);
    assert_int_equal(ended->status, 0);
    assert_string_equal(ended->out, "401 Bearer\n200 hello, key-1\n");
    assert_non_null(strstr(ended->err, "/private/hello took "));
    free(ended);
}

static void embed_serves_two_routes(void **state)
{
    (void)state;
    struct skinkd *program = program_start(EXAMPLES "embed", (const char *const[]){ "127.0.0.1:0", NULL });
    int port = number_behind(program, "listening on port ");
    char *answer = http_get(port, "/hello");
    assert_int_equal(http_status(answer), 200);
    assert_string_equal(http_body(answer), "hello\n");
    free(answer);
    uint64_t start = test_now_ns();
    answer = http_get(port, "/wait");
    assert_string_equal(http_body(answer), "a second later\n");
    assert_true(test_now_ns() - start >= test_ms(1000));
    free(answer);
    int waits = http_begin(port, "GET", "/wait");
    free(http_get(port, "/hello")); /* the loop has the other one by now, and the end lets it finish */
    assert_int_equal(skinkd_end(program, SIGTERM, 10000), 0);
    answer = http_finish(waits, 5000);
    assert_string_equal(http_body(answer), "a second later\n");
    free(answer);
    skinkd_free(program);
}

static void embed_ends_with_what_it_has_begun(void **state)
{
    (void)state;
    struct skinkd *program = program_start(EXAMPLES "embed", (const char *const[]){ "127.0.0.1:0", NULL });
    int port = number_behind(program, "listening on port ");
    int fd = http_begin(port, "GET", "/wait");
    free(http_get(port, "/hello")); /* by now the other one has begun */
    assert_int_equal(skinkd_end(program, SIGTERM, 10000), 0);
    char *answer = http_finish(fd, 5000);
    assert_int_equal(http_status(answer), 200);
    free(answer);
    skinkd_free(program);
}

static void embed_says_why_it_cannot_start(void **state)
{
    (void)state;
    struct ended *ended = program_run(EXAMPLES "embed", (const char *const[]){ "nowhere", NULL }, NULL);
    assert_int_equal(ended->status, 1);
    assert_string_equal(ended->err, "cannot start: invalid argument\n");
    free(ended);
}

static int udp_begin(struct skinkd **ret_program, struct sockaddr_in *ret_address)
{
    *ret_program = program_start(EXAMPLES "uv_handles", (const char *const[]){ "0", NULL });
    *ret_address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    ret_address->sin_port = htons((uint16_t)number_behind(*ret_program, "UDP port "));
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    return fd;
}

/* UDP may lose a datagram, so it is sent until an answer comes. */
static void udp_echo_answers_in_capitals(void **state)
{
    (void)state;
    struct skinkd *program;
    struct sockaddr_in address;
    int fd = udp_begin(&program, &address);
    char answer[64] = "";
    uint64_t deadline_ns = test_deadline_ns(10000);
    ssize_t got = -1;
    while (got < 0 && test_now_ns() < deadline_ns) {
        (void)!sendto(fd, "hello", 5, 0, (struct sockaddr *)&address, sizeof address);
        for (int i = 0; i < 50 && got < 0; i++, test_nap())
            got = recv(fd, answer, sizeof answer - 1, 0);
    }
    assert_int_equal(got, 5);
    assert_string_equal(answer, "HELLO");
    close(fd);
    assert_int_equal(skinkd_end(program, SIGTERM, 10000), 0);
    skinkd_free(program);
}

/* A hundred tasks have an answer for a socket that is closed before they have their turn. */
static void udp_echo_ends_in_the_midst_of_work(void **state)
{
    (void)state;
    struct skinkd *program;
    struct sockaddr_in address;
    int fd = udp_begin(&program, &address);
    assert_int_equal(kill(program->pid, SIGSTOP), 0);
    for (int i = 0; i < 100; i++)
        (void)!sendto(fd, "hello", 5, 0, (struct sockaddr *)&address, sizeof address);
    close(fd);
    assert_int_equal(kill(program->pid, SIGTERM), 0);
    assert_int_equal(skinkd_end(program, SIGCONT, 10000), 0);
    skinkd_free(program);
}

static const struct test_case cases[] = {
    CASE(core_ends_by_itself),          CASE(deadlines_end_the_slow_one),         CASE(middleware_keeps_strangers_out),
    CASE(embed_serves_two_routes),      CASE(embed_ends_with_what_it_has_begun),  CASE(embed_says_why_it_cannot_start),
    CASE(udp_echo_answers_in_capitals), CASE(udp_echo_ends_in_the_midst_of_work),
};
TEST_MAIN(cases, NULL, NULL)
