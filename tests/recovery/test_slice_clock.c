/* SPDX-License-Identifier: MIT */
/* The rules of effective time, one by one, with made-up samples: no thread and no clock. */
#include "recovery/slice_clock.h"
#include "tests/support/case.h"

#define MS UINT64_C(1000000)
#define PERIOD (5 * MS)
#define TIMEOUT (200 * MS)

struct fixture {
    struct skink__slice_clock clock;
    struct skink__reading now;
};

static void see_first(struct fixture *f)
{
    *f = (struct fixture){ 0 };
    f->now = (struct skink__reading){ .now_ns = 1000 * MS, .cpu_ns = 7 * MS, .has_cpu = true, .state = '?' };
    skink__slice_clock_start(&f->clock, 42, &f->now);
    f->now.run_delay_ns = 3 * MS;
}

static struct skink__interval see_again(struct fixture *f, char state, uint64_t passed, uint64_t cpu, uint64_t delay)
{
    f->now.now_ns += passed;
    f->now.cpu_ns += cpu;
    f->now.run_delay_ns += delay;
    f->now.state = state;
    f->now.has_run_delay = true;
    return skink__slice_clock_advance(&f->clock, PERIOD, &f->now, false);
}

static void first_sighting_counts_nothing(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    assert_int_equal(f.clock.effective_ns, 0);
    assert_int_equal(skink__slice_clock_remaining(&f.clock, TIMEOUT), TIMEOUT);
    assert_false(skink__slice_clock_is_due(&f.clock, TIMEOUT));
}

static void blocked_thread_counts_wall_time(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    struct skink__interval interval = see_again(&f, 'S', PERIOD, 0, 0);
    assert_int_equal(interval.counted_ns, PERIOD);
    interval = see_again(&f, 'D', PERIOD, 0, 0);
    assert_int_equal(interval.counted_ns, PERIOD);
    assert_int_equal(f.clock.effective_ns, 2 * PERIOD);
}

static void runnable_thread_counts_only_what_it_got(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    struct skink__interval interval = see_again(&f, 'R', PERIOD, 1 * MS, 0);
    assert_int_equal(interval.counted_ns, 1 * MS);
    assert_int_equal(interval.starved_ns, PERIOD - 1 * MS);
    assert_int_equal(interval.suspended_ns, 0);
    assert_int_equal(f.clock.effective_ns, 1 * MS);
    assert_int_equal(f.clock.wall_ns, PERIOD);
}

/* Its waits for the processor are over, so they are in the kernel's counter, and they were not its own doing. */
static void waits_for_a_processor_before_it_blocked_do_not_count(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    see_again(&f, 'S', PERIOD, 0, 0);
    struct skink__interval interval = see_again(&f, 'S', PERIOD, 0, 4 * MS);
    assert_int_equal(interval.counted_ns, 1 * MS);
    assert_int_equal(interval.starved_ns, 4 * MS);
}

/* A wait that began intervals ago enters the counter at once when it ends. */
static void run_delay_longer_than_the_interval_counts_nothing(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    see_again(&f, 'S', PERIOD, 0, 0);
    struct skink__interval interval = see_again(&f, 'S', PERIOD, 0, 80 * MS);
    assert_int_equal(interval.counted_ns, 0);
    assert_int_equal(interval.starved_ns, PERIOD);
}

static void stopped_thread_counts_nothing(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    struct skink__interval interval = see_again(&f, 't', PERIOD, 0, 0);
    assert_int_equal(interval.counted_ns, 0);
    assert_int_equal(interval.suspended_ns, PERIOD);
    interval = see_again(&f, 'T', PERIOD, 0, 0);
    assert_int_equal(interval.suspended_ns, PERIOD);
    assert_int_equal(f.clock.effective_ns, 0);
    assert_int_equal(f.clock.wall_ns, 0); /* nor towards the ceiling: a debugger may take its time */
}

static void late_look_counts_two_periods_at_most(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    struct skink__interval interval = see_again(&f, 'S', 100 * PERIOD, 0, 0);
    assert_int_equal(interval.counted_ns, 2 * PERIOD);
    assert_int_equal(interval.suspended_ns, 98 * PERIOD);
    interval = see_again(&f, 'R', 100 * PERIOD, 100 * PERIOD, 0);
    assert_int_equal(interval.counted_ns, 2 * PERIOD);
    assert_int_equal(f.clock.wall_ns, 4 * PERIOD);
}

static void unknown_state_counts_wall_time(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    f.now.has_cpu = false;
    f.now.now_ns += PERIOD;
    struct skink__interval interval = skink__slice_clock_advance(&f.clock, PERIOD, &f.now, false);
    assert_int_equal(interval.counted_ns, PERIOD);
}

static void runnable_without_a_processor_clock_counts_wall_time(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    f.now.has_cpu = false;
    struct skink__interval interval = see_again(&f, 'R', PERIOD, 0, 0);
    assert_int_equal(interval.counted_ns, PERIOD);
}

/* The kernel's counters are read one after the other, and may disagree a little. */
static void counters_that_step_back_count_nothing(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    see_again(&f, 'R', PERIOD, PERIOD, 2 * MS);
    f.now.cpu_ns -= 1 * MS;
    struct skink__interval interval = see_again(&f, 'R', PERIOD, 0, 0);
    assert_int_equal(interval.counted_ns, 0);
    f.now.now_ns -= 3 * MS;
    f.now.run_delay_ns -= 1 * MS;
    interval = see_again(&f, 'S', 1 * MS, 0, 0);
    assert_int_equal(interval.counted_ns + interval.starved_ns + interval.suspended_ns, 0);
}

