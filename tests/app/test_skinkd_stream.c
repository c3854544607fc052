/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd_stream.c - long answers and long bodies with the real server, and how it dies of a crash. */
#include "loop/sanitizer.h"
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BIG_BYTES = 64 * 1024 * 1024, BOUND_BYTES = 8 * 1024 * 1024 };

static size_t resident_bytes(pid_t pid)
{
    char path[64];
    size_t total, resident = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%zu %zu", &total, &resident), 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* Read to the end; how many bytes there were behind the head. */
static size_t body_bytes(int fd)
{
    static char bytes[65536];
    size_t head = 0, total = 0;
    char recent[4] = "";
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0) {
        for (ssize_t i = 0; i < n && !head; i++) {
            memmove(recent, recent + 1, 3);
            recent[3] = bytes[i];
            if (memcmp(recent, "\r\n\r\n", 4) == 0) head = total + (size_t)i + 1;
        }
        total += (size_t)n;
    }
    assert_int_equal(n, 0);
    close(fd);
    return total - head;
}

static void a_long_answer_and_a_long_body_take_little_memory(void **state)
{
    (void)state;
    struct skinkd *server = START("--module", TEST_TOUR_MODULE);
    free(http_get(server->http_port, "/hello"));
    size_t before = resident_bytes(server->pid);
    char request[160];
    snprintf(request, sizeof request, "GET /stream?bytes=%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
             BIG_BYTES);
    int fd = http_send(server->http_port, request);
    /* Nothing is read for a while: it has to wait. */
    uint64_t until = test_now_ns() + test_ms(200);
    while (test_now_ns() < until)
        test_nap();
    free(http_get(server->http_port, "/hello"));
    size_t waiting = resident_bytes(server->pid);
    assert_int_equal(body_bytes(fd), BIG_BYTES);
    if (!(SKINK__ASAN || SKINK__TSAN)) assert_true(waiting < before + BOUND_BYTES);

    snprintf(request, sizeof request,
             "PUT /upload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", BIG_BYTES);
    fd = http_send(server->http_port, request);
    static char zeros[65536];
    for (size_t sent = 0; sent < BIG_BYTES;) {
        ssize_t n = send(fd, zeros, sizeof zeros < BIG_BYTES - sent ? sizeof zeros : BIG_BYTES - sent, MSG_NOSIGNAL);
        assert_true(n > 0);
        sent += (size_t)n;
    }
    char *answer = http_finish(fd, 10000);
    assert_int_equal(http_status(answer), 200);
    assert_string_equal(http_body(answer), "67108864 bytes\n");
    free(answer);
    if (!(SKINK__ASAN || SKINK__TSAN)) assert_true(resident_bytes(server->pid) < before + BOUND_BYTES);
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
    skinkd_free(server);
}

static void a_stack_overflow_is_reported_with_its_route(void **state)
{
    (void)state;
    struct skinkd *server = START("--module", TEST_BINARY_DIR "/tests/modules/overflow.so");
    int fd = http_begin(server->http_port, "GET", "/overflow");
    assert_true(skinkd_says(server, "event=crash signal=SIGSEGV reason=stack_overflow address=0x", 10000));
    assert_true(skinkd_says(server, " task=\"GET /overflow\" request=", 10000));
    int status = skinkd_end(server, 0, 10000);
    if (!(SKINK__ASAN || SKINK__TSAN)) assert_int_equal(status, 128 + SIGSEGV);
    close(fd);
    skinkd_free(server);
}

static const struct test_case cases[] = {
    CASE(a_long_answer_and_a_long_body_take_little_memory),
    CASE(a_stack_overflow_is_reported_with_its_route),
};
TEST_MAIN(cases, NULL, NULL)
