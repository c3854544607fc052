/* SPDX-License-Identifier: MIT */
/*
 * tests/model/box.pml - a thread's box of posts: filled, emptied, idle, active, closed and left behind (loop/post_box.c).
 *
 * One poster, one loop thread, a ring of two slots. The poster numbers what it hands over; each goes into the box, or, as a
 * spawn would, into the inbox. The inbox is one step here, and taken apart in inbox.pml; what is taken out is counted as
 * delivered at once, as the ready queue is nobody's business but the loop's. Each statement is one step that others can
 * interleave with; what stands in one d_step is one atomic instruction of the C, or data that only one thread looks at. The
 * poster posts a bounded number of times, so "in the end" needs no assumption of fairness.
 *
 * Checked: nothing lost or doubled, order kept across box and inbox, no sleep beside something that was accepted, refused only
 * when closed, a filled slot is never filled again, the box is freed once and not touched afterwards.
 */
#define SLOTS 2
#define ITEMS 5
#define BOX 9 /* the box itself, as a message */
#define IDLE 0
#define ACTIVE 1
#define ORPHAN 2

/* The inbox: its list, oldest first, and what its word says beside. */
byte inbox[ITEMS + 2];
byte posted;
bool asleep, closed, wakeup_fd;

/* struct skink__post_box; word is count and state */
byte count, state = IDLE;
byte taken;
byte slots[SLOTS];
bool linked; /* skink_scheduler.boxes */

/* Ghosts. */
byte accepted, delivered;
bool freed;

#define TOUCH assert(!freed)

/* skink__inbox_post() */
inline inbox_post(message)
{
    d_step {
        refused = closed;
        if
        :: !closed ->
            inbox[posted] = message;
            posted++;
            wakeup_fd = wakeup_fd || asleep;
            asleep = false
        :: else
        fi
    }
}

/* box_post(), with `no_room` for -ENOBUFS */
inline box_post(item)
{
    no_room = false;
    if
    :: filled - taken_seen >= SLOTS ->
        d_step { TOUCH; taken_seen = taken; no_room = (filled - taken_seen >= SLOTS) }
    :: else
    fi;
    if
    :: !no_room ->
#ifndef MUTATE_FILL_AFTER_COUNT
        d_step { TOUCH; assert(slots[filled % SLOTS] == 0); slots[filled % SLOTS] = item }
#endif
        d_step { /* the compare-exchange */
            TOUCH;
            was_active = (state == ACTIVE);
            if
            :: was_active -> assert(count == filled); count++
            :: else -> assert(state == IDLE && !linked)
            fi
        }
        if
        :: !was_active ->
            d_step { TOUCH; count++; state = ACTIVE }
            inbox_post(BOX);
            if
            :: refused -> d_step { TOUCH; count--; state = IDLE; slots[filled % SLOTS] = 0 }
            :: else
            fi
        :: else -> refused = false
        fi;
#ifdef MUTATE_FILL_AFTER_COUNT
        d_step { TOUCH; slots[filled % SLOTS] = item }
#endif
        if
        :: !refused -> filled++
        :: else
        fi
    :: else
    fi
}

proctype Poster()
{
    byte item, filled, taken_seen;
    bool detour, no_room, was_active, refused;
    item = 1;
    do
    :: item <= ITEMS && !refused ->
        if
        :: detour -> d_step { TOUCH; detour = (state != IDLE) } /* box_is_in_order() */
        :: else
        fi;
        no_room = true;
        if
        :: !detour -> box_post(item)
        :: true /* a spawn, or no way through the box */
        fi;
        if
        :: no_room ->
            inbox_post(item);
#ifndef MUTATE_NO_DETOUR
            detour = true
#endif
        :: else
        fi;
        d_step {
            if
            :: refused -> assert(closed)
            :: else -> accepted++; item++
            fi
        }
    :: else -> break
    od;
    true;
    /* poster_leave() */
#ifdef MUTATE_FREE_ACTIVE
    was_active = false;
#else
    d_step {
        TOUCH;
        was_active = (state == ACTIVE);
        if
        :: was_active -> state = ORPHAN
        :: else
        fi
    }
#endif
    if
    :: !was_active -> d_step { assert(!freed); freed = true }
    :: else
    fi
}