static void more_processor_time_than_wall_time_counts_as_wall_time(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    struct skink__interval interval = see_again(&f, 'R', PERIOD, PERIOD + 9 * MS, 0);
    assert_int_equal(interval.counted_ns, PERIOD);
    assert_int_equal(interval.starved_ns, 0);
}

/* Whatever the samples say, no more counts than has passed: this is "never before T". */
static void effective_time_never_runs_ahead_of_the_clock(void **state)
{
    (void)state;
    static const char states[] = "RSDTt?R";
    struct fixture f;
    see_first(&f);
    uint64_t random = 12345;
    for (int i = 0; i < 100000; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t passed = (random >> 33) % (3 * PERIOD);
        struct skink__interval interval =
            see_again(&f, states[(random >> 20) % 7], passed, (random >> 40) % PERIOD, (random >> 45) % (2 * PERIOD));
        assert_int_equal(interval.counted_ns + interval.starved_ns + interval.suspended_ns, passed);
        assert_true(f.clock.effective_ns <= f.clock.wall_ns);
        assert_true(f.clock.wall_ns <= f.now.now_ns - f.clock.first_seen_ns);
    }
}

static void slice_is_due_when_its_timeout_has_counted(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    for (int i = 0; i < 39; i++)
        see_again(&f, 'S', PERIOD, 0, 0);
    assert_false(skink__slice_clock_is_due(&f.clock, TIMEOUT));
    assert_int_equal(skink__slice_clock_remaining(&f.clock, TIMEOUT), PERIOD);
    see_again(&f, 'S', PERIOD - 1, 0, 0);
    assert_false(skink__slice_clock_is_due(&f.clock, TIMEOUT));
    see_again(&f, 'S', 1, 0, 0);
    assert_true(skink__slice_clock_is_due(&f.clock, TIMEOUT));
    assert_int_equal(skink__slice_clock_remaining(&f.clock, TIMEOUT), 0);
}

static void starvation_ends_at_the_ceiling(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    for (int i = 0; i < 159; i++)
        see_again(&f, 'R', PERIOD, 0, 0);
    assert_false(skink__slice_clock_is_at_ceiling(&f.clock, TIMEOUT, 4));
    see_again(&f, 'R', PERIOD, 0, 0);
    assert_true(skink__slice_clock_is_at_ceiling(&f.clock, TIMEOUT, 4));
    assert_false(skink__slice_clock_is_due(&f.clock, TIMEOUT));
}

static void ceiling_of_an_endless_timeout_does_not_overflow(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    see_again(&f, 'S', PERIOD, 0, 0);
    assert_false(skink__slice_clock_is_at_ceiling(&f.clock, UINT64_MAX / 2, 1000));
}

static void host_code_ends_the_time_of_a_runtime_section(void **state)
{
    (void)state;
    struct fixture f;
    see_first(&f);
    f.now.state = 'S';
    f.now.now_ns += PERIOD;
    skink__slice_clock_advance(&f.clock, PERIOD, &f.now, true);
    f.now.now_ns += PERIOD;
    skink__slice_clock_advance(&f.clock, PERIOD, &f.now, true);
    assert_int_equal(f.clock.runtime_ns, 2 * PERIOD);
    see_again(&f, 'S', PERIOD, 0, 0);
    assert_int_equal(f.clock.runtime_ns, 0);
    assert_int_equal(f.clock.effective_ns, 3 * PERIOD);
}

static void period_is_a_twenty_fourth_between_1_and_100_ms(void **state)
{
    (void)state;
    assert_int_equal(skink__slice_clock_period(480 * MS), 20 * MS);
    assert_int_equal(skink__slice_clock_period(24 * MS), 1 * MS);
    assert_int_equal(skink__slice_clock_period(10 * MS), 1 * MS);
    assert_int_equal(skink__slice_clock_period(30000 * MS), 100 * MS);
}

/* A processor clock that can be read now, and could not before, says nothing of the time between. */
static void a_clock_that_was_not_known_before_counts_by_the_wall(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    f.now = (struct skink__reading){ .now_ns = 1000 * MS, .state = 'R' };
    skink__slice_clock_start(&f.clock, 42, &f.now);
    f.now.has_cpu = true;
    assert_int_equal(see_again(&f, 'R', PERIOD, 1, 0).counted_ns, PERIOD);
    assert_int_equal(see_again(&f, 'R', PERIOD, 1, 0).counted_ns, 1); /* and now it does */
    assert_int_equal(skink__slice_clock_cpu(&f.clock), 1);
}

static const struct test_case cases[] = {
    CASE(first_sighting_counts_nothing),
    CASE(blocked_thread_counts_wall_time),
    CASE(runnable_thread_counts_only_what_it_got),
    CASE(waits_for_a_processor_before_it_blocked_do_not_count),
    CASE(run_delay_longer_than_the_interval_counts_nothing),
    CASE(stopped_thread_counts_nothing),
    CASE(late_look_counts_two_periods_at_most),
    CASE(unknown_state_counts_wall_time),
    CASE(runnable_without_a_processor_clock_counts_wall_time),
    CASE(counters_that_step_back_count_nothing),
    CASE(more_processor_time_than_wall_time_counts_as_wall_time),
    CASE(effective_time_never_runs_ahead_of_the_clock),
    CASE(slice_is_due_when_its_timeout_has_counted),
    CASE(starvation_ends_at_the_ceiling),
    CASE(ceiling_of_an_endless_timeout_does_not_overflow),
    CASE(host_code_ends_the_time_of_a_runtime_section),
    CASE(period_is_a_twenty_fourth_between_1_and_100_ms),
    CASE(a_clock_that_was_not_known_before_counts_by_the_wall),
};
TEST_MAIN(cases, NULL, NULL)
