/* SPDX-License-Identifier: MIT */
/*
 * tests/model/maker.pml - standby threads are made by a thread of their own, which may be held up for ever in doing so
 * (recovery/standby_maker.c, recovery/standby.c, recovery/recovery.c).
 *
 * One standby is wanted. The watchdog uses it up, asks for another, and never waits for the maker but for the mutex.
 * The end of recovery waits for a maker for a while, and goes on without it; the maker then lets go by
 * itself when it can.
 */
#define NOBODY 0
#define USES 2

byte mutex = NOBODY;    /* skink_recovery.mutex */
#define MAKER 1
#define DOG 2
#define HOST 3
#define LOCK(me) atomic { mutex == NOBODY -> mutex = me; assert(!freed) }
#define UNLOCK(me) atomic { assert(mutex == me && !freed); mutex = NOBODY }

byte standbys;          /* parked */
byte references = 2;    /* the host's and the maker's */
bool quit, maker_over, detached;
bool waits, signalled;  /* standby_wanted, and the maker in it */
bool slow;              /* the maker is held up while it makes one */
bool dog_over;

/* ghosts */
bool freed, host_over, maker_gone;
bool ending;            /* the end has begun, with or without the mutex */
byte used;
byte living;            /* standby threads that were made, and neither used nor told to quit */

#define WANTED (!quit && standbys < 1)

/* skink__standby_quit_all() */
inline quit_all(me)
{
    LOCK(me);
    living = living - standbys;
    standbys = 0;
    UNLOCK(me)
}

inline unref(me)
{
    LOCK(me);
    atomic { assert(references > 0); references--; mutex = NOBODY; freed = (references == 0) }
}

proctype Maker()
{
    LOCK(MAKER);
    do
    :: quit -> break
    :: !quit && WANTED -> /* make_one() */
#ifdef MUTATE_MAKES_UNDER_THE_MUTEX
        skip;
#else
        UNLOCK(MAKER);
#endif
        if
        :: true
        :: slow = true; /* as long as a task has the loader's locks */
           if
           :: true -> slow = false
           :: true ->
end_held_up:  false
           fi
        fi;
#ifndef MUTATE_MAKES_UNDER_THE_MUTEX
        LOCK(MAKER);
#endif
        standbys++;
        living++
    :: !quit && !WANTED -> /* pthread_cond_wait() */
#ifdef MUTATE_SLEEPS_UNLOCKED
        UNLOCK(MAKER);
        atomic { waits = true; signalled = false }
#else
        atomic { assert(mutex == MAKER); mutex = NOBODY; waits = true; signalled = false }
#endif
end_wait:
        signalled;
        waits = false;
        LOCK(MAKER)
    od;
    UNLOCK(MAKER);
#ifndef MUTATE_LATE_ONE_STAYS
    quit_all(MAKER);
#endif
    LOCK(MAKER);
    maker_over = true;
    UNLOCK(MAKER);
#ifndef MUTATE_NO_REFERENCE
    unref(MAKER);
#endif
    maker_gone = true
}

#define SIGNAL atomic { if :: waits -> signalled = true :: else fi }

/* skink__declare() uses one, skink__standbys_ask() asks for the next. */
proctype Watchdog()
{
    do
    :: LOCK(DOG);
        if
        :: quit || used == USES -> UNLOCK(DOG); break
        :: !quit && used < USES && standbys > 0 -> standbys--; living--; used++
        :: !quit && used < USES && standbys == 0
        fi;
#ifndef MUTATE_NOT_ASKED
        if
        :: WANTED -> SIGNAL
        :: else
        fi;
#endif
        UNLOCK(DOG);
end_nothing_to_do:
        standbys > 0 || quit || used == USES /* the next tick that matters */
    od;
    dog_over = true
}

/* skink_recovery_destroy(), at any time. */
proctype Host()
{
    ending = true;
    LOCK(HOST);
    quit = true;
#ifndef MUTATE_QUIT_UNSAID
    SIGNAL;
#endif
    UNLOCK(HOST);
    dog_over;
    if /* skink__standby_maker_stop() */
    :: maker_over -> maker_gone
    :: !maker_over -> detached = true /* patience has run out */
    fi;
    quit_all(HOST);
#ifdef MUTATE_NO_REFERENCE
    atomic { mutex == NOBODY -> freed = true }
#else
    unref(HOST);
#endif
    host_over = true
}

init
{
    atomic {
        run Maker();
        run Watchdog();
        if
        :: run Host()
        :: skip /* it is never ended */
        fi
    }
}

/* A maker that is not held up makes what is wanted; the end of recovery never waits for one that is, and leaves no
 * standby and no memory behind once it is free. */
ltl in_the_end {
    <>[] ((!ending || host_over) &&
          (slow || (quit && host_over && maker_gone && freed && living == 0) ||
           (!quit && used == USES && standbys == 1)))
}
