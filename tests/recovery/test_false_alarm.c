/* SPDX-License-Identifier: MIT */
/* What must not be taken for a deadlock: a stopped process, a stopped thread, a busy machine,
 * a wall clock that jumps. */
#include "tests/recovery/fixture.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_MS = 200 };

static int own_tid(void)
{
    return (int)syscall(SYS_gettid);
}

/* Time that passes is what these cases are about. */
static void let_pass(unsigned ms)
{
    uint64_t until = test_now_ns() + test_ms(ms);
    while (test_now_ns() < until)
        test_nap();
}

/* ---- honest work: a slice that takes 0.6 T of its own time, however long that is on the wall ---- */

struct honest {
    bool spin; /* else it blocks, a little at a time */
    _Atomic int started_tid;
    _Atomic bool done;
};

static uint64_t own_cpu_ns(void)
{
    struct timespec cpu;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    return (uint64_t)cpu.tv_sec * SKINK_S + (uint64_t)cpu.tv_nsec;
}

static void honest_task(void *arg)
{
    struct honest *h = arg;
    uint64_t cpu_until = own_cpu_ns() + test_ms(TIMEOUT_MS * 6 / 10);
    atomic_store(&h->started_tid, own_tid());
    if (h->spin) {
        while (own_cpu_ns() < cpu_until) {
        }
    } else {
        for (int i = 0; i < TIMEOUT_MS * 6 / 10; i++)
            usleep(1000);
    }
    atomic_store(&h->done, true);
}

/* ---- the whole process is stopped: it is a child, and the parent stops it ---- */

static int be_stopped(bool spin, int tell)
{
    struct fixture f;
    static struct honest h;
    skink_recovery_options options = { .deadlock_timeout_ns = TIMEOUT_MS * SKINK_MS, .ceiling_factor = 1000 };
    fixture_start(&f, &options);
    h.spin = spin;
    if (skink_post(f.scheduler, honest_task, &h) != 0) return 10;
    while (atomic_load(&h.started_tid) == 0)
        test_nap();
    if (write(tell, "!", 1) != 1) return 11;
    while (!atomic_load(&h.done))
        test_nap();
    skink_recovery_stats stats = fixture_stats(&f);
    if (stats.deadlocks != 0) return 12;
    if (stats.suspended_ns < test_ms(TIMEOUT_MS)) return 13; /* it was seen, too */
    return fixture_stop(&f) == 0 ? 0 : 14;
}

static void stop_for_twice_the_timeout(bool spin)
{
    int started[2];
    char byte;
    assert_int_equal(pipe(started), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(be_stopped(spin, started[1]));
    assert_int_equal(read(started[0], &byte, 1), 1);
    let_pass(TIMEOUT_MS / 5);
    kill(child, SIGSTOP);
    let_pass(2 * TIMEOUT_MS);
    kill(child, SIGCONT);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(started[0]);
    close(started[1]);
}

static void process_stopped_while_a_slice_runs_declares_nothing(void **state)
{
    (void)state;
    stop_for_twice_the_timeout(true);
}

static void process_stopped_while_a_slice_blocks_declares_nothing(void **state)
{
    (void)state;
    stop_for_twice_the_timeout(false);
}

/* ---- one thread is stopped, by a debugger: a child that was made before any thread ---- */

struct debugger {
    pid_t pid;
    int orders; /* a thread id */
    int answers;
};

static int debug_one_thread(int orders, int answers)
{
    int tid, status, err = 0;
    if (read(orders, &tid, sizeof tid) != sizeof tid) return 1;
    if (ptrace(PTRACE_SEIZE, tid, 0, 0) != 0 || ptrace(PTRACE_INTERRUPT, tid, 0, 0) != 0 ||
        waitpid(tid, &status, __WALL) != tid)
        err = errno;
    if (!err) let_pass(2 * TIMEOUT_MS);
    if (!err && ptrace(PTRACE_DETACH, tid, 0, 0) != 0) err = errno;
    return write(answers, &err, sizeof err) == sizeof err ? 0 : 1;
}

static void debugger_start(struct debugger *d)
{
    int orders[2], answers[2];
    assert_int_equal(pipe(orders), 0);
    assert_int_equal(pipe(answers), 0);
    d->pid = fork();
    assert_true(d->pid >= 0);
    if (d->pid == 0) _exit(debug_one_thread(orders[0], answers[1]));
    prctl(PR_SET_PTRACER, d->pid, 0, 0, 0); /* where only parents may trace */
    d->orders = orders[1];
    d->answers = answers[0];
    close(orders[0]);
    close(answers[1]);
}

static void thread_stopped_by_a_debugger_is_not_declared(void **state)
{
    (void)state;
    struct fixture f;
    struct debugger d;
    static struct honest h;
    skink_recovery_options options = { .deadlock_timeout_ns = TIMEOUT_MS * SKINK_MS, .ceiling_factor = 1000 };
    debugger_start(&d);
    fixture_start(&f, &options);
    assert_int_equal(skink_post(f.scheduler, honest_task, &h), 0);
    test_wait_until(atomic_load(&h.started_tid) != 0, 5000);
    int tid = atomic_load(&h.started_tid), err;
    assert_int_equal(write(d.orders, &tid, sizeof tid), sizeof tid);
    assert_int_equal(read(d.answers, &err, sizeof err), sizeof err);
    waitpid(d.pid, NULL, 0);
    test_wait_until(atomic_load(&h.done), 10000);
    skink_recovery_stats stats = fixture_stats(&f);
    assert_int_equal(fixture_stop(&f), 0);
    if (err == EPERM) test_skip("ptrace is not permitted here");
    assert_int_equal(err, 0);
    assert_int_equal(stats.deadlocks, 0);
    assert_true(stats.suspended_ns >= test_ms(TIMEOUT_MS));
}

/* ---- a busy machine ---- */

static pid_t start_busy_process(int processor)
{
    pid_t child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* whatever becomes of us */
    if (processor >= 0) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET((unsigned)processor, &one);
        sched_setaffinity(0, sizeof one, &one);
    }
    for (;;) {
    }
}

