/* SPDX-License-Identifier: MIT */
/*
 * tests/model/lease.pml - the lease, the ready queue, takeover, strays, migration and the hold at the stray limit
 * (loop/lease.h, loop/dispatch.c, loop/thread.c, loop/scheduler.c, recovery/watchdog.c, recovery/strays.c).
 *
 * One scheduler; THREADS thread objects, the first loop thread's and those of standbys, which are replenished one at a
 * time while objects are left; three tasks, of which an outside thread posts one and completes the future that
 * another awaits; the watchdog.
 *
 * There is no clock. Host code may take any time, so the watchdog may find any slice to last for the whole timeout;
 * what it may not do is to abandon a slice that it has not watched from a first sample on. Besides, tasks 2 and 3 may
 * get stuck for ever, and task 1 until task 3 has ended (the wait of a task for a result of its own loop).
 *
 * Each statement is one step that others can interleave with. What stands in one d_step or atomic is one atomic
 * instruction of the C, or work in the runtime section that nobody else can see, or under one lock; ghosts change with
 * the step that they describe. The inbox is one step here, and taken apart in inbox.pml.
 *
 * n is only ever compared for equality with what somebody remembers. So the model does not count: the slice of this
 * moment is always number SLICE, and when a thread takes a new number, what others remember of the old one can never
 * match again and is forgotten. Every task makes a bounded number of calls; so each execution ends, and "in the
 * end" needs no assumption of fairness.
 */
#ifndef THREADS
#define THREADS 4
#endif
#ifndef MAX_STRAYS
#define MAX_STRAYS 1
#endif
#ifndef CALLS
#define CALLS 1 /* API calls that a task makes before it ends */
#endif
#ifndef FOREVER
#define FOREVER true
#endif
#ifndef BATCH
#define BATCH true
#endif
#define TASKS 3

/* ---- the lease word: n << 2 | state ---- */
#define SLICE 1
#define RUNTIME(n) ((n) << 2)
#define RUNNING(n) ((n) << 2 | 1)
#define ABANDONED(n) ((n) << 2 | 2)
#define ENDED(n) ((n) << 2 | 3)
#define IS_RUNNING(w) (((w) & 3) == 1)

#define NOBODY 255
#define WATCHDOG 254

#ifdef MUTATE_LEASE_REUSED
#define LEASE(thread) 0
#else
#define LEASE(thread) (thread)
#endif

/* struct skink__thread, by number */
byte word[THREADS]; /* lease.word */
byte late[THREADS]; /* lease.late_slice */
bool go[THREADS];   /* the standby has been told to run */

/* struct skink_scheduler */
byte thread;
bool held;
bool asleep; /* the inbox is ASLEEP */
bool wakeup_fd;

/* skink_task, from 1 */
#define OUT 0     /* not posted yet */
#define INBOX 1
#define READY 2
#define CURRENT 3 /* some thread's current task, abandoned or not */
#define WAITING 4
#define DONE 5
byte place[TASKS + 1];
byte calls[TASKS + 1];       /* still to make */
bool inside_call[TASKS + 1]; /* it stands in skink__runtime_enter(), where a stray left it */
bool completed, linked;      /* the future that task 1 awaits, and the task in the future's list */

/* struct skink_recovery */
bool mutex;
byte standby = NOBODY;
byte made = 1;              /* thread objects */
byte strays;                /* counted ones */
bool holding;               /* skink__watch.holding */
byte held_thread = NOBODY;  /* skink__watch.held: stuck at the limit, and not counted */
byte seen_thread = NOBODY;  /* whose slice is on the clock */
byte seen;                  /* the word that was seen */

/* ---- ghosts ---- */
byte owner;               /* who is in the runtime section */
byte on_stack[TASKS + 1]; /* the thread that stands on the task's stack */
bool open[THREADS];       /* a slice of this thread has neither been left nor abandoned */
bool timed;               /* the slice on the clock is the one that was first seen */
bool overdue_call;        /* ... and it has won a call after it was marked late */
bool stuck[TASKS + 1];

