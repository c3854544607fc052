/* SPDX-License-Identifier: MIT */
/*
 * post_box.c - posts from other threads: a ring of slots for each thread that posts often.
 *
 * The first posts of a thread are tasks in the inbox, as everything else is. A thread that posts more has a box: slots
 * that it alone fills and the loop alone empties, four to a cache line, in order, so that neither waits for the other's
 * cache lines one by one. The box itself is a message: while it is idle, the next post hands it to the inbox, which
 * wakes the loop or refuses; while it is active, the loop looks into it every turn, and a post is a compare-exchange
 * that nobody contends for.
 *
 *   | box.word     | from -> to          | who    | when                                                             |
 *   |--------------|---------------------|--------|------------------------------------------------------------------|
 *   | count, state | ACTIVE n -> n + 1   | poster | compare-exchange, once the slot is filled                        |
 *   |              | IDLE n -> ACTIVE n+1| poster | store: an idle box is the poster's; then it goes into the inbox  |
 *   |              | ACTIVE n -> IDLE n  | loop   | compare-exchange: all n have been taken, nothing came for a turn |
 *   |              | ACTIVE n -> ORPHAN n| poster | compare-exchange: its thread ends; the loop frees the box        |
 *
 * The loop does not sleep beside an active box, so a post to one needs no wake-up, and one to an idle box gets the
 * inbox's. A closed inbox refuses a box; the end of a scheduler empties the active ones and makes them idle.
 * tests/model/box.pml is the same in Promela.
 *
 * Order: what a thread posts runs in the order of posting, beside what it hands over through the inbox as well. The
 * loop takes the inbox's list, then empties the active boxes, then delivers the list, an idle box's slots at the box's
 * own place in it. So what is in a box comes before what its thread put into the inbox later; and after something was
 * put there the box is left alone (`detour`) until it is idle.
 */
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/relax.h"
#include "loop/state.h"
#include <errno.h>

enum { SLOTS = 2048, AHEAD = 16, POSTS_BEFORE_A_BOX = 32 };
enum { LOOKS = 4, PAUSES_BETWEEN_LOOKS = 32 }; /* of skink__boxes_refill() */
enum { IDLE, ACTIVE, ORPHAN };

struct skink__post_box {
    struct skink__message message; /* inbox; then skink_scheduler.boxes, while it is active: runtime */
    skink_scheduler *scheduler;    /* constant; with a reference on its memory */
    _Atomic uint64_t taken;        /* loop writes: slots emptied so far; release, the poster acquires */

    _Alignas(64) _Atomic uint64_t word; /* slots filled so far << 2 | state */
    /* The poster's. */
    uint64_t posted;
    uint64_t taken_seen;
    bool detour;

    _Alignas(64) struct skink__post_slot slots[SLOTS];
};

static uint64_t word_of(uint64_t count, unsigned state)
{
    return count << 2 | state;
}

static unsigned state_of(uint64_t word)
{
    return word & 3;
}

static void box_free(struct skink__post_box *box)
{
    skink_scheduler *scheduler = box->scheduler;
    skink__free_aligned(box);
    skink__scheduler_unref(scheduler);
}

/* ---- the loop ---- */

/* An active box that has been emptied, and is linked nowhere: let it be idle. False: there is more in it. */
static bool settle(struct skink__post_box *box)
{
    uint64_t taken = atomic_load_explicit(&box->taken, memory_order_relaxed);
    uint64_t word = word_of(taken, ACTIVE);
    /* Release: the box is the poster's from here on. Acquire: or it is ours for good. */
    if (atomic_compare_exchange_strong_explicit(&box->word, &word, word_of(taken, IDLE), memory_order_acq_rel,
                                                memory_order_acquire))
        return true;
    if (word != word_of(taken, ORPHAN)) return false;
    box_free(box);
    return true;
}

/* What has been posted so far, into the ready queue. How much that was; negative errno if not all found room. */
static int empty(skink_scheduler *scheduler, struct skink__post_box *box) SKINK__IN_RUNTIME
{
    uint64_t taken = atomic_load_explicit(&box->taken, memory_order_relaxed), begun = taken;
    /* Acquire: pairs with the poster's release, and the slots are filled. */
    uint64_t posted = atomic_load_explicit(&box->word, memory_order_acquire) >> 2;
    int err = 0;
    while (taken != posted && !err) { /* twice at most: to the ring's end, and from its beginning */
        uint64_t at = taken % SLOTS, count = posted - taken < SLOTS - at ? posted - taken : SLOTS - at;
        taken += skink__post_push_all(scheduler, &box->slots[at], count, &err);
    }
    if (taken != begun) atomic_store_explicit(&box->taken, taken, memory_order_release);
    return err ? err : (int)(taken - begun);
}

