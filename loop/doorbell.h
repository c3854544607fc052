/* SPDX-License-Identifier: MIT */
/*
 * loop/doorbell.h - how a scheduler wakes the watchdog that has parked because every loop it watches was asleep.
 *
 * One lives in each scheduler. The watchdog hangs it (a file descriptor to write to), the loop thread rings it on its
 * next turn, and for all the turns in between a loop pays one load of a word that is its own.
 *
 *     watchdog                                       loop thread, each time round
 *     hang: fd = its eventfd                         A  uv_run (poll)
 *     membarrier, all threads of the process         B  word = RUNTIME(n')      (transition 4)
 *     read the word: the same RUNTIME(n) as before?  C  ring: is fd set? take it, write to it
 *     yes: sleep on the eventfd                      D  run tasks, word = RUNNING(n' + 1) ...
 *
 * Either the watchdog reads the word of B and does not sleep, or its barrier came before B, and then C sees fd. So no
 * task runs past a parked watchdog (invariant 8). The loop's half of the fence is the barrier that membarrier
 * makes every running thread execute; between B and C only the compiler must be held back.
 *
 * (Watching the loop's epoll descriptor from a second epoll instead does not work: the kernel asks again, before it
 * returns an edge, whether the inner one is ready, and by then the loop thread has often taken the event.)
 *
 * A ring that has been taken is always followed by its write, but maybe a while later. So whoever hung the
 * bell counts those that were taken, and does not close the descriptor before it has read as many.
 */
#ifndef SKINK_LOOP_DOORBELL_H
#define SKINK_LOOP_DOORBELL_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

/* All zero: nobody watches. */
struct skink__doorbell {
    /* 0, or the eventfd to write to. Watchdog sets it; exchanged to 0 by whoever comes first, loop or watchdog. */
    _Atomic int fd;
    /* NULL, or who watches this scheduler; at most one may. Any thread, by compare-exchange. */
    _Atomic(void *) watcher;
};

/* Become the one who watches. False: somebody does. */
static inline bool skink__doorbell_claim(struct skink__doorbell *bell, void *watcher)
{
    void *nobody = NULL;
    return atomic_compare_exchange_strong(&bell->watcher, &nobody, watcher);
}

static inline void skink__doorbell_release(struct skink__doorbell *bell)
{
    atomic_store(&bell->watcher, NULL);
}

/* Watchdog. A barrier for all threads must follow, and then a look at the lease. */
static inline void skink__doorbell_hang(struct skink__doorbell *bell, int eventfd)
{
    atomic_store(&bell->fd, eventfd);
}

/* Watchdog. False: it has been taken, and a write to the eventfd has been made or is about to be. */
static inline bool skink__doorbell_take_down(struct skink__doorbell *bell)
{
    return atomic_exchange(&bell->fd, 0) != 0;
}

/* Watchdog: was it taken since it hung it? */
static inline bool skink__doorbell_was_rung(const struct skink__doorbell *bell)
{
    return atomic_load_explicit(&bell->fd, memory_order_relaxed) == 0;
}

/*
 * A bell that is rung from host code, and not once per turn, needs no barrier of all threads: both sides exchange the
 * one word. Who rings before it is hung leaves a release there that the hanging acquires, so the look that follows
 * finds what the ringer stored before; and who rings afterwards takes the descriptor.
 */
static inline void skink__doorbell_hang_by_exchange(struct skink__doorbell *bell, int eventfd)
{
    (void)atomic_exchange(&bell->fd, eventfd);
}

static inline void skink__doorbell_ring_at_once(struct skink__doorbell *bell)
{
    int fd = atomic_exchange(&bell->fd, 0);
    if (fd == 0) return;
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    (void)written;
}

/* Loop thread: right after poll and the store of transition 4, before it runs a task. Also the thread that destroys the
 * scheduler, once that can be seen. Never blocks: the eventfd's counter cannot be full. */
static inline void skink__doorbell_ring(struct skink__doorbell *bell)
{
    atomic_signal_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&bell->fd, memory_order_relaxed) == 0) return;
    int fd = atomic_exchange(&bell->fd, 0);
    if (fd == 0) return;
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    (void)written;
}
#endif
