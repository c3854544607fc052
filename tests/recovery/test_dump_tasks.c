/* SPDX-License-Identifier: MIT */
/* Every task with its stack: suspended, ready, running and stray ones; a loop that is stuck; tasks that come and go. */
#include "loop/runtime.h"
#include "skink/blocking.h"
#include "skink/dump.h"
#include "tests/recovery/fixture.h"
#include "tests/recovery/json.h"
#include "tests/support/process.h"
#include "tests/support/scarce.h"
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

static json_t *dump_tasks(struct fixture *f, const skink_dump_options *given)
{
    skink_dump_options options = SKINK_DUMP_OPTIONS_INIT;
    options.patience_ns = test_ms(test_patience(2000));
    if (given) options = *given;
    options.format = SKINK_DUMP_JSON;
    if (!given || (!given->flags && !given->schedulers)) options.scheduler = f->scheduler;
    options.recovery = f->recovery;
    char *text;
    size_t length;
    assert_int_equal(skink_dump_tasks(&options, &text, &length), 0);
    assert_int_equal(strlen(text), length);
    json_error_t error;
    json_t *dump = json_loads(text, 0, &error);
    if (!dump) fail_msg("%s in %s", error.text, text);
    skink_dump_free(text);
    return dump;
}

/* How many tasks in this state have this function in their stack? */
static json_int_t count_in(const json_t *dump, const char *state, const char *function)
{
    json_int_t count = 0;
    size_t i;
    json_t *stack;
    json_array_foreach (json_object_get(dump, "stacks"), i, stack)
        if (strcmp(text_of(stack, "state"), state) == 0 && (!function || has_function(stack, function)))
            count += number_of(stack, "count");
    return count;
}

/* ---- tasks ---- */

static void park_one(void *arg)
{
    (void)!skink_await(arg, SKINK_FOREVER, NULL);
}

__attribute__((noinline)) static int deep(skink_future *future, int depth)
{
    if (depth > 0) return deep(future, depth - 1) + 1;
    return skink_await(future, SKINK_FOREVER, NULL);
}

static void park_deep(void *arg)
{
    volatile int sum = deep(arg, 3);
    (void)sum;
}

static void park_asleep(void *arg)
{
    (void)arg;
    (void)!skink_sleep(3600 * SKINK_S);
}

static void park_with_room(void *arg)
{
    volatile char *room = __builtin_alloca(100 + (size_t)((uintptr_t)arg & 63)); /* a frame of its own size */
    room[0] = 1;
    (void)!skink_await(arg, SKINK_FOREVER, NULL);
    room[1] = room[0];
}

static void spawn_many(struct fixture *f, const char *name, void (*fn)(void *arg), void *arg, int count)
{
    skink_task_options options = SKINK_TASK_OPTIONS_INIT;
    options.name = name;
    for (int i = 0; i < count; i++)
        assert_int_equal(skink_spawn(f->scheduler, &options, NULL, fn, arg), 0);
}

static uint64_t suspended(struct fixture *f)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    assert_int_equal(skink_scheduler_stats_read(f->scheduler, &stats), 0);
    return stats.tasks_suspended;
}

static void start(struct fixture *f, uint64_t timeout_ns, uint32_t task_max)
{
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.task_max = task_max;
    options.stack_size_bytes = TEST_ASAN || TEST_TSAN ? 64 * 1024 : 16 * 1024;
    skink_recovery_options recovery_options = SKINK_RECOVERY_OPTIONS_INIT;
    recovery_options.deadlock_timeout_ns = timeout_ns;
    *f = (struct fixture){ 0 };
    assert_int_equal(skink_recovery_create(&recovery_options, &f->recovery), 0);
    assert_int_equal(skink_scheduler_create(&options, &f->scheduler), 0);
    assert_int_equal(skink_recovery_watch(f->recovery, f->scheduler), 0);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
}

/* Complete the future that tasks wait for, and stop; sleepers are cancelled. */
static void finish(struct fixture *f, skink_future *future)
{
    if (future) assert_int_equal(skink_future_complete(future, NULL), 0);
    (void)!skink_scheduler_stop(f->scheduler, skink_after(200 * SKINK_MS));
    skink_future_unref(future); /* not before: its waiters read it when they go on */
    skink_scheduler_destroy(f->scheduler);
    skink_recovery_destroy(f->recovery);
}

