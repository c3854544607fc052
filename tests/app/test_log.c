/* SPDX-License-Identifier: MIT */
/* tests/app/test_log.c - log lines: their form, and that no reader, however slow, makes the writer wait. */
#include "app/log.h"
#include "app/log_ring.h"
#include "config_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Read what is there, without waiting. */
static size_t drain(int fd, char *text, size_t size)
{
    size_t length = 0;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    for (ssize_t got; length + 1 < size && (got = read(fd, text + length, size - 1 - length)) > 0;)
        length += (size_t)got;
    text[length] = '\0';
    return length;
}

static void a_line_has_time_level_and_text(void **state)
{
    (void)state;
    int ends[2];
    char text[4096];
    assert_int_equal(pipe(ends), 0);
    skink__log_open(ends[1]);
    struct timespec before, after; /* not time(), whose clock is behind this one by up to a tick */
    clock_gettime(CLOCK_REALTIME, &before);
    skink__log_hook(SKINK_LOG_WARNING, "event=test a=1", NULL);
    clock_gettime(CLOCK_REALTIME, &after);
    drain(ends[0], text, sizeof text);
    char first[64], last[64];
    struct tm broken;
    strftime(first, sizeof first, "time=%Y-%m-%dT%H:%M:%S", gmtime_r(&before.tv_sec, &broken));
    strftime(last, sizeof last, "time=%Y-%m-%dT%H:%M:%S", gmtime_r(&after.tv_sec, &broken));
    assert_true(strncmp(text, first, strlen(first)) >= 0 && strncmp(text, last, strlen(last)) <= 0);
    assert_string_equal(text + strlen(first) + 4, "Z level=warning event=test a=1\n");
}

static void long_lines_are_cut_and_stay_one_line(void **state)
{
    (void)state;
    int ends[2];
    char text[4096], line[3000];
    assert_int_equal(pipe(ends), 0);
    skink__log_open(ends[1]);
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    skink__log_hook(SKINK_LOG_INFO, line, NULL);
    size_t length = drain(ends[0], text, sizeof text);
    assert_true(length < 1200);
    assert_int_equal(text[length - 1], '\n');
    assert_ptr_equal(strchr(text, '\n'), text + length - 1);
}

/* Goal: nobody reads. Every call returns, what does not fit is counted, and the count is told when there is room. */
static void check_full(int reader, int writer)
{
    static char text[1 << 20];
    skink__log_open(writer);
    uint64_t before = skink__log_dropped(), start = test_now_ns();
    for (int i = 0; i < 20000; i++)
        skink__log_line(SKINK_LOG_INFO, "event=flood number=%d", i);
    assert_true(test_now_ns() - start < test_ms(test_patience(10000)));
    uint64_t dropped = skink__log_dropped() - before;
    assert_true(dropped > 0);
    drain(reader, text, sizeof text);
    assert_null(strstr(text, "log_dropped"));
    uint64_t shown = 0;
    for (const char *at = text; (at = strstr(at, "event=flood")); at++)
        shown++;
    assert_int_equal(shown + dropped, 20000);
    skink__log_line(SKINK_LOG_INFO, "event=after");
    drain(reader, text, sizeof text);
    char expected[64];
    snprintf(expected, sizeof expected, "event=log_dropped lines=%" PRIu64 "\n", dropped);
    assert_non_null(strstr(text, expected));
    assert_non_null(strstr(text, "level=info event=after\n"));
}

static void a_full_pipe_drops_lines_and_counts_them(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    check_full(ends[0], ends[1]);
    /* The pipe is shared with whoever started us, so its mode is not ours to change. */
    assert_false(fcntl(ends[1], F_GETFL) & O_NONBLOCK);
}

static void a_full_socket_drops_lines_and_counts_them(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    check_full(ends[0], ends[1]);
    assert_false(fcntl(ends[1], F_GETFL) & O_NONBLOCK);
}

static void a_closed_reader_harms_nobody(void **state)
{
    (void)state;
    int ends[2];
    signal(SIGPIPE, SIG_IGN); /* as in skinkd */
    assert_int_equal(pipe(ends), 0);
    skink__log_open(ends[1]);
    close(ends[0]);
    skink__log_line(SKINK_LOG_INFO, "event=nobody");
    assert_int_equal(skink__log_dropped(), 1);
}

