/* SPDX-License-Identifier: MIT */
/*
 * tests/model/alarm.pml - the watchdog's next look, which a loop that turns puts off (loop/alarm.c, loop/dispatch.c,
 * recovery/watchdog.c, recovery/park.c).
 *
 * Time is a clock that ticks while the watchdog sleeps and nothing is there to wake it. So the watchdog gets a
 * processor at once, and every other thread may be kept from one for any time between any two of its steps. What is
 * promised is exact then: a slice is seen within one period of its beginning, all of its time counts from there on, and
 * it is abandoned in the tick in which it has had its timeout, and not before.
 *
 * One scheduler is there in full. Of others under the same watchdog only this matters, and each is a choice: whether
 * all of them are left to their alarms, whether all of them sleep, a look for the sake of one, a shorter timeout of a
 * task of theirs. So is whether half of a period has passed since the loop put the alarm off. What is shown elsewhere
 * is taken as one step: the word of a lease and a takeover (lease.pml), what is read of a slice (extend.pml), a store
 * of the loop's and its look at the bell (doorbell.pml). The number of a slice is compared with one other only, that
 * which the watchdog remembers.
 */

/* A period, in ticks, stands for the timeout that it is chosen for. */
#define LONG 3
#define SHORT 1
#define TIMEOUT(period) ((period) + 1)
#define PERIODS_THAT_COUNT 2
#define OLDEST (LONG + TIMEOUT(SHORT)) /* older than the longest timeout, and it makes no difference */
#define NEVER 255

#ifndef HOST_ACTS
#define HOST_ACTS 1
#endif

/* The word of the loop thread. */
#define RUNTIME 0
#define RUNNING 1
#define ABANDONED 2 /* and nobody else is the loop thread yet */
#define ENDED 3     /* there is none */
#define FRESH 4     /* RUNTIME, of a thread that was just given the loop */
#define CALL 5      /* RUNTIME, in a call of the slice */
byte state = FRESH;
bool remembered;    /* its number is the one that the watchdog remembers */
bool late;          /* lease.late_slice is this slice */
bool own;           /* lease.timeout_ns: the slice has the short timeout; else it is the recovery's */
bool in_poll;
bool standby = true;

/* The alarm. */
byte alarm;         /* the timerfd: ticks left; 0: not set, or it has gone off */
bool gone_off;      /* since it was last set, and nobody has taken notice: the epoll is readable */
byte alarm_period;  /* skink__alarm.period_ns; 0: nobody wants it */
byte alarm_timeout; /* skink__alarm.timeout_ns, as the period that it has */
bool short_task;    /* scheduler.shortest_timeout_ns is the short one; else there is none */
bool spawned;       /* and the first task that has it may run */

/* The watchdog. */
#define NOBODY 0
#define CURRENT 1
#define FORMER 2          /* a stopper has taken the loop away from it */
byte subject = NOBODY;    /* skink__watch.subject */
bool watched = true;
byte timeout_set = LONG;  /* skink_recovery.timeout_ns, as its period */
bool short_elsewhere;
byte period;              /* period_ns and shortest_timeout_ns, of the last tick */
byte counted;             /* the slice clock's effective_ns */
byte since;               /* ticks since the clock's last reading */
bool dog_sleeps;          /* and so its mutex is free */
byte rest;
bool kicked;              /* its eventfd is readable */
bool bell;

/* ghosts */
byte age;        /* of the slice that runs; else 0 */
byte within;     /* by that age it is seen */
bool stuck;      /* the slice does not end by itself */
byte acts;

#define END_SLICE age = 0; within = 0; own = false
#define SET_ALARM(p) d_step { alarm = p; gone_off = false }
#define GO_OFF d_step { alarm = 0; gone_off = true } /* set to the next nanosecond */
#define KICK kicked = true
#define WAKES (rest == 0 || kicked || (gone_off && watched))
#define SLICE_TIMEOUT (own -> TIMEOUT(SHORT) : TIMEOUT(timeout_set))
#define MIN(a, b) ((a) < (b) -> (a) : (b))
#define MAX(a, b) ((a) > (b) -> (a) : (b))

/* ---- the clock ---- */

proctype Clock()
{
    do
    :: d_step {
        dog_sleeps && !WAKES ->
        if
        :: watched && state == RUNNING && !remembered -> assert(age < within)
        :: watched && state == RUNNING && remembered && standby ->
            assert(counted + since < SLICE_TIMEOUT)
        :: else
        fi;
        assert(watched && own -> period == SHORT : true); /* the watchdog knows of the timeout */
        gone_off = gone_off || alarm == 1;
        alarm = (alarm > 0 -> alarm - 1 : 0);
        rest = (rest == NEVER -> NEVER : rest - 1);
        since = (remembered -> MIN(since + 1, TIMEOUT(LONG)) : 0);
        age = (state == RUNNING || state == CALL -> MIN(age + 1, OLDEST) : 0)
       }
    od
}

/* ---- the loop ---- */

#define NEW_NUMBER remembered = false; late = false; counted = 0; since = 0