static skink_future *new_future(void)
{
    skink_future *future;
    assert_int_equal(skink_future_create(&future), 0);
    return future;
}

/* ---- cases ---- */

static void equal_stacks_are_merged_and_the_most_frequent_come_first(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 5 * SKINK_S, 4096);
    skink_future *future = new_future();
    spawn_many(&f, "deep", park_deep, future, 7);
    spawn_many(&f, "one", park_one, future, 300);
    spawn_many(&f, "sleeper \"\xff\"", park_asleep, NULL, 20);
    spawn_many(&f, "room", park_with_room, future, 3);
    test_wait_until(suspended(&f) == 330, 5000);
    json_t *dump = dump_tasks(&f, NULL);
    assert_int_equal(number_of(dump, "tasks"), 330);
    assert_true(json_is_true(json_object_get(dump, "complete")));
    json_t *stacks = json_object_get(dump, "stacks");
    assert_int_equal(json_array_size(stacks), 4);
    const char *const functions[] = { "park_one", "park_asleep", "park_deep", "park_with_room" };
    const json_int_t counts[] = { 300, 20, 7, 3 };
    for (size_t i = 0; i < 4; i++) {
        json_t *stack = json_array_get(stacks, i);
        assert_int_equal(number_of(stack, "count"), counts[i]);
        assert_string_equal(text_of(stack, "state"), "suspended");
        assert_true(has_function(stack, functions[i]));
        assert_true(json_is_false(json_object_get(stack, "cut"))); /* walked to its first frame */
    }
    json_t *one = json_array_get(stacks, 0);
    json_t *innermost = json_array_get(json_object_get(one, "frames"), 0);
    assert_string_equal(text_of(innermost, "function"), "skink_await");
    assert_string_equal(json_string_value(json_array_get(json_object_get(one, "names"), 0)), "one");
    json_t *outermost =
        json_array_get(json_object_get(one, "frames"), json_array_size(json_object_get(one, "frames")) - 1);
    assert_string_equal(text_of(outermost, "function"), "park_one");
    assert_non_null(strstr(text_of(outermost, "file"), "test_dump_tasks.c"));
    assert_true(number_of(outermost, "line") > 0);
    assert_string_equal(json_string_value(json_array_get(json_object_get(json_array_get(stacks, 1), "names"), 0)),
                        "sleeper \"\xef\xbf\xbd\"");
    json_decref(dump);
    finish(&f, future);
}

static void the_text_says_the_same(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 5 * SKINK_S, 4096);
    skink_future *future = new_future();
    spawn_many(&f, "deep", park_deep, future, 4);
    spawn_many(&f, "one", park_one, future, 30);
    test_wait_until(suspended(&f) == 34, 5000);
    skink_dump_options options = SKINK_DUMP_OPTIONS_INIT;
    options.scheduler = f.scheduler;
    options.stacks_max = 1;
    char *told;
    assert_int_equal(skink_dump_tasks(&options, &told, NULL), 0);
    assert_non_null(strstr(told, "34 tasks of loop, 2 different stacks"));
    assert_non_null(strstr(told, "\n30 suspended  one\n    skink_await"));
    assert_non_null(strstr(told, "    park_one"));
    assert_null(strstr(told, "park_deep"));
    assert_non_null(strstr(told, "and 4 tasks with 1 other stacks"));
    skink_dump_free(told);
    finish(&f, future);
}

static void what_cannot_be_done_is_refused(void **state)
{
    (void)state;
    char *told;
    skink_dump_options options = SKINK_DUMP_OPTIONS_INIT;
    assert_int_equal(skink_dump_tasks(NULL, &told, NULL), -EINVAL);
    assert_int_equal(skink_dump_tasks(&options, NULL, NULL), -EINVAL);
    assert_int_equal(skink_dump_tasks(&options, &told, NULL), -EINVAL); /* no scheduler */
    struct fixture f;
    start(&f, 5 * SKINK_S, 64);
    options.scheduler = f.scheduler;
    options.format = (skink_dump_format)7;
    assert_int_equal(skink_dump_tasks(&options, &told, NULL), -EINVAL);
    options.format = SKINK_DUMP_TEXT;
    options.flags = 2;
    assert_int_equal(skink_dump_tasks(&options, &told, NULL), -EINVAL);
    options.flags = 0;
    options.scheduler_count = 1; /* of none */
    assert_int_equal(skink_dump_tasks(&options, &told, NULL), -EINVAL);
    options = (skink_dump_options)SKINK_DUMP_OPTIONS_INIT;
    options.flags = SKINK_DUMP_WATCHED; /* by nobody */
    assert_int_equal(skink_dump_tasks(&options, &told, NULL), -EINVAL);
    finish(&f, NULL);
}

