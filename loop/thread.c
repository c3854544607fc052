/* SPDX-License-Identifier: MIT */
/*
 * thread.c - loop threads as objects, and the door between host code and the runtime section.
 *
 * skink__runtime_enter() and skink__runtime_leave() are transitions 2 and 1b of the lease. Everything that a public
 * call does to a scheduler stands between them.
 */
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/state.h"
#include "loop/task_watch.h"
#include <errno.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

/* initial-exec: one load instead of a call, at the price of a little static TLS space when loaded by dlopen. */
static _Thread_local struct skink__thread *self __attribute__((tls_model("initial-exec")));

__attribute__((noinline)) struct skink__thread *skink__thread_self(void)
{
    __asm__ volatile(""); /* keeps calls from being merged, as noinline alone does not */
    return self;
}

void skink__thread_set_self(struct skink__thread *thread)
{
    self = thread;
}

/* A handler's frame (some processors have kilobytes of registers), and what the handler itself needs. */
static size_t signal_stack_bytes(void)
{
    enum { HANDLER_BYTES = 32 * 1024 };
    size_t frame_bytes = getauxval(AT_MINSIGSTKSZ);
    return HANDLER_BYTES + (frame_bytes > (size_t)MINSIGSTKSZ ? frame_bytes : (size_t)MINSIGSTKSZ);
}

int skink__thread_create(struct skink__thread **ret_thread)
{
    struct skink__thread *thread = skink__zalloc_aligned(sizeof *thread, _Alignof(struct skink__thread));
    if (!thread) return -ENOMEM;
    atomic_init(&thread->refs, 1);
    thread->signal_stack_bytes = signal_stack_bytes();
    thread->signal_stack = skink__alloc(thread->signal_stack_bytes);
    if (!thread->signal_stack) {
        skink__free_aligned(thread);
        return -ENOMEM;
    }
    *ret_thread = thread; /* its lease says RUNTIME(0) */
    return 0;
}

int skink__thread_start_detached(void *(*main)(void *arg), void *arg)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t id;
    int err = pthread_create(&id, &attributes, main, arg);
    pthread_attr_destroy(&attributes);
    return -err;
}

struct skink__thread *skink__thread_ref(struct skink__thread *thread)
{
    atomic_fetch_add_explicit(&thread->refs, 1, memory_order_relaxed);
    return thread;
}

void skink__thread_unref(struct skink__thread *thread)
{
    /* Release and acquire: whoever frees it comes after everybody's last use. */
    if (!thread || atomic_fetch_sub_explicit(&thread->refs, 1, memory_order_acq_rel) != 1) return;
    skink__free(thread->signal_stack);
    skink__free_aligned(thread);
}

struct skink__lease *skink__thread_lease(struct skink__thread *thread)
{
    return &thread->lease;
}

pid_t skink__thread_tid(const struct skink__thread *thread)
{
    return atomic_load_explicit(&thread->tid, memory_order_relaxed);
}

uint64_t skink__thread_generation(const struct skink__thread *thread)
{
    return thread->generation;
}

uintptr_t skink__thread_blocks_on(const struct skink__thread *thread, bool *ret_by_pool)
{
    uintptr_t blocks_on = atomic_load_explicit(&thread->blocks_on, memory_order_relaxed);
    *ret_by_pool = blocks_on & 1;
    return blocks_on & ~(uintptr_t)1;
}

const skink_scheduler *skink__thread_scheduler(const struct skink__thread *thread)
{
    return thread->scheduler;
}

struct skink__ended *skink__thread_on_ended(struct skink__thread *thread, struct skink__ended *ended)
{
    return atomic_exchange(&thread->ended, ended);
}

/* The switch is what leaves. */
void skink__task_leave(struct skink__thread *thread, enum skink__leave leave) SKINK__UNCHECKED
{
    skink_task *task = thread->current;
    thread->leave = leave;
    /* What it has on its stack about this thread is out of date when it comes back. */
    skink__task_keep(task);
    if (task->watch) skink__task_watch_leave(task->watch, leave == SKINK__LEAVE_SUSPEND);
    skink__switch(&task->co->context, &thread->native);
    if (atomic_load_explicit(&task->slice_owed, memory_order_relaxed))
        atomic_store_explicit(&task->slice_owed, false, memory_order_relaxed); /* this is it */
    if (task->watch) skink__task_watch_return(task->watch);
    if (task->blocking_depth) skink__blocking_goes_on(task);
}

/*
 * Transition 2 was lost: this thread is a stray. The task goes onto the thread's own stack, which posts it to the inbox
 * only when nobody stands on the task's stack any more (dispatch.c); the current loop thread resumes it right here.
 */
static void migrate(struct skink__thread *stray) SKINK__UNCHECKED
{
    SKINK_ASSERT(skink__lease_state(atomic_load(&stray->lease.word)) == SKINK__ABANDONED);
    skink__task_leave(stray, SKINK__LEAVE_MIGRATE);
}

static bool is_abandoned(const struct skink__thread *thread)
{
    uint64_t word = atomic_load_explicit(&thread->lease.word, memory_order_acquire);
    return skink__lease_state(word) == SKINK__ABANDONED;
}