void skink__boxes_empty(skink_scheduler *scheduler)
{
    struct skink__message **link = &scheduler->boxes;
    scheduler->boxes_stuck = 0;
    while (*link) {
        struct skink__post_box *box = (struct skink__post_box *)*link;
        int count = empty(scheduler, box);
        if (count < 0) scheduler->boxes_stuck = count;
        if (count == 0) {
            *link = box->message.next;
            if (settle(box)) continue;
            *link = &box->message;
        }
        link = &box->message.next;
    }
    if (scheduler->boxes_stuck == -ENOMEM) skink__stack_retry(scheduler);
}

/* A turn of libuv costs as much as dozens of posts, and a wake-up as hundreds. So within a batch the boxes are looked
 * at again for some microseconds; not all the time, since each look takes the word's cache line away from the
 * poster. */
bool skink__boxes_refill(skink_scheduler *scheduler)
{
    for (int look = 0; scheduler->boxes_stuck == 0 && look < LOOKS; look++) {
        for (int i = 0; i < PAUSES_BETWEEN_LOOKS; i++)
            skink__relax();
        for (struct skink__message *box = scheduler->boxes; box; box = box->next) {
            int count = empty(scheduler, (struct skink__post_box *)box);
            if (count < 0) scheduler->boxes_stuck = count;
        }
        if (scheduler->ready.first) return true;
    }
    return false;
}

bool skink__boxes_want_a_turn(const skink_scheduler *scheduler)
{
    if (!scheduler->boxes) return false;
    if (scheduler->boxes_stuck == -ENOMEM) return false; /* the timer will tell */
    return scheduler->boxes_stuck == 0 || skink__post_room(scheduler) > 0;
}

static void deliver_box(skink_scheduler *scheduler, struct skink__message *message, bool closed) SKINK__IN_RUNTIME
{
    message->next = scheduler->boxes;
    scheduler->boxes = message;
    if (closed) return; /* skink__boxes_close() follows */
    int err = empty(scheduler, (struct skink__post_box *)message);
    if (err < 0) scheduler->boxes_stuck = err;
    if (err == -ENOMEM) skink__stack_retry(scheduler);
}

void skink__boxes_close(skink_scheduler *scheduler)
{
    while (scheduler->boxes) {
        struct skink__post_box *box = (struct skink__post_box *)scheduler->boxes;
        scheduler->boxes = box->message.next;
        do { /* a poster that has not seen yet that the scheduler stops may add some more */
            uint64_t taken = atomic_load_explicit(&box->taken, memory_order_relaxed);
            uint64_t posted = atomic_load_explicit(&box->word, memory_order_acquire) >> 2;
            skink__count(&scheduler->tasks_spawned, (int64_t)(posted - taken));
            skink__count(&scheduler->tasks_finished, (int64_t)(posted - taken));
            atomic_store_explicit(&box->taken, posted, memory_order_release);
        } while (!settle(box));
    }
}

/* ---- the poster ---- */

/* -ENOBUFS: the box is full. */
static int box_post(struct skink__post_box *box, void (*fn)(void *arg), void *arg)
{
    uint64_t n = box->posted;
    if (n - box->taken_seen >= SLOTS) {
        box->taken_seen = atomic_load_explicit(&box->taken, memory_order_acquire);
        if (n - box->taken_seen >= SLOTS) return -ENOBUFS;
    }
    box->slots[n % SLOTS] = (struct skink__post_slot){ .fn = fn, .arg = arg };
    __builtin_prefetch(&box->slots[(n + AHEAD) % SLOTS], 1);
    uint64_t word = word_of(n, ACTIVE);
    /* Release: the loop's acquire sees the slot. Acquire, when it fails: what the loop did with the idle box is
     * over. */
    if (!atomic_compare_exchange_strong_explicit(&box->word, &word, word_of(n + 1, ACTIVE), memory_order_release,
                                                 memory_order_acquire)) {
        SKINK_ASSERT(word == word_of(n, IDLE));
        atomic_store_explicit(&box->word, word_of(n + 1, ACTIVE), memory_order_relaxed); /* the inbox publishes it */
        if (!skink__inbox_post(&box->scheduler->inbox, &box->message)) {
            atomic_store_explicit(&box->word, word_of(n, IDLE), memory_order_relaxed);
            return -ECANCELED;
        }
    }
    box->posted = n + 1;
    return 0;
}

