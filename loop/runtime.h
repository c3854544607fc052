/* SPDX-License-Identifier: MIT */
/*
 * loop/runtime.h - the runtime section: how skink's own code gets in and out of it.
 *
 * Every public call that touches a scheduler is written like this:
 *
 *     skink_scheduler *here = skink__runtime_enter();   // transition 2; may migrate the task to another thread
 *     ... here == NULL: not a loop thread; hand over through the inbox ...
 *     ... here == scheduler: touch it ...
 *     skink__runtime_leave(here);                       // transition 1b; NULL is fine
 *
 * libuv callbacks are inside already, and so is a public call made from one: entering nests.
 */
#ifndef SKINK_LOOP_RUNTIME_H
#define SKINK_LOOP_RUNTIME_H
#include "loop/capability.h"
#include "loop/inbox.h"
#include "skink/future.h"
#include "skink/scheduler.h"
#include "skink/task.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* Enter the runtime section of the scheduler whose loop thread this is; NULL on any other thread. If this thread
 * has been abandoned, the task suspends here and comes back on the current loop thread. Re-read thread-locals. */
skink_scheduler *skink__runtime_enter(void) SKINK__ACQUIRES(skink__entered);

/* In a condition: is that this scheduler, whose runtime section we are in then? It is not NULL. */
#define SKINK__IS_HERE(here, scheduler) ((here) == (scheduler) && (skink__assume_runtime(), true))

/* Leave it, back to host code (or to the section around it, when nested). An overdue slice goes through the ready
 * queue first, so this may suspend. NULL does nothing. */
void skink__runtime_leave(skink_scheduler *scheduler) SKINK__RELEASES(skink__entered)
    SKINK__DROPS(skink__runtime_section);

/* Panics unless the caller is in the runtime section of this scheduler. First line of each libuv callback. */
void skink__assert_runtime(const skink_scheduler *scheduler) SKINK__ASSERTS(skink__runtime_section);

/* Is the calling thread in a task's host code or API call (as against a libuv callback or a foreign thread)? */
bool skink__in_task(void);

/* The scheduler's libuv loop. To be used in the runtime section only (or before the scheduler is started). */
uv_loop_t *skink__scheduler_loop(skink_scheduler *scheduler);

/* What the thread hooks are told about this scheduler's loop threads, "loop" unless said;
 * a static text. Before start. */
void skink__scheduler_set_role(skink_scheduler *scheduler, const char *role);

/* Post to the scheduler's inbox; false when it is closed. Any thread. */
bool skink__scheduler_post(skink_scheduler *scheduler, struct skink__message *message);

/* The same, and when it is closed the message is kept: for the next start, or for the end of the scheduler, which
 * delivers it `closed`. Any thread. */
void skink__scheduler_post_or_keep(skink_scheduler *scheduler, struct skink__message *message);

/* At the stray limit, so that no task is started or resumed; and: does it refuse new tasks? Any thread. */
bool skink__scheduler_is_held(const skink_scheduler *scheduler);
bool skink__scheduler_is_stopping(const skink_scheduler *scheduler);

/* A stop has left its loop thread behind, in a runtime section that does not end. Any thread. */
bool skink__scheduler_is_given_up(const skink_scheduler *scheduler);

/* Whether new work from outside may be started, which is for those to ask who bring it (loop/takeover.h says why not).
 * Any thread. */
enum skink__admittance { SKINK__ADMITS, SKINK__REFUSES_STRAYS, SKINK__REFUSES_BURST };
enum skink__admittance skink__scheduler_admittance(const skink_scheduler *scheduler);

/* What the hook of an abandoned task is told. */
struct skink__abandonment {
    char incident_id[32];
    bool starved;  /* it did not get the processor: nothing is said against it        */
    bool poisoned; /* it waited for a lock that belongs to a task abandoned before it */
};

/* What a task works on, as reports show it. The texts are the task's: who keeps them copies them. */
struct skink__task_label {
    const char *method;  /* NULL: it works on no request */
    const char *route;   /* what the host calls this kind of work; NULL like method */
    uint64_t request_id; /* counts what comes in, from 1 */
};

/* What all tasks of one kind have in common; constant, and valid for ever. Each may be NULL: nobody cares. None is
 * called for a task whose arg is NULL. */
struct skink__task_kind {
    /* In the runtime section of the fresh loop thread, right after a takeover, when this task's slice was declared
     * stuck. The task still runs, on its stray. */
    void (*abandoned)(void *arg, const struct skink__abandonment *why);
    /* In the runtime section, instead of the rest of fn, when the scheduler stops before the task has ended (or
     * started): fn will never run further. Not called for a task that stays with a stray. */
    void (*dropped)(void *arg);
    /* In the runtime section of a scheduler that stops, which leaves the task with its stray. That may still come back,
     * and fn go on when there has been a new start, or else `lost` is called; or never. No borrowed task is valid from
     * now on. */
    void (*given_up)(void *arg);
    /* On the stray's own thread, when it comes back after its scheduler has stopped: fn will never run further, and
     * nothing of the scheduler may be touched, only memory be freed. */
    void (*lost)(void *arg);
    /* On the watchdog, while it owns the scheduler and the task is stuck: read what is constant, and no more. */
    void (*label)(const void *arg, struct skink__task_label *ret_label);
};

/* A task of the middleware's, with what the public skink_spawn() does not offer. */
struct skink__task_spec {
    const char *name;                    /* valid until the task has ended */
    uint64_t deadlock_timeout_ns;        /* 0: the watchdog's */
    unsigned action;                     /* a skink_action, when that has passed; 0: the watchdog's */
    const struct skink__task_kind *kind; /* NULL: nothing special */
    void (*fn)(void *arg);
    void *arg;
    /* *ret_task is no reference: valid in the runtime section until fn returns, or dropped or given_up is called. A
     * task without a handle is cheaper, since nobody can await it. */
    bool borrow;
};

