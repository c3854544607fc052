/* SPDX-License-Identifier: MIT */
/* Every thread with what it is and where it waits; the locks that are waited for; deadlocks between any threads. */
#include "loop/takeover.h"
#include "loop/thread_roles.h"
#include "skink/dump.h"
#include "tests/recovery/fixture.h"
#include "tests/recovery/json.h"
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

static pid_t own_tid(void)
{
    return (pid_t)syscall(SYS_gettid);
}

static json_t *dump_threads(struct fixture *f)
{
    skink_dump_options options = SKINK_DUMP_OPTIONS_INIT;
    options.format = SKINK_DUMP_JSON;
    options.scheduler = f ? f->scheduler : NULL;
    options.recovery = f ? f->recovery : NULL;
    char *text;
    assert_int_equal(skink_dump_threads(&options, &text, NULL), 0);
    json_t *dump = json_loads(text, 0, NULL);
    if (!dump) fail_msg("%s", text);
    skink_dump_free(text);
    return dump;
}

/* The stack that has this thread in it, and the thread's own object; NULL without one. */
static json_t *find_stack(const json_t *dump, pid_t tid, json_t **ret_thread)
{
    size_t i, k;
    json_t *stack, *thread;
    json_array_foreach (json_object_get(dump, "stacks"), i, stack) {
        json_array_foreach (json_object_get(stack, "threads"), k, thread) {
            if (number_of(thread, "tid") != tid) continue;
            if (ret_thread) *ret_thread = thread;
            return stack;
        }
    }
    return NULL;
}

/* ---- who is there ---- */

static void each_thread_is_told_with_its_role(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    fixture_start(&f, NULL);
    stuck_get_told(&f, &s);
    /* Each has its name a moment before it says what it is. */
    const char *const names[] = { "skink-watchdog", "skink-standby", "skink-report" };
    for (size_t i = 0; i < 3; i++)
        test_wait_until(thread_named(names[i]) && skink__thread_role(thread_named(names[i])), 5000);
    json_t *dump = dump_threads(&f);
    json_t *thread;
    json_t *stack = find_stack(dump, atomic_load(&s.started_tid), &thread);
    assert_non_null(stack);
    assert_string_equal(text_of(stack, "role"), "stray");
    assert_string_equal(text_of(stack, "state"), "blocked");
    assert_string_equal(text_of(thread, "incident"), f.last.id);
    assert_string_equal(text_of(json_object_get(thread, "waits_on"), "kind"), "semaphore");
    assert_true(json_is_null(json_object_get(json_object_get(thread, "waits_on"), "owner")));
    if (!TEST_ASAN && !TEST_TSAN) assert_true(has_function(stack, "stuck_task"));
    assert_string_equal(text_of(find_stack(dump, thread_named("skink-standby"), NULL), "role"), "standby");
    assert_string_equal(text_of(find_stack(dump, thread_named("skink-watchdog"), NULL), "role"), "watchdog");
    assert_string_equal(text_of(find_stack(dump, thread_named("skink-report"), NULL), "role"), "helper");
    struct skink__thread *loop = skink__scheduler_thread(f.scheduler);
    assert_string_equal(text_of(find_stack(dump, skink__thread_tid(loop), NULL), "role"), "loop");
    skink__thread_unref(loop);
    assert_null(find_stack(dump, own_tid(), NULL)); /* who asks */
    json_decref(dump);
    stuck_end(&s);
    fixture_stop(&f);
}

static void *give_back(void *arg)
{
    return arg;
}

static void do_nothing(uv_work_t *work)
{
    (void)work;
}

static void no_more(uv_work_t *work, int status)
{
    (void)work, (void)status;
}

/* One that has worked for skink says so itself; the others, and those of a host that uses libuv's pool by itself, are
 * known by where they begin. */