static void dump_from_a_task(void *arg)
{
    skink_dump_options options = SKINK_DUMP_OPTIONS_INIT;
    options.scheduler = skink_scheduler_current();
    char *told;
    atomic_store((_Atomic int *)arg, skink_dump_tasks(&options, &told, NULL));
}

static void a_loop_thread_cannot_dump_its_own_tasks(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 5 * SKINK_S, 64);
    _Atomic int result = 1;
    assert_int_equal(skink_spawn(f.scheduler, NULL, NULL, dump_from_a_task, (void *)&result), 0);
    test_wait_until(atomic_load(&result) != 1, 5000);
    assert_int_equal(atomic_load(&result), -EDEADLK);
    finish(&f, NULL);
}

static void a_scheduler_that_does_not_run_says_so(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    assert_int_equal(skink_scheduler_create(NULL, &f.scheduler), 0);
    json_t *dump = dump_tasks(&f, NULL);
    assert_true(json_is_false(json_object_get(dump, "complete")));
    assert_string_equal(text_of(dump, "note"), "the scheduler does not run");
    json_decref(dump);
    skink_scheduler_destroy(f.scheduler);
}

/* ---- several schedulers ---- */

/* A second one under the same recovery. */
static void add_second(struct fixture *f, skink_scheduler **ret_scheduler)
{
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.name = "second";
    assert_int_equal(skink_scheduler_create(&options, ret_scheduler), 0);
    assert_int_equal(skink_recovery_watch(f->recovery, *ret_scheduler), 0);
    assert_int_equal(skink_scheduler_start(*ret_scheduler), 0);
}

static void spawn_there(skink_scheduler *scheduler, const char *name, void (*fn)(void *arg), void *arg, int count)
{
    struct fixture there = { .scheduler = scheduler };
    spawn_many(&there, name, fn, arg, count);
}

static const json_t *part_of(const json_t *dump, const char *name)
{
    size_t i;
    json_t *part;
    json_array_foreach (json_object_get(dump, "schedulers"), i, part)
        if (strcmp(text_of(part, "name"), name) == 0) return part;
    fail_msg("%s is not among the schedulers", name);
    return NULL;
}

static uint64_t suspended_in(skink_scheduler *scheduler)
{
    struct fixture there = { .scheduler = scheduler };
    return suspended(&there);
}

static void equal_stacks_of_several_schedulers_are_merged(void **state)
{
    (void)state;
    struct fixture f;
    skink_scheduler *second;
    start(&f, 5 * SKINK_S, 4096);
    add_second(&f, &second);
    skink_future *future = new_future();
    spawn_many(&f, "one", park_one, future, 30);
    spawn_many(&f, "deep", park_deep, future, 4);
    spawn_there(second, "other", park_one, future, 12);
    test_wait_until(suspended(&f) == 34 && suspended_in(second) == 12, 5000);
    /* By the recovery that watches both, or named, also twice. */
    skink_dump_options watched = SKINK_DUMP_OPTIONS_INIT, named = SKINK_DUMP_OPTIONS_INIT;
    watched.flags = SKINK_DUMP_WATCHED;
    named.schedulers = (skink_scheduler *const[]){ second, f.scheduler, NULL, second };
    named.scheduler_count = 4;
    const skink_dump_options *const ways[] = { &watched, &named };
    for (int i = 0; i < 2; i++) {
        json_t *dump = dump_tasks(&f, ways[i]);
        assert_int_equal(number_of(dump, "tasks"), 46);
        assert_true(json_is_true(json_object_get(dump, "complete")));
        json_t *stacks = json_object_get(dump, "stacks");
        assert_int_equal(json_array_size(stacks), 2);
        assert_int_equal(number_of(json_array_get(stacks, 0), "count"), 42);
        assert_int_equal(json_array_size(json_object_get(json_array_get(stacks, 0), "names")), 2);
        assert_int_equal(json_array_size(json_object_get(dump, "schedulers")), 2);
        assert_int_equal(number_of(part_of(dump, "loop"), "tasks"), 34);
        assert_int_equal(number_of(part_of(dump, "second"), "tasks"), 12);
        json_decref(dump);
    }
    watched.recovery = f.recovery;
    char *told;
    assert_int_equal(skink_dump_tasks(&watched, &told, NULL), 0);
    assert_non_null(strstr(told, "46 tasks of 2 schedulers, 2 different stacks"));
    assert_non_null(strstr(told, "\n  loop: 34 tasks\n  second: 12 tasks\n"));
    skink_dump_free(told);
    assert_int_equal(skink_future_complete(future, NULL), 0);
    test_wait_until(suspended_in(second) == 0, 5000);
    skink_scheduler_destroy(second);
    finish(&f, NULL);
    skink_future_unref(future); /* not before: its waiters read it when they go on */
}

