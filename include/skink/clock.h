/* SPDX-License-Identifier: MIT */
/*
 * skink/clock.h - the one clock type: unsigned 64-bit nanoseconds of CLOCK_MONOTONIC.
 *
 * Every deadline in skink is absolute on this clock, so that it can be handed down through any number of
 * calls without growing. Setting the wall clock changes nothing.
 */
#ifndef SKINK_CLOCK_H
#define SKINK_CLOCK_H
#include "skink/annot.h"
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define SKINK_FOREVER UINT64_MAX /* the deadline that never passes */
#define SKINK_US UINT64_C(1000)
#define SKINK_MS UINT64_C(1000000)
#define SKINK_S UINT64_C(1000000000)

/* Now, in nanoseconds. */
SKINK_API uint64_t skink_now(void) SKINK_ANY_THREAD;

/* The deadline delay_ns from now; SKINK_FOREVER when that is past the end of time. */
SKINK_API uint64_t skink_after(uint64_t delay_ns) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
