/* SPDX-License-Identifier: MIT */
/* test_token.c - tokens of one's own: derived, with deadlines, and the waits of a scope that they end. */
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

struct fixture {
    skink_scheduler *scheduler;
    skink_future *future;
    skink_token *token;
    int (*wait)(struct fixture *f);
    _Atomic int result, after;
    _Atomic bool waiting, go;
    int ends[2];
    uint64_t took_ns;
};

#define UNSET 1

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    assert_int_equal(skink_future_create(&f->future), 0);
    assert_int_equal(skink_token_derive(NULL, SKINK_FOREVER, &f->token), 0);
    assert_int_equal(pipe(f->ends), 0);
    atomic_store(&f->result, UNSET);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->go, true);
    skink_scheduler_destroy(f->scheduler);
    skink_future_unref(f->future);
    skink_token_unref(f->token);
    close(f->ends[0]);
    close(f->ends[1]);
    free(f);
    return 0;
}

static void run(struct fixture *f, void (*fn)(void *arg))
{
    atomic_store(&f->result, UNSET);
    assert_int_equal(skink_post(f->scheduler, fn, f), 0);
    test_wait_until(atomic_load(&f->result) != UNSET, 5000);
}

/* --- tokens --- */

static void a_token_fires_once_and_with_all_that_came_from_it(void **state)
{
    struct fixture *f = *state;
    skink_token *child, *grandchild, *late;
    assert_int_equal(skink_token_derive(f->token, SKINK_FOREVER, &child), 0);
    assert_int_equal(skink_token_derive(child, SKINK_FOREVER, &grandchild), 0);
    assert_int_equal(skink_token_fire(f->token, 0), -EINVAL);
    assert_int_equal(skink_token_fire(NULL, -EIO), -EINVAL);
    assert_int_equal(skink_token_fire(child, -EIO), 0); /* not upwards */
    assert_int_equal(skink_token_status(f->token), 0);
    assert_int_equal(skink_token_status(grandchild), -EIO);
    assert_int_equal(skink_token_fire(f->token, -ECANCELED), 0);
    assert_int_equal(skink_token_fire(f->token, -EPIPE), -EALREADY);
    assert_int_equal(skink_token_status(f->token), -ECANCELED);
    assert_int_equal(skink_token_status(child), -EIO);
    assert_int_equal(skink_token_derive(f->token, SKINK_FOREVER, &late), 0);
    assert_int_equal(skink_token_status(late), -ECANCELED);
    skink_token_unref(late);
    skink_token_unref(child); /* before what came from it */
    skink_token_unref(grandchild);
}

static void a_child_has_the_earlier_deadline_of_the_two(void **state)
{
    (void)state;
    skink_token *parent, *sooner, *later;
    uint64_t at = skink_after(30 * SKINK_MS);
    assert_int_equal(skink_token_derive(NULL, at, &parent), 0);
    assert_int_equal(skink_token_derive(parent, at - 10 * SKINK_MS, &sooner), 0);
    assert_int_equal(skink_token_derive(parent, SKINK_FOREVER, &later), 0);
    assert_int_equal(skink_token_deadline(sooner), at - 10 * SKINK_MS);
    assert_int_equal(skink_token_deadline(later), at);
    test_wait_until(skink_token_status(later) != 0, 5000);
    assert_true(skink_now() >= at);
    assert_int_equal(skink_token_status(later), -ETIMEDOUT);
    assert_int_equal(skink_token_status(sooner), -ETIMEDOUT);
    (void)skink_token_fire(parent, -ECANCELED); /* changes nothing any more */
    assert_int_equal(skink_token_status(parent), -ETIMEDOUT);
    skink_token_unref(parent);
    skink_token_unref(sooner);
    skink_token_unref(later);
}

static void derivation_is_bounded(void **state)
{
    struct fixture *f = *state;
    skink_token *last = skink_token_ref(f->token), *next;
    int depth = 0, err;
    while ((err = skink_token_derive(last, SKINK_FOREVER, &next)) == 0) {
        skink_token_unref(last);
        last = next;
        depth++;
    }
    assert_int_equal(err, -EAGAIN);
    assert_int_equal(depth, 32);
    assert_int_equal(skink_token_fire(f->token, -EIO), 0);
    assert_int_equal(skink_token_status(last), -EIO);
    skink_token_unref(last);
}

/* --- scopes --- */

static int wait_await(struct fixture *f)
{
    return skink_await(f->future, SKINK_FOREVER, NULL);
}

static int wait_sleep(struct fixture *f)
{
    (void)f;
    return skink_sleep(3600 * SKINK_S);
}

static int wait_fd(struct fixture *f)
{
    return skink_await_fd(f->ends[0], SKINK_READABLE, SKINK_FOREVER, NULL);
}

static int wait_yield(struct fixture *f)
{
    (void)f;
    int err;
    while ((err = skink_yield()) == 0) {
    }
    return err;
}

static int wait_checkpoint(struct fixture *f)
{
    (void)f;
    int err;
    while ((err = skink_checkpoint()) == 0)
        if ((err = skink_sleep(SKINK_MS))) break;
    return err;
}

