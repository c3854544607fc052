/* SPDX-License-Identifier: MIT */
/*
 * loop/state.h - what a scheduler, its loop threads and its tasks are made of; for loop/ only.
 *
 * Who may touch a field: SKINK__OF_RUNTIME means the loop thread, in its runtime section (or whoever won transition 3
 * and has not handed the scheduler on yet). Such fields are plain: a takeover hands them from thread to thread by the
 * lease's release and acquire. So are those that a comment calls "runtime" and that others read. "any" means any
 * thread, in the way the field's comment says. A function says SKINK__IN_RUNTIME; what clang checks of it is in
 * loop/capability.h.
 */
#ifndef SKINK_LOOP_STATE_H
#define SKINK_LOOP_STATE_H
#include "loop/alarm.h"
#include "loop/capability.h"
#include "loop/coroutine.h"
#include "loop/hooks.h"
#include "loop/inbox.h"
#include "loop/lease.h"
#include "loop/runtime.h"
#include "loop/stack_pool.h"
#include "loop/takeover.h"
#include "skink/future.h"
#include "skink/scheduler.h"
#include "skink/task.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* ---- counters: one writer at a time (runtime), any reader ---- */

typedef _Atomic uint64_t skink__counter;

static inline void skink__count(skink__counter *counter, int64_t by) SKINK__IN_RUNTIME
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + (uint64_t)by, memory_order_relaxed);
}

