/* SPDX-License-Identifier: MIT */
/* loop/visit.c - see visit.h. */
#include "loop/visit.h"
#include "loop/memory.h"
#include "loop/state.h"
#include "loop/switch.h"
#include "skink/clock.h"
#include <errno.h>
#include <stddef.h>

/* How many task objects are passed between two looks at the clock. */
enum { CLOCK_STRIDE = 32 };

/* Where a ticket is. Who moves it on does so by compare-exchange, and whoever is last frees it. */
enum ticket_state {
    TICKET_POSTED,    /* in the inbox                                        */
    TICKET_TAKEN,     /* the loop works on it                                */
    TICKET_DONE,      /* the visitor's again                                 */
    TICKET_RETRACTED, /* in the inbox, and to be thrown away                */
    TICKET_ORPHANED   /* the loop works on it, and then frees the visit, too */
};

struct ticket {
    struct skink__message message;
    _Atomic uint32_t state;
    _Atomic uint32_t done; /* what the visitor sleeps on */
    struct skink__visit *visit;
    uint64_t budget_ns;
    enum skink__visit_result result;
};

struct skink__visit {
    skink_scheduler *scheduler; /* reference on its memory */
    enum skink__see (*see)(const struct skink__sight *sight, void *arg);
    void (*release)(void *arg);
    void *arg;
    struct ticket *lost; /* the loop has it, and the visitor has given up */

    /* The next task object to be shown. */
    bool begun;
    struct skink__task_chunk *chunk;
    uint32_t index;
};

int skink__visit_create(skink_scheduler *scheduler, enum skink__see (*see)(const struct skink__sight *sight, void *arg),
                        void (*release)(void *arg), void *arg, struct skink__visit **ret_visit)
{
    struct skink__visit *visit = skink__zalloc(sizeof *visit);
    if (!visit) return -ENOMEM;
    *visit = (struct skink__visit){
        .scheduler = skink__scheduler_ref(scheduler), .see = see, .release = release, .arg = arg
    };
    *ret_visit = visit;
    return 0;
}

static void visit_free(struct skink__visit *visit)
{
    visit->release(visit->arg);
    skink__scheduler_unref(visit->scheduler);
    skink__free(visit);
}

/* ---- showing tasks ---- */

/* A stack at rest, read as it is. Its frames are another function's, and poisoned to AddressSanitizer. */
__attribute__((no_sanitize("address"))) SKINK__UNSEEN_BY_TSAN static bool word_at_rest(void *arg, uintptr_t address,
                                                                                       uintptr_t *ret_word)
{
    const struct skink__sight *sight = arg;
    if (address < sight->low || address > sight->high - sizeof(uintptr_t) || address % sizeof(uintptr_t)) return false;
    *ret_word = *(const volatile uintptr_t *)address;
    return true;
}

static enum skink__sight_state sight_state(enum skink__task_state state)
{
    switch (state) {
    case SKINK__TASK_READY:
        return SKINK__SIGHT_READY;
    case SKINK__TASK_WAITING:
        return SKINK__SIGHT_SUSPENDED;
    case SKINK__TASK_RUNNING:
        return SKINK__SIGHT_RUNNING;
    case SKINK__TASK_BLOCKING:
    case SKINK__TASK_ABANDONED:
    case SKINK__TASK_GIVEN_UP:
        return SKINK__SIGHT_STRAY;
    case SKINK__TASK_FREE: /* not shown */
    case SKINK__TASK_ENDED:
    case SKINK__TASK_FRESH:
        break;
    }
    return SKINK__SIGHT_FRESH;
}

static bool is_alive(enum skink__task_state state)
{
    return state != SKINK__TASK_FREE && state != SKINK__TASK_ENDED;
}

/* What is shown besides the stack. Of a fresh task, which its spawner may be filling in at this moment, the function is
 * either the new one or the last one's; a name is nothing that such a reading should follow. Neither is that of a task
 * which a stray may be taking to its end. */