#define WRITERS 4
#define LINES_EACH 50

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES_EACH; i++)
        skink__log_line(SKINK_LOG_INFO, "event=line writer=%d end=yes", *(int *)arg);
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    (void)state;
    static char text[1 << 20];
    int ends[2], numbers[WRITERS];
    pthread_t threads[WRITERS];
    assert_int_equal(pipe(ends), 0);
    skink__log_open(ends[1]);
    for (int i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    drain(ends[0], text, sizeof text);
    int lines = 0;
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), lines++) {
        assert_true(strncmp(line, "time=", 5) == 0);
        assert_string_equal(line + strlen(line) - strlen(" end=yes"), " end=yes");
    }
    assert_int_equal(lines, WRITERS * LINES_EACH);
}

static void a_file_gets_the_lines_in_order(void **state)
{
    (void)state;
    char text[4096], *name = temporary_file("", 0);
    int fd = open(name, O_RDWR | O_CLOEXEC);
    unlink(name);
    free(name);
    assert_true(fd >= 0);
    skink__log_open(fd);
    skink__log_line(SKINK_LOG_ERROR, "event=one");
    skink__log_line(SKINK_LOG_DEBUG, "event=two");
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    drain(fd, text, sizeof text);
    assert_non_null(strstr(text, "level=error event=one\n"));
    assert_true(strstr(text, "level=debug event=two\n") > strstr(text, "event=one"));
}

/* A disk that is full in the middle of a line, and then has room again. */
static void a_line_that_was_torn_does_not_take_the_next_with_it(void **state)
{
    (void)state;
    enum { FULL_AT_BYTES = 80 }; /* behind the first line, and within the second */
    char text[4096], *name = temporary_file("", 0);
    int fd = open(name, O_RDWR | O_CLOEXEC | O_APPEND);
    unlink(name);
    free(name);
    assert_true(fd >= 0);
    skink__log_open(fd);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = old;
    low.rlim_cur = FULL_AT_BYTES;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    uint64_t dropped = skink__log_dropped();
    skink__log_line(SKINK_LOG_ERROR, "event=one");
    skink__log_line(SKINK_LOG_ERROR, "event=two");
    assert_int_equal(skink__log_dropped() - dropped, 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    skink__log_line(SKINK_LOG_ERROR, "event=three");
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    drain(fd, text, sizeof text);
    assert_non_null(strstr(text, "event=one\ntime="));
    assert_null(strstr(text, "event=two"));
    assert_int_equal(text[FULL_AT_BYTES], '\n');
    assert_non_null(strstr(text, "level=warning event=log_dropped lines=1\n"));
    assert_non_null(strstr(text, "level=error event=three\n"));
    close(fd);
}

/* Goal: a ring that is full refuses, however often it has gone round, and loses and doubles nothing. */
static void a_full_ring_refuses_and_keeps_the_order(void **state)
{
    (void)state;
    enum { ROUNDS = 3 };
    assert_true(skink__log_ring_open());
    assert_null(skink__log_ring_take());
    for (int round = 0; round < ROUNDS; round++) {
        uint16_t put = 0, taken = 0;
        for (struct log_slot *slot; (slot = skink__log_ring_claim()) != NULL; skink__log_ring_publish(slot)) {
            assert_true(put < 10000);
            slot->length = put++;
        }
        assert_int_equal(put, 1024);
        struct log_slot *slot = skink__log_ring_take();
        assert_int_equal(slot->length, taken++);
        skink__log_ring_release(slot);
        slot = skink__log_ring_claim(); /* one is free again, and no more */
        assert_non_null(slot);
        assert_null(skink__log_ring_claim());
        slot->length = put++;
        for (struct log_slot *next; (next = skink__log_ring_take()) != NULL; skink__log_ring_release(next))
            assert_int_equal(next->length, taken++);
        assert_int_equal(taken, 1024); /* the last one has not been published */
        skink__log_ring_publish(slot);
        slot = skink__log_ring_take();
        assert_int_equal(slot->length, taken);
        skink__log_ring_release(slot);
    }
}

static void a_line_leaves_errno_alone(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN);
    skink__log_open(ends[1]);
    errno = ENOTTY;
    skink__log_hook(SKINK_LOG_WARNING, "event=test", NULL); /* which fails with EPIPE */
    assert_int_equal(errno, ENOTTY);
}

static const struct test_case cases[] = {
    CASE(a_line_has_time_level_and_text),
    CASE(long_lines_are_cut_and_stay_one_line),
    CASE(a_full_pipe_drops_lines_and_counts_them),
    CASE(a_full_socket_drops_lines_and_counts_them),
    CASE(a_closed_reader_harms_nobody),
    CASE(lines_of_several_threads_do_not_mix),
    CASE(a_file_gets_the_lines_in_order),
    CASE(a_line_that_was_torn_does_not_take_the_next_with_it),
    CASE(a_full_ring_refuses_and_keeps_the_order),
    CASE(a_line_leaves_errno_alone),
};
TEST_MAIN(cases, NULL, NULL)