static inline uint64_t skink__counted(const skink__counter *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* ---- futures ---- */

/* The lock of a future. */
SKINK__CAPABILITY(skink__future_mutex);

enum skink__waiter_kind { SKINK__WAITER_TASK, SKINK__WAITER_THREAD, SKINK__WAITER_CONTINUATION, SKINK__WAITER_ANY };

/* Somebody who waits for a future; lives with the one who waits. Guarded by the future's lock while linked. */
struct skink__waiter {
    struct skink__waiter *next; /* skink_future.waiters */
    struct skink__waiter *previous;
    enum skink__waiter_kind kind;
    bool linked;
};

/* One of several futures that somebody waits for (await_any.c). */
struct skink__any_waiter {
    struct skink__waiter base;
    struct skink__any *any;
};

/* Under the future's lock, after unlinking it: the future is complete, or goes without ever being. */
void skink__any_wake(struct skink__any_waiter *waiter, const skink_scheduler *here)
    SKINK__REQUIRES(skink__future_mutex);
void skink__any_forget(struct skink__any_waiter *waiter);

/* Who alone can complete a future, as far as that is certain. */
enum skink__completer {
    SKINK__COMPLETER_ANY = 0, /* whoever comes first                                         */
    SKINK__COMPLETER_END,     /* it is a task's `done`                                       */
    SKINK__COMPLETER_TASK,    /* the host says: this task; with a reference                  */
    SKINK__COMPLETER_WORK     /* the pool's thread that runs this work; valid until it is done */
};

struct skink__blocker;

struct skink_future {
    _Atomic uint32_t refs;
    /* Release by the completer, acquire by readers: error and value are there when it is true. */
    _Atomic bool done;
    uint8_t completer_kind SKINK__GUARDED_BY(skink__future_mutex); /* enum skink__completer */
    pthread_mutex_t lock; /* held for a few instructions of ours, never across host code or a wait */
    struct skink__waiter *waiters SKINK__GUARDED_BY(skink__future_mutex); /* newest first */
    int error;
    void *value;
    void *completer SKINK__GUARDED_BY(skink__future_mutex); /* skink_task or skink__blocker, by its kind */
};

static inline void skink__future_lock(skink_future *future) SKINK__ACQUIRES(skink__future_mutex) SKINK__UNCHECKED
{
    pthread_mutex_lock(&future->lock);
}

static inline void skink__future_unlock(skink_future *future) SKINK__RELEASES(skink__future_mutex) SKINK__UNCHECKED
{
    pthread_mutex_unlock(&future->lock);
}

/* False: it is complete already. */
bool skink__future_link(skink_future *future, struct skink__waiter *waiter);
/* When this returns, no completer looks at the waiter any more. False: it was not linked. */
bool skink__future_unlink(skink_future *future, struct skink__waiter *waiter);

/* Host code, on any thread: block for it. Takes what skink__detection_begin() gave. */
int skink__future_block(skink_future *future, uint64_t deadline_ns, struct skink__blocker *blocker, void **ret_value);

/* For a future that lives inside something else and is never unreferenced. */
void skink__future_init(skink_future *future);
void skink__future_fini(skink_future *future);

/* ---- tasks ---- */

enum skink__task_state {
    SKINK__TASK_FREE = 0,  /* in a pool                                                             */
    SKINK__TASK_FRESH,     /* spawned: in the inbox or the ready queue, without a stack             */
    SKINK__TASK_READY,     /* in the inbox or the ready queue, with a stack                         */
    SKINK__TASK_RUNNING,   /* a loop thread's current task                                          */
    SKINK__TASK_WAITING,   /* suspended; what will wake it knows it                                 */
    SKINK__TASK_BLOCKING,  /* of a thread that blocks, as was announced, off the loop                 */
    SKINK__TASK_ABANDONED, /* a stray's current task                                                */
    SKINK__TASK_GIVEN_UP,  /* the same, and a stop has given it up: after that its stray may free it any time */
    SKINK__TASK_ENDED      /* fn has returned or was dropped; the object lives for its handles      */
};

/* What is to be done when its function has returned. */
enum skink__task_ending {
    SKINK__ENDING_PLAIN, /* give back the object, and no more                                    */
    SKINK__ENDING_POST,  /* the same; a post that has never been suspended: the next post may have it all as it is */
    SKINK__ENDING_KNOWN  /* somebody has or had to do with it: skink__task_end()                                 */
};

#define SKINK__NOT_IN_HEAP UINT32_MAX

/* What a call of ours has on the heap and lets go of as it returns; on the task's stack. A task that is dropped never
 * comes back into the call, whether it still waits or has been woken: then `drop` does that, in the runtime section of
 * the task's scheduler, once its wait is aborted. For a task that is lost, its stray does, and may only free memory. */
struct skink__holding {
    struct skink__holding *outer; /* skink_task.holdings */
    void (*drop)(struct skink__holding *hold);
};

/* In the order of use: a task that is spawned, runs and ends without waiting for anything touches the first cache line,
 * and the second once. */
struct skink_task {
    _Alignas(64) struct skink__message message;    /* ready queue or inbox: a task is in one place at a time */
    struct skink__coroutine *co SKINK__OF_RUNTIME; /* NULL when FRESH or ENDED, and of no meaning when FREE */
    void (*fn)(void *arg);
    void *arg;
    uint64_t timeout_ns;                  /* of a slice; 0: the watchdog's; with SKINK__SLICE_BLOCKS */
    skink_token *token SKINK__OF_RUNTIME; /* made when first asked for; holds a reference */
    _Atomic uint32_t refs;                /* one while it lives, and one per handle */
    _Atomic uint8_t state;                /* enum skink__task_state; runtime writes, or its spawner; relaxed */
    bool foreign;                         /* its object came from a poster's cache and goes back to the shared list */
    _Atomic uint8_t ending; /* enum skink__task_ending; runtime writes, and its own stack reads; relaxed */
    bool has_done;          /* `done` is initialised; set before anybody else knows the task */

    skink_scheduler *scheduler; /* constant for the life of the pool's chunk */
    const char *name;
    const struct skink__task_kind *kind; /* never NULL once it was spawned */
    _Atomic int cancel_reason;           /* 0, or the errno its awaits return; runtime writes */
    _Atomic int cancel_asked;            /* by others: the reason, or 0; any, the first one stays */
    struct skink__scope *scopes;         /* its own slices, and runtime at its end: innermost first (scope.c) */
    bool pins_scheduler;                 /* has handles, and so a reference on the scheduler's memory */

    /* The wait it is in. `waiting` is exchanged to false by whoever ends the wait; only the winner wakes the task. */
    _Atomic bool waiting;
    int wait_result;
    int timeout_result SKINK__OF_RUNTIME;  /* what a wait that its deadline ends returns */
    uint32_t heap_index SKINK__OF_RUNTIME; /* skink_scheduler.deadlines */
    uint64_t deadline_ns SKINK__OF_RUNTIME;
    /* Runtime: end the wait from outside (deadline, cancellation, drop). True: it is ended and unlinked, and the caller
     * wakes the task; false: somebody else ends it, or it cannot be ended early. */
    bool (*wait_abort)(skink_task *task) SKINK__OF_RUNTIME;
    void *wait_object SKINK__OF_RUNTIME; /* wait_abort's */

    struct skink__task_watch *watch; /* its own slices; NULL: nobody watches it */
    uint8_t blocking_depth;          /* its own slices: stretches of skink_blocking_begin() that it is in */
    /* It has come free, or was found on its way, and its next slice has not begun. Its stray sets it before it posts
     * the task, or runtime; its next slice, or its end, clears it. Relaxed: what it stands for comes through the
     * inbox. */
    _Atomic bool slice_owed;
    uint64_t detection_scopes; /* its own slices: modes of skink_detection_begin(), two bits each, innermost lowest */

    struct skink__holding *holdings; /* its own slices, and who drops or loses it: innermost first; NULL at its end */

    struct skink__message cancel_message; /* inbox, once in a task's life; holds a reference */
    skink_future done;                    /* completes when the task has ended */
};

/* A function that was posted and has not begun. */
struct skink__post {
    struct skink__message message; /* ready queue; deliver is skink__post_mark or skink__post_mark_cancelled */
    void (*fn)(void *arg);
    void *arg;
};
_Static_assert(sizeof(void *) != 8 || sizeof(struct skink__post) == 32, "two share a cache line");

struct skink__post_chunk;

struct skink__post_pool {
    struct skink__post *free SKINK__OF_RUNTIME;
    struct skink__post_chunk *chunks SKINK__OF_RUNTIME;
};

void skink__post_pool_fini(struct skink__post_pool *pool) SKINK__IN_RUNTIME;

/* What tells a post in the ready queue from a task, and one that starts cancelled from others. */
void skink__post_mark(skink_scheduler *scheduler, struct skink__message *message, bool closed) SKINK__IN_RUNTIME;
void skink__post_mark_cancelled(skink_scheduler *scheduler, struct skink__message *message,
                                bool closed) SKINK__IN_RUNTIME;

static inline bool skink__is_post(const struct skink__message *message)
{
    return message->deliver == skink__post_mark || message->deliver == skink__post_mark_cancelled;
}

static inline void skink__post_release(struct skink__post_pool *pool, struct skink__post *post) SKINK__IN_RUNTIME
{
    post->message.next = (struct skink__message *)pool->free;
    pool->free = post;
}

/* The same on its way from another thread; see post_box.c. */
struct skink__post_slot {
    void (*fn)(void *arg);
    void *arg;
};

/* Runtime: how many tasks more may live now. */
uint64_t skink__post_room(const skink_scheduler *scheduler) SKINK__IN_RUNTIME;
/* Runtime: one more at the end of the ready queue. -EAGAIN at the limit of living tasks, -ENOMEM. */
int skink__post_push(skink_scheduler *scheduler, void (*fn)(void *arg), void *arg) SKINK__IN_RUNTIME;
/* The same with as many of them as can be had. Returns how many those were; *ret_err says why not all. */
uint64_t skink__post_push_all(skink_scheduler *scheduler, const struct skink__post_slot *slots, uint64_t count,
                              int *ret_err) SKINK__IN_RUNTIME;
/* Runtime, off the queue: a fresh task of it. NULL: there is no task object now; the post stays what it is. */
skink_task *skink__post_to_task(skink_scheduler *scheduler, struct skink__post *post) SKINK__IN_RUNTIME;
/* Runtime, off the queue: it will never begin. */
void skink__post_drop(skink_scheduler *scheduler, struct skink__post *post) SKINK__IN_RUNTIME;
/* A post the old-fashioned way: from elsewhere, or where the limit on tasks is small and must be exact. */
int skink__post_as_task(skink_scheduler *scheduler, bool here, void (*fn)(void *arg), void *arg);

/* Any thread, but in the runtime section of this scheduler. -ECANCELED, -EAGAIN, -ENOMEM. */
int skink__post_from_elsewhere(skink_scheduler *scheduler, void (*fn)(void *arg), void *arg);
/* The calling thread has put something else into the inbox, which its later posts must not overtake. */
void skink__post_box_detour(const skink_scheduler *scheduler);
/* Give back the calling thread's box, before it may go. */
void skink__post_box_drop(const skink_scheduler *scheduler);
/* Runtime: what the active boxes have, into the ready queue. Between taking the inbox and delivering what was in it. */
void skink__boxes_empty(skink_scheduler *scheduler) SKINK__IN_RUNTIME;
/* Runtime, when nothing is ready: the same while a batch lasts. True: there is something. */
bool skink__boxes_refill(skink_scheduler *scheduler) SKINK__IN_RUNTIME;
/* Runtime: is there, or may there be, something in a box that the loop must not sleep beside? */
bool skink__boxes_want_a_turn(const skink_scheduler *scheduler) SKINK__IN_RUNTIME;
/* Runtime, once the inbox is closed: drop what the boxes have. */
void skink__boxes_close(skink_scheduler *scheduler) SKINK__IN_RUNTIME;

/* Objects come in chunks that go with the scheduler's memory, so a task's memory stays a task's. */
struct skink__task_chunk {
    struct skink__task_chunk *next; /* skink__task_pool.chunks */
    uint32_t count;
    skink_task tasks[];
};

/* A poster fetches its objects this many posts before it needs them (task_pool.c). A power of two. */
enum { SKINK__FETCH_AHEAD = 4 };

struct skink__task_pool {
    skink_task *free SKINK__OF_RUNTIME;      /* linked by message.next */
    skink_task *returning SKINK__OF_RUNTIME; /* foreign objects, on their way to `shared` */
    skink_task *returning_last SKINK__OF_RUNTIME;
    uint32_t returning_count SKINK__OF_RUNTIME;
    skink_task *returned[SKINK__FETCH_AHEAD] SKINK__OF_RUNTIME; /* the last ones in `returning`, by their count */
    /* On a line of its own: posters look at it, and the loop writes all around. */
    _Alignas(64) uint32_t chunk_tasks;          /* constant */
    uint32_t task_max;                          /* constant */
    _Atomic uint32_t task_count;                /* any; objects ever made */
    _Atomic(skink_task *) shared;               /* any; pushed by compare-exchange, taken whole by exchange */
    _Atomic(struct skink__task_chunk *) chunks; /* any; only ever pushed to */
    pthread_mutex_t taking;                     /* held by who takes from `shared` until the rest is back */
};

enum { SKINK__CHUNK_TASKS_MAX = 64 };

/* Small limits come in small chunks, so that stocks do not hold back a noticeable part. */
static inline bool skink__task_pool_is_small(const struct skink__task_pool *pool)
{
    return pool->chunk_tasks < SKINK__CHUNK_TASKS_MAX;
}

void skink__task_pool_init(struct skink__task_pool *pool, uint32_t task_max);
void skink__task_pool_fini(struct skink__task_pool *pool);

/* Runtime, once a turn: at the limit of objects let posters have what the loop has free. False: there is more of it,
 * and the loop should not sleep. */
bool skink__task_pool_settle(struct skink__task_pool *pool) SKINK__IN_RUNTIME;

/* A task object; NULL with *ret_err -EAGAIN or -ENOMEM. In the runtime section, or on any thread. */
skink_task *skink__task_acquire_here(skink_scheduler *scheduler, int *ret_err) SKINK__IN_RUNTIME;
skink_task *skink__task_acquire_foreign(skink_scheduler *scheduler, int *ret_err);
/* Its last reference is gone. `here`: in the runtime section of its scheduler. */
void skink__task_release(skink_task *task, bool here);

static inline enum skink__task_state skink__task_state(const skink_task *task)
{
    return (enum skink__task_state)atomic_load_explicit(&task->state, memory_order_relaxed);
}

static inline void skink__task_set_state(skink_task *task, enum skink__task_state state)
{
    atomic_store_explicit(&task->state, (uint8_t)state, memory_order_relaxed);
}

static inline enum skink__task_ending skink__task_ending(const skink_task *task)
{
    return (enum skink__task_ending)atomic_load_explicit(&task->ending, memory_order_relaxed);
}

static inline void skink__task_set_ending(skink_task *task, enum skink__task_ending ending)
{
    atomic_store_explicit(&task->ending, (uint8_t)ending, memory_order_relaxed);
}

/* The next post must not have this task as it is. */
static inline void skink__task_keep(skink_task *task)
{
    if (skink__task_ending(task) == SKINK__ENDING_POST) skink__task_set_ending(task, SKINK__ENDING_PLAIN);
}

/* skink__task_release() of one whose object is no poster's, in the runtime section. */
static inline void skink__task_release_own(struct skink__task_pool *pool, skink_task *task) SKINK__IN_RUNTIME
{
    skink__task_set_state(task, SKINK__TASK_FREE);
    task->message.next = (struct skink__message *)pool->free;
    pool->free = task;
}

/* A foreign or fresh task's deliver function; and that of a task woken or handed back from elsewhere. */
void skink__task_deliver_fresh(skink_scheduler *scheduler, struct skink__message *message,
                               bool closed) SKINK__IN_RUNTIME;
void skink__task_deliver_woken(skink_scheduler *scheduler, struct skink__message *message,
                               bool closed) SKINK__IN_RUNTIME;
void skink__task_deliver_migrated(skink_scheduler *scheduler, struct skink__message *message,
                                  bool closed) SKINK__IN_RUNTIME;

/* Give back what the calling thread holds of this scheduler's tasks, before it may go. */
void skink__task_stock_drop(const skink_scheduler *scheduler);

/* A fresh task that is submitted later, by skink__task_submit(), so that it cannot fail then. */
skink_task *skink__task_reserve(skink_scheduler *scheduler, bool here, const struct skink__task_spec *spec,
                                int *ret_err);
void skink__task_unreserve(skink_task *task);

/* Hand a fresh task to its scheduler; `here` as above. False: stopping; the task is the caller's again. */
bool skink__task_submit(skink_task *task, bool here);

/* Runtime: the task's fn has returned (or never will); lets go of everything the task has but its stack. */
void skink__task_end(skink_task *task, bool dropped) SKINK__IN_RUNTIME;
/* Runtime: make its awaits return `reason`, now and from now on. */
void skink__task_cancel_here(skink_task *task, int reason) SKINK__IN_RUNTIME;
/* The same from any thread, as skink_task_cancel(). */
int skink__task_cancel_for(skink_task *task, int reason);
/* Runtime: it will never run again. */
void skink__task_drop(skink_task *task) SKINK__IN_RUNTIME;
/* A stray whose scheduler has stopped: it will not run again either. */
void skink__task_lose(skink_task *task);

/* Its own slice, which begins within a stretch that is known to block (blocking.c). */
void skink__blocking_goes_on(skink_task *task);

/* ---- waiting (wait.c) ---- */

/* Runtime of the calling task, before linking it anywhere: the task is about to wait. Returns 0, or the reason why it
 * may not (it is cancelled); then nothing was done. */
int skink__wait_begin(skink_task *task, uint64_t deadline_ns, int timeout_result, bool (*abort)(skink_task *task),
                      void *object) SKINK__IN_RUNTIME;
/* The same for a wait that neither a deadline nor a cancellation ends, not even one from before. */
void skink__wait_begin_for_certain(skink_task *task, bool (*abort)(skink_task *task), void *object) SKINK__IN_RUNTIME;
/* It will not wait after all. */
void skink__wait_undo(skink_task *task) SKINK__IN_RUNTIME;
/* Suspend, and return what the wait ended with. The caller is out of the runtime section afterwards. */
int skink__wait_suspend(skink_task *task) SKINK__LEAVES_RUNTIME;
/* From before such waits until after them, by the task, in its runtime section or out of it (struct skink__holding). */
static inline void skink__holding_begin(skink_task *task, struct skink__holding *hold)
{
    hold->outer = task->holdings;
    task->holdings = hold;
}
static inline void skink__holding_end(skink_task *task, struct skink__holding *hold)
{
    SKINK_ASSERT(task->holdings == hold);
    task->holdings = hold->outer;
}
/* Any thread: become the one who wakes this task. */
bool skink__wait_claim(skink_task *task);
/* The winner: make the task ready. `here`: in the runtime section of its scheduler. */
void skink__wait_wake(skink_task *task, int result, bool here);

/* ---- the heap of deadlines (deadline_heap.c), runtime ---- */

struct skink__deadline {
    uint64_t deadline_ns; /* a copy beside the pointer, so that sifting does not touch the tasks */
    skink_task *task;
};

struct skink__deadline_heap {
    struct skink__deadline *entries SKINK__OF_RUNTIME;
    uint32_t count SKINK__OF_RUNTIME;
    uint32_t capacity SKINK__OF_RUNTIME;
};

int skink__deadline_add(struct skink__deadline_heap *heap, skink_task *task) SKINK__IN_RUNTIME; /* -ENOMEM */
void skink__deadline_remove(struct skink__deadline_heap *heap, skink_task *task) SKINK__IN_RUNTIME;
void skink__deadline_heap_fini(struct skink__deadline_heap *heap) SKINK__IN_RUNTIME;

/* ---- tokens (token.c) and scopes (scope.c) ---- */

/* The lock of a token. */
SKINK__CAPABILITY(skink__token_mutex);

/* Somebody who is told when a token fires. */
struct skink__token_listener {
    struct skink__token_listener *next; /* skink_token.listeners; guarded by the token's lock */
    struct skink__token_listener *previous;
    bool linked; /* the listener's own */
    /* Under the token's lock; must be short. `here`: the scheduler whose runtime section the caller is in, or NULL. */
    void (*fired)(struct skink__token_listener *listener, int reason, const skink_scheduler *here);
};

/* It is told once, if the token has not fired yet; who needs to know looks at the status afterwards. */
void skink__token_listen(skink_token *token, struct skink__token_listener *listener);
/* When this returns it is not told any more. */
void skink__token_unlisten(skink_token *token, struct skink__token_listener *listener);

/* All scopes of a task that ends. */
void skink__scopes_end_all(skink_task *task);
/* 0, or why no wait of this task may begin: the first fired token, from the innermost on. */
int skink__scopes_status(const skink_task *task);
/* True: a scope's deadline is earlier, and now in *deadline_ns. */
bool skink__scopes_limit(const skink_task *task, uint64_t *deadline_ns) SKINK__IN_RUNTIME;

/* 0, or why no wait of this task may begin. Its own slice. */
static inline int skink__task_status(const skink_task *task)
{
    int reason = atomic_load_explicit(&task->cancel_reason, memory_order_relaxed);
    return reason || !task->scopes ? reason : skink__scopes_status(task);
}

/* ---- detection (detection.c) ---- */

/* The lock of detection.c. */
SKINK__CAPABILITY(skink__detection_mutex);

/* A thread whose blocking wait may be part of a circle. All zero: it waits for nothing that is known of. */
struct skink__blocker {
    skink_future *future SKINK__GUARDED_BY(skink__detection_mutex); /* what it blocks for, without a deadline */
    skink_scheduler *scheduler; /* constant: whose loop thread, or whose work on the pool */
};

/* The pool's thread runs this work until it is called again with NULL. */
void skink__detection_set_work(struct skink__blocker *work);

/*
 * This thread is about to block for the future: `thread`, its loop thread object, in the runtime section of its current
 * task; or NULL on any other thread. -EDEADLK: it must not; that is reported and counted. Else *ret_blocker, unless
 * NULL, is to be given to skink__detection_end() once it no longer blocks, before any other call; the runtime section
 * must be left by skink__thread_leave_at_once().
 */
int skink__detection_begin(struct skink__thread *thread, skink_future *future, uint64_t deadline_ns,
                           struct skink__blocker **ret_blocker);
void skink__detection_end(struct skink__blocker *blocker); /* NULL is fine */

/* The same for something that is no future and needs no end: only the mode decides. */
int skink__detection_judge(struct skink__thread *thread) SKINK__IN_RUNTIME;

/* Tell the hook (refusal.c). thread: in the runtime section of its current task; NULL: a thread of the pool. awaited: a
 * task of that same loop, or NULL. */
void skink__refusal_tell(const struct skink__thread *thread, skink_scheduler *scheduler, skink_future *future,
                         const skink_task *awaited, bool potential);

/* ---- threads (thread.c) ---- */

/* Why a task switched to the loop thread's own stack. Each says what the loop thread does next. */
enum skink__leave {
    SKINK__LEAVE_SUSPEND, /* nothing: it is in the ready queue, or something will wake it          */
    SKINK__LEAVE_FINISH,  /* take its stack back                                                   */
    SKINK__LEAVE_MIGRATE  /* the thread is a stray: post the task to the inbox, touch nothing else */
};

/* What a fresh loop thread must have in common with the first. */
struct skink__thread_environment {
    sigset_t signals;
    cpu_set_t affinity;
    bool has_affinity;
    int nice;
};

/* The calling thread's. */
void skink__environment_capture(struct skink__thread_environment *environment);

struct skink__thread {
    struct skink__lease lease;
    /* Loop thread only, but for the winner of transition 3, who reads `current`. */
    uint64_t slice; /* n in the lease; a copy, as a load of the word would have to wait for the exchange before it */
    skink_task *current; /* whose slice this is */
    skink_scheduler *scheduler;
    uint32_t nesting; /* runtime sections entered inside the runtime section */
    enum skink__leave leave;
    struct skink__coroutine *finished; /* with SKINK__LEAVE_FINISH */
    struct skink__context native;      /* the OS thread's own stack */
    struct skink__blocker blocker;     /* of host code in a slice of this thread */

    void *signal_stack;                           /* constant; for handlers, while none of the host's is in force */
    size_t signal_stack_bytes;                    /* constant */
    bool prepared;                                /* its own thread writes, as the next two */
    bool has_signal_stack;                        /* ours is in force */
    struct skink__thread_environment environment; /* the OS thread's, before it has run anything */

    uint64_t generation;         /* constant from skink__takeover_begin() on */
    _Atomic int tid;             /* its own thread writes once */
    _Atomic uintptr_t blocks_on; /* its own thread writes, relaxed: a future, + 1 if the pool will complete it */
    _Atomic uint32_t refs;
    _Atomic uint32_t installed; /* of a start: its thread waits for that (skink__thread_wait) */
    /* Watchdog, and the stray at its end, by exchange: takeover.h. */
    _Atomic(struct skink__ended *) ended;
};

/* The thread object of the calling OS thread; NULL if it is no loop thread. Never inlined: a task that was suspended
 * may have come back on another thread, and a compiler may keep a thread-local's address. */
struct skink__thread *skink__thread_self(void);

/* An OS thread that nobody joins; with the caller's signal mask. Any thread. A negative errno. */
int skink__thread_start_detached(void *(*main)(void *arg), void *arg);
void skink__thread_set_self(struct skink__thread *thread);

/* A thread asks of itself: nobody else takes its lease from or to RUNTIME. */
static inline bool skink__thread_in_runtime(const struct skink__thread *thread)
{
    return skink__lease_state(atomic_load_explicit(&thread->lease.word, memory_order_relaxed)) == SKINK__RUNTIME;
}

/* skink__runtime_enter() and _leave() for callers inside loop/, which then need not ask for the thread again. What is
 * rare (nesting, migration, a late slice) is out of line. */
struct skink__thread *skink__thread_enter_slowly(struct skink__thread *thread) SKINK__ACQUIRES(skink__runtime_section);
void skink__thread_leave_slowly(struct skink__thread *thread) SKINK__RELEASES(skink__runtime_section);

static inline struct skink__thread *skink__thread_enter(void) SKINK__TRY_ACQUIRES(true, skink__runtime_section)
{
    struct skink__thread *thread = skink__thread_self();
    if (!thread) return NULL;
    if (!skink__thread_in_runtime(thread) && skink__lease_take(&thread->lease, thread->slice)) return thread;
    return skink__thread_enter_slowly(thread);
}

/* What skink__thread_enter() returned is the loop thread of this scheduler, and so in its runtime section. */
static inline bool skink__thread_is_of(const struct skink__thread *thread, const skink_scheduler *scheduler)
{
    return thread && thread->scheduler == scheduler;
}

/* The slice has used more than half of its timeout. It must not be abandoned a moment after a call that it won, still
 * believing that it is on the loop: so it ends here, and a new one starts when its turn comes. */
static inline bool skink__thread_is_late(const struct skink__thread *thread)
{
    return atomic_load_explicit(&thread->lease.late_slice, memory_order_relaxed) == thread->slice;
}

/* The thread that skink__thread_enter() returned, if the task has not been suspended in between. */
static inline void skink__thread_leave(struct skink__thread *thread) SKINK__RELEASES(skink__runtime_section)
{
    SKINK_ASSERT(skink__thread_in_runtime(thread));
    if (thread->nesting || skink__thread_is_late(thread))
        skink__thread_leave_slowly(thread);
    else
        skink__lease_run(&thread->lease, thread->slice);
}

/* The same, and even a late slice goes on. Into a wait that blocks the thread: who may have found this thread's blocker
 * must not find it suspended, and it touches nothing before its next call. Or when the slice has just been
 * given more time. */
static inline void skink__thread_leave_at_once(struct skink__thread *thread) SKINK__RELEASES(skink__runtime_section)
{
    SKINK_ASSERT(skink__thread_in_runtime(thread) && thread->nesting == 0);
    skink__lease_run(&thread->lease, thread->slice);
}

/* Runtime: start a slice of the task on this thread; the caller switches to it right after. */
static inline void skink__slice_begin(struct skink__thread *thread, skink_task *task)
    SKINK__RELEASES(skink__runtime_section)
{
    skink__task_set_state(task, SKINK__TASK_RUNNING);
    thread->current = task;
    if (atomic_load_explicit(&thread->lease.timeout_ns, memory_order_relaxed) != task->timeout_ns)
        atomic_store_explicit(&thread->lease.timeout_ns, task->timeout_ns, memory_order_relaxed);
    skink__lease_run(&thread->lease, ++thread->slice);
}

/* Runtime, on the current task's stack: go to the loop thread's own. Returns when the task is resumed, outside of the
 * runtime section. */
void skink__task_leave(struct skink__thread *thread, enum skink__leave leave) SKINK__LEAVES_RUNTIME;

/* ---- scheduler ---- */

struct skink__ready_queue {
    struct skink__message *first SKINK__OF_RUNTIME;
    struct skink__message *last SKINK__OF_RUNTIME;
};

/* How far a stop has come; runtime moves it forward. */
enum skink__stop_phase {
    SKINK__STOP_NONE,
    SKINK__STOP_DRAINING,   /* tasks may finish                  */
    SKINK__STOP_CANCELLING, /* every await returns -ECANCELED    */
    SKINK__STOP_DONE        /* what was left has been dropped    */
};

struct skink__fd_watches; /* await_fd.c */
struct skink__refusal;    /* refusal.h */

/* The three mutexes of a scheduler: lock, control, refused_lock. */
SKINK__CAPABILITY(skink__scheduler_mutex);
SKINK__CAPABILITY(skink__control_mutex);
SKINK__CAPABILITY(skink__refused_mutex);

struct skink_scheduler {
    struct skink__inbox inbox; /* any */
    struct skink__doorbell
        doorbell; /* any, as its functions say; on the inbox's cache line, which a turn reads anyway */

    /* Runtime. */
    uv_loop_t loop SKINK__OF_RUNTIME;
    uv_prepare_t before_poll SKINK__OF_RUNTIME;
    uv_poll_t wakeup SKINK__OF_RUNTIME;
    uv_timer_t deadline_timer SKINK__OF_RUNTIME; /* armed for the first of `deadlines` */
    uv_timer_t stop_timer SKINK__OF_RUNTIME;
    uv_timer_t stack_timer SKINK__OF_RUNTIME;     /* another try for `stackless` */
    uv_timer_t surplus_timer SKINK__OF_RUNTIME;   /* stacks that are not needed any more are given back */
    uint64_t deadline_armed_ns SKINK__OF_RUNTIME; /* SKINK_FOREVER: the timer is not armed */
    struct skink__alarm alarm;                    /* as its fields say */
    struct skink__deadline_heap deadlines SKINK__OF_RUNTIME;
    struct skink__stack_pool stacks SKINK__OF_RUNTIME;
    struct skink__fd_watches *fd_watches SKINK__OF_RUNTIME;
    bool may_sleep SKINK__OF_RUNTIME; /* this uv_run is allowed to block */
    bool uv_open SKINK__OF_RUNTIME;   /* the handles above exist */
    enum skink__stop_phase stop_phase SKINK__OF_RUNTIME;
    uint64_t stop_armed_ns SKINK__OF_RUNTIME; /* the deadline that the stop timer was set to */
    uint64_t cancel_deadline_ns SKINK__OF_RUNTIME;
    bool stop_cut SKINK__OF_RUNTIME; /* a task was cancelled, dropped or left with a stray */

    /* Runtime, too: what each dispatch of a task touches, side by side. */
    _Alignas(64) struct skink__ready_queue ready SKINK__OF_RUNTIME;
    struct skink__post_pool posts SKINK__OF_RUNTIME;
    struct skink__message *boxes SKINK__OF_RUNTIME; /* the active ones (post_box.c) */
    int boxes_stuck SKINK__OF_RUNTIME;              /* why not all of them could be emptied: -EAGAIN, -ENOMEM; or 0 */
    struct skink__ready_queue stackless SKINK__OF_RUNTIME; /* fresh tasks and posts for which there was no memory */
    /* The loop thread's number of the last slice before a look at libuv; the same, or 0 when every fresh task has to go
     * through next_runnable(). */
    uint64_t batch_end SKINK__OF_RUNTIME;
    uint64_t chain_end SKINK__OF_RUNTIME;
    /* Counters. A post is counted once as it comes and once as it goes, where a task is counted twice. */
    skink__counter posts_queued;   /* put into the ready queue as posts                                       */
    skink__counter posts_followed; /* begun and ended by follow-on, without a task of their own (dispatch.c)   */
    skink__counter slices_begun;   /* others                                                                  */
    skink__counter tasks_finished; /* others                                                                  */
    skink__counter tasks_spawned;  /* others; delivered to this scheduler                                     */
    skink__counter tasks_queued;   /* others; each of them is ready until its slice begins                    */
    struct skink__task_pool tasks;

    /* Counters. */
    skink__counter slices_resumed; /* those that were not a task's first */
    skink__counter tasks_suspended;
    skink__counter tasks_abandoned; /* with strays now */
    skink__counter tasks_blocking;  /* off the loop in a stretch that is known to block */
    skink__counter blocking_stretches;
    skink__counter tasks_lost; /* strays count: tasks that came back too late, still among the abandoned */
    skink__counter migrations;
    skink__counter generation;
    skink__counter stacks_allocated;

    /* Any. */
    _Atomic uint32_t refs; /* on the memory: the owner's, each thread's, each handle's, each poster's cache */
    _Atomic bool held;
    _Atomic int admittance; /* enum skink__admittance */
    _Atomic bool stopping;  /* refuse new tasks */
    _Atomic bool running;
    _Atomic bool given_up; /* by a stop: it runs, and cannot be stopped */
    _Atomic bool destroyed;
    _Atomic uint64_t stop_deadline_ns; /* SKINK_FOREVER from a start on; who stops it brings it forward */
    _Atomic uint64_t shortest_timeout_ns;
    _Atomic bool leaked; /* a runtime section is stuck: never free the memory */
    _Atomic uint64_t extend_ceiling_ns;
    struct skink__doorbell blocking_bell; /* any, as its functions say */
    _Atomic uint32_t detection;           /* skink_detection, never the default's */
    _Atomic uint64_t waits_refused;
    _Atomic uint64_t waits_refused_potential;
    bool detection_stacks;        /* constant */
    pthread_mutex_t refused_lock; /* held while the hook is called */
    void (*refused)(const struct skink__refusal *refusal, void *arg) SKINK__GUARDED_BY(skink__refused_mutex);
    void *refused_arg SKINK__GUARDED_BY(skink__refused_mutex);

    pthread_mutex_t lock; /* start, stop and takeover only */
    pthread_cond_t stopped_cond;
    /* The loop thread; NULL when none runs; with a reference. Who writes it is in the runtime section, too. */
    struct skink__thread *thread SKINK__GUARDED_BY(skink__scheduler_mutex);
    /* Who is in the runtime section without being a loop thread is this one meanwhile, under control or as its only
     * user; made in time, as destroying cannot fail. */
    struct skink__thread *stand_in;
    bool stopped SKINK__GUARDED_BY(skink__scheduler_mutex);
    /* Messages that came while the inbox was closed, and are for the next start; oldest first. */
    struct skink__message *kept SKINK__GUARDED_BY(skink__scheduler_mutex);
    struct skink__message **kept_end SKINK__GUARDED_BY(skink__scheduler_mutex);
    pthread_mutex_t control; /* one start, stop or skink_scheduler_uv without a loop thread at a time */
    struct skink__thread_environment environment;

    struct skink__abandonment abandonment SKINK__OF_RUNTIME; /* winner of transition 3 writes; the fresh thread reads */
    skink_task *stuck SKINK__OF_RUNTIME;                     /* same */
    bool stuck_blocks SKINK__OF_RUNTIME;                     /* same: it is not stuck but known to block */

    uint32_t batch_max; /* constant */
    int backend_fd;     /* constant */
    char name[16];      /* constant */
    const char *role;   /* for the thread hooks; constant once it runs */
};

static inline void skink__scheduler_lock(skink_scheduler *scheduler)
    SKINK__ACQUIRES(skink__scheduler_mutex) SKINK__UNCHECKED
{
    pthread_mutex_lock(&scheduler->lock);
}

static inline void skink__scheduler_unlock(skink_scheduler *scheduler)
    SKINK__RELEASES(skink__scheduler_mutex) SKINK__UNCHECKED
{
    pthread_mutex_unlock(&scheduler->lock);
}

static inline void skink__control_lock(skink_scheduler *scheduler)
    SKINK__ACQUIRES(skink__control_mutex) SKINK__UNCHECKED
{
    pthread_mutex_lock(&scheduler->control);
}

static inline void skink__control_unlock(skink_scheduler *scheduler)
    SKINK__RELEASES(skink__control_mutex) SKINK__UNCHECKED
{
    pthread_mutex_unlock(&scheduler->control);
}

static inline uint64_t skink__slices(const skink_scheduler *scheduler)
{
    return skink__counted(&scheduler->slices_begun) + skink__counted(&scheduler->posts_followed);
}

static inline uint64_t skink__tasks_finished(const skink_scheduler *scheduler)
{
    return skink__counted(&scheduler->tasks_finished) + skink__counted(&scheduler->posts_followed);
}

static inline uint64_t skink__tasks_spawned(const skink_scheduler *scheduler)
{
    return skink__counted(&scheduler->tasks_spawned) + skink__counted(&scheduler->posts_queued);
}

static inline uint64_t skink__tasks_queued(const skink_scheduler *scheduler)
{
    return skink__counted(&scheduler->tasks_queued) + skink__counted(&scheduler->posts_queued);
}

static inline void skink__queue_push(struct skink__ready_queue *queue, struct skink__message *message) SKINK__IN_RUNTIME
{
    message->next = NULL;
    if (queue->last)
        queue->last->next = message;
    else
        queue->first = message;
    queue->last = message;
}

/* A task or a post (skink__is_post); it is the first member of either. */
static inline struct skink__message *skink__queue_pop(struct skink__ready_queue *queue) SKINK__IN_RUNTIME
{
    struct skink__message *first = queue->first;
    if (!first) return NULL;
    queue->first = first->next;
    if (!queue->first) queue->last = NULL;
    return first;
}

static inline void skink__ready_push(skink_scheduler *scheduler, skink_task *task) SKINK__IN_RUNTIME
{
    skink__queue_push(&scheduler->ready, &task->message);
    skink__count(&scheduler->tasks_queued, 1);
}
_Static_assert(offsetof(skink_task, message) == 0 && offsetof(struct skink__post, message) == 0, "queues cast");
_Static_assert(offsetof(skink_task, has_done) < 64, "all that a task needs which never waits is on one cache line");

/* The loop (dispatch.c): run until stopped or abandoned. */
void skink__loop_run(struct skink__thread *thread, skink_scheduler *scheduler) SKINK__RELEASES(skink__runtime_section);
/* Runtime, in dispatch.c: what a coroutine runs. */
void skink__task_main(void *arg);

/* The calling thread, as loop thread of a scheduler that does not run: what it calls expects a runtime section. Until
 * skink__thread_set_self() of what this returns. */
struct skink__thread *skink__scheduler_stand_in(skink_scheduler *scheduler) SKINK__ASSERTS(skink__runtime_section);

/* skink_scheduler_stop() by who has the right to, whatever the mode of detection. (stop.c) */
int skink__stop(skink_scheduler *scheduler, uint64_t deadline_ns);

/* Runtime: start the two uv handles whose callbacks are the loop's own. */
int skink__loop_callbacks_start(skink_scheduler *scheduler) SKINK__IN_RUNTIME;

/* The first and the last of a loop thread: pass on that a task is with a stray now; let go of everything. */
void skink__loop_note_stuck(skink_scheduler *scheduler) SKINK__IN_RUNTIME;
void skink__loop_end(struct skink__thread *thread, skink_scheduler *scheduler, bool abandoned)
    SKINK__RELEASES(skink__runtime_section);

/* Runtime: the next step of stopping (stop.c); whether it need not wait for its time; and its last, which closes the
 * inbox and drops whatever task is left. */
bool skink__stop_is_due(const skink_scheduler *scheduler) SKINK__IN_RUNTIME;
void skink__stop_step(skink_scheduler *scheduler) SKINK__IN_RUNTIME;
void skink__stop_drop_all(skink_scheduler *scheduler) SKINK__IN_RUNTIME;

/* libuv handles of the scheduler's own (uv_handles.c). */
int skink__uv_open(skink_scheduler *scheduler) SKINK__IN_RUNTIME;
/* Close everything; false if something is still in use after the deadline, and the memory must stay. */
bool skink__uv_close(skink_scheduler *scheduler, uint64_t deadline_ns) SKINK__IN_RUNTIME;
/* Runtime, before uv_run: let the timer go off at the first deadline. */
void skink__deadlines_arm(skink_scheduler *scheduler) SKINK__IN_RUNTIME;
/* Runtime: wake the loop again at deadline_ns, for the next step of a stop; or soon, to try again for a stack. */
void skink__stop_wake_at(skink_scheduler *scheduler, uint64_t deadline_ns) SKINK__IN_RUNTIME;
void skink__stack_retry(skink_scheduler *scheduler) SKINK__IN_RUNTIME;

/* Runtime, once a turn: see to it that the stacks of a peak are given back when they have not
 * been needed for a while. */
void skink__stack_surplus_watch(skink_scheduler *scheduler) SKINK__IN_RUNTIME;

/* Runtime: is this task suspended in skink__runtime_call()? (call.c) */
bool skink__task_is_calling(const skink_task *task) SKINK__IN_RUNTIME;

/* await_fd.c, runtime */
void skink__fd_watches_fini(skink_scheduler *scheduler) SKINK__IN_RUNTIME;

/* Block the calling OS thread until *word is not zero, or the deadline passes (false). (thread_wait.c) */
bool skink__thread_wait(_Atomic uint32_t *word, uint64_t deadline_ns);
void skink__thread_notify(_Atomic uint32_t *word);
#endif
