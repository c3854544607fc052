/* SPDX-License-Identifier: MIT */
/*
 * Asking threads by a signal where they are: spinning, blocked in calls, inside malloc and dlopen with their locks
 * held, or not to be asked at all. Nobody waits for longer than said.
 *
 * A thousand questions, the awkward ones among them: SKINK_TEST_CAPTURES changes how many.
 */
#include "loop/sanitizer.h"
#include "recovery/capture.h"
#include "recovery/symbols.h"
#include "skink/clock.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_NS (2 * SKINK_S)

/* ---- threads that stand somewhere ---- */

struct subject {
    const char *name;
    void (*stand)(struct subject *subject);
    bool cannot_answer;
    const char *function; /* must be in its stack; NULL: not looked for */
    pthread_t thread;
    _Atomic int tid;
    _Atomic bool there;
    _Atomic bool go_on;
    int pipe[2];
};

static void arrive(struct subject *subject)
{
    atomic_store(&subject->tid, (int)syscall(SYS_gettid));
    atomic_store(&subject->there, true);
}

__attribute__((noinline)) static void stand_spinning(struct subject *subject)
{
    arrive(subject);
    while (!atomic_load_explicit(&subject->go_on, memory_order_relaxed)) {
    }
}

__attribute__((noinline)) static void stand_in_read(struct subject *subject)
{
    char byte;
    arrive(subject);
    while (read(subject->pipe[0], &byte, 1) < 0) {
    }
}

__attribute__((noinline)) static void stand_in_nap(struct subject *subject)
{
    arrive(subject);
    while (!atomic_load(&subject->go_on))
        nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL); /* which the signal ends */
}

/* Its own handler for SIGUSR1 blocks, wherever that found it: most likely inside malloc, with the heap's lock held. */
static void block_in_handler(int signal_number)
{
    struct pollfd never = { .fd = -1 };
    (void)signal_number;
    int saved = errno;
    while (poll(&never, 0, -1) != 0 && errno == EINTR) {
    }
    errno = saved;
}

static void stand_in_malloc(struct subject *subject)
{
    signal(SIGUSR1, block_in_handler);
    arrive(subject);
    for (;;) { /* too large for the thread's own cache */
        void *volatile one = malloc(3000);
        void *volatile two = malloc(40000);
        free(one);
        free(two);
    }
}

/* The same with the loader's locks. */
static void stand_in_dlopen(struct subject *subject)
{
    signal(SIGUSR1, block_in_handler);
    arrive(subject);
    for (;;) {
        void *library = dlopen("libresolv.so.2", RTLD_NOW | RTLD_LOCAL);
        if (library) dlclose(library);
    }
}

/* One of the loader's locks is held while the callback runs. */
static int block_in_loader(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct subject *subject = arg;
    char byte;
    (void)info;
    (void)size;
    arrive(subject);
    while (read(subject->pipe[0], &byte, 1) < 0) {
    }
    return 1;
}

__attribute__((noinline)) static void stand_in_loader(struct subject *subject)
{
    dl_iterate_phdr(block_in_loader, subject);
}

static void stand_deaf(struct subject *subject)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    stand_in_read(subject);
}

static void *subject_main(void *arg)
{
    struct subject *subject = arg;
    subject->stand(subject);
    return NULL;
}

static void subject_start(struct subject *subject)
{
    atomic_store(&subject->there, false);
    atomic_store(&subject->go_on, false);
    assert_int_equal(pipe(subject->pipe), 0);
    assert_int_equal(pthread_create(&subject->thread, NULL, subject_main, subject), 0);
    test_wait_until(atomic_load(&subject->there), 5000);
    if (subject->stand == stand_in_malloc || subject->stand == stand_in_dlopen) pthread_kill(subject->thread, SIGUSR1);
}

static void subject_end(struct subject *subject)
{
    atomic_store(&subject->go_on, true);
    assert_int_equal(write(subject->pipe[1], "x", 1), 1);
    pthread_join(subject->thread, NULL);
    close(subject->pipe[0]);
    close(subject->pipe[1]);
}