/* Transition 4, skink__doorbell_ring() */
inline show_life()
{
    NEW_NUMBER;
    if
    :: bell -> bell = false; KICK
    :: else
    fi
}

#define IS_FOR_LONGER (short_task && SHORT < alarm_timeout)
#ifdef MUTATE_KNOWS_NO_SHORTER
#define MAY_PUT_OFF true
#else
#define MAY_PUT_OFF (!IS_FOR_LONGER)
#endif

/* put_alarm_off(), skink__alarm_put_off_now() */
inline put_off()
{
    p = alarm_period;
    if
    :: p != 0 && MAY_PUT_OFF ->
        do
        :: SET_ALARM(p);
            atomic {
                if
#ifndef MUTATE_ASKS_ONCE
                :: alarm_period != 0 && alarm_period != p -> p = alarm_period
#endif
                :: else -> break
                fi
            }
        od;
#if !defined(MUTATE_KNOWS_NO_SHORTER) && !defined(MUTATE_LOOP_UNDOES)
        if
        :: IS_FOR_LONGER -> GO_OFF
        :: else
        fi
#endif
    :: else
    fi
}

/* The loop thread of the moment, and the one after it when a slice is taken from it. */
proctype Loop()
{
    byte p;
fresh: /* skink__loop_run() */
    atomic { assert(state == FRESH); state = RUNTIME; show_life(); goto batch };
turn:
    if /* uv_run() */
    :: in_poll = true; in_poll = false
    :: skip
    fi;
    d_step { show_life() };
    if
    :: put_off(); p = 0
    :: skip /* half of a period has not passed */
    fi;
batch:
    if
    :: goto turn
    :: state = ENDED; /* it is stopped, and started again */
        d_step { state = FRESH; NEW_NUMBER; subject = (subject == CURRENT -> FORMER : subject) };
        goto fresh
    :: atomic { /* transition 1 */
            state = RUNNING;
            NEW_NUMBER;
            if
            :: spawned -> own = true
            :: true
            fi;
            within = (own -> SHORT : period)
        };
host_code:
        if
        :: atomic { state == RUNNING && !stuck -> state = RUNTIME; END_SLICE; goto batch }
        :: atomic { state == RUNNING && !stuck -> state = CALL };
#ifdef MUTATE_PUTS_OFF_AT_CALLS
            put_off(); p = 0;
#endif
            atomic {
                if
                :: late -> state = RUNTIME; END_SLICE; goto batch /* through the ready queue */
                :: !late -> state = RUNNING; goto host_code
                fi
            }
        :: atomic { state == RUNNING && !stuck -> stuck = true; goto host_code }
        :: atomic { state == FRESH -> goto fresh } /* a stray, which touches nothing any more; and its successor */
        fi
    fi
}

#ifdef MUTATE_STRAY_PUTS_OFF
bool a_stray;
proctype Stray()
{
    byte p;
    do
    :: a_stray -> put_off(); a_stray = false
    od
}
#endif

/* ---- the watchdog ---- */

inline hand_over()
{
    state = FRESH;
    NEW_NUMBER;
    END_SLICE;
#ifdef MUTATE_STRAY_PUTS_OFF
    a_stray = true;
#endif
    stuck = false
}

/* look(), as far as the lease is read. */
inline look()
{
    if /* follow() */
    :: subject == FORMER || state == ABANDONED || state == ENDED -> subject = NOBODY
    :: else
    fi;
    if
    :: subject == NOBODY && state != ENDED -> subject = CURRENT; remembered = false
    :: else
    fi;
    asleep = (subject == NOBODY);
    /* read_lease() */
    word = state;
    same = remembered;
    remembered = (subject == CURRENT)
}

/* look_at_slice(): a number that was not there the last time. */
inline look_at_new()
{
    atomic {
        if
#ifdef MUTATE_GLIMPSE_FORGOTTEN
        :: remembered = false
#else
        :: subject == CURRENT && !remembered ->
            remembered = true /* moves_on(): another number, and that is remembered */
#endif
        :: true /* start_clock() */
        fi;
        counted = 0;
        since = 0;
        moving = true
    }
}

#ifdef MUTATE_COUNTS_BY_THE_NEXT_PERIOD
#define AT_MOST (PERIODS_THAT_COUNT * period)
#else
#define AT_MOST (PERIODS_THAT_COUNT * MAX(former, period))
#endif

#ifdef MUTATE_DUE_BY_THE_NEXT_LOOK
#define DUE (counted + period >= SLICE_TIMEOUT)
#else
#define DUE (counted >= SLICE_TIMEOUT)
#endif

/* The same as the last time: skink__slice_clock_advance(), judge(). */
inline look_at_same()
{
    d_step {
        assert((word != RUNNING && word != CALL) || since <= AT_MOST); /* so all of a slice's time counts */
        counted = MIN(counted + since, TIMEOUT(LONG));
        since = 0;
        if
        :: subject != CURRENT || !remembered /* it has moved on; what is done now is about a slice that is over */
        :: else ->
            late = late || counted >= SLICE_TIMEOUT / 2;
            if
            :: state == RUNNING && DUE && standby -> /* declare.c */
                assert(age >= SLICE_TIMEOUT);
                hand_over();
                standby = false
            :: state == RUNNING && !DUE -> wanted = SLICE_TIMEOUT - counted
            :: else
            fi
        fi
    }
}

