/* SPDX-License-Identifier: MIT */
/*
 * recovery/cause.h - from what is known of a stuck thread to why it was stuck.
 *
 * A pure function, so that every rule has a test; docs/incidents.md tells them to operators.
 */
#ifndef SKINK_RECOVERY_CAUSE_H
#define SKINK_RECOVERY_CAUSE_H
#include "skink/incident.h"
#include <stdbool.h>
#include <stdint.h>

struct skink__symptoms {
    bool at_ceiling;       /* the watchdog declared it there, for want of processor time                      */
    char declared_state;   /* when it was declared, as in /proc; '?' unknown                                  */
    char state;            /* now; '?' unknown, or it has come back                                           */
    bool blocks_loop;      /* it waits for a future of skink's, and blocks for it (skink_future_block)        */
    bool in_call;          /* it is blocked in a system call                                                  */
    bool in_lock;          /* ... for a mutex or a read-write lock                                            */
    uint64_t cpu_ns;       /* processor time in the slice                                                     */
    uint64_t effective_ns; /* what of the slice counted                                                      */
};

skink_cause skink__cause_of(const struct skink__symptoms *symptoms);
#endif
