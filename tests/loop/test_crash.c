/* SPDX-License-Identifier: MIT */
/* tests/loop/test_crash.c - the last words of processes that tasks crash. Each case crashes a child of its own. */
#include "loop/sanitizer.h"
#include "skink/crash.h"
#include "skink/skink.h"
#include "tests/support/case.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
    int fd;     /* what it wrote */
    int status; /* as waitpid() says */
    char said[4096];
};

/* Deeper and deeper: each frame is touched. */
static __attribute__((noinline)) int dig(int depth)
{
    volatile char frame[512];
    memset((char *)frame, depth & 0xff, sizeof frame);
    return depth < 0 ? 0 : dig(depth + 1) + frame[depth % 512];
}

static void overflow(void *arg)
{
    (void)arg;
    exit(dig(1));
}

static void write_to_null(void *arg)
{
    (void)arg;
    *(volatile int *)8 = 1;
}

static void kill_itself(void *arg)
{
    (void)arg;
    raise(SIGSEGV);
}

static int report_fd;

static void hook(const char *line, size_t length, void *arg)
{
    (void)arg;
    (void)!write(report_fd, "hook: ", 6);
    (void)!write(report_fd, line, length);
    (void)!write(report_fd, "\n", 1);
}

static void host_handler(int signal_number)
{
    (void)signal_number;
    (void)!write(report_fd, "host handler\n", 13);
    _exit(42);
}

/* In the child: crash by fn in a task; own_thread: on a thread that skink does not know. */
static void crash_by(void (*fn)(void *arg), const char *name, int fd, bool with_host_handler)
{
    struct rlimit none = { 0, 0 };
    setrlimit(RLIMIT_CORE, &none);
    report_fd = fd;
    signal(SIGSEGV, with_host_handler ? host_handler : SIG_DFL); /* cmocka has one of its own */
    skink_crash_options options = SKINK_CRASH_OPTIONS_INIT;
    options.fd = fd;
    options.report = with_host_handler ? hook : NULL;
    if (skink_crash_report(&options) != 0) _exit(1);
    if (skink_crash_report(&options) != -EALREADY) _exit(2);
    if (!name) {
        fn(NULL);
        _exit(3);
    }
    skink_scheduler *scheduler;
    skink_task_options task = SKINK_TASK_OPTIONS_INIT;
    task.name = name;
    if (skink_scheduler_create(NULL, &scheduler) || skink_spawn(scheduler, &task, NULL, fn, NULL) ||
        skink_scheduler_start(scheduler))
        _exit(4);
    for (;;)
        pause();
}

static void run(struct child *child, void (*fn)(void *arg), const char *name, bool with_host_handler)
{
    int ends[2];
    memset(child, 0, sizeof *child);
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        crash_by(fn, name, ends[1], with_host_handler);
    }
    close(ends[1]);
    ssize_t n;
    for (size_t at = 0; (n = read(ends[0], child->said + at, sizeof child->said - at - 1)) > 0;)
        at += (size_t)n;
    close(ends[0]);
    assert_int_equal(waitpid(pid, &child->status, 0), pid);
}

static void expect_killed(const struct child *child, int signal_number)
{
    if (SKINK__ASAN || SKINK__TSAN) return; /* the sanitizer's own handler follows, and exits */
    assert_true(WIFSIGNALED(child->status));
    assert_int_equal(WTERMSIG(child->status), signal_number);
}

static void expect_said(const struct child *child, const char *text)
{
    if (!strstr(child->said, text)) print_error("not said: %s\nbut: %s\n", text, child->said);
    assert_non_null(strstr(child->said, text));
}

static void a_stack_overflow_names_its_task(void **state)
{
    (void)state;
    struct child child;
    run(&child, overflow, "GET /deep \"end\"\n", false);
    expect_said(&child, "event=crash signal=SIGSEGV reason=stack_overflow address=0x");
    expect_said(&child, " task=\"GET /deep \\\"end\\\"?\" thread=");
    expect_killed(&child, SIGSEGV);
}

static void a_bad_address_names_its_task_too(void **state)
{
    (void)state;
    struct child child;
    run(&child, write_to_null, "GET /null", false);
    expect_said(&child, "event=crash signal=SIGSEGV reason=bad_address address=0x8 task=\"GET /null\" thread=");
    expect_killed(&child, SIGSEGV);
}

static void a_crash_outside_of_tasks_names_none(void **state)
{
    (void)state;
    struct child child;
    run(&child, write_to_null, NULL, false);
    expect_said(&child, "reason=bad_address address=0x8 thread=");
    assert_null(strstr(child.said, "task="));
    expect_killed(&child, SIGSEGV);
}

static void a_signal_that_was_sent_is_reported_and_kills(void **state)
{
    (void)state;
    struct child child;
    run(&child, kill_itself, "sender", false);
    expect_said(&child, "event=crash signal=SIGSEGV reason=sent task=\"sender\" thread=");
    expect_killed(&child, SIGSEGV);
}

static void a_handler_of_the_host_comes_after(void **state)
{
    (void)state;
    struct child child;
    run(&child, write_to_null, "GET /null", true);
    char *line = strstr(child.said, "event=crash"), *handler = strstr(child.said, "host handler\n");
    expect_said(&child, "hook: event=crash signal=SIGSEGV reason=bad_address");
    assert_true(line && handler && line < handler);
    assert_true(WIFEXITED(child.status));
    assert_int_equal(WEXITSTATUS(child.status), 42);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    skink_crash_options options = SKINK_CRASH_OPTIONS_INIT;
    options.flags = 1;
    assert_int_equal(skink_crash_report(&options), -EINVAL);
    options.flags = 0;
    options.fd = -2;
    assert_int_equal(skink_crash_report(&options), -EINVAL);
}

static const struct test_case cases[] = {
    CASE(a_stack_overflow_names_its_task),     CASE(a_bad_address_names_its_task_too),
    CASE(a_crash_outside_of_tasks_names_none), CASE(a_signal_that_was_sent_is_reported_and_kills),
    CASE(a_handler_of_the_host_comes_after),   CASE(bad_options_are_refused),
};
TEST_MAIN(cases, NULL, NULL)