/* ---- a loop that is stuck ---- */

static void a_loop_that_is_stuck_does_not_hide_the_others(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    start(&f, 60 * SKINK_S, 4096); /* not to be declared in this test */
    skink_future *future = new_future();
    spawn_many(&f, "one", park_one, future, 1000);
    spawn_many(&f, "deep", park_deep, future, 5);
    test_wait_until(suspended(&f) == 1005, 15000); /* ThreadSanitizer takes its time for so many */
    stuck_init(&s);
    stuck_spawn(&f, &s);
    test_wait_until(atomic_load(&s.started_tid) != 0, 5000);
    uint64_t begun = test_now_ns();
    json_t *dump = dump_tasks(&f, NULL);
    assert_true(test_now_ns() - begun < test_ms(test_patience(5000)));
    assert_int_equal(number_of(dump, "tasks"), 1006);
    assert_true(json_is_true(json_object_get(dump, "complete")));
    assert_int_equal(count_in(dump, "suspended", "park_one"), 1000);
    assert_int_equal(count_in(dump, "suspended", "park_deep"), 5);
    assert_int_equal(count_in(dump, "running", NULL), 1);
    if (!TEST_TSAN && !TEST_ASAN) assert_int_equal(count_in(dump, "running", "stuck_task"), 1);
    assert_non_null(strstr(text_of(dump, "note"), "stuck in a task"));
    json_decref(dump);
    stuck_end(&s);
    finish(&f, future);
}

static void a_loop_that_spins_does_not_hide_the_others(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    start(&f, 60 * SKINK_S, 4096);
    skink_future *future = new_future();
    spawn_many(&f, "one", park_one, future, 100);
    test_wait_until(suspended(&f) == 100, 5000);
    stuck_init(&s);
    s.spin = true;
    stuck_spawn(&f, &s);
    test_wait_until(atomic_load(&s.started_tid) != 0, 5000);
    spawn_many(&f, "waiting", park_one, future, 3); /* in the inbox */
    json_t *dump = dump_tasks(&f, NULL);
    assert_int_equal(number_of(dump, "tasks"), 104);
    assert_int_equal(count_in(dump, "running", NULL), 1);
    assert_int_equal(count_in(dump, "fresh", "park_one"), 3);
    json_decref(dump);
    stuck_end(&s);
    finish(&f, future);
}

static void a_stray_is_told_with_its_stack_and_the_loop_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    start(&f, 50 * SKINK_MS, 4096);
    skink_future *future = new_future();
    spawn_many(&f, "one", park_one, future, 10);
    stuck_init(&s);
    stuck_spawn(&f, &s);
    test_wait_until(fixture_stats(&f).strays == 1 && suspended(&f) == 10, 5000);
    /* While it is asked for its stack, a moment after the declaration, it is not where it was. */
    bool has_stack = false;
    uint64_t deadline = test_deadline_ns(5000);
    while (!has_stack && test_now_ns() < deadline) {
        json_t *dump = dump_tasks(&f, NULL);
        assert_int_equal(number_of(dump, "tasks"), 11);
        assert_int_equal(count_in(dump, "suspended", "park_one"), 10);
        assert_int_equal(count_in(dump, "stray", NULL), 1);
        has_stack = TEST_TSAN || TEST_ASAN || count_in(dump, "stray", "stuck_task") == 1;
        json_decref(dump);
    }
    assert_true(has_stack);
    stuck_end(&s);
    finish(&f, future);
}

