/* SPDX-License-Identifier: MIT */
/*
 * tests/model/doorbell.pml - a watchdog that parks while the loop sleeps, and is woken before the next task runs
 * (loop/doorbell.h, loop/dispatch.c, recovery/watchdog.c).
 *
 * The loop thread has no barrier between its store of the lease word and its load of the bell: the watchdog
 * makes one for it, by membarrier(). So SPIN's own memory, in which every store is seen at once, would prove too much
 * here. The stores of the loop thread go through a buffer, which empties at any time, at an atomic read-modify-write of
 * that thread, and at a membarrier of another.
 */
#define RUNTIME(n) ((n) << 2)
#define RUNNING(n) ((n) << 2 | 1)

chan buffer = [3] of { byte }; /* stores to lease.word that nobody else sees yet */
byte word;                     /* lease.word, as others see it */
byte bell;                     /* doorbell.fd: 0, or hung */
byte wakeup_fd;                /* the watchdog's eventfd, a counter */
bool fd_closed;
byte events = 2;               /* what will still end a poll of the loop's */

/* ghosts */
bool in_poll;
bool in_host_code;
bool parked;

#define FLUSH do :: nempty(buffer) -> buffer ? word :: empty(buffer) -> break od
#define STORE(w) buffer ! (w)

/* The processor, in its own time. */
proctype StoreBuffer()
{
end:
    do
    :: buffer ? word
    od
}

inline ring()
{
    got = bell; /* a relaxed load */
    if
    :: got != 0 ->
        d_step { got = bell; bell = 0; FLUSH } /* an exchange */
        if
        :: got != 0 ->
            got = 0;
#ifndef MUTATE_RING_FORGOTTEN
            d_step { assert(!fd_closed); wakeup_fd++ }
#endif
        :: else
        fi
    :: else
    fi
}

proctype Loop()
{
    byte n, got;
    do
    :: events > 0 ->
        in_poll = true;
        d_step { events--; in_poll = false } /* uv_run() */
        n++;
#ifdef MUTATE_RING_BEFORE_STORE
        ring();
        STORE(RUNTIME(n));
#else
        STORE(RUNTIME(n)); /* transition 4 */
        ring();
#endif
        n++;
        STORE(RUNNING(n)); /* transition 1 */
        d_step { assert(!parked || wakeup_fd > 0); in_host_code = true }
        d_step { in_host_code = false; FLUSH; word = RUNTIME(n) } /* transition 2 */
    :: else -> break
    od;
    in_poll = true
}

proctype Watchdog()
{
    byte slice, taken, due, read;
    bool still;
end:
    do
    :: atomic { (word & 3) == 0 && in_poll -> slice = word >> 2 } /* look(), sleeps_in_poll(): it did, a moment ago */
        /* park() */
#ifdef MUTATE_LOOK_BEFORE_HANGING
        still = (word == RUNTIME(slice));
        bell = 1;
        atomic { FLUSH }
#else
        bell = 1; /* skink__doorbell_hang() */
#ifndef MUTATE_NO_BARRIER
        atomic { FLUSH } /* membarrier() */
#endif
        still = (word == RUNTIME(slice)); /* is_still_asleep() */
#endif
        if
        :: still ->
            d_step { parked = true; still = false }
end_parked:
            d_step { wakeup_fd > 0 -> read = read + wakeup_fd; wakeup_fd = 0; parked = false }
        :: else
        fi;
        d_step { taken = (bell == 0); bell = 0; due = due + taken; taken = 0; slice = 0 } /* take_down_bell() */
    :: break /* skink_recovery_destroy() */
    od;
#ifndef MUTATE_CLOSED_TOO_EARLY
    do /* skink__watchdog_drain() */
    :: read < due -> d_step { wakeup_fd > 0 -> read = read + wakeup_fd; wakeup_fd = 0 }
    :: else -> break
    od;
#endif
    fd_closed = true
}

init
{
    atomic {
        run Loop();
        run StoreBuffer();
        run Watchdog()
    }
}

/* A parked watchdog means a loop that sleeps, or a wake-up that is pending. */
ltl no_task_beside_a_parked_watchdog { [] (!parked || !in_host_code || wakeup_fd > 0) }