static int (*const waits[])(struct fixture *f) = { wait_await, wait_sleep, wait_fd, wait_yield, wait_checkpoint };
#define WAIT_COUNT (sizeof waits / sizeof *waits)

static void wait_in_scope(void *arg)
{
    struct fixture *f = arg;
    int err = skink_scope_begin(f->token);
    if (!err) {
        atomic_store(&f->waiting, true);
        err = f->wait(f);
    }
    if (skink_sleep(0) != err) err = -EIO; /* none begins any more */
    if (skink_scope_end() != err) err = -EIO;
    atomic_store(&f->after, skink_sleep(SKINK_MS)); /* and then they do */
    atomic_store(&f->result, err);
}

static void renew_token(struct fixture *f, uint64_t deadline_ns)
{
    skink_token_unref(f->token);
    assert_int_equal(skink_token_derive(NULL, deadline_ns, &f->token), 0);
    atomic_store(&f->waiting, false);
    atomic_store(&f->result, UNSET);
}

static void every_wait_ends_when_a_token_fires_on_another_thread(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < WAIT_COUNT; i++) {
        renew_token(f, SKINK_FOREVER);
        f->wait = waits[i];
        assert_int_equal(skink_post(f->scheduler, wait_in_scope, f), 0);
        test_wait_until(atomic_load(&f->waiting), 5000);
        assert_int_equal(skink_token_fire(f->token, -EPIPE), 0);
        test_wait_until(atomic_load(&f->result) != UNSET, 5000);
        assert_int_equal(atomic_load(&f->result), -EPIPE);
        assert_int_equal(atomic_load(&f->after), 0);
    }
}

static void fire_it(void *arg)
{
    struct fixture *f = arg;
    (void)skink_token_fire(f->token, -EPIPE);
}

static void every_wait_ends_when_a_token_fires_on_its_own_loop(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < WAIT_COUNT; i++) {
        renew_token(f, SKINK_FOREVER);
        f->wait = waits[i];
        assert_int_equal(skink_post(f->scheduler, wait_in_scope, f), 0);
        assert_int_equal(skink_post(f->scheduler, fire_it, f), 0);
        test_wait_until(atomic_load(&f->result) != UNSET, 5000);
        assert_int_equal(atomic_load(&f->result), -EPIPE);
    }
}

static void every_wait_ends_at_the_tokens_deadline(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < WAIT_COUNT; i++) {
        uint64_t at = skink_after(20 * SKINK_MS);
        renew_token(f, at);
        f->wait = waits[i];
        run(f, wait_in_scope);
        assert_int_equal(atomic_load(&f->result), -ETIMEDOUT);
        assert_true(skink_now() >= at);
    }
}

static void nest(void *arg)
{
    struct fixture *f = arg;
    skink_token *inner = NULL;
    int err = skink_scope_begin(f->token);
    if (!err) err = skink_token_derive(skink_token_current(), skink_after(10 * SKINK_MS), &inner);
    if (!err) err = skink_scope_begin(inner);
    if (!err && skink_token_current() != inner) err = -EIO;
    skink_token_unref(inner); /* the scope has one */
    if (!err && skink_await(f->future, skink_after(SKINK_S), NULL) != -ETIMEDOUT) err = -EIO;
    if (!err && skink_scope_end() != -ETIMEDOUT) err = -EIO;
    if (!err && skink_token_current() != f->token) err = -EIO;
    if (!err) err = skink_sleep(SKINK_MS);
    if (!err && skink_token_fire(f->token, -EPIPE)) err = -EIO;
    if (!err && skink_sleep(SKINK_MS) != -EPIPE) err = -EIO;
    if (!err && skink_scope_end() != -EPIPE) err = -EIO;
    if (!err && skink_scope_end() != -EINVAL) err = -EIO;
    if (!err && skink_token_current() != skink_task_token()) err = -EIO;
    atomic_store(&f->result, err);
}

static void scopes_nest_and_end_with_their_own_reason(void **state)
{
    struct fixture *f = *state;
    run(f, nest);
    assert_int_equal(atomic_load(&f->result), 0);
}

static void cancel_reaches_derived(void *arg)
{
    struct fixture *f = arg;
    skink_token *mine;
    int err = skink_token_derive(skink_task_token(), SKINK_FOREVER, &mine);
    if (!err) err = skink_scope_begin(mine);
    atomic_store(&f->waiting, true);
    if (!err) err = skink_await(f->future, SKINK_FOREVER, NULL);
    if (skink_token_status(mine) != err) err = -EIO;
    skink_token_unref(mine);
    atomic_store(&f->result, err);
}

static void cancelling_a_task_fires_what_came_from_its_token(void **state)
{
    struct fixture *f = *state;
    skink_task *task;
    assert_int_equal(skink_spawn(f->scheduler, NULL, &task, cancel_reaches_derived, f), 0);
    test_wait_until(atomic_load(&f->waiting), 5000);
    assert_int_equal(skink_task_cancel(task), 0);
    test_wait_until(atomic_load(&f->result) == -ECANCELED, 5000);
    assert_int_equal(skink_task_await(task, test_deadline_ns(5000)), 0);
    skink_task_unref(task);
}

