/* SPDX-License-Identifier: MIT */
/*
 * tests/model/restart.pml - a scheduler that is stopped and started again while a stray has one of its tasks
 * (loop/stop.c, loop/scheduler.c, loop/dispatch.c, loop/task.c).
 *
 * The stray may come back at any time: while the first run lasts, after its stop, while the next run lasts, or while
 * that is stopped. Refused by a closed inbox, it frees the task on its own thread; else the task goes on in whichever
 * run there is, where it ends, or gets stuck once more. So a run must know of each task that is with a stray whether
 * somebody else may be freeing it. The inbox is one step, as in stop.pml; all that a run does alone is one process,
 * whichever its threads are.
 */
#define RUNS 3
#define STRAYS 2

/* skink_task.state */
#define WITH_STRAY 0 /* SKINK__TASK_ABANDONED */
#define GIVEN_UP 1   /* ... and a stop has told who waits for it */
#define READY 2
#define ENDED 3
byte state = WITH_STRAY;
byte posted;        /* the task is in the inbox */
bool closed;
byte abandoned = 1; /* scheduler.tasks_abandoned, tasks_lost */
byte lost;
bool go[STRAYS];
byte runs;          /* that are over */
byte over;          /* strays that have ended */

/* ghosts */
bool freed;
byte on_stack = 1;  /* threads on the task's stack */
bool stray_left = true;

#define TOUCH assert(!freed)

proctype Stray(byte me)
{
    bool refused;
end_unused:
    go[me];
    on_stack--;
    atomic { /* end_as_stray(), skink__inbox_post() */
        refused = closed;
        if
        :: !refused -> posted++
        :: else
        fi
    }
    if
    :: refused -> /* skink__task_lose() */
        lost++;
        d_step { TOUCH; state = ENDED }
        d_step { TOUCH; freed = true; stray_left = false }
    :: else
    fi;
    over++
}

/* skink__task_deliver_migrated() */
inline take_in()
{
    atomic {
        posted > 0 ->
        posted--;
        TOUCH;
        assert((state == WITH_STRAY || state == GIVEN_UP) && on_stack == 0);
        abandoned--;
        stray_left = false;
        state = READY
    }
}

/* Its next slice. */
inline run_task()
{
    if
    :: d_step { TOUCH; state = ENDED; freed = true }
    :: !go[1] -> /* it gets stuck again */
        d_step { TOUCH; state = WITH_STRAY; abandoned++; stray_left = true; on_stack++; go[1] = true }
    fi
}

#ifdef MUTATE_LOST_IS_WITH_A_STRAY
#define WITH_STRAYS (abandoned)
#else
#define WITH_STRAYS (abandoned - lost)
#endif

/* give_up_one(): a look, and then what follows of it */
inline give_up()
{
#ifdef MUTATE_GIVES_UP_TWICE
    mine = (state == WITH_STRAY || state == GIVEN_UP);
#else
    mine = (state == WITH_STRAY);
#endif
    if
    :: mine -> d_step { TOUCH; state = GIVEN_UP } /* cancelled; who awaits it is told */
    :: else
    fi;
    mine = false
}

proctype Runs()
{
    bool cut, mine;
    do
    :: runs < RUNS ->
        closed = false; /* skink__inbox_open() */
        do
        :: posted > 0 -> take_in(); run_task()
        :: break /* a stop begins */
        od;
        if /* has_tasks(): what has come already ends first */
        :: posted > 0 -> take_in(); run_task()
        :: else
        fi;
        /* finish() */
        d_step { cut = (WITH_STRAYS > 0); assert(!cut || stray_left || posted > 0) }
#ifndef MUTATE_GIVES_UP_BEHIND_THE_CLOSE
        give_up();
#endif
        closed = true;
#ifdef MUTATE_GIVES_UP_BEHIND_THE_CLOSE
        give_up();
#endif
        do
        :: posted > 0 -> take_in(); d_step { TOUCH; state = ENDED; freed = true } /* dropped */
        :: else -> break
        od;
        cut = false;
        runs++
    :: runs == RUNS -> break
    od
}

init
{
    atomic {
        go[0] = true;
        run Stray(0);
        run Stray(1);
        run Runs()
    }
}

/* Each stop returns, each stray ends, and the task with one of them, or in a run. */
ltl in_the_end { <>[] (runs == RUNS && freed && posted == 0 && !stray_left && (over == 1 || over == 2)) }
