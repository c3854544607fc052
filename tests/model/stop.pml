/* SPDX-License-Identifier: MIT */
/*
 * tests/model/stop.pml - stopping and destroying a scheduler whose thread may be stuck, with a watchdog that may take
 * over at the same moment, strays that come back at any time, and an outside poster (loop/stop.c, loop/dispatch.c,
 * loop/scheduler.c).
 *
 * Thread object 0 is the first loop thread's, 1 the standby's, the others are made by the stopper. Task 1 is there from
 * the start and waits for something that never comes, so that only a cancellation ends it; task 2 is posted from
 * outside. Host code of either takes its time, or gets stuck: task 2 for ever, task 1 until task 2 has ended.
 *
 * Time is a number that may go up at any moment; see the list below. Steps and ghosts are as in
 * lease.pml, but n is left out: here a slice may be abandoned without having been watched, which allows for more than
 * can happen. Each execution ends, so "in the end" needs no assumption of fairness.
 */
#ifndef THREADS
#define THREADS 3
#endif
#define TASKS 2

#define SLICE 1
#define RUNTIME(n) ((n) << 2)
#define RUNNING(n) ((n) << 2 | 1)
#define ABANDONED(n) ((n) << 2 | 2)
#define ENDED(n) ((n) << 2 | 3)
#define NOBODY 255
#define WATCHDOG 254
#define STOPPER 253

/* What `now` has reached. */
#define BEGUN 0
#define DEADLINE 1 /* tasks are cancelled, and a slice that the stopper has watched is taken for stuck */
#define GRACE 2    /* tasks are dropped */
#define LAST 3     /* the stopper drops them itself, or gives up */
byte now;

/* struct skink__thread */
byte word[THREADS];
bool go[THREADS];
bool ended[THREADS];       /* what skink__thread_on_ended() exchanges: whom to tell when it ends */

/* struct skink_scheduler */
byte thread;
bool asleep, closed, wakeup_fd;
bool stopping, stopped;
#define NONE 0
#define DRAINING 1
#define CANCELLING 2
#define OVER 3
byte phase;
byte references = 4;       /* owner, first thread, the watchdog's watch, the poster's handle */
bool destroyed;

#define OUT 0
#define INBOX 1
#define READY 2
#define CURRENT 3
#define WAITING 4
#define DONE 5             /* ended or dropped */
#define LEFT 6             /* with a stray that came too late */
byte place[TASKS + 1];
bool awaited;              /* task 1 has made its call */
bool inside_call[TASKS + 1];

byte made = 2;
bool standby = true;
bool mutex;                /* skink_recovery.mutex */
bool expected[THREADS];    /* skink__subject.role: recovery knows that the thread is going to tell */

/* ghosts */
byte owner;
byte on_stack[TASKS + 1];
bool freed;
bool returned;             /* skink_scheduler_stop() has returned: no task may run any more */
bool timed_out;

#define TOUCH(me) assert(owner == me && !freed)

inline unref()
{
    d_step {
        assert(references > 0);
        references--;
        if
        :: references == 0 -> freed = true
        :: else
        fi
    }
}

/* skink__inbox_post(), whole: inbox.pml takes it apart. */
inline post(t, from, otherwise)
{
    d_step {
        assert(!freed && place[t] == from);
        if
        :: closed -> place[t] = otherwise
        :: else ->
            place[t] = INBOX;
            wakeup_fd = wakeup_fd || asleep;
            asleep = false
        fi
    }
}

#define HAS_TASKS (place[1] == READY || place[1] == WAITING || place[2] == READY || place[2] == WAITING || POSTED)
#define POSTED (place[1] == INBOX || place[2] == INBOX)
#define NONE_READY (place[1] != READY && place[2] != READY)
#define SWITCH_OFF assert(on_stack[t] == me); on_stack[t] = NOBODY
#define DROP(t) assert(on_stack[t] == NOBODY); place[t] = DONE