#define TOUCH(me) assert(owner == me)

/* A new n: what anybody remembers of the last one never matches again. */
inline next_slice(me)
{
    late[LEASE(me)] = 0;
    if
    :: seen_thread == me -> seen_thread = NOBODY; seen = 0; timed = false; overdue_call = false
    :: else
    fi
}

/* skink__inbox_post(): the compare-exchange, and the write to the eventfd as a step of its own. */
inline post(t, from, must_wake)
{
    d_step {
        assert(place[t] == from);
        place[t] = INBOX;
#ifndef MUTATE_NO_WAKEUP
        must_wake = asleep;
#endif
        asleep = false
    }
    if
    :: must_wake -> d_step { wakeup_fd = true; must_wake = false }
    :: else
    fi
}

#define SWITCH_OFF assert(on_stack[t] == me); on_stack[t] = NOBODY
#define NONE_READY (place[1] != READY && place[2] != READY && place[3] != READY)
#define NONE_POSTED (place[1] != INBOX && place[2] != INBOX && place[3] != INBOX)

/* deliver_all(): what the inbox has, into the ready queue */
inline deliver_all()
{
    asleep = false;
    t = 1;
    do
    :: t <= TASKS ->
        if
        :: place[t] == INBOX -> assert(on_stack[t] == NOBODY); place[t] = READY
        :: else
        fi;
        t++
    :: else -> t = 0; break
    od
}