SKINK__UNSEEN_BY_TSAN static struct skink__sight sight_of(const skink_task *task, enum skink__task_state state)
{
    struct skink__sight sight = { .state = sight_state(state) };
    sight.fn = *(void (*const volatile *)(void *)) & task->fn;
    if (sight.state != SKINK__SIGHT_FRESH && sight.state != SKINK__SIGHT_STRAY)
        sight.name = *(const char *const volatile *)&task->name;
    return sight;
}

/* Where the task's stack stands; sight->word is set. Nothing when it cannot be told. */
SKINK__UNSEEN_BY_TSAN static void find_stack(const skink_task *task, struct skink__sight *sight)
{
    if (sight->state != SKINK__SIGHT_READY && sight->state != SKINK__SIGHT_SUSPENDED) return;
    struct skink__coroutine *co = *(struct skink__coroutine *const volatile *)&task->co;
    uintptr_t sp_at = (uintptr_t)co + offsetof(struct skink__coroutine, context.sp);
    sight->low = (uintptr_t)co;
    sight->high = (uintptr_t)co + sizeof *co; /* for the one word that is read now */
    if (!co || !sight->word(sight->word_arg, sp_at, &sight->low)) return;
    sight->high = (uintptr_t)co;
    struct skink__switch_place place;
    if (!skink__switch_where(sight->low, sight->word, sight->word_arg, &place)) return;
    sight->pc = place.pc - 1;
    sight->sp = place.sp;
    sight->fp = place.fp;
}

/* Show tasks from where the visit stands, until somebody has had enough. word: NULL for a loop at rest. */
static enum skink__visit_result walk(struct skink__visit *visit, uint64_t until_ns, uint32_t max,
                                     bool (*word)(void *, uintptr_t, uintptr_t *), void *word_arg)
{
    if (!visit->begun) /* acquire: the chunk is filled in */
        visit->chunk = atomic_load_explicit(&visit->scheduler->tasks.chunks, memory_order_acquire);
    visit->begun = true;
    for (uint32_t passed = 0; visit->chunk; visit->chunk = visit->chunk->next, visit->index = 0) {
        for (; visit->index < visit->chunk->count; visit->index++) {
            if (max == 0 || (++passed % CLOCK_STRIDE == 0 && skink_now() >= until_ns)) return SKINK__VISIT_MORE;
            const skink_task *task = &visit->chunk->tasks[visit->index];
            enum skink__task_state state = skink__task_state(task);
            if (!is_alive(state)) continue;
            max--;
            struct skink__sight sight = sight_of(task, state);
            sight.is_standing = word != NULL;
            sight.word = word ? word : word_at_rest;
            sight.word_arg = word ? word_arg : &sight;
            find_stack(task, &sight);
            enum skink__see seen = visit->see(&sight, visit->arg);
            if (seen == SKINK__NOT_SEEN) return SKINK__VISIT_MORE;
            if (seen == SKINK__SEEN_LAST) max = 0;
        }
    }
    return SKINK__VISIT_DONE;
}

/* ---- by the loop ---- */

static void deliver_ticket(skink_scheduler *scheduler, struct skink__message *message, bool closed)
{
    (void)scheduler;
    struct ticket *ticket = (struct ticket *)((char *)message - offsetof(struct ticket, message));
    uint32_t state = TICKET_POSTED;
    if (!atomic_compare_exchange_strong(&ticket->state, &state, TICKET_TAKEN)) {
        skink__free(ticket); /* the visitor has let go of it */
        return;
    }
    struct skink__visit *visit = ticket->visit;
    ticket->result =
        closed ? SKINK__VISIT_STOPPED : walk(visit, skink_after(ticket->budget_ns), UINT32_MAX, NULL, NULL);
    state = TICKET_TAKEN;
    if (atomic_compare_exchange_strong(&ticket->state, &state, TICKET_DONE)) {
        skink__thread_notify(
            &ticket->done); /* it may be freed as soon as the word is written; only its address is used */
        return;
    }
    visit_free(visit);
    skink__free(ticket);
}