inline deliver(item)
{
    assert(item == delivered + 1);
    delivered++
}

/* empty(): the word is read, then slots, then `taken` is stored for the poster to see. */
inline empty_box()
{
    d_step { TOUCH; limit = count; next = taken; found = (next != limit) }
    do
    :: next != limit -> d_step { TOUCH; deliver(slots[next % SLOTS]); slots[next % SLOTS] = 0; next++ }
    :: else -> break
    od;
    true;
    d_step { TOUCH; taken = next }
}

/* settle(): the compare-exchange. */
inline settle()
{
    d_step {
        TOUCH;
        settled = true;
        if
#ifdef MUTATE_SETTLE_STORES
        :: state == ACTIVE -> state = IDLE
#else
        :: state == ACTIVE && count == taken -> state = IDLE
#endif
        :: state == ORPHAN && count == taken -> freed = true
        :: else -> settled = false
        fi
    }
}

/* skink__inbox_take() or _close() */
inline take_inbox(and_close)
{
    d_step {
        closed = closed || and_close;
        asleep = false;
        length = posted;
        at = 0;
        do
        :: at < length -> list[at] = inbox[at]; inbox[at] = 0; at++
        :: else -> break
        od;
        posted = 0;
        at = 0
    }
}

/* skink__boxes_empty() */
inline empty_active()
{
    if
    :: linked ->
        empty_box();
        if
        :: !found ->
#ifndef MUTATE_UNLINK_AFTER_SETTLING
            linked = false;
#endif
            settle();
#ifdef MUTATE_UNLINK_AFTER_SETTLING
            linked = false;
#endif
            if
            :: !settled -> linked = true
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

inline deliver_list(and_empty)
{
    do
    :: at < length ->
        if
        :: list[at] == BOX ->
            d_step { TOUCH; assert(!linked); linked = true }
            if
            :: and_empty -> empty_box()
            :: else
            fi
        :: else -> d_step { deliver(list[at]) }
        fi;
        at++
    :: else -> break
    od;
    true;
    d_step { at = 0; length = 0 }
}

proctype Loop()
{
    byte list[ITEMS + 2];
    byte length, at, limit, next;
    bool found, settled, may_block;
    do
    :: true; /* gather(), before_poll(), skink__inbox_sleep() */
        d_step {
#ifdef MUTATE_SLEEP_BESIDE_A_BOX
            may_block = (posted == 0);
#else
            may_block = (!linked && posted == 0);
#endif
            asleep = may_block
        }
        if
        :: may_block ->
end_asleep:
            d_step { wakeup_fd -> wakeup_fd = false }
        :: else -> wakeup_fd = false
        fi;
        /* deliver_all() */
#ifdef MUTATE_BOXES_FIRST
        empty_active();
        take_inbox(false);
#else
        take_inbox(false);
#ifndef MUTATE_LIST_FIRST
        empty_active();
#endif
#endif
        deliver_list(true);
#ifdef MUTATE_LIST_FIRST
        empty_active();
#endif
        if /* skink__boxes_refill() */
        :: linked -> empty_box()
        :: true
        fi
    :: break /* stopped, at any round */
    od;
    true;
    take_inbox(true);
    /* What was accepted is dropped, in any order: box and list are not put in order any more. */
    do
    :: at < length ->
        true;
        d_step {
            if
            :: list[at] == BOX -> assert(!linked); linked = true
            :: else -> delivered++
            fi;
            at++
        }
    :: else -> break
    od;
    /* skink__boxes_close() */
    if
    :: linked ->
        linked = false;
        do
        :: true;
            d_step { TOUCH; limit = count; delivered = delivered + limit - taken; next = taken }
            do
            :: next != limit -> d_step { slots[next % SLOTS] = 0; next++ }
            :: else -> break
            od;
            true;
            d_step { TOUCH; taken = limit }
            settle();
            if
            :: settled -> break
            :: else
            fi
        od
    :: else
    fi
}

init
{
    atomic {
        run Loop();
        run Poster()
    }
}

/* Whatever is accepted is delivered, or dropped at the close: a loop that slept on would leave some of it for ever. */
ltl delivered_in_the_end { <>[] (accepted == delivered) }