proctype Thread(byte me)
{
    byte t;
    bool flag; /* what was decided in the step before */

end_parked:
    go[me]; /* skink__thread_run() */
    d_step { /* skink__loop_run(): transition 4, and what has waited comes before a look at libuv, unless it is held */
        TOUCH(me);
        next_slice(me);
        word[LEASE(me)] = RUNTIME(SLICE);
#ifndef MUTATE_HELD_RUNS_A_BATCH
        flag = held
#endif
    }
    if
    :: flag -> flag = false
    :: else -> goto batch
    fi;

round: /* skink__loop_run(), gather(), uv_run(), before_poll() */
    atomic {
        TOUCH(me);
        flag = held || NONE_READY
    }
    atomic { /* skink__inbox_sleep() */
        TOUCH(me);
        if
        :: flag && NONE_POSTED -> asleep = true
        :: else -> flag = false
        fi
    }
    if
    :: flag ->
end_asleep:
        d_step { wakeup_fd -> flag = false; wakeup_fd = false }
    :: else
    fi;
    d_step { /* drain_wakeup(), transition 4, and the inbox */
        TOUCH(me);
        wakeup_fd = false;
        next_slice(me);
        word[LEASE(me)] = RUNTIME(SLICE);
        deliver_all()
    }
    if
    :: held -> goto round
    :: else
    fi;

batch: /* run_batch(), run_task(), and skink__slice_begin() with transition 1 */
    atomic {
        TOUCH(me);
        assert(!held || NONE_READY);
        if
        :: place[1] == READY -> t = 1
        :: place[2] == READY -> t = 2
        :: place[3] == READY -> t = 3
        :: else -> goto round
        fi;
#ifndef MUTATE_POP_AFTER_PUBLISHING
        place[t] = CURRENT;
#endif
#ifdef MUTATE_SAME_SLICE_NUMBER
        timed = false;
#else
        next_slice(me);
#endif
        assert(!open[me]);
        open[me] = true;
        owner = NOBODY;
        word[LEASE(me)] = RUNNING(SLICE)
    }
#ifdef MUTATE_POP_AFTER_PUBLISHING
    d_step { TOUCH(me); assert(place[t] == READY); place[t] = CURRENT }
#endif
    atomic { /* skink__switch(); then host code, or the call that the task stood in */
        assert(place[t] == CURRENT && on_stack[t] == NOBODY);
        on_stack[t] = me;
        if
        :: inside_call[t] -> goto enter
        :: else
        fi;
host:
        if
        :: t != 1 && FOREVER ->
            stuck[t] = true;
end_forever:
            false
        :: t == 1 && place[3] != DONE ->
            stuck[t] = true;
end_blocked:
            place[3] == DONE;
            stuck[t] = false
        :: true /* it takes its time, and comes back */
        fi
    }

enter: /* skink__runtime_enter(); transition 2 */
    atomic {
#ifdef MUTATE_LEAVE_PLAIN_STORE
        flag = true;
#else
        flag = (word[LEASE(me)] == RUNNING(SLICE));
#endif
        if
        :: !flag -> inside_call[t] = true; goto stray
        :: else
        fi;
        flag = false;
        inside_call[t] = false;
        assert(open[me] && owner == NOBODY);
        owner = me;
        word[LEASE(me)] = RUNTIME(SLICE);
        if
        :: seen_thread == me && late[LEASE(me)] == SLICE -> overdue_call = true
        :: else
        fi
    }
    atomic { /* the call */
        TOUCH(me);
        if
        :: calls[t] > 0 -> /* one that does not suspend; skink__runtime_leave() */
            calls[t]--;
            if
#ifndef MUTATE_LATE_GOES_ON
            :: late[LEASE(me)] == SLICE -> place[t] = READY
#endif
            :: else -> owner = NOBODY; word[LEASE(me)] = RUNNING(SLICE); goto host /* transition 1b */
            fi
        :: calls[t] > 0 && t == 2 -> /* skink_yield() */
            calls[t]--;
            place[t] = READY
        :: calls[t] > 0 && t == 1 && !completed -> /* skink_await(): link_if_pending() */
            calls[t]--;
            linked = true;
            place[t] = WAITING
        :: calls[t] == 0 -> /* the end of skink__task_main() */
            place[t] = DONE
        fi
    }
    atomic { /* skink__task_leave() */
        TOUCH(me);
        SWITCH_OFF;
        assert(open[me]);
        open[me] = false;
        t = 0;
        if
        :: goto round /* the batch is at its bound */
        :: BATCH && !NONE_READY -> goto batch
        fi
    }

stray: /* migrate(), and then end_as_stray() on the thread's own stack */
#ifdef MUTATE_POST_BEFORE_SWITCH
    post(t, CURRENT, flag);
    atomic { SWITCH_OFF }
#else
    atomic { SWITCH_OFF }
#ifdef MUTATE_STRAY_PUSHES_READY
    d_step { TOUCH(me); place[t] = READY }
#else
    post(t, CURRENT, flag);
#endif
#endif
    d_step { t = 0; late[LEASE(me)] = 0; word[LEASE(me)] = ENDED(SLICE) } /* skink__loop_end(), transition 5 */
    d_step { /* stray_ended() */
#ifndef MUTATE_NO_MUTEX
        !mutex ->
#endif
        if
        :: held_thread == me -> held_thread = NOBODY
        :: else -> assert(strays > 0); strays--
        fi
    }
}

#ifdef MUTATE_HOLD_FORGOTTEN
#define MAY_SETTLE (strays < MAX_STRAYS && held_thread != NOBODY)
#else
#define MAY_SETTLE (strays < MAX_STRAYS || held_thread == NOBODY)
#endif
#define STILL_SEEN (seen_thread == thread && seen == word[LEASE(thread)])