static void workers_of_the_pool_are_known_even_when_idle(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL);
    skink_future *work;
    assert_int_equal(skink_offload_start(f.scheduler, give_back, NULL, &work), 0);
    assert_int_equal(skink_await(work, test_deadline_ns(5000), NULL), 0);
    skink_future_unref(work);
    json_t *dump = NULL;
    size_t workers = 0;
    const size_t least = TEST_ASAN || TEST_TSAN ? 1 : 4; /* a sanitizer starts each thread in a function of its own */
    uint64_t deadline = test_deadline_ns(5000);
    while (workers < least && test_now_ns() < deadline) {
        json_decref(dump);
        dump = dump_threads(&f);
        workers = 0;
        size_t i;
        json_t *stack;
        json_array_foreach (json_object_get(dump, "stacks"), i, stack)
            if (strcmp(text_of(stack, "role"), "pool") == 0) workers += (size_t)number_of(stack, "count");
    }
    assert_in_range(workers, least, 4);
    json_decref(dump);
    uv_loop_t loop;
    uv_work_t request;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_queue_work(&loop, &request, do_nothing, no_more), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    fixture_stop(&f);
}

static void a_thread_that_computes_is_told_as_running(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    fixture_start_timeout(&f, 60 * SKINK_S);
    stuck_init(&s);
    s.spin = true;
    stuck_spawn(&f, &s);
    test_wait_until(atomic_load(&s.started_tid) != 0, 5000);
    json_t *thread;
    json_t *dump = dump_threads(&f);
    json_t *stack = find_stack(dump, s.started_tid, &thread);
    assert_string_equal(text_of(stack, "role"), "loop");
    assert_string_equal(text_of(stack, "state"), "running");
    assert_int_equal(json_array_size(json_object_get(stack, "frames")), 0);
    json_decref(dump);
    stuck_end(&s);
    fixture_stop(&f);
}

/* ---- locks ---- */

enum { WAITERS = 20 };

static pthread_mutex_t coveted = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int arrived;

static void *covet(void *arg)
{
    (void)arg;
    atomic_fetch_add(&arrived, 1);
    pthread_mutex_lock(&coveted);
    pthread_mutex_unlock(&coveted);
    return NULL;
}

static void equal_stacks_are_merged_and_a_lock_is_told_with_its_waiters(void **state)
{
    (void)state;
    pthread_t threads[WAITERS];
    pthread_mutex_lock(&coveted);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, covet, NULL), 0);
    json_t *dump = NULL, *lock = NULL;
    uint64_t deadline = test_deadline_ns(10000);
    do {
        json_decref(dump);
        dump = dump_threads(NULL);
        lock = json_array_get(json_object_get(dump, "locks"), 0);
    } while (json_array_size(json_object_get(lock, "waiting")) < WAITERS && test_now_ns() < deadline);
    assert_int_equal(json_array_size(json_object_get(dump, "locks")), 1);
    assert_int_equal(json_array_size(json_object_get(lock, "waiting")), WAITERS);
    assert_int_equal(number_of(lock, "owner"), own_tid());
    assert_string_equal(text_of(lock, "kind"), "mutex");
    char address[32];
    snprintf(address, sizeof address, "0x%zx", (size_t)&coveted);
    assert_string_equal(text_of(lock, "address"), address);
    json_t *first = json_array_get(json_object_get(dump, "stacks"), 0);
    assert_int_equal(number_of(first, "count"), WAITERS);
    if (!TEST_ASAN && !TEST_TSAN) assert_true(has_function(first, "covet"));
    assert_int_equal(json_array_size(json_object_get(dump, "deadlocks")), 0);
    json_decref(dump);

    char *told;
    skink_dump_options options = SKINK_DUMP_OPTIONS_INIT;
    assert_int_equal(skink_dump_threads(&options, &told, NULL), 0);
    assert_non_null(strstr(told, "20 other, blocked\n"));
    assert_non_null(strstr(told, "locks that are waited for:\n  mutex 0x"));
    skink_dump_free(told);
    pthread_mutex_unlock(&coveted);
    for (int i = 0; i < WAITERS; i++)
        pthread_join(threads[i], NULL);
}

struct pair {
    pthread_mutex_t *first, *second;
    pthread_barrier_t *both;
    _Atomic pid_t tid;
};

