/* SPDX-License-Identifier: MIT */
/* tests/loop/fixture.c - a scheduler, and tasks that count themselves and sleep. */
#include "tests/loop/fixture.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdlib.h>

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    skink_scheduler_destroy(f->scheduler);
    free(f);
    return 0;
}

void fixture_start(struct fixture *f)
{
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
}

void fixture_stop_clean(struct fixture *f)
{
    assert_int_equal(skink_scheduler_stop(f->scheduler, test_deadline_ns(5000)), 0);
}

static void run_a_moment(struct fixture *f)
{
    int now = atomic_fetch_add(&f->running, 1) + 1;
    if (now > atomic_load(&f->most_running)) atomic_store(&f->most_running, now);
    atomic_fetch_sub(&f->running, 1);
}

void count_one(void *fixture)
{
    struct fixture *f = fixture;
    run_a_moment(f);
    atomic_fetch_add(&f->finished, 1);
}

void sleep_between(void *fixture)
{
    struct fixture *f = fixture;
    for (int i = 0; i < 3; i++) {
        run_a_moment(f);
        assert_int_equal(skink_sleep(20 * SKINK_MS), 0);
    }
    atomic_fetch_add(&f->finished, 1);
}

void sleep_for_ever(void *sleeper)
{
    struct sleeper *s = sleeper;
    s->token = skink_token_ref(skink_task_token());
    atomic_store(&s->asleep, true);
    int err = skink_sleep_until(SKINK_FOREVER);
    assert_int_equal(skink_sleep(SKINK_S), -ECANCELED); /* and so is every wait after it */
    assert_int_equal(skink_yield(), -ECANCELED);
    assert_int_equal(skink_checkpoint(), -ECANCELED);
    atomic_store(&s->result, err);
}