static void block_as_announced(void *arg)
{
    struct stuck *s = arg;
    assert_int_equal(skink_blocking_begin(), 0);
    atomic_store(&s->started_ns, skink_now());
    while (sem_wait(&s->release) != 0) {
    }
    (void)!skink_blocking_end();
    atomic_store(&s->ended, true);
}

static void a_task_in_a_stretch_that_blocks_is_told_as_such(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    start(&f, 5 * SKINK_S, 4096);
    stuck_init(&s);
    assert_int_equal(skink_spawn(f.scheduler, NULL, NULL, block_as_announced, &s), 0);
    test_wait_until(atomic_load(&s.started_ns) != 0, 5000);
    assert_true(loop_is_alive(&f, 5000)); /* it has been handed on */
    json_t *dump = dump_tasks(&f, NULL);
    assert_int_equal(number_of(dump, "tasks"), 1);
    assert_int_equal(count_in(dump, "blocking", NULL), 1);
    if (!TEST_TSAN && !TEST_ASAN) assert_int_equal(count_in(dump, "blocking", "block_as_announced"), 1);
    json_decref(dump);
    stuck_end(&s);
    finish(&f, NULL);
}

/* A runtime section that does not end: what a libuv callback would be. */
struct blocker {
    struct skink__message message;
    sem_t release;
    _Atomic bool entered;
};

static void block_runtime(skink_scheduler *scheduler, struct skink__message *message, bool closed)
{
    (void)scheduler, (void)closed;
    struct blocker *b = (struct blocker *)message;
    atomic_store(&b->entered, true);
    while (sem_wait(&b->release) != 0) {
    }
}

/* Have the loop run it, and get stuck in it until `release` is posted. */
static void blocker_post(struct blocker *b, skink_scheduler *scheduler)
{
    *b = (struct blocker){ .message.deliver = block_runtime };
    sem_init(&b->release, 0, 0);
    assert_true(skink__scheduler_post(scheduler, &b->message));
}

static void a_stuck_runtime_section_is_told_within_the_patience(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 60 * SKINK_S, 4096);
    skink_future *future = new_future();
    spawn_many(&f, "one", park_one, future, 12);
    test_wait_until(suspended(&f) == 12, 5000);
    struct blocker b;
    blocker_post(&b, f.scheduler);
    test_wait_until(atomic_load(&b.entered), 5000);
    skink_dump_options options = SKINK_DUMP_OPTIONS_INIT;
    options.patience_ns = 100 * SKINK_MS;
    uint64_t begun = test_now_ns();
    json_t *dump = dump_tasks(&f, &options);
    assert_true(test_now_ns() - begun < test_ms(test_patience(2000)));
    assert_true(json_is_false(json_object_get(dump, "complete")));
    assert_non_null(strstr(text_of(dump, "note"), "runtime section"));
    assert_int_equal(number_of(dump, "tasks"), 12);
    assert_int_equal(count_in(dump, "suspended", NULL), 12);
    json_decref(dump);
    sem_post(&b.release);
    test_wait_until(loop_is_alive(&f, 5000), 5000);
    dump = dump_tasks(&f, NULL); /* the tickets that were taken back did no harm */
    assert_int_equal(count_in(dump, "suspended", "park_one"), 12);
    json_decref(dump);
    finish(&f, future);
}

