/* SPDX-License-Identifier: MIT */
/* clock.c - the monotonic clock, and deadlines on it. */
#include "skink/clock.h"
#include <time.h>

uint64_t skink_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SKINK_S + (uint64_t)now.tv_nsec;
}

uint64_t skink_after(uint64_t delay_ns)
{
    uint64_t now = skink_now();
    return delay_ns < SKINK_FOREVER - now ? now + delay_ns : SKINK_FOREVER;
}