static bool ask(const struct subject *subject, uint64_t patience_ns, struct skink__captured *ret_captured)
{
    struct skink__capture_ticket ticket;
    assert_int_equal(skink__capture_ask(atomic_load(&subject->tid), &ticket), 0);
    return skink__capture_wait(&ticket, skink_after(patience_ns), ret_captured);
}

static bool has_function(struct skink__symbols *symbols, const struct skink__captured *captured, const char *function)
{
    struct skink__frame frames[16];
    for (size_t i = 0; i < captured->count; i++) {
        size_t count = skink__symbols_find(symbols, captured->pcs[i], frames, 16);
        for (size_t k = 0; k < count; k++)
            if (strcmp(frames[k].function, function) == 0) return true;
    }
    return false;
}

/* ---- cases ---- */

static int reserve(void **state)
{
    (void)state;
    return skink__capture_reserve(0) > 0 ? 0 : -1;
}

static void stack_is_that_of_the_interrupted_function(void **state)
{
    (void)state;
    struct subject subjects[] = { { .name = "read", .stand = stand_in_read, .function = "stand_in_read" },
                                  { .name = "loader", .stand = stand_in_loader, .function = "block_in_loader" },
                                  { .name = "spin", .stand = stand_spinning, .function = "stand_spinning" } };
    struct skink__symbols *symbols;
    struct skink__captured captured;
    if (SKINK__TSAN) test_skip("ThreadSanitizer keeps signals back");
    assert_int_equal(skink__symbols_create(&symbols), 0);
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        subject_start(&subjects[i]);
        assert_true(ask(&subjects[i], PATIENCE_NS, &captured));
        assert_true(has_function(symbols, &captured, subjects[i].function));
        assert_true(has_function(symbols, &captured, "subject_main"));
        assert_false(captured.cut);
        subject_end(&subjects[i]);
    }
    skink__symbols_destroy(symbols);
}

/* A read that is interrupted begins again: it is still the call at hand. */
static void call_at_hand_is_in_the_registers(void **state)
{
    (void)state;
    struct subject subject = { .stand = stand_in_read };
    struct skink__captured captured;
    if (SKINK__TSAN) test_skip("ThreadSanitizer keeps signals back");
#if !defined(__x86_64__) && !defined(__aarch64__)
    test_skip("not known for this processor");
#endif
    subject_start(&subject);
    test_nap();
    assert_true(ask(&subject, PATIENCE_NS, &captured));
    if (captured.in_call) { /* else it had not got so far yet */
        assert_int_equal(captured.call_number, SYS_read);
        assert_int_equal(captured.call_arguments[0], subject.pipe[0]);
    }
    subject_end(&subject);
}

__attribute__((noinline)) static int deeper(struct subject *subject, int depth)
{
    if (depth == 0) {
        stand_spinning(subject);
        return 0;
    }
    return deeper(subject, depth - 1) + 1;
}

static void stand_deep(struct subject *subject)
{
    if (deeper(subject, 500) < 0) abort();
}

static void deep_stack_is_cut(void **state)
{
    (void)state;
    struct subject subject = { .stand = stand_deep };
    struct skink__captured captured;
    if (SKINK__TSAN) test_skip("ThreadSanitizer keeps signals back");
    subject_start(&subject);
    assert_true(ask(&subject, PATIENCE_NS, &captured));
    assert_int_equal(captured.count, SKINK__CAPTURE_DEPTH);
    assert_true(captured.cut);
    subject_end(&subject);
}

/* It answers when nobody wants to know any more, which must not be taken for the next one's answer. */
static void late_answer_is_dropped(void **state)
{
    (void)state;
    struct subject deaf = { .stand = stand_deaf }, other = { .stand = stand_in_read };
    struct skink__captured captured;
    subject_start(&deaf);
    subject_start(&other);
    for (int i = 0; i < 20; i++) { /* more often than there are places */
        uint64_t begun_ns = skink_now();
        assert_false(ask(&deaf, 5 * SKINK_MS, &captured));
        assert_true(skink_now() - begun_ns < test_ms(test_patience(1000)));
    }
    subject_end(&deaf); /* it ends with the signals pending */
    if (!SKINK__TSAN) assert_true(ask(&other, PATIENCE_NS, &captured));
    subject_end(&other);
}