/* One is stuck in its runtime section, one in a task, and one works: each is told about as it is, and in time. */
static void a_stuck_scheduler_does_not_hide_the_others(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    skink_scheduler *second, *third;
    start(&f, 60 * SKINK_S, 4096); /* nothing is declared in this test */
    add_second(&f, &second);
    add_second(&f, &third);
    skink_future *future = new_future();
    spawn_many(&f, "one", park_one, future, 10);
    spawn_there(second, "two", park_one, future, 20);
    spawn_there(third, "three", park_one, future, 40);
    test_wait_until(suspended(&f) == 10 && suspended_in(second) == 20 && suspended_in(third) == 40, 5000);
    struct blocker b;
    blocker_post(&b, f.scheduler);
    stuck_init(&s);
    struct fixture there = { .scheduler = second, .recovery = f.recovery };
    stuck_spawn(&there, &s);
    test_wait_until(atomic_load(&b.entered) && atomic_load(&s.started_tid) != 0, 5000);
    skink_dump_options options = SKINK_DUMP_OPTIONS_INIT;
    options.flags = SKINK_DUMP_WATCHED;
    options.patience_ns = test_ms(test_patience(200)); /* in which the third one has to answer */
    uint64_t begun = test_now_ns();
    json_t *dump = dump_tasks(&f, &options);
    assert_true(test_now_ns() - begun < test_ms(test_patience(3000)));
    assert_true(json_is_false(json_object_get(dump, "complete")));
    assert_true(json_is_false(json_object_get(part_of(dump, "loop"), "complete")));
    assert_non_null(strstr(text_of(part_of(dump, "loop"), "note"), "runtime section"));
    assert_int_equal(number_of(dump, "tasks"), 10 + 21 + 40);
    assert_int_equal(number_of(part_of(dump, "loop"), "tasks"), 10);
    assert_int_equal(count_in(dump, "suspended", "park_one"), 60);
    assert_int_equal(count_in(dump, "running", NULL), 1);
    json_decref(dump);
    sem_post(&b.release);
    stuck_end(&s);
    assert_int_equal(skink_future_complete(future, NULL), 0);
    test_wait_until(suspended_in(second) == 0 && suspended_in(third) == 0 && suspended(&f) == 0, 5000);
    skink_scheduler_destroy(second);
    skink_scheduler_destroy(third);
    finish(&f, NULL);
    skink_future_unref(future); /* not before: its waiters read it when they go on */
}

/* ---- while all moves ---- */

struct churn {
    struct fixture *f;
    _Atomic bool quit;
    _Atomic uint64_t rounds;
};

static void short_task(void *arg)
{
    (void)arg;
    (void)!skink_yield();
    (void)!skink_sleep(SKINK_MS / 10);
    (void)!skink_yield();
}

static void *churn_main(void *arg)
{
    struct churn *churn = arg;
    while (!atomic_load(&churn->quit)) {
        skink_task_options options = SKINK_TASK_OPTIONS_INIT;
        char *name =
            strdup("a name of its own"); /* freed as soon as the task has ended, and it is not looked at then */
        options.name = name;
        skink_task *task;
        if (skink_spawn(churn->f->scheduler, &options, &task, short_task, NULL) == 0) {
            for (int i = 0; i < 20; i++)
                (void)!skink_post(churn->f->scheduler, short_task, NULL);
            (void)!skink_task_await(task, SKINK_FOREVER);
            skink_task_unref(task);
        }
        free(name);
        atomic_fetch_add(&churn->rounds, 1);
    }
    return NULL;
}

static void tasks_may_come_and_go_during_a_dump(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 5 * SKINK_S, 4096);
    skink_future *future = new_future();
    spawn_many(&f, "one", park_one, future, 500);
    test_wait_until(suspended(&f) == 500, 15000);
    struct churn churn = { .f = &f };
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn_main, &churn), 0);
    uint64_t until = test_now_ns() + test_ms(700);
    unsigned dumps = 0;
    for (; test_now_ns() < until || dumps < 3; dumps++) {
        json_t *dump = dump_tasks(&f, NULL);
        assert_int_equal(count_in(dump, "suspended", "park_one"), 500);
        assert_true(json_is_true(json_object_get(dump, "complete")));
        json_decref(dump);
    }
    print_message("%u dumps beside %llu rounds\n", dumps, (unsigned long long)atomic_load(&churn.rounds));
    assert_true(atomic_load(&churn.rounds) > 0);
    atomic_store(&churn.quit, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    finish(&f, future);
}

/* ---- how long it takes, and how long it holds the loop ---- */

struct pulse {
    _Atomic bool quit;
    _Atomic bool on;
    _Atomic uint64_t worst_ns; /* processor time of the loop thread between two looks */
};

static uint64_t thread_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * SKINK_S + (uint64_t)now.tv_nsec;
}

static void beat(void *arg)
{
    struct pulse *pulse = arg;
    uint64_t before = thread_cpu_ns();
    while (!atomic_load(&pulse->quit)) {
        (void)!skink_yield();
        uint64_t now = thread_cpu_ns();
        if (atomic_load(&pulse->on) && now - before > atomic_load(&pulse->worst_ns))
            atomic_store(&pulse->worst_ns, now - before);
        before = now;
    }
}