/* What the calling thread posts to. The functions that touch it are never inlined: callers may have changed threads a
 * moment before, and a compiler may keep a thread-local's address. */
static _Thread_local struct {
    skink_scheduler *scheduler; /* the last one posted to; for comparison only, while there is no box */
    struct skink__post_box *box;
    uint32_t posts; /* without a box */
} poster __attribute__((tls_model("initial-exec")));

static pthread_key_t poster_key; /* its destructor lets go of a thread's box when the thread ends */
static pthread_once_t poster_once = PTHREAD_ONCE_INIT;
static bool has_poster_key;

static void poster_leave(void *unused)
{
    (void)unused;
    struct skink__post_box *box = poster.box;
    poster.scheduler = NULL;
    poster.box = NULL;
    poster.posts = 0;
    if (!box) return;
    uint64_t word = word_of(box->posted, ACTIVE);
    if (!atomic_compare_exchange_strong_explicit(&box->word, &word, word_of(box->posted, ORPHAN), memory_order_release,
                                                 memory_order_acquire))
        box_free(box);
}

static void poster_key_create(void)
{
    has_poster_key = pthread_key_create(&poster_key, poster_leave) == 0;
}

/* Without memory for it, or a way to let go of it, posts go on as tasks. */
static void open_box(skink_scheduler *scheduler)
{
    poster.posts = 0;
    pthread_once(&poster_once, poster_key_create);
    if (!has_poster_key || pthread_setspecific(poster_key, &poster)) return;
    struct skink__post_box *box = skink__zalloc_aligned(sizeof *box, _Alignof(struct skink__post_box));
    if (!box) return;
    box->message.deliver = deliver_box;
    box->scheduler = skink__scheduler_ref(scheduler);
    poster.box = box;
}

__attribute__((noinline)) void skink__post_box_drop(const skink_scheduler *scheduler)
{
    if (poster.scheduler == scheduler) poster_leave(NULL);
}

__attribute__((noinline)) void skink__post_box_detour(const skink_scheduler *scheduler)
{
    if (poster.box && poster.scheduler == scheduler) poster.box->detour = true;
}

/* May the box be used? Not for something that would overtake what went another way. */
static bool box_is_in_order(struct skink__post_box *box)
{
    if (box->detour && state_of(atomic_load_explicit(&box->word, memory_order_acquire)) == IDLE) box->detour = false;
    return !box->detour;
}

/* Objects for as many tasks as there may be have been made, and as many tasks live. The loop counts meanwhile. Acquire:
 * those that end are looked at last, so that there may seem to be fewer than there are, and never more. */
static bool is_at_limit(const skink_scheduler *scheduler)
{
    const struct skink__task_pool *pool = &scheduler->tasks;
    if (atomic_load_explicit(&pool->task_count, memory_order_relaxed) < pool->task_max) return false;
    uint64_t spawned = atomic_load_explicit(&scheduler->tasks_spawned, memory_order_acquire) +
                       atomic_load_explicit(&scheduler->posts_queued, memory_order_acquire);
    uint64_t finished = skink__tasks_finished(scheduler);
    return spawned >= finished && spawned - finished >= pool->task_max;
}

__attribute__((noinline)) int skink__post_from_elsewhere(skink_scheduler *scheduler, void (*fn)(void *arg), void *arg)
{
    if (poster.scheduler != scheduler) {
        poster_leave(NULL);
        poster.scheduler = scheduler;
    }
    if (!poster.box && poster.posts++ >= POSTS_BEFORE_A_BOX) open_box(scheduler);
    if (poster.box && box_is_in_order(poster.box)) {
        if (is_at_limit(scheduler)) return -EAGAIN;
        int err = box_post(poster.box, fn, arg);
        if (err != -ENOBUFS) return err;
    }
    return skink__post_as_task(scheduler, false, fn, arg);
}