/* finish(): close the inbox, and drop what it had and what is left; then skink__loop_end(), end_as_stopped(). */
inline finish(me)
{
    d_step {
        TOUCH(me);
        phase = OVER;
#ifndef MUTATE_NOT_CLOSED
        closed = true;
        asleep = false;
#endif
        if
#ifdef MUTATE_DROPS_ABANDONED
        :: place[1] != DONE && place[1] != OUT && place[1] != LEFT -> DROP(1)
#else
        :: place[1] == READY || place[1] == WAITING || place[1] == INBOX -> DROP(1)
#endif
        :: else
        fi;
        if
#ifdef MUTATE_DROPS_ABANDONED
        :: place[2] != DONE && place[2] != OUT && place[2] != LEFT -> DROP(2)
#else
        :: place[2] == READY || place[2] == WAITING || place[2] == INBOX -> DROP(2)
#endif
        :: else
        fi
    }
    d_step { TOUCH(me); word[thread] = ENDED(SLICE); owner = NOBODY; thread = NOBODY; stopped = true }
    unref()
}

proctype Thread(byte me)
{
    byte t;
    bool flag;

end_parked:
    go[me];

round: /* gather(): may it sleep? skink__stop_is_due(), skink__inbox_sleep() */
    atomic {
        TOUCH(me);
        flag = NONE_READY && !(phase != NONE && !HAS_TASKS) && !POSTED;
        if
        :: flag ->
            asleep = true;
end_asleep: /* poll: the eventfd, or the timer of the stop */
            wakeup_fd || phase == DRAINING && now >= DEADLINE || phase == CANCELLING && now >= GRACE
        :: else
        fi
    }
    atomic { /* the inbox, skink__stop_step(), and the first of a batch with transition 1 */
        TOUCH(me);
        wakeup_fd = false;
        asleep = false;
        word[me] = RUNTIME(SLICE);
        if
        :: place[1] == INBOX -> place[1] = READY
        :: else
        fi;
        if
        :: place[2] == INBOX -> place[2] = READY
        :: else
        fi;
        if
        :: stopping && phase == NONE -> phase = DRAINING
        :: else
        fi;
        if
        :: phase == DRAINING && HAS_TASKS && now >= DEADLINE ->
            phase = CANCELLING;
            if
            :: place[1] == WAITING -> place[1] = READY
            :: else
            fi
        :: else
        fi;
        flag = false;
        if
        :: phase == CANCELLING && now >= GRACE || phase != NONE && !HAS_TASKS -> goto finishing
        :: else
        fi;
        if
        :: place[1] == READY -> t = 1
        :: place[2] == READY -> t = 2
        :: else -> goto round
        fi;
        assert(!returned || timed_out);
        place[t] = CURRENT;
        owner = NOBODY;
        word[me] = RUNNING(SLICE)
    }
    atomic { /* skink__switch() */
        assert(place[t] == CURRENT && on_stack[t] == NOBODY);
        on_stack[t] = me;
        if
        :: inside_call[t] -> goto enter
        :: else
        fi;
        if
        :: t == 2 ->
end_forever:
            false
        :: t == 1 && place[2] != DONE ->
end_blocked:
            place[2] == DONE
        :: true
        fi
    }

enter: /* skink__runtime_enter() */
    atomic {
        if
        :: word[me] == RUNNING(SLICE)
        :: else -> inside_call[t] = true; goto stray
        fi;
        inside_call[t] = false;
        assert(owner == NOBODY && !freed);
        owner = me;
        word[me] = RUNTIME(SLICE)
    }
    atomic {
        TOUCH(me);
        if
        :: t == 1 && !awaited -> /* a wait; cancelled already, it does not begin */
            awaited = true;
            place[t] = (phase < CANCELLING -> WAITING : READY)
        :: else -> place[t] = DONE
        fi;
        SWITCH_OFF;
        t = 0;
        goto round
    }

stray: /* end_as_stray(), skink__loop_end() */
    atomic { SWITCH_OFF }
    post(t, CURRENT, LEFT);
    d_step { /* transition 5, and skink__thread_on_ended() */
        word[me] = ENDED(SLICE);
        t = 0;
        flag = ended[me];
        ended[me] = false
    }
    atomic {
        if
        :: flag -> !mutex; assert(expected[me]); expected[me] = false; flag = false /* stray_ended() */
        :: else
        fi;
        unref()
    }
    goto gone;

finishing:
    finish(me);
gone:
    skip
}