inline is_under_alarm()
{
    if
#ifdef MUTATE_KEEPS_OLD_PERIOD
    :: alarm_period != 0 ->
#else
    :: alarm_period == period && alarm_timeout == period ->
#endif
#ifdef MUTATE_LEAVES_WHAT_STANDS
        under = true;
#else
        under = moving;
#endif
        if
#ifndef MUTATE_SET_FORGOTTEN
        :: moving -> SET_ALARM(period)
#endif
        :: else
        fi
    :: else ->
        alarm_timeout = period; /* skink__alarm_want() */
        alarm_period = period;
        under = false
    fi
}

proctype Watchdog()
{
    byte former, wanted, word;
    bool moving, asleep, same, under, has_standby;
    do
    :: d_step { /* tick() */
            former = period;
            period = (short_task || short_elsewhere -> SHORT : timeout_set); /* choose_period() */
            wanted = NEVER;
            has_standby = standby;
            if
            :: watched -> look()
            :: else -> asleep = true; under = true
            fi
        };
        if
        :: watched ->
            if
            :: subject == NOBODY
            :: subject != NOBODY && !same -> look_at_new()
            :: subject != NOBODY && same && word == RUNTIME && in_poll ->
                d_step { asleep = true; counted = 0; since = 0 }
            :: subject != NOBODY && same && !(word == RUNTIME && in_poll) -> look_at_same()
            fi;
            is_under_alarm();
            if
#ifndef MUTATE_WATCHDOG_UNDOES
            :: short_task && period != SHORT -> wanted = 0
#endif
            :: else
            fi
        :: else
        fi;
        atomic {
            if
            :: under && has_standby /* and so are the others */
            :: wanted = MIN(wanted, period)
            fi;
            former = 0; word = 0; same = false; moving = false; under = false; has_standby = false;
            if
            :: asleep && standby -> bell = true /* skink__park(): the others sleep, too */
            :: asleep = false
            fi
        };
        if
        :: asleep ->
            atomic {
                if
                :: state == RUNTIME && subject == CURRENT && remembered -> wanted = NEVER
                :: state == ENDED && subject == NOBODY -> wanted = NEVER
                :: !watched -> wanted = NEVER
                :: else -> bell = false; asleep = false
                fi
            }
        :: else
        fi;
        d_step { rest = wanted; wanted = 0; dog_sleeps = true };
        d_step { /* skink__sleep_until(); there may be other reasons to wake up, though none that is there for ever */
#ifdef LIVENESS
            WAKES ->
#endif
            dog_sleeps = false;
            rest = 0;
            kicked = false;
            gone_off = gone_off && !watched;
            if
            :: asleep ->
                /* Nobody looked meanwhile, so no time has passed. */
                bell = false; remembered = false; counted = 0; since = 0
            :: else
            fi;
            asleep = false
        }
    od
}

/* ---- everybody else ---- */

proctype Others()
{
    do
    :: !short_task -> /* note_timeout(); then the task is handed over */
        short_task = true;
#ifndef MUTATE_SHORTER_UNSAID
        GO_OFF;
#endif
        spawned = true
    :: atomic { dog_sleeps && !standby -> standby = true; KICK }
    od
}

/* skink_scheduler_stop() takes the loop away from a slice by itself. */
proctype Stopper()
{
    do
    :: atomic { state == RUNNING -> state = ABANDONED; stuck = false };
        d_step { hand_over(); subject = (subject == CURRENT -> FORMER : subject) }
    od
}

proctype Host()
{
    do
    :: atomic { acts < HOST_ACTS -> acts++; short_elsewhere = true }
    :: atomic { dog_sleeps && acts < HOST_ACTS -> acts++; timeout_set = (timeout_set == LONG -> SHORT : LONG); KICK }
    :: atomic { dog_sleeps && watched && acts < HOST_ACTS -> /* skink_recovery_unwatch() */
            acts++;
            watched = false;
            bell = false;
            subject = NOBODY;
            remembered = false;
            alarm_timeout = 0;
            alarm_period = 0 }
    :: atomic { dog_sleeps && !watched -> /* skink_recovery_watch() */
            watched = true;
            age = 0;
            within = 0;
#ifndef MUTATE_WATCHED_UNSAID
            KICK
#endif
        }
    od
}

init
{
    atomic {
        if
        :: timeout_set = SHORT
        :: true
        fi;
        run Clock();
        run Watchdog();
        run Loop();
        run Others();
        run Stopper();
#ifdef MUTATE_STRAY_PUTS_OFF
        run Stray();
#endif
        run Host()
    }
}

#ifdef LIVENESS
/* Of a slice that stays the watchdog is rid in the end, if it may be: it is not just that no time passes. */
ltl in_the_end { [] (stuck -> <> (!stuck || !standby || !watched)) }
#endif
