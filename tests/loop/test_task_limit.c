/* SPDX-License-Identifier: MIT */
/* test_task_limit.c - how many tasks may live at once, and what counts towards that. */
#include "skink/skink.h"
#include "tests/loop/fixture.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

static void spawn_past_the_limit_is_refused(void **state)
{
    (void)state;
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.task_max = 100;
    skink_scheduler *scheduler;
    assert_int_equal(skink_scheduler_create(&options, &scheduler), 0);
    struct fixture f = { .scheduler = scheduler };
    for (int i = 0; i < 100; i++)
        assert_int_equal(skink_post(scheduler, count_one, &f), 0);
    assert_int_equal(skink_post(scheduler, count_one, &f), -EAGAIN);
    assert_int_equal(skink_scheduler_start(scheduler), 0);
    test_wait_until(atomic_load(&f.finished) == 100, 5000);
    test_wait_until(skink_post(scheduler, count_one, &f) == 0, 5000);
    skink_scheduler_destroy(scheduler);
}

static void spawns_that_a_stop_refuses_use_nothing_up(void **state)
{
    (void)state;
    enum { LIMIT = 16 };
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.task_max = LIMIT;
    struct fixture f = { 0 };
    assert_int_equal(skink_scheduler_create(&options, &f.scheduler), 0);
    fixture_start(&f);
    fixture_stop_clean(&f);
    for (int i = 0; i < 3 * LIMIT; i++)
        assert_int_equal(skink_spawn(f.scheduler, NULL, NULL, count_one, &f), -ECANCELED);
    fixture_start(&f);
    assert_int_equal(skink_spawn(f.scheduler, NULL, NULL, count_one, &f), 0);
    test_wait_until(atomic_load(&f.finished) == 1, 5000);
    skink_scheduler_destroy(f.scheduler);
}

enum { SOME = 64 };

struct crowd {
    skink_scheduler *scheduler;
    _Atomic bool go;
    _Atomic int made, ended; /* tasks */
};

static void wait_for_the_others(void *arg)
{
    struct crowd *c = arg;
    while (!atomic_load(&c->go))
        if (skink_sleep(SKINK_MS)) return;
    atomic_fetch_add(&c->ended, 1);
}

/* As many as may live, at once; then they end. */
static void fill_up(void *arg)
{
    struct crowd *c = arg;
    int room = SOME - (skink_task_current() != NULL), made = 0;
    uint64_t deadline_ns = test_deadline_ns(5000);
    while (made < room && skink_now() < deadline_ns) /* the loop gives back what it has at its next turn */
        if (skink_spawn(c->scheduler, NULL, NULL, wait_for_the_others, c) == 0) made++;
    atomic_store(&c->made, made);
}

static void *fill_up_on_thread(void *arg)
{
    fill_up(arg);
    return NULL;
}

static void wait_until_empty(struct crowd *c, int made)
{
    test_wait_until(atomic_load(&c->made) == made, 10000);
    atomic_store(&c->go, true);
    test_wait_until(atomic_load(&c->ended) == made, 5000);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(c->scheduler, &stats) == 0 && stats.tasks_living == 0, 5000);
    atomic_store(&c->go, false);
    atomic_store(&c->ended, 0);
    atomic_store(&c->made, 0);
}

/* Goal: whoever has made the objects of all the tasks that may live,
 * and whoever has used them last, others get them. */
static void the_limit_is_on_living_tasks_whoever_spawned_them(void **state)
{
    (void)state;
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.task_max = SOME;
    struct crowd c = { .go = false };
    pthread_t thread;
    for (int first = 0; first < 2; first++) {
        assert_int_equal(skink_scheduler_create(&options, &c.scheduler), 0);
        assert_int_equal(skink_scheduler_start(c.scheduler), 0);
        for (int round = first; round < first + 4; round++) {
            if (round % 2) {
                assert_int_equal(skink_spawn(c.scheduler, NULL, NULL, fill_up, &c), 0);
                wait_until_empty(&c, SOME - 1);
            } else {
                fill_up(&c);
                wait_until_empty(&c, SOME);
            }
            assert_int_equal(pthread_create(&thread, NULL, fill_up_on_thread, &c), 0);
            wait_until_empty(&c, SOME);
            pthread_join(thread, NULL);
        }
        skink_scheduler_destroy(c.scheduler);
    }
}

static const struct test_case cases[] = {
    CASE(spawn_past_the_limit_is_refused),
    CASE(spawns_that_a_stop_refuses_use_nothing_up),
    CASE(the_limit_is_on_living_tasks_whoever_spawned_them),
};
TEST_MAIN(cases, NULL, NULL)
