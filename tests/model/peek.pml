/* SPDX-License-Identifier: MIT */
/*
 * tests/model/peek.pml - transition p: somebody reads what the running task works on, and the task cannot end meanwhile
 * (loop/lease.h, loop/thread.c, recovery/declare.c, recovery/investigate.c).
 *
 * One thread object with two slices, each of a task of its own; two who peek, the watchdog and the thread that
 * investigates; the watchdog also declares, and so does who stops the scheduler. The mark keeps them from each other by
 * itself. A task's memory is good for as long as it has not ended. The word is state, n and the mark, as one.
 */
#define RUNTIME 0
#define RUNNING 1
#define ABANDONED 2
#define ENDED 3
#define SLICES 2

byte state, n;
bool peeked;            /* SKINK__LEASE_PEEKED */
bool there[SLICES + 1]; /* ghost: the slice's task has not ended */
byte owner;            /* ghost: whom the scheduler belongs to */
#define LOOP 0
#define TAKER 1
bool left, taken;      /* ghosts: this slice has been left; has been abandoned */
bool reading;          /* ghost: somebody reads */

proctype Thread()
{
    bool again;
    do
    :: n < SLICES ->
        d_step { assert(owner == LOOP); n++; there[n] = true; left = false; again = true; state = RUNNING } /* 1 */
enter:  /* host code has been there; skink__runtime_enter(): transition 2, and skink__thread_enter_slowly() */
        if
        :: atomic {
#ifdef MUTATE_ENTERS_PEEKED
               state == RUNNING ->
#else
               state == RUNNING && !peeked ->
#endif
               assert(!taken);
               left = true;
               state = RUNTIME
           }
#ifdef MUTATE_PEEKED_IS_ABANDONED
        :: atomic { state == ABANDONED || peeked -> assert(taken); goto stray }
#else
        :: atomic { state == ABANDONED -> assert(taken); goto stray }
#endif
        fi;
        if
        :: atomic { again -> again = false; left = false; state = RUNNING; goto enter } /* 1b: the same slice */
        :: atomic { assert(!reading); there[n] = false } /* the task ends, and its object is the next one's */
        fi
    :: n == SLICES -> goto ended
    od;
stray: /* the task is handed over, and may end at once, on another thread */
    atomic { assert(!reading); there[n] = false; state = ENDED; goto over }
ended:
    state = ENDED;
over:
    skip
}

/* skink__lease_peek(), a read, skink__lease_unpeek(). seen: the slice that the caller thinks of. */
inline peek(seen, ok)
{
    atomic {
#ifdef MUTATE_PEEK_STORES
        ok = true;
#else
        ok = (state == RUNNING && n == seen && !peeked);
#endif
        if
        :: ok -> peeked = true; assert(!reading); reading = true
        :: else
        fi
    }
    if
    :: ok ->
        assert(there[seen]);
        assert(n == seen);
        d_step { reading = false;
                 /* a store of RUNNING(n) */
                 assert(!taken && !left);
                 peeked = false; state = RUNNING; n = seen }
    :: else
    fi
}

/* Transition 3. */
inline abandon(seen, ok)
{
    atomic {
#ifdef MUTATE_ABANDONS_PEEKED
        ok = (state == RUNNING && n == seen);
#else
        ok = (state == RUNNING && n == seen && !peeked);
#endif
        if
        :: ok -> assert(!left && !taken && owner == LOOP); taken = true; state = ABANDONED; owner = TAKER
        :: else
        fi
    }
}

proctype Watchdog()
{
    byte seen, looks = 3;
    bool ok;
    do
    :: looks > 0 ->
        looks--;
        d_step { seen = n; ok = (state == RUNNING) }
        if
        :: ok -> peek(seen, ok)    /* skink__note(), skink__declare_only() */
        :: ok -> abandon(seen, ok) /* skink__declare() */
        :: !ok
        fi;
        ok = false
    :: looks == 0 -> break
    od
}

/* send_signal(), for a slice that was only reported. */
proctype Investigator()
{
    byte seen;
    bool ok;
    d_step { seen = n; ok = (state == RUNNING) } /* it was reported then */
    if
    :: ok -> peek(seen, ok)
    :: else
    fi;
}

proctype Stopper()
{
    byte seen, looks = 2;
    bool ok;
    do
    :: looks > 0 -> looks--;
       d_step { seen = n; ok = (state == RUNNING) } /* skink__lease_slice() of the word leaves the mark out */
       if
       :: ok -> abandon(seen, ok)
       :: else
       fi;
       ok = false
    :: looks == 0 -> break
    od
}

init
{
    atomic {
        run Thread();
        run Watchdog();
        run Investigator();
        run Stopper()
    }
}

/* Who peeks lets go, so nobody waits for it for ever; and the thread comes to its end. */
ltl in_the_end { <>[] (state == ENDED && !peeked) }
