/* SPDX-License-Identifier: MIT */
/* recovery/cause.c - why a slice was stuck; see cause.h. The order of the rules is theirs. */
#include "recovery/cause.h"

static bool is_stopped(char state)
{
    return state == 'T' || state == 't';
}

/* Of what counted it had computed at least half, and it did so when it was declared. */
static bool computes(const struct skink__symptoms *symptoms)
{
    return symptoms->declared_state == 'R' && symptoms->cpu_ns >= symptoms->effective_ns / 2;
}

skink_cause skink__cause_of(const struct skink__symptoms *symptoms)
{
    if (symptoms->at_ceiling) return SKINK_CAUSE_STARVED;
    if (is_stopped(symptoms->declared_state)) return SKINK_CAUSE_STOPPED;
    if (symptoms->blocks_loop) return SKINK_CAUSE_SELF_WAIT;
    if (computes(symptoms)) return SKINK_CAUSE_CPU_LOOP;
    /* A disk keeps everybody waiting for a moment: a second look that finds something else says that it was one. */
    if (symptoms->declared_state == 'D' && (symptoms->state == 'D' || symptoms->state == '?'))
        return SKINK_CAUSE_UNINTERRUPTIBLE;
    if (symptoms->in_lock) return SKINK_CAUSE_LOCK;
    if (symptoms->in_call) return SKINK_CAUSE_SYSCALL;
    return SKINK_CAUSE_UNKNOWN;
}
