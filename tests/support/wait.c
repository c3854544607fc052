/* SPDX-License-Identifier: MIT */
/* tests/support/wait.c - polling with a deadline. */
#include "tests/support/wait.h"

#include <time.h>

uint64_t test_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

unsigned test_patience(unsigned ms)
{
    return ms * TEST_PATIENCE;
}

uint64_t test_deadline_ns(unsigned ms)
{
    return test_now_ns() + test_ms(test_patience(ms));
}

void test_nap(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 500000 }, NULL);
}

bool test_wait(bool (*condition)(void *arg), void *arg, unsigned timeout_ms)
{
    uint64_t deadline = test_deadline_ns(timeout_ms);
    while (!condition(arg)) {
        if (test_now_ns() > deadline) return condition(arg);
        test_nap();
    }
    return true;
}
