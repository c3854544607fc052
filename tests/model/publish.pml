/* SPDX-License-Identifier: MIT */
/*
 * tests/model/publish.pml - what the fresh thread sees of the memory of the one that got stuck; a stray, of what the
 * watchdog wrote for it; and a stray that is refused, of what the loop did before it closed (loop/lease.h,
 * loop/inbox.c, recovery/declare.c).
 *
 * As in doorbell.pml, stores are seen by others some time after they were made. Here each store has a flag of
 * its own, "made but not seen", and may become visible before an earlier one, unless a release keeps it back:
 * that is weaker than x86 and as weak as C allows for stores. The barrier of the watchdog makes all stores of the stuck
 * thread visible.
 */
bool scheduler, scheduler_made; /* something that the runtime section wrote before transition 1 */
bool running, running_made;     /* the word: RUNNING(n) by transition 1 */
bool user, user_made;           /* something that the task wrote before it got stuck */
bool ended, ended_made;         /* skink__thread_on_ended(), by the watchdog */
bool abandoned, abandoned_made; /* the word: ABANDONED(n) by transition 3 */
bool given_up, given_up_made;   /* what a stop does to a stray's task before it closes the inbox */
bool closed, closed_made;       /* the inbox, by skink__inbox_close() */
bool go;                        /* the standby's futex: release and acquire */
bool host_code_is_stuck;
bool barrier_works;             /* the kernel may not have it */

proctype LoopThread()
{
    scheduler_made = true;
    running_made = true;
    user_made = true;
    host_code_is_stuck = true;
    abandoned; /* it gets free, and loses transition 2: an acquire */
    assert(ended);
    closed; /* its post is refused: an acquire */
    assert(given_up)
}

/* Each store becomes visible at some time after it was made. */
proctype Memory()
{
end:
    do
    :: scheduler_made && !scheduler -> scheduler = true
#ifdef MUTATE_RUN_RELAXED
    :: running_made && !running -> running = true
#else
    :: running_made && !running && scheduler -> running = true /* release */
#endif
    :: user_made && !user -> user = true
    :: ended_made && !ended -> ended = true
#ifdef MUTATE_ABANDON_RELAXED
    :: abandoned_made && !abandoned -> abandoned = true
#else
    :: abandoned_made && !abandoned && ended -> abandoned = true /* release */
#endif
    :: given_up_made && !given_up -> given_up = true
#ifdef MUTATE_CLOSE_RELAXED
    :: closed_made && !closed -> closed = true
#else
    :: closed_made && !closed && given_up -> closed = true /* release */
#endif
    od
}

proctype Watchdog()
{
    host_code_is_stuck; /* for the whole timeout, as far as one can see */
    running;
    ended_made = true;
    abandoned_made = true; /* skink__lease_abandon(): a compare-exchange, which saw RUNNING(n) */
    if
    :: barrier_works = true;
#ifndef MUTATE_NO_BARRIER
        d_step { scheduler = scheduler_made; running = running_made; user = user_made }
#endif
    :: true /* then the user's data is published by nothing but time */
    fi;
    go = true
}

proctype Fresh()
{
    go;
    assert(scheduler);
    assert(user || !barrier_works);
    given_up_made = true;
    closed_made = true
}

init
{
    atomic {
        run LoopThread();
        run Memory();
        run Watchdog();
        run Fresh()
    }
}
