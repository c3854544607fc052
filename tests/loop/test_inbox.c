/* SPDX-License-Identifier: MIT */
/* test_inbox.c - many posters, one taker: nothing lost, in order, and who must wake the sleeper does. */
#include "loop/inbox.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct fixture {
    struct skink__inbox inbox;
};

struct numbered {
    struct skink__message message; /* first: the cases cast */
    int poster, number;
};

static int setup(void **state)
{
    struct fixture *f = NULL;
    if (posix_memalign((void **)&f, 64, sizeof *f)) return -1;
    assert_int_equal(skink__inbox_init(&f->inbox), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    skink__inbox_fini(&f->inbox);
    free(f);
    return 0;
}

static bool is_woken(struct skink__inbox *inbox)
{
    struct pollfd entry = { .fd = inbox->wakeup_fd, .events = POLLIN };
    return poll(&entry, 1, 0) == 1;
}

static void taking_gives_everything_oldest_first(void **state)
{
    struct fixture *f = *state;
    struct numbered messages[3] = { { .number = 0 }, { .number = 1 }, { .number = 2 } };
    assert_true(skink__inbox_is_empty(&f->inbox));
    assert_null(skink__inbox_take(&f->inbox));
    for (int i = 0; i < 3; i++)
        assert_true(skink__inbox_post(&f->inbox, &messages[i].message));
    assert_false(skink__inbox_is_empty(&f->inbox));
    struct skink__message *message = skink__inbox_take(&f->inbox);
    for (int i = 0; i < 3; i++, message = message->next)
        assert_ptr_equal(message, &messages[i].message);
    assert_null(message);
    assert_null(skink__inbox_take(&f->inbox));
}

static void only_a_post_to_a_sleeper_writes_to_the_eventfd(void **state)
{
    struct fixture *f = *state;
    struct numbered a, b;
    assert_true(skink__inbox_post(&f->inbox, &a.message));
    assert_false(is_woken(&f->inbox));
    assert_false(skink__inbox_sleep(&f->inbox)); /* not with something inside */
    assert_ptr_equal(skink__inbox_take(&f->inbox), &a.message);
    assert_true(skink__inbox_sleep(&f->inbox));
    assert_true(skink__inbox_is_empty(&f->inbox));
    assert_true(skink__inbox_post(&f->inbox, &a.message));
    assert_true(is_woken(&f->inbox));
    assert_true(skink__inbox_post(&f->inbox, &b.message));
    assert_ptr_equal(skink__inbox_take(&f->inbox), &a.message);
}

static void a_sleeper_that_wakes_by_itself_finds_nothing(void **state)
{
    struct fixture *f = *state;
    assert_true(skink__inbox_sleep(&f->inbox));
    assert_null(skink__inbox_take(&f->inbox));
    struct numbered a;
    assert_true(skink__inbox_post(&f->inbox, &a.message));
    assert_false(is_woken(&f->inbox)); /* it was awake again */
    assert_non_null(skink__inbox_take(&f->inbox));
}

static void a_closed_inbox_refuses_and_returns_what_was_inside(void **state)
{
    struct fixture *f = *state;
    struct numbered a, b;
    assert_true(skink__inbox_post(&f->inbox, &a.message));
    assert_ptr_equal(skink__inbox_close(&f->inbox), &a.message);
    assert_false(skink__inbox_post(&f->inbox, &b.message));
    assert_null(skink__inbox_close(&f->inbox));
    skink__inbox_open(&f->inbox);
    assert_true(skink__inbox_post(&f->inbox, &b.message));
    assert_ptr_equal(skink__inbox_take(&f->inbox), &b.message);
}

static void an_inbox_is_closed_only_while_it_is_empty(void **state)
{
    struct fixture *f = *state;
    struct numbered a;
    assert_true(skink__inbox_post(&f->inbox, &a.message));
    assert_false(skink__inbox_close_if_empty(&f->inbox));
    assert_ptr_equal(skink__inbox_take(&f->inbox), &a.message); /* nothing has happened */
    assert_true(skink__inbox_close_if_empty(&f->inbox));
    assert_true(skink__inbox_close_if_empty(&f->inbox));
    assert_false(skink__inbox_post(&f->inbox, &a.message));
    assert_true(skink__inbox_is_empty(&f->inbox));
}

static void a_sleeper_can_be_asked_again_and_closed(void **state)
{
    struct fixture *f = *state;
    struct numbered a;
    assert_true(skink__inbox_sleep(&f->inbox));
    assert_true(skink__inbox_sleep(&f->inbox)); /* it sleeps already */
    assert_null(skink__inbox_close(&f->inbox));
    assert_false(skink__inbox_post(&f->inbox, &a.message));
    skink__inbox_open(&f->inbox);
    assert_true(skink__inbox_sleep(&f->inbox));
    assert_true(skink__inbox_close_if_empty(&f->inbox));
}

/* Opening undoes a close, and nothing else: what came before the first start stays. */
static void opening_what_is_open_loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct numbered a;
    assert_true(skink__inbox_post(&f->inbox, &a.message));
    skink__inbox_open(&f->inbox);
    assert_ptr_equal(skink__inbox_take(&f->inbox), &a.message);
}

