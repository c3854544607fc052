/* SPDX-License-Identifier: MIT */
/* tests/recovery/test_report_limit.c - reports are bounded, and what is left out is counted exactly. */
#include "recovery/report_limit.h"
#include "recovery/tally.h"
#include "tests/recovery/fixture.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static skink_incident with_stack(skink_frame *frame, uint64_t address)
{
    *frame = (skink_frame){ .address = address };
    return (skink_incident){ .task = "task", .stack = frame, .frame_count = 1 };
}

static void one_stack_gets_a_quarter_and_all_together_the_whole(void **state)
{
    (void)state;
    struct skink__report_limit limit = { .per_minute = 20 };
    skink_frame frame;
    unsigned told = 0;
    skink_incident same = with_stack(&frame, 0x1000);
    for (int i = 0; i < 10000; i++)
        told += skink__report_limit_admits(&limit, &same, SKINK_S);
    assert_int_equal(told, 5);
    for (int i = 0; i < 100; i++) {
        skink_incident other = with_stack(&frame, 0x2000 + (uint64_t)i);
        told += skink__report_limit_admits(&limit, &other, SKINK_S);
    }
    assert_int_equal(told, 20);
    assert_int_equal(limit.suppressed_total, 10100 - 20);
    assert_false(skink__report_limit_is_over(&limit, 60 * SKINK_S));
    assert_true(skink__report_limit_is_over(&limit, 61 * SKINK_S));
    assert_true(skink__report_limit_admits(&limit, &same, 61 * SKINK_S)); /* another minute */
    assert_int_equal(limit.suppressed_total, 10100 - 20);
}

static void without_a_stack_the_name_counts(void **state)
{
    (void)state;
    struct skink__report_limit limit = { .per_minute = 3 }; /* a quarter of it is none: one */
    skink_incident one = { .task = "one" }, two = { .task = "two" };
    assert_true(skink__report_limit_admits(&limit, &one, 1));
    assert_false(skink__report_limit_admits(&limit, &one, 1));
    assert_true(skink__report_limit_admits(&limit, &two, 1));
    assert_int_equal(limit.suppressed_total, 1);
}

static void no_limit_lets_everything_through(void **state)
{
    (void)state;
    struct skink__report_limit limit = { 0 };
    skink_incident one = { .task = "one" };
    for (int i = 0; i < 1000; i++)
        assert_true(skink__report_limit_admits(&limit, &one, 1) && skink__report_limit_admits_line(&limit, 1));
    assert_int_equal(limit.suppressed_total, 0);
}

static void what_does_not_fit_into_the_tally_is_counted_together(void **state)
{
    (void)state;
    struct skink__tally tally = { 0 };
    assert_int_equal(skink__tally_init(&tally), 0);
    char name[32];
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "/%u", i);
        skink__tally_incident(&tally, skink__tally_row_of(&tally, "GET", name), SKINK_CAUSE_LOCK, SKINK_ACTION_HOLD);
    }
    assert_int_equal(tally.count, SKINK__TALLY_ROWS);
    assert_int_equal(tally.rows[SKINK__TALLY_OTHER].incidents[SKINK_CAUSE_LOCK][SKINK_ACTION_HOLD],
                     1000 - (SKINK__TALLY_ROWS - 1));
    assert_int_equal(skink__tally_row_of(&tally, "GET", "/7"), skink__tally_row_of(&tally, "GET", "/7"));
    assert_true(skink__tally_row_of(&tally, "PUT", "/7") == SKINK__TALLY_OTHER);
    skink__tally_fini(&tally);
}

/* ---- a flood ---- */

struct flood {
    struct fixture f;
    _Atomic int done;
};

/* Until it has been declared, which on a busy machine may take a while. */
static void stall(void *arg)
{
    struct flood *flood = arg;
    uint64_t before = fixture_stats(&flood->f).deadlocks; /* no other slice runs before this one is declared */
    while (fixture_stats(&flood->f).deadlocks == before)
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    atomic_fetch_add(&flood->done, 1);
}

static void count_all(const skink_recovery_count *count, void *arg)
{
    uint64_t *sum = arg;
    for (unsigned cause = 0; cause < SKINK_CAUSES; cause++)
        for (unsigned action = 0; action < SKINK_ACTIONS; action++)
            *sum += count->incidents[cause][action];
}

static uint64_t counted(struct fixture *f)
{
    uint64_t sum = 0;
    assert_int_equal(skink_recovery_counts(f->recovery, count_all, &sum), 0);
    return sum;
}

/* Stalls as fast as one loop can have them, some 3,500 a minute: each is counted, three are told, and the loop goes on
 * as if nobody reported anything. */
static void a_flood_of_stalls_is_counted_and_hardly_told(void **state)
{
    (void)state;
    enum { STALLS = 150 };
    static struct flood flood;
    struct fixture *f = &flood.f;
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = 10 * SKINK_MS;
    options.max_strays = 64;
    options.reports_per_minute = 12;
    fixture_start(f, &options);
    skink_task_options named = SKINK_TASK_OPTIONS_INIT;
    named.name = "stall";
    for (int i = 0; i < STALLS; i++)
        assert_int_equal(skink_spawn(f->scheduler, &named, NULL, stall, &flood), 0);
    test_wait_until(atomic_load(&flood.done) == STALLS, 15000);
    test_wait_until(fixture_stats(f).strays == 0, 8000);
    uint64_t deadlocks = fixture_stats(f).deadlocks;
    assert_int_equal(deadlocks, STALLS);
    test_wait_until(counted(f) == deadlocks, 15000);
    skink_recovery_stats stats = fixture_stats(f);
    assert_in_range(stats.reports_suppressed + stats.reports_lost, deadlocks - 12, deadlocks);
    test_wait_until(atomic_load(&f->incidents) + fixture_stats(f).reports_lost == deadlocks, 8000);
    assert_int_equal(fixture_stop(f), 0);
}

static const struct test_case cases[] = {
    CASE(one_stack_gets_a_quarter_and_all_together_the_whole),
    CASE(without_a_stack_the_name_counts),
    CASE(no_limit_lets_everything_through),
    CASE(what_does_not_fit_into_the_tally_is_counted_together),
    CASE_TIMEOUT(a_flood_of_stalls_is_counted_and_hardly_told, 60),
};

TEST_MAIN(cases, NULL, NULL)
