/* SPDX-License-Identifier: MIT */
/* tests/loop/fixture.h - a scheduler, and tasks that count themselves and sleep. */
#ifndef SKINK_TESTS_LOOP_FIXTURE_H
#define SKINK_TESTS_LOOP_FIXTURE_H
#include "skink/skink.h"
#include "tests/support/case.h"
#include <stdatomic.h>
#include <stdbool.h>

struct fixture {
    skink_scheduler *scheduler;
    _Atomic int running, most_running, finished; /* of the tasks below; a case's own tasks use them as they like */
};

/* Around each case: *state is a fixture whose scheduler has not been started. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

void fixture_start(struct fixture *f);

/* Fails the case unless all tasks end in time. */
void fixture_stop_clean(struct fixture *f);

/* Tasks of a fixture: one ends at once, the other sleeps for 20 ms three times. */
void count_one(void *fixture);
void sleep_between(void *fixture);

/* A task that sleeps until it is cancelled. */
struct sleeper {
    _Atomic int result; /* of its sleep */
    _Atomic bool asleep;
    skink_token *token; /* its own, with a reference */
};
void sleep_for_ever(void *sleeper);
#endif
