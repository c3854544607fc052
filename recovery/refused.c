/* SPDX-License-Identifier: MIT */
/* recovery/refused.c - see refused.h. */
#include "recovery/refused.h"
#include "loop/memory.h"
#include "recovery/state.h"
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { COPY_MAX = 16384 }; /* bytes of the awaited task's stack: far more than a waiting one usually has */

static uint64_t wall_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * SKINK_S + (uint64_t)now.tv_nsec;
}

/* ---- where the wait was refused ---- */

static struct skink__refused_stacks *copy_stacks(const struct skink__refusal *refusal)
{
    size_t bytes = refusal->pc ? refusal->high - refusal->low : 0;
    if (bytes > COPY_MAX) bytes = COPY_MAX;
    struct skink__refused_stacks *stacks = skink__zalloc(sizeof *stacks + bytes);
    if (!stacks) return NULL;
    snprintf(stacks->awaited, sizeof stacks->awaited, "%s", refusal->awaited);
    for (int i = 0; i < refusal->pc_count; i++)
        stacks->pcs[stacks->pc_count++] = (uintptr_t)refusal->pcs[i] - 1;
    stacks->awaited_fn = refusal->fn;
    stacks->awaited_at =
        (struct skink__registers){ .pc = refusal->pc, .sp = refusal->sp, .fp = refusal->fp, .has_fp = true };
    stacks->low = refusal->low;
    for (size_t i = 0; i < bytes / sizeof(uintptr_t); i++)
        if (!skink__refusal_word((void *)(uintptr_t)refusal, refusal->low + i * sizeof(uintptr_t), &stacks->words[i]))
            break;
    stacks->word_count = bytes / sizeof(uintptr_t);
    return stacks;
}

static void describe(skink_recovery *recovery, const struct skink__refusal *refusal, struct skink__incident *incident)
{
    skink_incident *facts = &incident->facts;
    snprintf(incident->task, sizeof incident->task, "%s", refusal->task);
    incident->is_request = refusal->label.method != NULL;
    if (refusal->label.method) snprintf(incident->method, sizeof incident->method, "%s", refusal->label.method);
    if (refusal->label.route) snprintf(incident->route, sizeof incident->route, "%s", refusal->label.route);
    facts->request_id = refusal->label.request_id;
    facts->number = skink__incident_next_number();
    skink__incident_id(recovery, facts->number, facts->id);
    facts->time_unix_ns = wall_clock_ns();
    facts->generation = refusal->generation;
    facts->tid = (int)gettid();
    facts->cause = refusal->potential ? SKINK_CAUSE_UNKNOWN : SKINK_CAUSE_SELF_WAIT;
    facts->refused = true;
    facts->state = incident->declared_state = 'R';
    facts->waits_on.descriptor = -1;
    facts->waits_on.address = refusal->future;
    if (refusal->future) snprintf(incident->kind, sizeof incident->kind, "future");
}

void skink__refused(const struct skink__refusal *refusal, void *arg)
{
    skink_recovery *recovery = arg;
    struct skink__incident *incident = skink__zalloc(sizeof *incident); /* too large for a small task's stack */
    struct skink__refused_stacks *stacks = copy_stacks(refusal);
    if (incident && stacks) {
        describe(recovery, refusal, incident);
        skink__recovery_lock(recovery);
        incident->facts.strays = recovery->stray_count;
        skink__incidents_add(&recovery->incidents, incident);
        struct skink__report *report = skink__report_next(recovery, SKINK__REPORT_REFUSED);
        if (report) {
            report->incident_number = incident->facts.number;
            report->stacks = stacks;
            stacks = NULL;
            skink__report_submit(recovery);
        }
        skink__recovery_unlock(recovery);
    }
    skink__free(stacks);
    skink__free(incident);
}

/* ---- on the helper thread ---- */

static bool word_of_copy(void *arg, uintptr_t address, uintptr_t *ret_word)
{
    const struct skink__refused_stacks *stacks = arg;
    if (address < stacks->low || address % sizeof(uintptr_t)) return false;
    size_t i = (address - stacks->low) / sizeof(uintptr_t);
    if (i >= stacks->word_count) return false;
    *ret_word = stacks->words[i];
    return true;
}

size_t skink__refused_unwind(struct skink__symbols *symbols, const struct skink__refused_stacks *stacks, uintptr_t *pcs,
                             size_t max)
{
    struct skink__registers at = stacks->awaited_at;
    size_t count = 0;
    bool end;
    if (stacks->awaited_fn && max) {
        pcs[0] = stacks->awaited_fn;
        return 1;
    }
    while (at.pc && count < max) {
        pcs[count++] = at.pc;
        struct skink__unwind_rule rule = skink__symbols_unwind_rule(symbols, at.pc);
        if (!skink__unwind_step(&rule, &at, word_of_copy, (void *)(uintptr_t)stacks, &end)) break;
    }
    return count;
}
