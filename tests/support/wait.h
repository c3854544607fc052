/* SPDX-License-Identifier: MIT */
/* tests/support/wait.h - waiting for a condition with a deadline, which is the only waiting that tests do. */
#ifndef SKINK_TESTS_SUPPORT_WAIT_H
#define SKINK_TESTS_SUPPORT_WAIT_H
#include <stdbool.h>
#include <stdint.h>

/* Monotonic nanoseconds, the clock of skink/clock.h. */
uint64_t test_now_ns(void);

static inline uint64_t test_ms(uint64_t ms)
{
    return ms * 1000000u;
}

/* What a time limit for something that takes so long at most on a quiet machine is here: more of it with sanitizers (as
 * CTest's own limits, cmake/SkinkTest.cmake), and always enough for a machine that is busy. For limits that pass only
 * when something is wrong, never for times that a case looks at. The waits below stretch what they are given by
 * themselves. */
unsigned test_patience(unsigned ms);

/* The moment at which that has passed, for calls that take a deadline. */
uint64_t test_deadline_ns(unsigned ms);

/* Ask condition(arg) again and again, with short naps, until it holds or timeout_ms has passed; says whether it
 * held. The condition must do its own synchronisation. Really blocks: not for use inside a task. */
bool test_wait(bool (*condition)(void *arg), void *arg, unsigned timeout_ms);

/* One nap between two looks of a loop of one's own. */
void test_nap(void);

/* Wait until an expression holds; fails the case where it stands if it does not within timeout_ms. */
#define test_wait_until(expression, timeout_ms)                                                                        \
    do {                                                                                                               \
        uint64_t test_deadline_ = test_deadline_ns(timeout_ms);                                                        \
        while (!(expression)) {                                                                                        \
            if (test_now_ns() > test_deadline_) {                                                                      \
                print_error("%s:%d: not within %u ms: %s\n", __FILE__, __LINE__, test_patience(timeout_ms),            \
                            #expression);                                                                              \
                fail();                                                                                                \
            }                                                                                                          \
            test_nap();                                                                                                \
        }                                                                                                              \
    } while (0)
#endif
