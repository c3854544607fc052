/* SPDX-License-Identifier: MIT */
/* tests/loop/test_lease.c - the lease's word: each compare compares,
 * and between two who want a slice exactly one gets it. */
#include "loop/lease.h"
#include "tests/support/case.h"
#include <pthread.h>

enum { SLICE = 7, RACES = TEST_TIMES ? 200000 : 20000 };

/* Transitions by a caller who saw RUNNING(SLICE) before. clang's analysis is not asked:
 * here they are won and not used. */
static bool take(struct skink__lease *lease) SKINK__UNCHECKED
{
    return skink__lease_take(lease, SLICE);
}

static bool abandon(struct skink__lease *lease) SKINK__UNCHECKED
{
    return skink__lease_abandon(lease, SLICE);
}

static bool peek(struct skink__lease *lease) SKINK__UNCHECKED
{
    return skink__lease_peek(lease, SLICE);
}

/* What the word is for all others, and whether each of the three may win then. */
static void a_transition_is_won_only_from_the_word_that_was_seen(void **state)
{
    (void)state;
    static const struct {
        enum skink__lease_state state;
        uint64_t slice;
        bool peeked;
        bool won;
    } samples[] = {
        { SKINK__RUNNING, SLICE, false, true },
        { SKINK__RUNNING, SLICE + 1, false, false }, /* it has moved on, */
        { SKINK__RUNNING, SLICE - 1, false, false },
        { SKINK__RUNTIME, SLICE, false, false }, /* or made a call */
        { SKINK__RUNTIME, SLICE + 1, false, false },
        { SKINK__ABANDONED, SLICE, false, false }, /* somebody was first */
        { SKINK__ENDED, SLICE, false, false },
        { SKINK__RUNNING, SLICE, true, false }, /* somebody reads what its task works on */
    };
    static bool (*const transitions[])(struct skink__lease * lease) = { take, abandon, peek };
    static const uint64_t after[] = { SLICE << 2 | SKINK__RUNTIME, SLICE << 2 | SKINK__ABANDONED,
                                      SKINK__LEASE_PEEKED | SLICE << 2 | SKINK__RUNNING };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        for (size_t k = 0; k < sizeof transitions / sizeof *transitions; k++) {
            struct skink__lease lease = { 0 };
            uint64_t word = skink__lease_word(samples[i].state, samples[i].slice);
            if (samples[i].peeked) word |= SKINK__LEASE_PEEKED;
            atomic_store(&lease.word, word);
            assert_int_equal(transitions[k](&lease), samples[i].won);
            assert_int_equal(atomic_load(&lease.word), samples[i].won ? after[k] : word);
        }
    }
}

struct race {
    struct skink__lease lease;
    pthread_barrier_t line;
    unsigned taken, abandoned;
};

static void *abandon_each(void *arg) SKINK__UNCHECKED
{
    struct race *race = arg;
    for (uint64_t slice = 1; slice <= RACES; slice++) {
        while (atomic_load(&race->lease.word) < slice << 2) {
        }
        race->abandoned += skink__lease_abandon(&race->lease, slice);
        pthread_barrier_wait(&race->line);
    }
    return NULL;
}

/* The loop thread's call and the watchdog's declaration at the same moment. */
static void between_a_call_and_a_declaration_exactly_one_wins(void **state) SKINK__UNCHECKED
{
    (void)state;
    struct race race = { 0 };
    pthread_t watchdog;
    assert_int_equal(pthread_barrier_init(&race.line, NULL, 2), 0);
    assert_int_equal(pthread_create(&watchdog, NULL, abandon_each, &race), 0);
    for (uint64_t slice = 1; slice <= RACES; slice++) {
        skink__lease_run(&race.lease, slice);
        race.taken += skink__lease_take(&race.lease, slice);
        pthread_barrier_wait(&race.line);
    }
    assert_int_equal(pthread_join(watchdog, NULL), 0);
    pthread_barrier_destroy(&race.line);
    assert_int_equal(race.taken + race.abandoned, RACES);
}

static const struct test_case cases[] = {
    CASE(a_transition_is_won_only_from_the_word_that_was_seen),
    CASE(between_a_call_and_a_declaration_exactly_one_wins),
};
TEST_MAIN(cases, NULL, NULL)
