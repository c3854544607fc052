/* SPDX-License-Identifier: MIT */
/* Why a slice was stuck, rule by rule. That real threads show these symptoms is tested in test_investigate.c. */
#include "recovery/cause.h"
#include "recovery/slice_clock.h"
#include "skink/clock.h"
#include "tests/support/case.h"
#include <string.h>

/* Blocked in a call since it began, which nothing else explains. */
static struct skink__symptoms blocked(void)
{
    return (struct skink__symptoms){
        .declared_state = 'S', .state = 'S', .in_call = true, .cpu_ns = SKINK_MS, .effective_ns = SKINK_S
    };
}

static void call_and_lock_are_told_apart(void **state)
{
    (void)state;
    struct skink__symptoms s = blocked();
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_SYSCALL);
    s.in_lock = true;
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_LOCK);
    s.blocks_loop = true;
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_SELF_WAIT);
}

static void half_of_what_counted_is_a_loop(void **state)
{
    (void)state;
    struct skink__symptoms s = { .declared_state = 'R', .state = 'R', .cpu_ns = SKINK_S / 2, .effective_ns = SKINK_S };
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_CPU_LOOP);
    s.cpu_ns--;
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_UNKNOWN);
    s.in_call = true; /* naps: the watchdog came right between two */
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_SYSCALL);
}

/* It computed for most of the time, but it is a lock that it is stuck on. */
static void what_it_does_at_the_end_counts(void **state)
{
    (void)state;
    struct skink__symptoms s = blocked();
    s.cpu_ns = 9 * SKINK_S / 10;
    s.in_lock = true;
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_LOCK);
}

static void disk_sleep_must_last(void **state)
{
    (void)state;
    struct skink__symptoms s = blocked();
    s.declared_state = s.state = 'D';
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_UNINTERRUPTIBLE);
    s.state = 'S';
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_SYSCALL);
    s.state = SKINK__STATE_UNKNOWN; /* it has come back, and nobody can look again */
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_UNINTERRUPTIBLE);
    s.declared_state = 'S';
    s.state = 'D';
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_SYSCALL);
}

static void watchdog_knows_starvation_and_stops(void **state)
{
    (void)state;
    struct skink__symptoms s = blocked();
    s.declared_state = 'T';
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_STOPPED);
    s.declared_state = 't';
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_STOPPED);
    s.at_ceiling = true;
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_STARVED);
    /* A debugger that came after the declaration is not why. */
    s = blocked();
    s.state = 't';
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_SYSCALL);
}

static void without_evidence_it_is_unknown(void **state)
{
    (void)state;
    struct skink__symptoms s = { .declared_state = SKINK__STATE_UNKNOWN, .state = SKINK__STATE_UNKNOWN };
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_UNKNOWN);
    s.declared_state = 'S';
    assert_int_equal(skink__cause_of(&s), SKINK_CAUSE_UNKNOWN);
}

static void every_cause_and_capture_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < SKINK_CAUSES; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(skink_cause_name((skink_cause)i), skink_cause_name((skink_cause)k));
    for (int i = 0; i < SKINK_CAPTURES; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(skink_capture_name((skink_capture)i), skink_capture_name((skink_capture)k));
    assert_string_equal(skink_cause_name((skink_cause)SKINK_CAUSES), "unknown");
    assert_string_equal(skink_cause_name((skink_cause)-1), "unknown");
    assert_string_equal(skink_capture_name((skink_capture)SKINK_CAPTURES), "none");
}

static const struct test_case cases[] = {
    CASE(call_and_lock_are_told_apart),
    CASE(half_of_what_counted_is_a_loop),
    CASE(what_it_does_at_the_end_counts),
    CASE(disk_sleep_must_last),
    CASE(watchdog_knows_starvation_and_stops),
    CASE(without_evidence_it_is_unknown),
    CASE(every_cause_and_capture_has_a_name_of_its_own),
};
TEST_MAIN(cases, NULL, NULL)