static void a_hundred_thousand_tasks_are_told_within_a_second_and_hold_the_loop_below_a_millisecond(void **state)
{
    (void)state;
    if (!TEST_TIMES) test_skip("times of a sanitizer's build say nothing");
    if (!test_has_guard_markers()) test_skip("the kernel has no MADV_GUARD_INSTALL");
    enum { TASKS = 100000 };
    struct fixture f;
    start(&f, 30 * SKINK_S, TASKS + 100);
    skink_future *future = new_future();
    spawn_many(&f, "one", park_one, future, TASKS * 7 / 10);
    spawn_many(&f, "deep", park_deep, future, TASKS * 3 / 10);
    test_wait_until(suspended(&f) == TASKS, 30000);
    struct pulse pulse = { 0 };
    assert_int_equal(skink_spawn(f.scheduler, NULL, NULL, beat, &pulse), 0);
    double best = 1e9, best_hold_us = 1e9;
    for (int i = 0; i < 3; i++) {
        atomic_store(&pulse.worst_ns, 0);
        atomic_store(&pulse.on, true);
        uint64_t begun = test_now_ns();
        json_t *dump = dump_tasks(&f, NULL);
        double ms = (double)(test_now_ns() - begun) / 1e6;
        atomic_store(&pulse.on, false);
        double hold_us = (double)atomic_load(&pulse.worst_ns) / 1e3; /* the longest in this dump */
        print_message("%.0f ms, %lld steps, worst hold %.0f us\n", ms, (long long)number_of(dump, "steps"), hold_us);
        assert_int_equal(count_in(dump, "suspended", "park_one"), TASKS * 7 / 10);
        assert_int_equal(count_in(dump, "suspended", "park_deep"), TASKS * 3 / 10);
        assert_true(number_of(dump, "tasks") >= TASKS);
        json_decref(dump);
        if (ms < best) best = ms;
        if (hold_us < best_hold_us) best_hold_us = hold_us;
    }
    assert_true(best < 1000);
    assert_true(best_hold_us < 1000);
    atomic_store(&pulse.quit, true);
    finish(&f, future);
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    scarce_install();
    struct fixture f;
    start(&f, 30 * SKINK_S, 64);
    skink_future *future = new_future();
    spawn_many(&f, "one", park_one, future, 3);
    test_wait_until(suspended(&f) == 3, 5000);
    skink_dump_options options = SKINK_DUMP_OPTIONS_INIT;
    options.scheduler = f.scheduler;
    options.recovery = f.recovery;
    options.patience_ns = test_ms(test_patience(200));
    unsigned refused = 0;
    for (long n = 0, failed = 1; failed; n++) {
        char *told = NULL;
        scarce_fail(n);
        int err = skink_dump_tasks(&options, &told, NULL);
        failed = scarce_end();
        assert_true(err == 0 || err == -ENOMEM); /* a name or a ticket less does not spoil the whole */
        refused += err != 0;
        if (!failed) assert_non_null(strstr(told, "3 suspended  one"));
        skink_dump_free(told);
    }
    assert_true(refused > 3);
    finish(&f, future);
    scarce_assert_no_blocks();
}

static const struct test_case cases[] = {
    CASE(equal_stacks_are_merged_and_the_most_frequent_come_first),
    CASE(the_text_says_the_same),
    CASE(what_cannot_be_done_is_refused),
    CASE(a_loop_thread_cannot_dump_its_own_tasks),
    CASE(a_scheduler_that_does_not_run_says_so),
    CASE(a_loop_that_is_stuck_does_not_hide_the_others),
    CASE(a_loop_that_spins_does_not_hide_the_others),
    CASE(a_stray_is_told_with_its_stack_and_the_loop_goes_on),
    CASE(a_task_in_a_stretch_that_blocks_is_told_as_such),
    CASE(a_stuck_runtime_section_is_told_within_the_patience),
    CASE(equal_stacks_of_several_schedulers_are_merged),
    CASE(a_stuck_scheduler_does_not_hide_the_others),
    CASE(tasks_may_come_and_go_during_a_dump),
    CASE_TIMED(a_hundred_thousand_tasks_are_told_within_a_second_and_hold_the_loop_below_a_millisecond, 30),
    CASE(each_allocation_may_fail),
};
TEST_MAIN(cases, NULL, NULL)
