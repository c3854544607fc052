/* SPDX-License-Identifier: MIT */
/*
 * tests/model/stretch.pml - stretches that are known to block (loop/blocking.c, recovery/hand_on.c): one that lasts is
 * handed on, also when the watchdog sleeps as it begins; and once one has ended, its task is not taken off
 * the loop for it.
 *
 * Both sides of the bell exchange one word, with acquire and release, so that who comes second sees what the other did
 * before. `n` stands for the thread
 * object and the number of the slice together: what was seen of one is never mistaken for another.
 */
#define RUNTIME 0
#define RUNNING 1
#define ABANDONED 2
#define STRETCHES 3 /* the last does not end by itself */
#define CALLS 2     /* in all stretches */

byte state = RUNNING, n = 1; /* the word */
bool flag;                   /* SKINK__SLICE_BLOCKS in lease.timeout_ns */
bool bell, rung;             /* the blocking bell; a wake-up on its way */
bool within;                 /* host code, in a stretch */
bool over;

inline ring()
{
    atomic {
        if
        :: bell -> bell = false; rung = true
        :: else
        fi
    }
}

/* One task, on whichever thread. */
proctype Task()
{
    byte stretch = 0, calls = 0;
    do
    :: stretch < STRETCHES ->
        stretch++;
        atomic { assert(state == RUNNING); state = RUNTIME }; /* alone on the loop until here */
#ifdef MUTATE_RING_FIRST
        ring();
#endif
        flag = true;
        within = true;
        state = RUNNING;
#ifndef MUTATE_RING_FIRST
        ring();
#endif
        do
        :: calls < CALLS -> /* a call that ends the slice; the stretch goes on */
            calls++;
            if
            :: atomic { state == RUNNING -> state = RUNTIME };
               d_step { n++; state = RUNNING }
            :: state == ABANDONED -> d_step { n++; state = RUNNING }
            fi;
#ifndef MUTATE_GOES_ON_QUIETLY
            ring()
#endif
        :: break
        od;
        if
        :: stretch == STRETCHES -> state == ABANDONED; break
        :: else
        fi;
        if
        :: atomic { state == RUNNING -> state = RUNTIME };
           within = false;
           flag = false;
#ifdef MUTATE_SAME_SLICE
           state = RUNNING
#else
           d_step { n++; state = RUNNING } /* through the ready queue: a new slice */
#endif
        :: state == ABANDONED -> /* it migrates to another thread, and ends the stretch there */
           within = false;
           d_step { n++; flag = false; state = RUNNING }
        fi
    od;
    over = true
}

proctype Watchdog()
{
    byte seen, seen_state;
    bool blocks, calm = true;
    do
    :: if
#ifndef MUTATE_HANG_AFTER_LOOK
       :: !bell && calm -> bell = true /* before the look: what it does not see rings */
#endif
       :: else
       fi;
       d_step { seen = n; seen_state = state };
       blocks = flag;
       if
       :: seen_state == RUNNING && blocks ->
          calm = false;
          /* The grace passes. */
          atomic {
              if
#ifdef MUTATE_TAKES_ANY_SLICE
              :: state == RUNNING ->
#else
              :: state == RUNNING && n == seen ->
#endif
                 assert(within);
                 state = ABANDONED
              :: else
              fi
          }
       :: else -> calm = true
       fi;
#ifdef MUTATE_HANG_AFTER_LOOK
       if
       :: !bell && calm -> bell = true
       :: else
       fi;
#endif
       if
#ifdef MUTATE_SLEEPS_UNHUNG
       :: bell || calm ->
#else
       :: bell ->
#endif
end:      do
          :: rung -> rung = false; break
          :: over -> goto done
          od
#ifdef MUTATE_SLEEPS_UNHUNG
       :: !bell && !calm -> rung = false
#else
       :: !bell -> rung = false /* it looks again after a grace */
#endif
       fi
    :: over -> break
    od;
done:
    skip
}

init
{
    atomic {
        run Task();
        run Watchdog()
    }
}