/* Goal: four posters, and a taker that sleeps whenever it may: it sees everything, each poster's in order, and is never
 * asleep with something inside. */
enum { POSTERS = 4, EACH = 20000 };

struct poster {
    struct skink__inbox *inbox;
    struct numbered *messages;
};

static void *post_all(void *arg)
{
    struct poster *poster = arg;
    for (int i = 0; i < EACH; i++)
        assert_true(skink__inbox_post(poster->inbox, &poster->messages[i].message));
    return NULL;
}

static void posters_and_a_sleeping_taker_lose_nothing(void **state)
{
    struct fixture *f = *state;
    struct poster posters[POSTERS];
    pthread_t threads[POSTERS];
    int next[POSTERS] = { 0 };
    for (int p = 0; p < POSTERS; p++) {
        posters[p] = (struct poster){ &f->inbox, calloc(EACH, sizeof(struct numbered)) };
        for (int i = 0; i < EACH; i++) {
            posters[p].messages[i].poster = p;
            posters[p].messages[i].number = i;
        }
        assert_int_equal(pthread_create(&threads[p], NULL, post_all, &posters[p]), 0);
    }
    for (int seen = 0; seen < POSTERS * EACH;) {
        if (skink__inbox_sleep(&f->inbox)) {
            struct pollfd entry = { .fd = f->inbox.wakeup_fd, .events = POLLIN };
            assert_int_equal(poll(&entry, 1, (int)test_patience(5000)),
                             1); /* nobody woke us: that would be the fault */
            uint64_t count;
            assert_int_equal(read(f->inbox.wakeup_fd, &count, sizeof count), sizeof count);
        }
        struct skink__message *message = skink__inbox_take(&f->inbox);
        for (; message; message = message->next, seen++) {
            struct numbered *n = (struct numbered *)message;
            assert_int_equal(n->number, next[n->poster]++);
        }
    }
    for (int p = 0; p < POSTERS; p++) {
        pthread_join(threads[p], NULL);
        free(posters[p].messages);
    }
}

static const struct test_case cases[] = {
    CASE(taking_gives_everything_oldest_first),         CASE(only_a_post_to_a_sleeper_writes_to_the_eventfd),
    CASE(a_sleeper_that_wakes_by_itself_finds_nothing), CASE(a_closed_inbox_refuses_and_returns_what_was_inside),
    CASE(an_inbox_is_closed_only_while_it_is_empty),    CASE(a_sleeper_can_be_asked_again_and_closed),
    CASE(opening_what_is_open_loses_nothing),           CASE(posters_and_a_sleeping_taker_lose_nothing),
};
TEST_MAIN(cases, setup, teardown)
