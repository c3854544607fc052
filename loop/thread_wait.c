/* SPDX-License-Identifier: MIT */
/*
 * thread_wait.c - blocking an OS thread until another says so.
 *
 * A bare futex on a word of the waiter's own: the waiter returns only after it has seen the word change, so the word
 * may live on its stack as long as the notifier is known to be done with it (every caller holds a lock for that, or
 * the word outlives both).
 */
#include "loop/state.h"
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

bool skink__thread_wait(_Atomic uint32_t *word, uint64_t deadline_ns)
{
    struct timespec deadline = { .tv_sec = (time_t)(deadline_ns / SKINK_S), .tv_nsec = (long)(deadline_ns % SKINK_S) };
    /* Acquire: pairs with the notifier's release. */
    while (!atomic_load_explicit(word, memory_order_acquire)) {
        long result = syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, 0,
                              deadline_ns == SKINK_FOREVER ? NULL : &deadline, NULL, FUTEX_BITSET_MATCH_ANY);
        if (result < 0 && errno == ETIMEDOUT) return atomic_load_explicit(word, memory_order_acquire) != 0;
    }
    return true;
}

void skink__thread_notify(_Atomic uint32_t *word)
{
    atomic_store_explicit(word, 1, memory_order_release);
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
