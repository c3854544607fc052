/* SPDX-License-Identifier: MIT */
/*
 * tests/model/inbox.pml - the inbox, the sleep in poll, the wake-up and the close (loop/inbox.c, loop/scheduler.c).
 *
 * Two posters, one loop thread, a few timers. Each statement between two semicolons is one step that others can
 * interleave with; where several statements stand in d_step or atomic, the C does the same in one atomic
 * instruction, or in code of one thread that nobody else can look into. Every loop in here runs a bounded number
 * of times, so each execution ends, and "in the end" needs no assumption of fairness.
 *
 * Checked: no message lost or doubled, order kept for each poster, a post to a sleeping loop wakes it, no
 * blocking poll while a task is ready, nothing lost at a close, nothing touched after it was freed.
 */
#define NIL 0 /* empty, the loop is awake */
#define ASLEEP 254
#define CLOSED 255
#define POSTERS 2
#define MESSAGES 4 /* poster 0 has messages 1 and 2, poster 1 has 3 and 4 */
#define OWNER(m) (((m) - 1) / 2)

byte head = NIL;             /* skink__inbox.head */
byte next[MESSAGES + 1];     /* skink__message.next */
bool wakeup_fd;              /* the eventfd: readable or not */
byte ready;                  /* length of the ready queue */
byte timers = 1;             /* uv timers and other events still to come; each makes one task ready */

/* Ghosts: no C has them, they are what the properties are about. */
byte number[MESSAGES + 1];   /* the how-maniest post of its poster the message is now */
bool inside[MESSAGES + 1];   /* accepted and not delivered */
byte last[POSTERS];          /* number of the last delivery of each poster's messages */
byte accepted, delivered;
bool closed;
byte references = POSTERS + 1;
bool freed;                  /* the scheduler's memory is gone */

#define TOUCH assert(!freed)

/* skink__scheduler_unref() */
inline unref()
{
    d_step {
        references--;
        if
        :: references == 0 -> freed = true
        :: else
        fi
    }
}

/* skink__inbox_post(). The load, each compare-exchange and the write to the eventfd are steps of their own. */
inline post(m, n)
{
    d_step { TOUCH; old = head; number[m] = n }
    do
    :: old == CLOSED -> result = false; break
    :: else ->
        next[m] = (old == ASLEEP -> NIL : old);
#ifdef MUTATE_POST_PLAIN_STORE
        d_step { TOUCH; head = m; swapped = true; assert(!inside[m]); inside[m] = true; accepted++ }
#else
        d_step { /* one compare-exchange */
            TOUCH;
            if
            :: head == old -> head = m; swapped = true; assert(!inside[m]); inside[m] = true; accepted++
            :: else -> old = head; swapped = false
            fi
        }
#endif
        if
        :: swapped -> result = true; break
        :: else
        fi
    od;
#ifdef MUTATE_WAKE_WHEN_NULL
#define MUST_WAKE (old == NIL)
#else
#define MUST_WAKE (old == ASLEEP)
#endif
    if
    :: result && MUST_WAKE -> d_step { TOUCH; wakeup_fd = true }
    :: else
    fi
}

proctype Poster(byte me)
{
    byte old;
    bool swapped, result;
    post(2 * me + 1, 1);
    post(2 * me + 2, 2);
    /* A message that has been delivered is posted again, as a task that migrates twice would do. */
    if
    :: result && me == 0 ->
        !inside[1];
        post(1, 3)
    :: else
    fi;
    if
    :: !result -> assert(closed) /* refused means closed, not lost */
    :: else
    fi;
    unref()
}

/* What skink__inbox_take() and skink__inbox_close() do with the list, and skink__message.deliver: one step, since
 * nobody but the loop thread sees any of it. The list is newest first, so it is turned round before. */
inline deliver_all(makes_ready)
{
    d_step {
        if
        :: list == ASLEEP || list == CLOSED -> list = NIL
        :: else
        fi;
#ifndef MUTATE_NEWEST_FIRST
        reversed = NIL;
        do
        :: list != NIL -> m = next[list]; next[list] = reversed; reversed = list; list = m
        :: else -> break
        od;
        list = reversed;
        reversed = NIL;
#endif
        do
        :: list != NIL ->
            m = list;
            list = next[m];
            assert(inside[m]);
            inside[m] = false;
            assert(number[m] == last[OWNER(m)] + 1);
            last[OWNER(m)] = number[m];
            delivered++;
            ready = ready + makes_ready
        :: else -> break
        od;
        m = NIL
    }
}

proctype Loop()
{
    byte list, reversed, m;
    bool may_block;
    do
    :: /* uv_run(): libuv runs due timers before it polls. */
        if
        :: timers > 0 -> d_step { timers--; ready++ }
        :: true
        fi;
        /* The prepare handle. */
        d_step {
            TOUCH;
            may_block = false;
#ifdef MUTATE_NO_PREPARE_CHECK
            if
            :: head == NIL -> head = ASLEEP; may_block = true
            :: else
            fi
#else
            if
            :: ready > 0
#ifndef MUTATE_SLEEP_WITHOUT_COMPARE
            :: ready == 0 && head == NIL -> head = ASLEEP; may_block = true /* one compare-exchange */
#endif
            :: else
#ifdef MUTATE_SLEEP_WITHOUT_COMPARE
                may_block = (head == NIL)
#endif
            fi
#endif
        }
#ifdef MUTATE_SLEEP_WITHOUT_COMPARE
        if
        :: may_block -> head = ASLEEP
        :: else
        fi;
#endif
        /* Poll, and the callbacks of what it found. */
        if
        :: may_block ->
            assert(ready == 0);
end_asleep:
            if
            :: wakeup_fd -> d_step { TOUCH; wakeup_fd = false }
            :: timers > 0 -> d_step { timers--; ready++ }
            fi
        :: else ->
            d_step { TOUCH; wakeup_fd = false } /* readable or not: it is not afterwards */
        fi;
        /* skink__inbox_take() */
#ifdef MUTATE_TAKE_LOAD_STORE
        list = head;
        head = NIL;
#else
        d_step { TOUCH; list = head; head = NIL }
#endif
        deliver_all(1);
        /* A batch of one, so that some stay in the queue. */
        if
        :: ready > 0 -> ready--
        :: else
        fi
    :: break /* stopped, at any round */
    :: d_step { (head == NIL || head == ASLEEP) -> head = CLOSED; closed = true }; /* skink__inbox_close_if_empty() */
        break
    od;
    true;
    /* skink__inbox_close() */
#ifdef MUTATE_CLOSE_LOAD_STORE
    list = head;
    d_step { head = CLOSED; closed = true }
#else
    d_step { TOUCH; list = head; head = CLOSED; closed = true }
#endif
    deliver_all(0);
#ifdef MUTATE_FREE_AT_CLOSE
    freed = true
#else
    unref()
#endif
}

init
{
    atomic {
        run Loop();
        run Poster(0);
        run Poster(1)
    }
}

/* Whatever is accepted is delivered: a loop that slept on would leave some of it inside for ever. */
ltl delivered_in_the_end { <>[] (accepted == delivered) }