static void *take_both(void *arg)
{
    struct pair *pair = arg;
    atomic_store(&pair->tid, own_tid());
    pthread_mutex_lock(pair->first);
    pthread_barrier_wait(pair->both);
    pthread_mutex_lock(pair->second);
    return NULL;
}

static void a_deadlock_of_any_two_threads_is_told(void **state)
{
    (void)state;
    if (TEST_TSAN) test_skip("ThreadSanitizer reports the inversion itself");
    static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
    static pthread_barrier_t both;
    static struct pair pairs[2] = { { .first = &a, .second = &b, .both = &both },
                                    { .first = &b, .second = &a, .both = &both } };
    pthread_barrier_init(&both, NULL, 2);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_both, &pairs[i]), 0);
    json_t *dump = NULL, *deadlock = NULL;
    uint64_t deadline = test_deadline_ns(5000);
    do {
        json_decref(dump);
        dump = dump_threads(NULL);
        deadlock = json_array_get(json_object_get(dump, "deadlocks"), 0);
    } while (!deadlock && test_now_ns() < deadline);
    assert_int_equal(json_array_size(json_object_get(dump, "deadlocks")), 1); /* told once, not from each side */
    assert_int_equal(json_array_size(deadlock), 2);
    pid_t low = pairs[0].tid < pairs[1].tid ? pairs[0].tid : pairs[1].tid;
    assert_int_equal(number_of(json_array_get(deadlock, 0), "tid"), low);
    assert_int_equal(number_of(json_array_get(deadlock, 0), "owner"), pairs[0].tid + pairs[1].tid - low);
    assert_int_equal(number_of(json_array_get(deadlock, 1), "owner"), low);
    json_decref(dump);
    char *told;
    skink_dump_options options = SKINK_DUMP_OPTIONS_INIT;
    assert_int_equal(skink_dump_threads(&options, &told, NULL), 0);
    assert_non_null(strstr(told, "\nDEADLOCK: "));
    skink_dump_free(told);
    _exit(0); /* nobody can end them */
}

/* ---- nobody is disturbed ---- */

struct napper {
    _Atomic pid_t tid;
    _Atomic int interrupted;
    _Atomic bool quit;
};

static void *nap_main(void *arg)
{
    struct napper *napper = arg;
    atomic_store(&napper->tid, own_tid());
    while (!atomic_load(&napper->quit)) {
        struct timespec nap = { .tv_nsec = 20000000 };
        if (nanosleep(&nap, NULL) && errno == EINTR) atomic_fetch_add(&napper->interrupted, 1);
    }
    return NULL;
}

static void a_healthy_thread_sees_no_interruption(void **state)
{
    (void)state;
    struct napper napper = { 0 };
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, nap_main, &napper), 0);
    test_wait_until(atomic_load(&napper.tid) != 0, 5000);
    enum { DUMPS = TEST_TIMES ? 30 : 8 }; /* each takes a fifth of a second with a sanitizer */
    unsigned seen = 0;
    for (int i = 0; i < DUMPS; i++) {
        json_t *dump = dump_threads(NULL);
        json_t *stack = find_stack(dump, napper.tid, NULL);
        seen += stack && strcmp(text_of(stack, "state"), "blocked") == 0;
        json_decref(dump);
    }
    atomic_store(&napper.quit, true);
    pthread_join(thread, NULL);
    assert_true(seen > 0);
    assert_int_equal(atomic_load(&napper.interrupted), 0);
}

static const struct test_case cases[] = {
    CASE(each_thread_is_told_with_its_role),
    CASE(workers_of_the_pool_are_known_even_when_idle),
    CASE(a_thread_that_computes_is_told_as_running),
    CASE(equal_stacks_are_merged_and_a_lock_is_told_with_its_waiters),
    CASE_TIMEOUT(a_deadlock_of_any_two_threads_is_told, 20),
    CASE(a_healthy_thread_sees_no_interruption),
};
TEST_MAIN(cases, NULL, NULL)
