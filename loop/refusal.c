/* SPDX-License-Identifier: MIT */
/* loop/refusal.c - what there is to be told of a refused wait (refusal.h). */
#include "loop/refusal.h"
#include "loop/state.h"
#include "loop/switch.h"
#include <execinfo.h>
#include <pthread.h>

static void refused_lock(skink_scheduler *scheduler) SKINK__ACQUIRES(skink__refused_mutex) SKINK__UNCHECKED
{
    pthread_mutex_lock(&scheduler->refused_lock);
}

static void refused_unlock(skink_scheduler *scheduler) SKINK__RELEASES(skink__refused_mutex) SKINK__UNCHECKED
{
    pthread_mutex_unlock(&scheduler->refused_lock);
}

/* A stack at rest, read as it is. Its frames are another function's, and poisoned to AddressSanitizer. */
__attribute__((no_sanitize("address"))) bool skink__refusal_word(void *arg, uintptr_t address, uintptr_t *ret_word)
{
    const struct skink__refusal *refusal = arg;
    if (address < refusal->low || address + sizeof(uintptr_t) > refusal->high || address % sizeof(uintptr_t))
        return false;
    *ret_word = *(const volatile uintptr_t *)address;
    return true;
}

/* Where the awaited task stands. It is one of our loop, in whose runtime section we are. */
static void find_awaited(struct skink__refusal *refusal, const skink_task *awaited) SKINK__IN_RUNTIME
{
    enum skink__task_state state = skink__task_state(awaited);
    if (state == SKINK__TASK_FRESH) refusal->fn = (uintptr_t)awaited->fn;
    if (state != SKINK__TASK_READY && state != SKINK__TASK_WAITING) return;
    uintptr_t co = (uintptr_t)awaited->co;
    uintptr_t sp;
    struct skink__switch_place place;
    refusal->low = co;
    refusal->high = co + sizeof *awaited->co;
    if (!co || !skink__refusal_word(refusal, co + offsetof(struct skink__coroutine, context.sp), &sp)) return;
    refusal->low = sp;
    refusal->high = co;
    if (!skink__switch_where(sp, skink__refusal_word, refusal, &place) || !place.pc) return;
    refusal->pc = place.pc - 1;
    refusal->sp = place.sp;
    refusal->fp = place.fp;
}

void skink__refusal_tell(const struct skink__thread *thread, skink_scheduler *scheduler, skink_future *future,
                         const skink_task *awaited, bool potential)
{
    struct skink__refusal refusal = { .task = thread ? thread->current->name : "(thread pool)",
                                      .awaited = awaited ? awaited->name : "",
                                      .potential = potential,
                                      .future = (uintptr_t)future,
                                      .generation = thread ? thread->generation : 0 };
    refused_lock(scheduler);
    if (scheduler->refused) {
        const skink_task *task = thread ? thread->current : NULL;
        if (task && task->kind && task->kind->label) task->kind->label(task->arg, &refusal.label);
        if (scheduler->detection_stacks) {
            refusal.pc_count = backtrace(refusal.pcs, SKINK__REFUSAL_DEPTH);
            skink__assume_runtime(); /* where there is one awaited */
            if (awaited) find_awaited(&refusal, awaited);
        }
        scheduler->refused(&refusal, scheduler->refused_arg);
    }
    refused_unlock(scheduler);
}

void skink__scheduler_on_refused(skink_scheduler *scheduler,
                                 void (*fn)(const struct skink__refusal *refusal, void *arg), void *arg)
{
    void *pc;
    (void)backtrace(&pc, 1); /* the first one loads a library */
    refused_lock(scheduler);
    scheduler->refused = fn;
    scheduler->refused_arg = arg;
    refused_unlock(scheduler);
}

void skink__scheduler_off_refused(skink_scheduler *scheduler, const void *arg)
{
    refused_lock(scheduler);
    if (scheduler->refused_arg == arg) scheduler->refused = NULL;
    refused_unlock(scheduler);
}