static struct ticket *ticket_post(struct skink__visit *visit, uint64_t budget_ns)
{
    struct ticket *ticket = skink__zalloc(sizeof *ticket);
    if (!ticket) return NULL;
    ticket->visit = visit;
    ticket->budget_ns = budget_ns;
    ticket->message.deliver = deliver_ticket;
    if (skink__inbox_post(&visit->scheduler->inbox, &ticket->message)) return ticket;
    skink__free(ticket);
    return NULL;
}

enum skink__visit_result skink__visit_step(struct skink__visit *visit, uint64_t budget_ns, uint64_t deadline_ns)
{
    /* A step that has begun ends soon, unless the machine is in trouble. */
    const uint64_t patience_ns = 2 * SKINK_S;
    if (!atomic_load(&visit->scheduler->running)) return SKINK__VISIT_STOPPED;
    struct ticket *ticket = ticket_post(visit, budget_ns);
    if (!ticket) return SKINK__VISIT_BUSY;
    if (!skink__thread_wait(&ticket->done, deadline_ns)) {
        uint32_t state = TICKET_POSTED;
        if (atomic_compare_exchange_strong(&ticket->state, &state, TICKET_RETRACTED)) return SKINK__VISIT_BUSY;
        if (!skink__thread_wait(&ticket->done, skink_after(patience_ns))) {
            visit->lost = ticket;
            return SKINK__VISIT_BUSY;
        }
    }
    enum skink__visit_result result = ticket->result;
    skink__free(ticket);
    return result;
}

bool skink__visit_is_lost(const struct skink__visit *visit)
{
    return visit->lost != NULL;
}

void skink__visit_destroy(struct skink__visit *visit)
{
    if (!visit) return;
    struct ticket *lost = visit->lost;
    if (lost) {
        uint32_t state = TICKET_TAKEN;
        if (atomic_compare_exchange_strong(&lost->state, &state, TICKET_ORPHANED)) return; /* the loop frees both */
        skink__thread_wait(&lost->done, SKINK_FOREVER); /* it is between two instructions */
        skink__free(lost);
    }
    visit_free(visit);
}

/* ---- while the loop stands still ---- */

/* Is host code running on the scheduler's thread, in this slice? The word of one and the same slice may have been left
 * and entered again by an API call: that changes no other task's stack, and frees no task object. */
static bool read_running(skink_scheduler *scheduler, struct skink__thread **ret_thread, uint64_t *ret_word)
{
    struct skink__thread *thread = skink__scheduler_thread(scheduler);
    if (!thread) return false;
    /* Acquire: what is looked at is not older than the slice. */
    *ret_word = atomic_load_explicit(&thread->lease.word, memory_order_acquire);
    *ret_thread = thread;
    if (*ret_word == skink__lease_word(SKINK__RUNNING, skink__lease_slice(*ret_word))) return true; /* nor peeked at */
    skink__thread_unref(thread);
    return false;
}

enum skink__visit_result skink__visit_standing(struct skink__visit *visit, uint32_t max,
                                               bool (*word)(void *word_arg, uintptr_t address, uintptr_t *ret_word),
                                               void *word_arg)
{
    struct skink__thread *thread;
    uint64_t before;
    if (!read_running(visit->scheduler, &thread, &before)) return SKINK__VISIT_BUSY;
    const struct skink__visit cursor = *visit;
    enum skink__visit_result result = walk(visit, SKINK_FOREVER, max, word, word_arg);
    bool stood = skink__lease_stood(&thread->lease, before);
    skink__thread_unref(thread);
    if (stood) return result;
    visit->begun = cursor.begun;
    visit->chunk = cursor.chunk;
    visit->index = cursor.index;
    return SKINK__VISIT_BUSY;
}
