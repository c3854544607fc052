/* SPDX-License-Identifier: MIT */
/*
 * without_lease.h - read before each file of the loop, it turns the lease into a plain variable, to see what the lease
 * costs.
 *
 * What stays: the counting of slices and the look at the slice's timeout. What goes: the release and the
 * compare-exchange, and with them any possibility of recovery. For bench_dispatch_without_lease alone.
 */
#ifndef SKINK_BENCH_WITHOUT_LEASE_H
#define SKINK_BENCH_WITHOUT_LEASE_H
#include "loop/lease.h"

static inline void bench_lease_run(struct skink__lease *lease, uint64_t slice)
{
    atomic_store_explicit(&lease->word, skink__lease_word(SKINK__RUNNING, slice), memory_order_relaxed);
}

static inline bool bench_lease_take(struct skink__lease *lease, uint64_t slice)
{
    atomic_store_explicit(&lease->word, skink__lease_word(SKINK__RUNTIME, slice), memory_order_relaxed);
    return true;
}

#define skink__lease_run bench_lease_run
#define skink__lease_take bench_lease_take
#endif