/* One takeover by the standby; there is no hold here. */
proctype Watchdog()
{
    byte seen = NOBODY;
end:
    do
    :: atomic { !destroyed && standby && thread != NOBODY && word[thread] == RUNNING(SLICE) ->
           assert(!freed);
           seen = thread;
           mutex = true;
           ended[seen] = true /* skink__stray_prepare() */
       }
       atomic { /* skink__declare(), transition 3 */
           if
           :: word[seen] == RUNNING(SLICE) ->
               word[seen] = ABANDONED(SLICE);
               expected[seen] = true;
               assert(owner == NOBODY && !freed);
               owner = WATCHDOG
           :: else -> goto lost
           fi
       }
       /* skink__takeover_begin(), skink__standby_give() */
       d_step { TOUCH(WATCHDOG); standby = false; thread = 1; references++; owner = 1; go[1] = true; seen = NOBODY }
       mutex = false;
       goto again;
lost: /* skink__stray_undo(): one exchange; whoever is late finds that it has been taken */
       atomic {
#ifdef MUTATE_UNDO_FORGETS
           skip;
#else
#ifndef MUTATE_UNDO_WITHOUT_LOOKING
           expected[seen] = !ended[seen];
#endif
           ended[seen] = false;
#endif
           mutex = false;
           seen = NOBODY
       }
again:
       skip
    :: atomic { destroyed -> unref(); break }
    od
}

proctype Poster()
{
    atomic {
        post(2, OUT, DONE); /* refused, it is the poster's again, and freed */
        unref()
    }
}

proctype Stopper()
{
    byte watched = NOBODY, fresh = NOBODY;
    bool won, last;
    atomic {
        stopping = true;
#ifndef MUTATE_STOP_WITHOUT_WAKEUP
        wakeup_fd = true /* skink__inbox_wake() */
#endif
    }
    do
    :: atomic { stopped -> goto over }
    :: atomic { /* stop_wait(), watch_look(), watch_abandon() */
           !stopped && thread != NOBODY && word[thread] == RUNNING(SLICE) && now >= DEADLINE && made < THREADS ->
           watched = thread;
           fresh = made;
           last = (now >= LAST)
       }
       atomic { /* transition 3 */
#ifdef MUTATE_STOPPER_STORES
           won = true;
#else
           won = (word[watched] == RUNNING(SLICE));
#endif
           if
           :: won ->
               word[watched] = ABANDONED(SLICE);
               made++;
               assert(owner == NOBODY);
               owner = STOPPER
           :: else -> fresh = NOBODY; last = false
           fi;
           watched = NOBODY
       }
       if
       :: won -> /* take_over(), skink__takeover_begin() */
           d_step { TOUCH(STOPPER); won = false; thread = fresh; references++ }
           if
           :: !last -> /* skink__thread_start_detached() */
               d_step { TOUCH(STOPPER); owner = fresh; go[fresh] = true; fresh = NOBODY }
           :: true -> /* the last moment, or no thread can be created: finish_here() */
               d_step { fresh = NOBODY; last = false }
               finish(STOPPER)
           fi
       :: else
       fi
    :: atomic { /* nothing that could be abandoned is there: the loop thread is inside a runtime section */
           !stopped && now >= LAST && thread != NOBODY && (word[thread] != RUNNING(SLICE) || made == THREADS) ->
           assert(!(asleep && phase == NONE && !wakeup_fd)); /* it was told, or will be */
           timed_out = true;
           goto over
       }
    od;
over:
    atomic {
        returned = true;
        if
        :: !timed_out -> /* skink_scheduler_destroy() */
            destroyed = true;
#ifdef MUTATE_FREED_AT_DESTROY
            freed = true
#else
            unref()
#endif
        :: else
        fi
    }
}

proctype Clock()
{
end:
    do
    :: stopping && now < LAST -> now++
    od
}

init
{
    atomic {
        place[1] = READY;
        on_stack[1] = NOBODY;
        on_stack[2] = NOBODY;
        go[0] = true;
        run Thread(0);
        run Thread(1);
        run Thread(2);
#if THREADS > 3
        run Thread(3);
#endif
        run Watchdog();
        run Poster();
        run Stopper();
        run Clock()
    }
}

/* skink_scheduler_stop() returns, whatever is stuck. Then every task has ended, was dropped, or is with a stray; and
 * the memory goes when the last stray has ended. */
#define SETTLED(t) (place[t] == DONE || place[t] == LEFT || place[t] == CURRENT)
#define STRAYS (place[1] == CURRENT || place[2] == CURRENT)
ltl stopped_in_the_end { <>[] (returned && (timed_out || (SETTLED(1) && SETTLED(2) && (freed || STRAYS)))) }
