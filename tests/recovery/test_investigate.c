/* SPDX-License-Identifier: MIT */
/*
 * What recovery finds out about threads that are really stuck, each in a way of its own: cause, stack,
 * what they wait for.
 *
 * SKINK_TEST_INJECTIONS=100 injects each cause a hundred times.
 */
#include "loop/sanitizer.h"
#include "tests/recovery/fixture.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_MS = 20 };

static int injections(void)
{
    const char *wanted = getenv("SKINK_TEST_INJECTIONS");
    return wanted ? atoi(wanted) : 3;
}

/* ---- ways of getting stuck; each ends when let_go() is called ---- */

struct way {
    const char *name;
    void (*get_stuck)(struct way *way);
    void (*let_go)(struct way *way);
    int pipe[2];
    pthread_mutex_t mutex;
    pthread_rwlock_t rwlock;
    pthread_cond_t condition;
    sem_t semaphore;
    skink_future *future;
    _Atomic bool go_on;
    _Atomic int tid;
    _Atomic bool ended;
};

__attribute__((noinline)) static void read_pipe(struct way *way)
{
    char byte;
    while (read(way->pipe[0], &byte, 1) < 0 && errno == EINTR) {
    }
}

static void write_pipe(struct way *way)
{
    assert_int_equal(write(way->pipe[1], "x", 1), 1);
}

static void poll_pipe(struct way *way)
{
    struct pollfd readable = { .fd = way->pipe[0], .events = POLLIN };
    while (poll(&readable, 1, -1) < 0 && errno == EINTR) {
    }
}

static void lock_mutex(struct way *way)
{
    pthread_mutex_lock(&way->mutex);
    pthread_mutex_unlock(&way->mutex);
}

static void unlock_mutex(struct way *way)
{
    pthread_mutex_unlock(&way->mutex);
}

static void lock_to_read(struct way *way)
{
    pthread_rwlock_rdlock(&way->rwlock);
    pthread_rwlock_unlock(&way->rwlock);
}

static void unlock_rwlock(struct way *way)
{
    pthread_rwlock_unlock(&way->rwlock);
}

static void wait_semaphore(struct way *way)
{
    while (sem_wait(&way->semaphore)) {
    }
}

static void post_semaphore(struct way *way)
{
    sem_post(&way->semaphore);
}

static void wait_condition(struct way *way)
{
    pthread_mutex_lock(&way->mutex);
    while (!atomic_load(&way->go_on))
        pthread_cond_wait(&way->condition, &way->mutex);
    pthread_mutex_unlock(&way->mutex);
}

static void signal_condition(struct way *way)
{
    pthread_mutex_lock(&way->mutex);
    atomic_store(&way->go_on, true);
    pthread_cond_signal(&way->condition);
    pthread_mutex_unlock(&way->mutex);
}

static void go_on(struct way *way)
{
    atomic_store(&way->go_on, true);
}

__attribute__((noinline)) static void spin(struct way *way)
{
    while (!atomic_load_explicit(&way->go_on, memory_order_relaxed)) {
    }
}

