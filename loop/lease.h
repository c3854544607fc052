/* SPDX-License-Identifier: MIT */
/*
 * loop/lease.h - the word in which a loop thread publishes what it is doing.
 *
 * One word per thread object, on a cache line of its own; it dies with the object and is never reused. This
 * table is the whole protocol (docs/architecture.md; tests/model/lease.pml is the same in Promela):
 *
 *   1  loop thread  RUNTIME(n)  -> RUNNING(n')  store, release      a task starts or goes on; n' > n
 *   1b loop thread  RUNTIME(n)  -> RUNNING(n)   store, release      an API call is over, same slice
 *   2  loop thread  RUNNING(n)  -> RUNTIME(n)   compare-exchange    the task suspended, ended, or made a call
 *   3  watchdog     RUNNING(n)  -> ABANDONED(n) compare-exchange    n was seen for the whole timeout
 *   4  loop thread  RUNTIME(n)  -> RUNTIME(n')  store               once round the loop; so a word that stands
 *                                                                   still means sleep in poll, or a stall
 *   p  watchdog     RUNNING(n)  -> PEEKED | RUNNING(n), and back: compare-exchange, store
 *                                                                   it reads what the task works on. The task cannot
 *                                                                   end meanwhile: its thread loses 2, sees why, and
 *                                                                   tries again
 *   5  loop thread  RUNTIME | ABANDONED -> ENDED store, release     the thread has let go of everything
 *
 * Who wins 3 owns the scheduler.
 */
#ifndef SKINK_LOOP_LEASE_H
#define SKINK_LOOP_LEASE_H
#include "loop/capability.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum skink__lease_state {
    SKINK__RUNTIME = 0,   /* in the runtime section, or asleep in poll                    */
    SKINK__RUNNING = 1,   /* host code runs                                               */
    SKINK__ABANDONED = 2, /* the thread is a stray                                        */
    SKINK__ENDED = 3      /* the thread has left: stopped, or a stray that came back      */
};

/* In a timeout: the slice is in a stretch that is known to block, and may be taken off the loop after a short grace. */
#define SKINK__SLICE_BLOCKS (UINT64_C(1) << 63)
/* In a timeout: what is done when it has passed, a skink_action; 0: the watchdog's own. */
#define SKINK__SLICE_ACTION_SHIFT 60
#define SKINK__SLICE_ACTION_MASK (UINT64_C(7) << SKINK__SLICE_ACTION_SHIFT)
/* The longest time below those bits, of 36 years; a longer one is this one. */
#define SKINK__SLICE_TIMEOUT_MAX ((UINT64_C(1) << SKINK__SLICE_ACTION_SHIFT) - 1)

struct skink__lease {
    /* n << 2 | state. Loop thread writes; watchdog reads and does transition 3. */
    _Alignas(64) _Atomic uint64_t word;
    /* The slice n that has used half of its timeout. Watchdog writes, loop thread reads after winning 2; relaxed:
     * a mark that is seen late only means that the slice goes on until its next call. */
    _Atomic uint64_t late_slice;
    /* Timeout of the slice in `word`; 0: the watchdog's own; with SKINK__SLICE_BLOCKS. Loop thread writes before
     * transition 1 (whose release publishes it), only when it changes. A reader must find the same word before and
     * after. */
    _Atomic uint64_t timeout_ns;
    /* The slice that its task has extended, and by how much. Loop thread writes, the time first; watchdog reads. */
    _Atomic uint64_t extended_slice;
    _Atomic uint64_t extension_ns;
    char padding[64 - 5 * sizeof(uint64_t)];
};
_Static_assert(sizeof(struct skink__lease) == 64, "the lease has a cache line of its own");

static inline uint64_t skink__lease_word(enum skink__lease_state state, uint64_t slice)
{
    return slice << 2 | (uint64_t)state;
}

static inline enum skink__lease_state skink__lease_state(uint64_t word)
{
    return (enum skink__lease_state)(word & 3);
}

#define SKINK__LEASE_PEEKED (UINT64_C(1) << 63) /* beside RUNNING(n) */

static inline uint64_t skink__lease_slice(uint64_t word)
{
    return (word & ~SKINK__LEASE_PEEKED) >> 2;
}

/* Transition 1 and 1b. Release: what the runtime section wrote is there for whoever wins 3. */
static inline void skink__lease_run(struct skink__lease *lease, uint64_t slice)
    SKINK__RELEASES(skink__runtime_section) SKINK__UNCHECKED
{
    atomic_store_explicit(&lease->word, skink__lease_word(SKINK__RUNNING, slice), memory_order_release);
}

/* Transition 5. Release: so is what the thread wrote, for whoever is told. */
static inline void skink__lease_end(struct skink__lease *lease, uint64_t slice)
    SKINK__RELEASES(skink__runtime_section) SKINK__UNCHECKED
{
    atomic_store_explicit(&lease->word, skink__lease_word(SKINK__ENDED, slice), memory_order_release);
}

/* Transition 2. False: the thread has been abandoned and must touch nothing but the inbox.
 * Acquire pairs with nothing of the watchdog's when it wins; it keeps the runtime section from moving up. */
static inline bool skink__lease_take(struct skink__lease *lease, uint64_t slice)
    SKINK__TRY_ACQUIRES(true, skink__runtime_section)
{
    uint64_t expected = skink__lease_word(SKINK__RUNNING, slice);
    return atomic_compare_exchange_strong_explicit(&lease->word, &expected, skink__lease_word(SKINK__RUNTIME, slice),
                                                   memory_order_acquire, memory_order_acquire);
}

/* Transition p. For a few instructions at a time, of the watchdog's. Acquire and release as with a lock. */
static inline bool skink__lease_peek(struct skink__lease *lease, uint64_t slice)
    SKINK__TRY_ACQUIRES(true, skink__lease_peeked)
{
    uint64_t expected = skink__lease_word(SKINK__RUNNING, slice);
    return atomic_compare_exchange_strong_explicit(&lease->word, &expected, expected | SKINK__LEASE_PEEKED,
                                                   memory_order_acquire, memory_order_relaxed);
}

static inline void skink__lease_unpeek(struct skink__lease *lease, uint64_t slice)
    SKINK__RELEASES(skink__lease_peeked) SKINK__UNCHECKED
{
    atomic_store_explicit(&lease->word, skink__lease_word(SKINK__RUNNING, slice), memory_order_release);
}

/* Has the thread been in this slice up to now, and was all that the caller has read of tasks before at rest? The word
 * stays as it is. A load would not do: a processor with a weak order may show what the runtime section writes before it
 * shows the word of transition 2. A compare-exchange comes either after that, and fails, or before it: then the acquire
 * of transition 2 pairs with this release, and the section's writes come after the caller's looks. */
static inline bool skink__lease_stood(struct skink__lease *lease, uint64_t word)
{
    uint64_t expected = word;
    return atomic_compare_exchange_strong_explicit(&lease->word, &expected, word, memory_order_release,
                                                   memory_order_relaxed);
}

/* Transition 3. Acquire: the winner sees all that the runtime section wrote before transition 1. Release: a
 * stray that loses 2 sees what the winner wrote into the thread object before (who to tell when it ends). */
static inline bool skink__lease_abandon(struct skink__lease *lease, uint64_t slice)
    SKINK__TRY_ACQUIRES(true, skink__runtime_section)
{
    uint64_t expected = skink__lease_word(SKINK__RUNNING, slice);
    return atomic_compare_exchange_strong_explicit(&lease->word, &expected, skink__lease_word(SKINK__ABANDONED, slice),
                                                   memory_order_acq_rel, memory_order_relaxed);
}
#endif