static void taken_signal_is_not_sent(void **state)
{
    (void)state;
    struct subject subject = { .stand = stand_in_read };
    struct skink__capture_ticket ticket;
    struct sigaction ours;
    int signal_number = skink__capture_signal();
    subject_start(&subject);
    assert_int_equal(sigaction(signal_number, NULL, &ours), 0);
    signal(signal_number, SIG_DFL); /* it would end the process */
    assert_int_equal(skink__capture_ask(atomic_load(&subject.tid), &ticket), -EPERM);
    assert_int_equal(sigaction(signal_number, &ours, NULL), 0);
    subject_end(&subject);
}

static void reserved_once_for_all(void **state)
{
    (void)state;
    int signal_number = skink__capture_signal();
    assert_true(signal_number >= SIGRTMIN && signal_number <= SIGRTMAX);
    assert_int_equal(skink__capture_reserve(0), signal_number);
    assert_int_equal(skink__capture_reserve(SIGRTMIN), signal_number);
}

static int questions(void)
{
    const char *wanted = getenv("SKINK_TEST_CAPTURES");
    return wanted ? atoi(wanted) : 1000;
}

/* Those inside malloc and dlopen and the others stay where they are through all of it.
 * Every 50th question is one to the deaf. */
static void a_thousand_questions_freeze_nobody(void **state)
{
    (void)state;
    static struct subject subjects[] = {
        { .stand = stand_spinning },  { .stand = stand_in_read },   { .stand = stand_in_nap },
        { .stand = stand_in_loader }, { .stand = stand_in_malloc }, { .stand = stand_in_dlopen },
    };
    enum { SUBJECTS = sizeof subjects / sizeof *subjects };
    static struct subject deaf = { .stand = stand_deaf };
    struct skink__captured captured;
    uint64_t longest_ns = 0;
    int answers = 0, unanswered = 0, count = questions();
    if (SKINK__TSAN) test_skip("ThreadSanitizer keeps signals back");
    subject_start(&deaf);
    for (size_t i = 0; i < SUBJECTS; i++)
        subject_start(&subjects[i]); /* the last one holds what pthread_create() needs */
    for (int i = 0; i < count; i++) {
        uint64_t begun_ns = skink_now();
        if (i % 50 == 49) {
            assert_false(ask(&deaf, 5 * SKINK_MS, &captured));
        } else if (ask(&subjects[i % SUBJECTS], PATIENCE_NS, &captured)) {
            assert_true(captured.count >= 2);
            answers++;
        } else {
            unanswered++;
        }
        uint64_t took_ns = skink_now() - begun_ns;
        if (took_ns > longest_ns) longest_ns = took_ns;
    }
    print_message("%d answers, %d without, the longest took %.1f ms\n", answers, unanswered, (double)longest_ns / 1e6);
    fflush(stdout);
    assert_int_equal(unanswered, 0);
    assert_int_equal(answers, count - count / 50);
    for (size_t i = 0; i + 2 < SUBJECTS; i++)
        subject_end(&subjects[i]);
    subject_end(&deaf);
    _exit(0); /* those inside malloc and dlopen do not come back, and leaving might need what they hold */
}

static const struct test_case cases[] = {
    CASE(stack_is_that_of_the_interrupted_function),
    CASE(call_at_hand_is_in_the_registers),
    CASE(deep_stack_is_cut),
    CASE(late_answer_is_dropped),
    CASE(taken_signal_is_not_sent),
    CASE(reserved_once_for_all),
    CASE_TIMEOUT(a_thousand_questions_freeze_nobody, 60),
};
TEST_MAIN(cases, reserve, NULL)