proctype Watchdog()
{
    byte fresh = NOBODY;
    bool won, hold;
end:
    do
    :: atomic { /* look(): another slice than the last time */
           IS_RUNNING(word[LEASE(thread)]) && !STILL_SEEN ->
           seen_thread = thread;
           seen = word[LEASE(thread)];
           timed = true;
           overdue_call = false
       }
    :: atomic {
           /* judge(): half of the timeout, in host code or in a call; a mark for a slice that has passed is none */
           seen_thread == thread && late[LEASE(thread)] != SLICE -> late[LEASE(thread)] = SLICE
       }
    :: atomic { /* judge(), declare(): all of it, and a standby is there */
           STILL_SEEN && late[LEASE(thread)] == SLICE && standby != NOBODY -> mutex = true
       }
       d_step { /* skink__lease_abandon(); transition 3 */
#ifdef MUTATE_ABANDON_PLAIN_STORE
           won = (seen_thread != NOBODY);
#else
           won = (seen_thread != NOBODY && word[LEASE(seen_thread)] == seen);
#endif
           if
           :: won ->
               word[LEASE(seen_thread)] = ABANDONED(SLICE);
               assert(open[seen_thread] && timed && !overdue_call);
               open[seen_thread] = false;
               assert(owner == NOBODY);
               owner = WATCHDOG
           :: else
           fi
       }
       if
       :: won -> /* hand_over() */
           d_step { fresh = standby; standby = NOBODY; hold = (strays >= MAX_STRAYS) }
#ifdef MUTATE_WAKE_BEFORE_BEGIN
           d_step { owner = fresh; go[fresh] = true }
#endif
           d_step { TOUCH(WATCHDOG); held = hold } /* skink__takeover_begin() */
           d_step { TOUCH(WATCHDOG); thread = fresh }
           d_step { TOUCH(WATCHDOG); owner = fresh; go[fresh] = true } /* skink__standby_give() */
           d_step { /* account(), and the mutex is free again */
               assert(held_thread == NOBODY);
               if
               :: hold -> held_thread = seen_thread; holding = true
               :: else -> strays++
               fi;
               seen_thread = NOBODY;
               seen = 0;
               timed = false;
               fresh = NOBODY;
               won = false;
               hold = false;
               mutex = false
           }
       :: else -> mutex = false
       fi
    :: atomic { /* skink__holds_settle(), skink__hold_end() */
           holding && MAY_SETTLE ->
           if
           :: held_thread != NOBODY -> strays++; held_thread = NOBODY
           :: else
           fi;
           holding = false;
           held = false
       }
       wakeup_fd = true /* skink__scheduler_release_hold() */
    od
}

/* replenish(): one standby at a time, with a thread object that was never used before. */
proctype Replenisher()
{
end:
    do
    :: atomic { standby == NOBODY && made < THREADS -> standby = made; made++ }
    od
}

/* An outside thread: posts task 3, and completes the future that task 1 may await. */
proctype Poster()
{
    bool must_wake;
    post(3, OUT, must_wake);
    atomic { /* wake_waiters(), under the future's lock */
        completed = true;
        if
        :: linked -> linked = false
        :: else -> goto done
        fi
    }
    post(1, WAITING, must_wake);
done:
    skip
}

init
{
    atomic {
        place[1] = READY;
        place[2] = READY;
        calls[1] = CALLS;
        calls[2] = CALLS;
        calls[3] = CALLS;
        on_stack[1] = NOBODY;
        on_stack[2] = NOBODY;
        on_stack[3] = NOBODY;
        go[0] = true;
        run Thread(0);
        run Thread(1);
        run Thread(2);
#if THREADS > 3
        run Thread(3);
#endif
        run Watchdog();
        run Replenisher();
        run Poster()
    }
}

/* Nothing can go on, by design: held at the stray limit, or no thread is left to take over from a stuck one. */
#define AT_LIMIT (holding && held_thread != NOBODY && strays >= MAX_STRAYS)
#define STUCK_ON(th) (on_stack[1] == th && stuck[1] || on_stack[2] == th && stuck[2] || on_stack[3] == th && stuck[3])
#define LOOP_STUCK (IS_RUNNING(word[LEASE(thread)]) && STUCK_ON(thread))
#define NO_THREAD (made == THREADS && standby == NOBODY)
#define SETTLED(t) (place[t] == DONE || stuck[t])

/* Who gets free finishes, and so does who never gets stuck; and a loop that is stuck is taken over while there is a
 * thread for it. */
ltl in_the_end {
    <>[] ((AT_LIMIT || (LOOP_STUCK && NO_THREAD) || (SETTLED(1) && SETTLED(2) && SETTLED(3))) &&
          (!LOOP_STUCK || NO_THREAD))
}