static void start_busy(pid_t *pids, int count, int processor)
{
    for (int i = 0; i < count; i++)
        pids[i] = start_busy_process(processor);
}

static void end_busy(const pid_t *pids, int count)
{
    for (int i = 0; i < count; i++)
        if (pids[i] > 0) kill(pids[i], SIGKILL);
    for (int i = 0; i < count; i++)
        if (pids[i] > 0) waitpid(pids[i], NULL, 0);
}

struct work {
    struct fixture *f;
    uint64_t end_ns;
    _Atomic uint64_t slices, longest_ns;
    _Atomic bool over;
};

/* Slices of 5 ms of processor time and a few short naps: on a machine as busy as this one each takes seconds. */
static void work_in_slices(void *arg)
{
    struct work *w = arg;
    while (skink_now() < w->end_ns) {
        uint64_t begun_ns = skink_now();
        for (int i = 0; i < 5; i++) {
            uint64_t cpu_until = own_cpu_ns() + test_ms(1);
            while (own_cpu_ns() < cpu_until) {
            }
            usleep(100);
        }
        uint64_t took_ns = skink_now() - begun_ns;
        atomic_fetch_add(&w->slices, 1);
        if (took_ns > atomic_load(&w->longest_ns)) atomic_store(&w->longest_ns, took_ns);
        if (skink_yield() != 0) break;
    }
    atomic_store(&w->over, true);
}

static unsigned busy_seconds(void)
{
    const char *text = getenv("SKINK_TEST_BUSY_SECONDS");
    return text ? (unsigned)atoi(text) : TEST_TIMES ? 4 : 2;
}

/* SKINK_TEST_BUSY_SECONDS=30 for the long form. The ceiling is out of reach: this is about the guards below it. */
static void honest_slices_beside_200_busy_processes_are_not_declared(void **state)
{
    (void)state;
    enum { BUSY = TEST_TIMES ? 200 : 50 }; /* what is slow beside 50 already need not be looked at beside 200 */
    static pid_t pids[BUSY];
    struct fixture f;
    static struct work w;
    start_busy(pids, BUSY, -1);
    skink_recovery_options options = { .deadlock_timeout_ns = 100 * SKINK_MS, .ceiling_factor = 1000 };
    fixture_start(&f, &options);
    w.end_ns = skink_after(busy_seconds() * SKINK_S);
    assert_int_equal(skink_post(f.scheduler, work_in_slices, &w), 0);
    while (!atomic_load(&w.over))
        let_pass(20);
    end_busy(pids, BUSY);
    skink_recovery_stats stats = fixture_stats(&f);
    print_message(
        "%llu slices, the longest took %llu ms; %llu ms starved\n", (unsigned long long)atomic_load(&w.slices),
        (unsigned long long)(atomic_load(&w.longest_ns) / SKINK_MS), (unsigned long long)(stats.starved_ns / SKINK_MS));
    assert_int_equal(fixture_stop(&f), 0);
    assert_int_equal(stats.deadlocks, 0);
    assert_true(atomic_load(&w.longest_ns) > 100 * SKINK_MS); /* or there was nothing to be mistaken about */
}

struct starved {
    int processor;
    _Atomic int tid;
    _Atomic bool go_on, ended;
};