struct skink__thread *skink__thread_enter_slowly(struct skink__thread *thread) SKINK__UNCHECKED
{
    if (skink__thread_in_runtime(thread)) {
        thread->nesting++;
        return thread;
    }
    do {
        /* Acquire: what migrate() reads of the thread object was written before. */
        if (atomic_load_explicit(&thread->lease.word, memory_order_acquire) & SKINK__LEASE_PEEKED) {
            sched_yield(); /* transition p: it is over in a moment */
        } else if (is_abandoned(thread)) {
            migrate(thread);
            thread = skink__thread_self(); /* another thread, in host code again: it may be abandoned at once as well */
        }
    } while (!skink__lease_take(&thread->lease, thread->slice));
    return thread;
}

void skink__thread_leave_slowly(struct skink__thread *thread) SKINK__UNCHECKED
{
    if (thread->nesting) {
        thread->nesting--;
        return;
    }
    skink_task *task = thread->current; /* its slice is late */
    skink__task_set_state(task, SKINK__TASK_READY);
    skink__ready_push(thread->scheduler, task);
    skink__task_leave(thread, SKINK__LEAVE_SUSPEND);
}

skink_scheduler *skink__runtime_enter(void) SKINK__UNCHECKED
{
    struct skink__thread *thread = skink__thread_enter();
    return thread ? thread->scheduler : NULL;
}

void skink__runtime_leave(skink_scheduler *scheduler) SKINK__UNCHECKED
{
    if (!scheduler) return;
    struct skink__thread *thread = skink__thread_self();
    SKINK_ASSERT(thread && thread->scheduler == scheduler);
    SKINK_ASSERT(thread->current || thread->nesting);
    skink__thread_leave(thread);
}

void skink__assert_runtime(const skink_scheduler *scheduler)
{
    struct skink__thread *thread = skink__thread_self();
    SKINK_ASSERT(thread && skink__thread_in_runtime(thread) && thread->scheduler == scheduler);
}

bool skink__in_task(void)
{
    struct skink__thread *thread = skink__thread_self();
    return thread && thread->current && thread->nesting == 0;
}

skink_scheduler *skink_scheduler_current(void)
{
    struct skink__thread *thread = skink__thread_self();
    return thread ? thread->scheduler : NULL;
}

/* ---- being the loop thread ---- */

static _Atomic int unblocked_signal;

void skink__threads_keep_unblocked(int signal_number)
{
    atomic_store(&unblocked_signal, signal_number);
}

/* A stack that the host (or a sanitizer) has given to the thread stays in force. */
static void signal_stack_put(struct skink__thread *thread)
{
    stack_t before, ours = { .ss_sp = thread->signal_stack, .ss_size = thread->signal_stack_bytes };
    if (sigaltstack(NULL, &before) || !(before.ss_flags & SS_DISABLE)) return;
    thread->has_signal_stack = sigaltstack(&ours, NULL) == 0;
}

static void signal_stack_take(struct skink__thread *thread)
{
    stack_t none = { .ss_flags = SS_DISABLE }, before;
    if (!thread->has_signal_stack || sigaltstack(NULL, &before) || before.ss_sp != thread->signal_stack) return;
    sigaltstack(&none, NULL);
}

void skink__environment_capture(struct skink__thread_environment *environment)
{
    pthread_sigmask(SIG_SETMASK, NULL, &environment->signals);
    environment->has_affinity = sched_getaffinity(0, sizeof environment->affinity, &environment->affinity) == 0;
    errno = 0;
    environment->nice = getpriority(PRIO_PROCESS, (id_t)gettid());
}

/* A new thread has its creator's signal mask, affinity and nice value; a loop thread has the first loop thread's. What
 * cannot be set (a nice value that needs privileges) stays as it is: running at all matters more. Setting is slow, and
 * this is on the way of a takeover; most often only the signals differ. */
static void environment_apply(const struct skink__thread_environment *wanted,
                              const struct skink__thread_environment *own)
{
    if (wanted->has_affinity && !(own->has_affinity && CPU_EQUAL(&own->affinity, &wanted->affinity)))
        sched_setaffinity(0, sizeof wanted->affinity, &wanted->affinity);
    if (own->nice != wanted->nice) setpriority(PRIO_PROCESS, 0, wanted->nice);
    sigset_t signals = wanted->signals;
    int unblocked = atomic_load(&unblocked_signal);
    if (unblocked) sigdelset(&signals, unblocked);
    pthread_sigmask(SIG_SETMASK, &signals, NULL);
}

void skink__thread_prepare(struct skink__thread *thread)
{
    atomic_store_explicit(&thread->tid, (int)gettid(), memory_order_relaxed);
    skink__environment_capture(&thread->environment);
    signal_stack_put(thread);
    thread->prepared = true;
}

void skink__thread_run(struct skink__thread *thread, skink_scheduler *scheduler)
{
    if (!thread->prepared) skink__thread_prepare(thread);
    skink__thread_set_self(thread);
    environment_apply(&scheduler->environment, &thread->environment);
    skink__context_init_thread(&thread->native);
    skink__assume_runtime();            /* its lease says RUNTIME from the beginning */
    skink__loop_run(thread, scheduler); /* the thread's reference on the scheduler ends with it */
    skink__thread_set_self(NULL);
    signal_stack_take(thread);
}
