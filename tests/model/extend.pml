/* SPDX-License-Identifier: MIT */
/*
 * tests/model/extend.pml - a slice that its task extends (skink_slice_extend() in loop/blocking.c; read_lease() and
 * judge() in recovery/watchdog.c).
 *
 * What has returned from the call has its time: no slice is abandoned by its old timeout after its task was told that
 * it has more. The watchdog reads four words one after the other, and the task may do anything in between. Time is as
 * in lease.pml: the watchdog may find half of the timeout to be over at any look, and all of it at a later one.
 */
#define RUNTIME 0
#define RUNNING 1
#define ABANDONED 2
#define CALLS 3
#define LOOKS 4

byte state = RUNNING, n = 1;  /* the word */
byte late;                    /* lease.late_slice */
byte extended_slice;          /* and lease.extension_ns: */
byte extension;
byte promised;                /* ghost: how much the task was told that this slice has, beside its timeout */
bool over;

inline leave() { state = RUNNING }
inline new_slice() { d_step { n++; promised = 0; state = RUNNING } }

proctype Task()
{
    byte calls, so_far;
    do
    :: calls < CALLS ->
        calls++;
again:  /* skink__runtime_enter(), enter_unless_late() */
        if
        :: atomic { state == RUNNING -> state = RUNTIME }
        :: state == ABANDONED -> new_slice(); goto again /* on another thread, in another lease */
        fi;
#ifndef MUTATE_EXTENDS_WHEN_LATE
        if
        :: late == n -> new_slice(); goto again /* through the ready queue */
        :: else
        fi;
#endif
        so_far = (extended_slice == n -> extension : 0);
        extension = so_far + 1;
        extended_slice = n;
#ifdef MUTATE_LEAVES_AS_ANY_CALL
        if
        :: late == n -> new_slice()
        :: else -> leave()
        fi;
        d_step { assert(state == ABANDONED || extended_slice == n); promised = so_far + 1 }
#else
        d_step { promised = so_far + 1; leave() } /* skink__thread_leave_at_once() */
#endif
        so_far = 0
    :: calls == CALLS -> break
    od;
    over = true
}

proctype Watchdog()
{
    byte seen, word, counted, number, looks;
    do
    :: !over && looks < LOOKS ->
        looks++;
        atomic { seen = n; counted = 0 } /* a first look */
        /* Half of what it has passes; judge(). */
        late = seen;
        do
        :: /* The rest of it passes. read_lease(): */
            atomic { word = (state == RUNNING -> n : 0) }
            number = extended_slice;
#ifdef MUTATE_ANY_EXTENSION
            number = word;
#endif
            if
            :: number == word && word != 0 -> number = extension
            :: else -> number = 0
            fi;
            if
            :: word != seen || !(state == RUNNING && n == word) -> break /* it has moved on, or is in a call */
            :: else
            fi;
            if
            :: number > counted -> /* the extension passes, too */
                assert(n != seen || number <= promised);
                counted = number
            :: else -> /* due: transition 3 */
                atomic {
                    if
                    :: state == RUNNING && n == seen -> assert(promised <= counted); state = ABANDONED
                    :: else
                    fi
                };
                break
            fi
        od;
        atomic { seen = 0; word = 0; counted = 0; number = 0 }
    :: over || looks == LOOKS -> break
    od
}

init { atomic { run Task(); run Watchdog() } }