static void leave_open(void *arg)
{
    struct fixture *f = arg;
    int err = skink_scope_begin(f->token);
    if (!err) err = skink_scope_begin(f->token);
    atomic_store(&f->result, err);
}

static void note_scope(void *arg)
{
    struct fixture *f = arg;
    atomic_store(&f->result, skink_scope_end());
}

static void a_scope_left_open_ends_with_its_task(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++) {
        run(f, leave_open);
        assert_int_equal(atomic_load(&f->result), 0);
        run(f, note_scope); /* the task's object is used again */
        assert_int_equal(atomic_load(&f->result), -EINVAL);
    }
    assert_int_equal(skink_token_fire(f->token, -EIO), 0); /* nobody listens */
}

static void scopes_belong_to_tasks(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_scope_begin(f->token), -EPERM);
    assert_int_equal(skink_scope_begin(NULL), -EINVAL);
    assert_int_equal(skink_scope_end(), -EPERM);
    assert_null(skink_token_current());
}

static void *poll_token(void *arg)
{
    struct fixture *f = arg;
    int status;
    atomic_store(&f->waiting, true);
    while ((status = skink_token_status(f->token)) == 0 && !atomic_load(&f->go)) {
    }
    return (void *)(intptr_t)status;
}

static void offload_polling(void *arg)
{
    struct fixture *f = arg;
    void *value = NULL;
    int err = skink_scope_begin(f->token);
    if (!err) err = skink_offload(poll_token, f, &value);
    atomic_store(&f->result, err ? err : (int)(intptr_t)value);
}

static void work_on_the_pool_polls_the_token_it_was_given(void **state)
{
    struct fixture *f = *state;
    renew_token(f, skink_after(20 * SKINK_MS));
    run(f, offload_polling);
    assert_int_equal(atomic_load(&f->result), -ETIMEDOUT);
}

/* All threads of the pool are taken: what waits there for its turn need not be waited for. */
static void occupy(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < 4; i++) {
        skink_future *work;
        if (skink_offload_start(f->scheduler, poll_token, f, &work) == 0) skink_future_unref(work);
    }
    atomic_store(&f->result, 0);
}

static void *nothing(void *arg)
{
    return arg;
}

static void offload_with_deadline(void *arg)
{
    struct fixture *f = arg;
    skink_token *mine;
    int err = skink_token_derive(NULL, skink_after(20 * SKINK_MS), &mine);
    if (!err) err = skink_scope_begin(mine);
    if (!err) err = skink_offload(nothing, f, NULL);
    skink_token_unref(mine);
    atomic_store(&f->result, err);
}

static void work_that_waits_for_its_turn_ends_at_the_deadline(void **state)
{
    struct fixture *f = *state;
    run(f, occupy);
    run(f, offload_with_deadline);
    assert_int_equal(atomic_load(&f->result), -ETIMEDOUT);
    atomic_store(&f->go, true);
}

/* Many tasks in scopes of tokens that fire on several threads at once, while they come and go. */
struct crowd {
    struct fixture *f;
    _Atomic int living;
};

static void one_of_many(void *arg)
{
    struct crowd *crowd = arg;
    skink_token *mine;
    if (skink_token_derive(crowd->f->token, skink_after(SKINK_MS), &mine) == 0) {
        if (skink_scope_begin(mine) == 0) (void)!skink_await(crowd->f->future, SKINK_FOREVER, NULL);
        skink_token_unref(mine);
    }
    atomic_fetch_sub(&crowd->living, 1);
}

static void *fire_later(void *arg)
{
    fire_it(arg);
    return NULL;
}

static void a_thousand_scopes_end_whoever_is_first(void **state)
{
    struct fixture *f = *state;
    struct crowd crowd = { .f = f };
    for (int round = 0; round < 10; round++) {
        renew_token(f, SKINK_FOREVER);
        atomic_store(&crowd.living, 100);
        for (int i = 0; i < 100; i++)
            assert_int_equal(skink_post(f->scheduler, one_of_many, &crowd), 0);
        pthread_t threads[2];
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, fire_later, f), 0);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        test_wait_until(atomic_load(&crowd.living) == 0, 5000);
    }
}

static const struct test_case cases[] = {
    CASE(a_token_fires_once_and_with_all_that_came_from_it),
    CASE(a_child_has_the_earlier_deadline_of_the_two),
    CASE(derivation_is_bounded),
    CASE(every_wait_ends_when_a_token_fires_on_another_thread),
    CASE(every_wait_ends_when_a_token_fires_on_its_own_loop),
    CASE(every_wait_ends_at_the_tokens_deadline),
    CASE(scopes_nest_and_end_with_their_own_reason),
    CASE(cancelling_a_task_fires_what_came_from_its_token),
    CASE(a_scope_left_open_ends_with_its_task),
    CASE(scopes_belong_to_tasks),
    CASE(work_on_the_pool_polls_the_token_it_was_given),
    CASE(work_that_waits_for_its_turn_ends_at_the_deadline),
    CASE(a_thousand_scopes_end_whoever_is_first),
};
TEST_MAIN(cases, setup, teardown)