/* Puts its own thread behind all others of one processor, and wants to run for ever. */
static void be_starved(void *arg)
{
    struct starved *s = arg;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((unsigned)s->processor, &one);
    sched_setaffinity(0, sizeof one, &one);
    setpriority(PRIO_PROCESS, (id_t)own_tid(), 19);
    atomic_store(&s->tid, own_tid());
    while (!atomic_load_explicit(&s->go_on, memory_order_relaxed)) {
    }
    int err = skink_checkpoint();
    (void)err;
    atomic_store(&s->ended, true);
}

/* The n-th time. */
static void starve_once(struct fixture *f, uint64_t n)
{
    enum { BUSY = 8 };
    static pid_t pids[BUSY];
    static struct starved s;
    s = (struct starved){ .processor = sched_getcpu() };
    start_busy(pids, BUSY, s.processor);
    assert_int_equal(skink_post(f->scheduler, be_starved, &s), 0);
    test_wait_until(atomic_load(&f->incidents) == n, 15000);
    end_busy(pids, BUSY);
    assert_int_equal(f->last.cause, SKINK_CAUSE_STARVED);
    assert_true(f->last.effective_ns < 100 * SKINK_MS);
    assert_true(f->last.slice_ns >= 400 * SKINK_MS);
    skink_recovery_stats stats = fixture_stats(f);
    assert_int_equal(stats.deadlocks_starved, n);
    assert_true(stats.starved_ns >= n * 300 * SKINK_MS);
    atomic_store(&s.go_on, true);
    test_wait_until(atomic_load(&s.ended) && fixture_stats(f).strays == 0, 10000);
}

/* SKINK_TEST_INJECTIONS=100 for the long form, of some two minutes. */
static void starved_for_ever_is_declared_at_the_ceiling(void **state)
{
    (void)state;
    const char *wanted = getenv("SKINK_TEST_INJECTIONS");
    uint64_t injections = wanted ? (uint64_t)atoi(wanted) : 1;
    struct fixture f;
    fixture_start_timeout(&f, 100 * SKINK_MS);
    for (uint64_t n = 1; n <= injections; n++)
        starve_once(&f, n);
    assert_int_equal(fixture_stop(&f), 0);
}

/* ---- the wall clock ---- */

static bool shift_clock(int seconds)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += seconds;
    return clock_settime(CLOCK_REALTIME, &now) == 0;
}

/* SKINK_TEST_SET_CLOCK=1: it disturbs everybody on the machine for a moment. */
static void wall_clock_that_jumps_changes_nothing(void **state)
{
    (void)state;
    struct fixture f;
    static struct honest h;
    if (!getenv("SKINK_TEST_SET_CLOCK")) test_skip("SKINK_TEST_SET_CLOCK is not set: the clock is everybody's");
    if (!shift_clock(0)) test_skip("the clock may not be set here");
    skink_recovery_options options = { .deadlock_timeout_ns = TIMEOUT_MS * SKINK_MS, .ceiling_factor = 1000 };
    fixture_start(&f, &options);
    assert_int_equal(skink_post(f.scheduler, honest_task, &h), 0);
    int shift = 20;
    for (; !atomic_load(&h.done); shift = -shift) {
        assert_true(shift_clock(shift));
        test_nap();
    }
    if (shift < 0) assert_true(shift_clock(shift));
    assert_int_equal(fixture_stats(&f).deadlocks, 0);
    struct stuck s; /* and a real one is still found in time */
    stuck_init(&s);
    uint64_t begun_ns = skink_now();
    stuck_spawn(&f, &s);
    assert_true(shift_clock(20));
    bool found = false;
    while (!found && skink_now() - begun_ns < 5 * SKINK_S)
        found = fixture_stats(&f).deadlocks == 1;
    assert_true(shift_clock(-20));
    assert_true(found);
    assert_true(skink_now() - begun_ns < 2 * TIMEOUT_MS * SKINK_MS);
    stuck_end(&s);
    assert_int_equal(fixture_stop(&f), 0);
}

static const struct test_case cases[] = {
    CASE_SERIAL(process_stopped_while_a_slice_runs_declares_nothing, 20),
    CASE_SERIAL(process_stopped_while_a_slice_blocks_declares_nothing, 20),
    CASE_SERIAL(thread_stopped_by_a_debugger_is_not_declared, 20),
    CASE_SERIAL(honest_slices_beside_200_busy_processes_are_not_declared, 120),
    CASE_SERIAL(starved_for_ever_is_declared_at_the_ceiling, 40),
    CASE_SERIAL(wall_clock_that_jumps_changes_nothing, 20),
};
TEST_MAIN(cases, NULL, NULL)
