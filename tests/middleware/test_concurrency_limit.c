/* SPDX-License-Identifier: MIT */
/* test_concurrency_limit.c - permits and the queue behind them, by themselves:
 * who is next, who is turned away, what is full. */
#include "middleware/concurrency_limit.h"
#include "tests/support/case.h"

enum { WAITERS = 6 };

struct fixture {
    struct skink__limit limit;
    struct skink__waiting waiting[WAITERS];
    uint64_t waited_ns;
};

static struct fixture make(uint32_t max_requests, uint32_t max_queue)
{
    struct fixture f = { .limit = { .max_requests = max_requests, .max_queue = max_queue } };
    return f;
}

static enum skink__entry enter(struct fixture *f, int i, uint64_t now_ns)
{
    return skink__limit_enter(&f->limit, &f->waiting[i], now_ns, false);
}

/* Which one is next; -1 for nobody. */
static int next(struct fixture *f, uint64_t now_ns)
{
    struct skink__waiting *first = skink__limit_next(&f->limit, now_ns, &f->waited_ns);
    return first ? (int)(first - f->waiting) : -1;
}

static bool is_full(const struct fixture *f)
{
    return atomic_load(&f->limit.full_since_ns) != 0;
}

static void who_comes_later_does_not_overtake_who_waits(void **state)
{
    (void)state;
    struct fixture f = make(1, 3);
    assert_int_equal(enter(&f, 0, 1), SKINK__ENTERED);
    assert_int_equal(enter(&f, 1, 2), SKINK__WAITS);
    skink__limit_leave(&f.limit); /* nobody has been let in yet */
    assert_int_equal(enter(&f, 2, 3), SKINK__WAITS);
    assert_int_equal(next(&f, 5), 1);
    assert_int_equal(f.waited_ns, 3);
    assert_int_equal(next(&f, 5), -1); /* without a permit */
    skink__limit_leave(&f.limit);
    assert_int_equal(next(&f, 9), 2);
    assert_int_equal(f.waited_ns, 6);
    skink__limit_leave(&f.limit);
    assert_int_equal(next(&f, 9), -1); /* without anybody */
    assert_int_equal(atomic_load(&f.limit.in_use), 0);
    assert_int_equal(atomic_load(&f.limit.sum_ns), 9);
}

static void only_who_has_waited_already_may_exceed_the_queue(void **state)
{
    (void)state;
    struct fixture f = make(1, 1);
    assert_int_equal(enter(&f, 0, 1), SKINK__ENTERED);
    assert_int_equal(enter(&f, 1, 1), SKINK__WAITS);
    assert_int_equal(enter(&f, 2, 1), SKINK__TURNED_AWAY);
    assert_false(skink__is_waiting(&f.waiting[2]));
    assert_int_equal(skink__limit_enter(&f.limit, &f.waiting[2], 1, true), SKINK__WAITS);
    assert_int_equal(atomic_load(&f.limit.turned_away), 1);
    assert_int_equal(atomic_load(&f.limit.queued), 2);
}

static void who_leaves_the_middle_of_the_queue_is_skipped(void **state)
{
    (void)state;
    struct fixture f = make(1, WAITERS);
    for (int i = 0; i < 5; i++)
        assert_int_equal(enter(&f, i, 1), i == 0 ? SKINK__ENTERED : SKINK__WAITS);
    skink__limit_forget(&f.waiting[2]);
    skink__limit_forget(&f.waiting[2]); /* it does not wait any more */
    skink__limit_forget(&f.waiting[4]);
    assert_int_equal(atomic_load(&f.limit.left), 2);
    assert_int_equal(enter(&f, 5, 1), SKINK__WAITS);
    const int order[] = { 1, 3, 5, -1 };
    for (int i = 0; i < 4; i++) {
        skink__limit_leave(&f.limit);
        assert_int_equal(next(&f, 2), order[i]);
    }
}

/* Under steady overload a queue is full and one short of it in turns: it counts as full until half of it is empty. */
static void a_queue_is_full_until_half_of_it_is_empty(void **state)
{
    (void)state;
    struct fixture f = make(1, 4);
    for (int i = 0; i < 4; i++)
        (void)enter(&f, i, 10);
    assert_false(is_full(&f));
    assert_int_equal(enter(&f, 4, 20), SKINK__WAITS);
    assert_int_equal(atomic_load(&f.limit.full_since_ns), 20); /* the next one is turned away */
    assert_int_equal(enter(&f, 5, 30), SKINK__TURNED_AWAY);
    skink__limit_leave(&f.limit);
    assert_int_equal(next(&f, 40), 1);
    assert_int_equal(atomic_load(&f.limit.full_since_ns), 20);
    skink__limit_leave(&f.limit);
    assert_int_equal(next(&f, 50), 2);
    assert_false(is_full(&f));
}

static void a_queue_that_clients_leave_is_full_no_longer(void **state)
{
    (void)state;
    struct fixture f = make(1, 2);
    for (int i = 0; i < 3; i++)
        (void)enter(&f, i, 10);
    assert_true(is_full(&f));
    skink__limit_forget(&f.waiting[1]);
    assert_false(is_full(&f));
}

static void without_a_queue_it_is_full_until_half_of_the_permits_are_back(void **state)
{
    (void)state;
    struct fixture f = make(4, 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(enter(&f, i, 10), SKINK__ENTERED);
    assert_false(is_full(&f)); /* nobody has been turned away */
    assert_int_equal(enter(&f, 4, 20), SKINK__TURNED_AWAY);
    assert_int_equal(atomic_load(&f.limit.full_since_ns), 20);
    skink__limit_leave(&f.limit);
    assert_true(is_full(&f));
    skink__limit_leave(&f.limit);
    assert_false(is_full(&f));
}

static void a_limit_that_is_lifted_is_not_full(void **state)
{
    (void)state;
    struct fixture f = make(1, 4);
    for (int i = 0; i < 5; i++)
        (void)enter(&f, i, 10);
    assert_true(is_full(&f));
    atomic_store(&f.limit.max_requests, 0);
    assert_int_equal(next(&f, 20), 1);
    assert_false(is_full(&f));
    for (int i = 2; i < 5; i++)
        assert_int_equal(next(&f, 20), i);
    assert_int_equal(enter(&f, 5, 20), SKINK__ENTERED);
    assert_int_equal(atomic_load(&f.limit.in_use), 6); /* counted all the same */
}

static const struct test_case cases[] = {
    CASE(who_comes_later_does_not_overtake_who_waits),
    CASE(only_who_has_waited_already_may_exceed_the_queue),
    CASE(who_leaves_the_middle_of_the_queue_is_skipped),
    CASE(a_queue_is_full_until_half_of_it_is_empty),
    CASE(a_queue_that_clients_leave_is_full_no_longer),
    CASE(without_a_queue_it_is_full_until_half_of_the_permits_are_back),
    CASE(a_limit_that_is_lifted_is_not_full),
};
TEST_MAIN(cases, NULL, NULL)