static void nap_often(struct way *way)
{
    while (!atomic_load(&way->go_on))
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

/* The parent of a vfork() is in uninterruptible sleep until its child has ended, and signals do not reach it. Made by
 * hand: the child shares the stack. */
__attribute__((noinline, no_sanitize("address", "thread"))) static void wait_for_vfork(struct way *way)
{
    int fd = way->pipe[0];
    pid_t child = vfork();
    if (child == 0) {
        char byte;
        syscall(SYS_read, fd, &byte, 1);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void block_loop(struct way *way)
{
    (void)!skink_future_block(way->future, SKINK_FOREVER, NULL);
}

static void complete_future(struct way *way)
{
    (void)!skink_future_complete(way->future, NULL);
}

/* ---- one deadlock ---- */

static char state_of_thread(int tid)
{
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    FILE *stream = fopen(path, "re");
    if (!stream) return state;
    if (fscanf(stream, "%*d (%*[^)]) %c", &state) != 1) state = '?';
    fclose(stream);
    return state;
}

static void task_main(void *arg)
{
    struct way *way = arg;
    atomic_store(&way->tid, gettid());
    way->get_stuck(way);
    (void)!skink_checkpoint();
    atomic_store(&way->ended, true);
}

static void prepare(struct way *way)
{
    atomic_store(&way->go_on, false);
    atomic_store(&way->ended, false);
    assert_int_equal(pipe2(way->pipe, O_CLOEXEC), 0);
    pthread_mutex_init(&way->mutex, NULL);
    pthread_rwlock_init(&way->rwlock, NULL);
    pthread_cond_init(&way->condition, NULL);
    sem_init(&way->semaphore, 0, 0);
    assert_int_equal(skink_future_create(&way->future), 0);
}

static void tidy_up(struct way *way)
{
    skink_future_unref(way->future);
    sem_destroy(&way->semaphore);
    pthread_cond_destroy(&way->condition);
    pthread_rwlock_destroy(&way->rwlock);
    pthread_mutex_destroy(&way->mutex);
    close(way->pipe[0]);
    close(way->pipe[1]);
}

/* Get stuck, be declared and investigated, come free. The incident as it was told, to be freed. */
static skink_incident *inject(struct fixture *f, struct way *way, void (*before)(struct way *way))
{
    uint64_t told = atomic_load(&f->incidents), returned = fixture_stats(f).strays_returned;
    skink_task_options options = SKINK_TASK_OPTIONS_INIT;
    options.name = way->name;
    prepare(way);
    if (before) before(way);
    assert_int_equal(skink_spawn(f->scheduler, &options, NULL, task_main, way), 0);
    test_wait_until(atomic_load(&f->incidents) > told, 15000);
    skink_incident *incident;
    assert_int_equal(skink_incident_newest(f->recovery, 0, &incident), 0);
    way->let_go(way);
    test_wait_until(atomic_load(&way->ended), 15000);
    test_wait_until(fixture_stats(f).strays_returned > returned, 15000);
    tidy_up(way);
    return incident;
}

static void start(struct fixture *f)
{
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = TIMEOUT_MS * SKINK_MS;
    fixture_start(f, &options);
}

static bool has_stack(const skink_incident *incident)
{
    return incident->capture == SKINK_CAPTURE_OK || incident->capture == SKINK_CAPTURE_WALKED;
}

static bool names(const skink_incident *incident, const char *function)
{
    for (size_t i = 0; i < incident->frame_count; i++)
        if (incident->stack[i].function && strcmp(incident->stack[i].function, function) == 0) return true;
    return false;
}

/* A capture that worked must have found the function that got stuck (but not through ThreadSanitizer's own); only one
 * that was declared at the ceiling, on a machine that busy, may have another cause. */
static void check(const skink_incident *incident, skink_cause cause, const char *function)
{
    bool right = incident->cause == cause || incident->cause == SKINK_CAUSE_STARVED;
    bool found = SKINK__TSAN || !has_stack(incident) || names(incident, function);
    char *text;
    if ((!right || !found) && skink_incident_json(incident, &text, NULL) == 0) print_error("%s", text);
    if (incident->cause == SKINK_CAUSE_STARVED) print_message("declared at the ceiling\n");
    assert_true(right);
    assert_true(found);
}

/* ThreadSanitizer keeps a signal back until the thread makes a call that it watches. */
static void check_has_stack(const skink_incident *incident)
{
    if (!SKINK__TSAN) assert_true(has_stack(incident));
}

#define INJECT_EACH(f, way, before)                                                                                    \
    skink_incident *incident;                                                                                          \
    for (int i = injections(); i > 0 && (incident = inject((f), (way), (before))); i--, skink_incident_free(incident))

static void system_call_is_named_with_what_it_reads(void **state)
{
    (void)state;
    struct fixture f;
    struct way way = { .name = "read", .get_stuck = read_pipe, .let_go = write_pipe };
    start(&f);
    INJECT_EACH(&f, &way, NULL)
    {
        check(incident, SKINK_CAUSE_SYSCALL, "read_pipe");
        check_has_stack(incident);
        assert_string_equal(incident->syscall, "read");
        assert_string_equal(incident->waits_on.kind, "descriptor");
        assert_true(incident->waits_on.descriptor > 2);
        assert_int_equal(strncmp(incident->waits_on.target, "pipe:[", 6), 0);
    }
    assert_int_equal(fixture_stop(&f), 0);
}

static void poll_names_its_first_descriptor(void **state)
{
    (void)state;
    struct fixture f;
    struct way way = { .name = "poll", .get_stuck = poll_pipe, .let_go = write_pipe };
    start(&f);
    INJECT_EACH(&f, &way, NULL)
    {
        check(incident, SKINK_CAUSE_SYSCALL, "poll_pipe");
        assert_int_equal(strncmp(incident->waits_on.target, "pipe:[", 6), 0);
    }
    assert_int_equal(fixture_stop(&f), 0);
}

static void hold_mutex(struct way *way)
{
    pthread_mutex_lock(&way->mutex);
}

static void mutex_is_a_lock_with_its_owner(void **state)
{
    (void)state;
    struct fixture f;
    struct way way = { .name = "mutex", .get_stuck = lock_mutex, .let_go = unlock_mutex };
    start(&f);
    INJECT_EACH(&f, &way, hold_mutex)
    {
        check(incident, SKINK_CAUSE_LOCK, "lock_mutex");
        check_has_stack(incident);
        assert_string_equal(incident->syscall, "futex");
        assert_string_equal(incident->waits_on.kind, "mutex");
        assert_int_equal(incident->waits_on.address, (uintptr_t)&way.mutex);
        assert_int_equal(incident->waits_on.chain_length, 1);
        assert_int_equal(incident->waits_on.chain[0].tid, gettid());
        assert_string_equal(incident->waits_on.chain[0].what, "other thread");
        assert_false(incident->waits_on.cycle);
    }
    assert_int_equal(fixture_stop(&f), 0);
}

/* Let go once the thread has answered the signal and sleeps again. The look of a process's first incident comes later:
 * it has debugging information to read. */
static void a_lock_that_is_free_again_at_the_first_look_is_one(void **state)
{
    (void)state;
    struct fixture f;
    struct way way = { .name = "mutex", .get_stuck = lock_mutex };
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    skink_incident *incident;
    options.deadlock_timeout_ns = SKINK_S;
    fixture_start(&f, &options);
    prepare(&way);
    hold_mutex(&way);
    assert_int_equal(skink_spawn(f.scheduler, NULL, NULL, task_main, &way), 0);
    test_wait_until(atomic_load(&way.tid) != 0 && state_of_thread(atomic_load(&way.tid)) == 'S', 5000);
    long switches = thread_voluntary_switches(atomic_load(&way.tid));
    if (fixture_stats(&f).deadlocks)
        test_skip("so busy is the machine that it was declared before it was seen to sleep");
    test_wait_until(thread_voluntary_switches(atomic_load(&way.tid)) > switches, 10000);
    unlock_mutex(&way);
    test_wait_until(atomic_load(&f.incidents) == 1, 15000);
    assert_int_equal(skink_incident_newest(f.recovery, 0, &incident), 0);
    assert_int_equal(incident->cause, SKINK_CAUSE_LOCK);
    assert_string_equal(incident->waits_on.kind, "mutex");
    assert_int_equal(incident->waits_on.address, (uintptr_t)&way.mutex);
    skink_incident_free(incident);
    test_wait_until(atomic_load(&way.ended), 15000);
    assert_int_equal(fixture_stop(&f), 0);
    tidy_up(&way);
}

static void hold_rwlock(struct way *way)
{
    pthread_rwlock_wrlock(&way->rwlock);
}

static void read_write_lock_is_a_lock(void **state)
{
    (void)state;
    struct fixture f;
    struct way way = { .name = "rwlock", .get_stuck = lock_to_read, .let_go = unlock_rwlock };
    start(&f);
    INJECT_EACH(&f, &way, hold_rwlock)
    {
        check(incident, SKINK_CAUSE_LOCK, "lock_to_read");
        assert_string_equal(incident->waits_on.kind, "rwlock");
    }
    assert_int_equal(fixture_stop(&f), 0);
}

static void has_no_owner(struct way *way, const char *function)
{
    struct fixture f;
    start(&f);
    INJECT_EACH(&f, way, NULL)
    {
        check(incident, SKINK_CAUSE_SYSCALL, function);
        assert_string_equal(incident->waits_on.kind, way->name);
        assert_int_equal(incident->waits_on.chain_length, 0);
    }
    assert_int_equal(fixture_stop(&f), 0);
}

static void semaphore_and_condition_have_no_owner(void **state)
{
    (void)state;
    struct way semaphore = { .name = "semaphore", .get_stuck = wait_semaphore, .let_go = post_semaphore };
    struct way condition = { .name = "condition", .get_stuck = wait_condition, .let_go = signal_condition };
    has_no_owner(&semaphore, "wait_semaphore");
    has_no_owner(&condition, "wait_condition");
}

static void computing_is_a_loop(void **state)
{
    (void)state;
    struct fixture f;
    struct way way = { .name = "spin", .get_stuck = spin, .let_go = go_on };
    start(&f);
    INJECT_EACH(&f, &way, NULL)
    {
        check(incident, SKINK_CAUSE_CPU_LOOP, "spin");
        assert_null(incident->waits_on.kind);
        if (SKINK__TSAN) continue;
        assert_true(incident->capture == SKINK_CAPTURE_OK || incident->capture == SKINK_CAPTURE_TIMEOUT);
    }
    assert_int_equal(fixture_stop(&f), 0);
}

static void loop_of_naps_is_no_loop(void **state)
{
    (void)state;
    struct fixture f;
    struct way way = { .name = "naps", .get_stuck = nap_often, .let_go = go_on };
    start(&f);
    INJECT_EACH(&f, &way, NULL)
    {
        check(incident, SKINK_CAUSE_SYSCALL, "nap_often");
        if (!SKINK__TSAN) assert_string_equal(incident->syscall, "clock_nanosleep"); /* it has waits of its own */
    }
    assert_int_equal(fixture_stop(&f), 0);
}

static void uninterruptible_sleep_is_told_by_the_kernel(void **state)
{
    (void)state;
    struct fixture f;
    struct way way = { .name = "vfork", .get_stuck = wait_for_vfork, .let_go = write_pipe };
    if (SKINK__TSAN) test_skip("vfork() is fork() there");
    start(&f);
    INJECT_EACH(&f, &way, NULL)
    {
        if (incident->cause == SKINK_CAUSE_STARVED) continue;
        assert_int_equal(incident->cause, SKINK_CAUSE_UNINTERRUPTIBLE);
        assert_int_equal(incident->state, 'D');
        assert_true(incident->capture == SKINK_CAPTURE_STOPPED || incident->capture == SKINK_CAPTURE_WALKED);
    }
    assert_int_equal(fixture_stop(&f), 0);
}

static void blocking_the_own_loop_is_a_self_wait(void **state)
{
    (void)state;
    struct fixture f;
    struct way way = { .name = "selfwait", .get_stuck = block_loop, .let_go = complete_future };
    start(&f);
    INJECT_EACH(&f, &way, NULL)
    {
        check(incident, SKINK_CAUSE_SELF_WAIT, "block_loop");
        check_has_stack(incident);
        assert_string_equal(incident->waits_on.kind, "future");
        assert_int_equal(incident->waits_on.address, (uintptr_t)way.future);
    }
    assert_int_equal(fixture_stop(&f), 0);
}

static void complete_for_the_loop(void *arg)
{
    complete_future(arg);
}

static void block_for_a_ready_task(struct way *way)
{
    if (skink_post(skink_scheduler_current(), complete_for_the_loop, way)) abort();
    block_loop(way);
}

/* Handed on, the loop ends the wait at once: by the time of any look the thread may be on its way out. */
static void self_wait_that_the_takeover_ends_is_one(void **state)
{
    (void)state;
    struct fixture f;
    struct way way = { .name = "selfwait", .get_stuck = block_for_a_ready_task, .let_go = complete_future };
    start(&f);
    for (int i = 0; i < 20; i++) {
        skink_incident *incident = inject(&f, &way, NULL);
        if (incident->cause != SKINK_CAUSE_STARVED) assert_int_equal(incident->cause, SKINK_CAUSE_SELF_WAIT);
        assert_string_equal(incident->waits_on.kind, "future");
        assert_int_equal(incident->waits_on.address, (uintptr_t)way.future);
        skink_incident_free(incident);
    }
    assert_int_equal(fixture_stop(&f), 0);
}

static void *wait_in_pool(void *arg)
{
    wait_semaphore(arg);
    return NULL;
}

static void block_for_pool(struct way *way)
{
    skink_future *work;
    if (skink_offload_start(skink_scheduler_current(), wait_in_pool, way, &work)) abort();
    (void)!skink_future_block(work, SKINK_FOREVER, NULL);
    skink_future_unref(work);
}

/* It blocks the loop, but what it waits for does not need the loop. */
static void blocking_for_the_pool_is_none(void **state)
{
    (void)state;
    struct fixture f;
    struct way way = { .name = "pool", .get_stuck = block_for_pool, .let_go = post_semaphore };
    start(&f);
    INJECT_EACH(&f, &way, NULL)
    {
        check(incident, SKINK_CAUSE_SYSCALL, "block_for_pool");
        assert_string_equal(incident->waits_on.kind, "future");
    }
    assert_int_equal(fixture_stop(&f), 0);
}

/* Without a takeover the thread still is the loop's; it is looked at and asked all the same. */
static void slice_that_is_only_reported_is_investigated_too(void **state)
{
    (void)state;
    struct fixture f;
    struct way ways[] = { { .name = "spin", .get_stuck = spin, .let_go = go_on },
                          { .name = "read", .get_stuck = read_pipe, .let_go = write_pipe } };
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = TIMEOUT_MS * SKINK_MS;
    options.action = SKINK_ACTION_REPORT;
    fixture_start(&f, &options);
    for (size_t i = 0; i < 2; i++) {
        struct way *way = &ways[i];
        uint64_t told = atomic_load(&f.incidents);
        prepare(way);
        assert_int_equal(skink_post(f.scheduler, task_main, way), 0);
        test_wait_until(atomic_load(&f.incidents) > told, 15000);
        skink_incident *incident;
        assert_int_equal(skink_incident_newest(f.recovery, 0, &incident), 0);
        check(incident, i == 0 ? SKINK_CAUSE_CPU_LOOP : SKINK_CAUSE_SYSCALL, i == 0 ? "spin" : "read_pipe");
        check_has_stack(incident);
        way->let_go(way);
        test_wait_until(atomic_load(&way->ended), 15000);
        skink_incident_free(incident);
        tidy_up(way);
    }
    assert_int_equal(fixture_stats(&f).takeovers, 0);
    assert_int_equal(fixture_stop(&f), 0);
}

/* ---- inside the heap and the loader ---- */

/* Wherever it finds the thread: most likely inside malloc or dlopen, with their locks held. */
static void block_in_handler(int signal_number)
{
    struct pollfd never = { .fd = -1 };
    (void)signal_number;
    while (poll(&never, 0, -1) != 0 && errno == EINTR) {
    }
}

static _Atomic int busy_tid;

static void work_on_the_heap(void *arg)
{
    (void)arg;
    atomic_store(&busy_tid, gettid());
    for (;;) { /* too large for the thread's own cache */
        void *volatile one = malloc(3000);
        void *volatile two = malloc(40000);
        free(one);
        free(two);
    }
}

static void work_on_the_loader(void *arg)
{
    (void)arg;
    atomic_store(&busy_tid, gettid());
    for (;;) {
        void *library = dlopen("libresolv.so.2", RTLD_NOW | RTLD_LOCAL);
        if (library) dlclose(library);
    }
}

/* Both stay there for good, one after the other; reports come as ever, and the loop goes on. Behind the one in dlopen
 * no thread can be created any more, by nobody, but the watchdog is not held up by that: the next slice that gets stuck
 * is noticed, and taken over by the standby that is left. */
static void stuck_inside_malloc_or_the_loader_delays_nobody(void **state)
{
    (void)state;
    static struct fixture f;
    static void (*const works[])(void *arg) = { work_on_the_heap, work_on_the_loader };
    struct way way = { .name = "read", .get_stuck = read_pipe, .let_go = write_pipe };
    if (SKINK__TSAN || SKINK__ASAN) test_skip("the sanitizer's heap has locks that every thread needs");
    signal(SIGUSR1, block_in_handler);
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = TIMEOUT_MS * SKINK_MS;
    options.standby_threads = 3;
    fixture_start(&f, &options);
    for (size_t i = 0; i < 2; i++) {
        uint64_t told = atomic_load(&f.incidents);
        atomic_store(&busy_tid, 0);
        assert_int_equal(skink_post(f.scheduler, works[i], NULL), 0);
        test_wait_until(atomic_load(&busy_tid) != 0, 5000);
        assert_int_equal(syscall(SYS_tgkill, getpid(), atomic_load(&busy_tid), SIGUSR1), 0);
        test_wait_until(atomic_load(&f.incidents) > told, 15000);
        assert_true(loop_is_alive(&f, 5000));
        skink_incident *stuck;
        assert_int_equal(skink_incident_newest(f.recovery, 0, &stuck), 0);
        assert_true(has_stack(stuck) || stuck->capture == SKINK_CAPTURE_TIMEOUT);
        skink_incident_free(stuck);
        if (works[i] == work_on_the_loader)
            assert_int_equal(skink_recovery_ping(f.recovery, test_deadline_ns(5000)), 0);
        uint64_t begun_ns = skink_now();
        skink_incident *incident = inject(&f, &way, NULL);
        check(incident, SKINK_CAUSE_SYSCALL, "read_pipe");
        assert_true(skink_now() - begun_ns < test_ms(test_patience(10000)));
        skink_incident_free(incident);
    }
    _exit(0); /* leaving might need what the strays hold */
}

/* ---- two threads that wait for each other ---- */

static struct {
    pthread_mutex_t a, b;
    sem_t has_b;
    _Atomic bool wants_a, give_up;
} pair = { .a = PTHREAD_MUTEX_INITIALIZER, .b = PTHREAD_MUTEX_INITIALIZER };

static void *take_b_then_a(void *arg)
{
    (void)arg;
    /* It gives up in the end, so that the case can end. */
    pthread_mutex_lock(&pair.b);
    sem_post(&pair.has_b);
    while (!atomic_load(&pair.wants_a))
        test_nap();
    bool has_a = false;
    while (!has_a && !atomic_load(&pair.give_up)) {
        struct timespec end;
        clock_gettime(CLOCK_REALTIME, &end);
        end.tv_sec++;
        has_a = pthread_mutex_timedlock(&pair.a, &end) == 0;
    }
    if (has_a) pthread_mutex_unlock(&pair.a);
    pthread_mutex_unlock(&pair.b);
    return NULL;
}

static void take_a_then_b(struct way *way)
{
    (void)way;
    pthread_mutex_lock(&pair.a);
    sem_wait(&pair.has_b);
    atomic_store(&pair.wants_a, true);
    pthread_mutex_lock(&pair.b);
    pthread_mutex_unlock(&pair.b);
    pthread_mutex_unlock(&pair.a);
}

static void give_up(struct way *way)
{
    (void)way;
    atomic_store(&pair.give_up, true);
}

static void *offloaded(void *arg)
{
    return take_b_then_a(arg);
}

static void offload_task(void *arg)
{
    (void)!skink_offload(offloaded, arg, NULL);
}

/* The classic, between a loop thread and a worker of the pool. */
static void cycle_of_locks_is_closed(void **state)
{
    (void)state;
    struct fixture f;
    struct way way = { .name = "AB", .get_stuck = take_a_then_b, .let_go = give_up };
    sem_init(&pair.has_b, 0, 0);
    start(&f);
    assert_int_equal(skink_post(f.scheduler, offload_task, NULL), 0);
    skink_incident *incident = inject(&f, &way, NULL);
    check(incident, SKINK_CAUSE_LOCK, "take_a_then_b");
    assert_true(incident->waits_on.cycle);
    assert_int_equal(incident->cycle_tid, incident->tid);
    assert_int_equal(incident->waits_on.chain_length, 1);
    assert_int_equal(incident->waits_on.address, (uintptr_t)&pair.b);
    assert_string_equal(incident->waits_on.chain[0].what, "pool worker");
    assert_string_equal(incident->waits_on.chain[0].kind, "mutex");
    assert_int_equal(incident->waits_on.chain[0].address, (uintptr_t)&pair.a);
    assert_true(incident->waits_on.chain[0].frame_count > 0);
    skink_incident_free(incident);
    assert_int_equal(fixture_stop(&f), 0);
}

static const struct test_case cases[] = {
    CASE_TIMEOUT(system_call_is_named_with_what_it_reads, 60),
    CASE(poll_names_its_first_descriptor),
    CASE_TIMEOUT(mutex_is_a_lock_with_its_owner, 60),
    CASE_PLAIN(a_lock_that_is_free_again_at_the_first_look_is_one, 60),
    CASE(read_write_lock_is_a_lock),
    CASE(semaphore_and_condition_have_no_owner),
    CASE_TIMEOUT(computing_is_a_loop, 60),
    CASE_TIMEOUT(loop_of_naps_is_no_loop, 60),
    CASE_TIMEOUT(uninterruptible_sleep_is_told_by_the_kernel, 60),
    CASE_TIMEOUT(blocking_the_own_loop_is_a_self_wait, 60),
    CASE_TIMEOUT(self_wait_that_the_takeover_ends_is_one, 60),
    CASE(blocking_for_the_pool_is_none),
    CASE(slice_that_is_only_reported_is_investigated_too),
    CASE_TIMEOUT(stuck_inside_malloc_or_the_loader_delays_nobody, 60),
    CASE_TIMEOUT(cycle_of_locks_is_closed, 60),
};
TEST_MAIN(cases, NULL, NULL)