/* Spawn from the runtime section of `scheduler`. The spec is copied. *ret_task (may be NULL) is a reference of the
 * caller's. -ECANCELED, -EAGAIN, -ENOMEM. */
int skink__runtime_spawn(skink_scheduler *scheduler, const struct skink__task_spec *spec,
                         skink_task **ret_task) SKINK__IN_RUNTIME;

/* The same from any thread, in the runtime section of this scheduler, of another one, or of none. */
int skink__scheduler_spawn(skink_scheduler *scheduler, const struct skink__task_spec *spec, skink_task **ret_task);

/* Where one task waits until the runtime section of the slot's scheduler wakes it. All zero: nobody waits. It must stay
 * where it is for as long as somebody does. */
struct skink__wait_slot {
    skink_task *task;        /* of this scheduler */
    skink_future *elsewhere; /* or what a task of another one awaits (skink__runtime_step()); a reference */
};

/* In the runtime section, entered by the calling task, and out of it afterwards whatever comes back: suspend until
 * woken, and return the result. -ECANCELED: the task was cancelled; -EPERM: no task calls; -EBUSY:
 * another one waits. */
int skink__wait_in(struct skink__wait_slot *slot) SKINK__LEAVES_RUNTIME;

/* In the runtime section: wake who waits in it, if anybody does. */
void skink__wait_end(struct skink__wait_slot *slot, int result) SKINK__IN_RUNTIME;

/* On any thread, when its memory is about to go: a task that was dropped may have left something in it. */
void skink__wait_slot_fini(struct skink__wait_slot *slot);

/* In the runtime section of its scheduler: is the task on its way to its next slice, since it has been woken or has
 * come free of its stray? Then it is owed that slice until it begins, wherever the task is meanwhile. */
bool skink__task_owe_slice(skink_task *task) SKINK__IN_RUNTIME;
bool skink__task_is_owed_slice(const skink_task *task) SKINK__IN_RUNTIME;

/* In a task, or in a call of one: is it the one that was spawned with this arg? Any thread. */
bool skink__runtime_is_current(const void *arg);

/* In the runtime section, by the calling task: it needs its arg no longer. The callbacks of its kind, which would be
 * given that, are not called any more, should it still be abandoned or dropped on its last few steps. */
void skink__runtime_disown(void) SKINK__IN_RUNTIME;

/*
 * Call fn(arg) in the runtime section of `scheduler` and return what it returns: at once when the caller is on that
 * scheduler, else handed over, and the calling task, which must be one of another scheduler, is suspended until it is
 * done, whatever cancels it meanwhile. fn must be short and may not suspend.
 *   -EPERM      the caller is no task
 *   -ECANCELED  the scheduler has stopped; fn was not called
 *   -ENOMEM
 */
int skink__runtime_call(skink_scheduler *scheduler, int (*fn)(void *arg), void *arg);

/* What fn returns below when it can do nothing before somebody wakes its caller. */
enum { SKINK__MUST_WAIT = 1 };

/*
 * The same with an fn that may have to wait: when it returns SKINK__MUST_WAIT, the calling task is suspended in the
 * slot, which belongs to `scheduler`, and the result is what it is woken with (0: try again), or why it was not.
 *   -ECANCELED, -ETIMEDOUT  the calling task was cancelled
 *   -EBUSY                  another task waits in this slot
 *   else as skink__runtime_call()
 */
int skink__runtime_step(skink_scheduler *scheduler, struct skink__wait_slot *slot, int (*fn)(void *arg), void *arg);

/* Watches where a task leaves its stack and comes back to it: adds up how long it runs, without its waits, and tells
 * that it suspends. In memory that outlives the task's slices, zeroed. Nobody pays for it but tasks
 * that are watched. */
struct skink__task_watch {
    bool timed;              /* its own slices */
    _Atomic uint64_t ran_ns; /* up to its last wait; its own slices and the stray's write, any thread reads, relaxed */
    _Atomic uint64_t since_ns; /* when its present slice began; 0 while it waits; the same */
    /* NULL, or what is to be called once, in the runtime section of the task's scheduler and on its stack, when it
     * suspends next. It may wake the task, but not suspend. Runtime section. */
    void (*suspends)(struct skink__task_watch *watch);
};

/* The calling task is timed from now on. In a task's host code, or in its runtime section. */
void skink__task_watch_time(struct skink__task_watch *watch);

/* In the runtime section: `task`, if that is who calls, has something that is to be done when it suspends. False:
 * somebody else calls. */
bool skink__task_watch_suspension(struct skink__task_watch *watch, const skink_task *task,
                                  void (*suspends)(struct skink__task_watch *watch));

/* The calling task is not watched any more; what was to be done when it suspends is not done. As the above. */
void skink__task_watch_end(void);

/* How long it ran so far, the slice that runs included. Any thread. */
uint64_t skink__task_watch_read(const struct skink__task_watch *watch);

/* A token that has not fired, with one reference for the caller. -ENOMEM. Any thread. */
int skink__token_create(skink_token **ret_token);

/* Fire it with a negative errno; the first reason stays. Any thread. */
void skink__token_fire(skink_token *token, int reason);

/* Let it fire at deadline_ns at the latest. Before anything is derived from it. Any thread. */
void skink__token_limit(skink_token *token, uint64_t deadline_ns);

/* Runtime section of its scheduler: make the awaits of a task return `reason`, a negative errno, now and from now on.
 * The first reason stays. */
void skink__runtime_cancel(skink_task *task, int reason) SKINK__IN_RUNTIME;
#endif
