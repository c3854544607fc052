/* SPDX-License-Identifier: MIT */
/* The loop thread would wait for ever for the end of transition p. */
/* expect: 'skink__lease_peeked' is not held on every path through here */
#include "loop/takeover.h"

const char *name_of(skink_scheduler *scheduler, struct skink__lease *lease, uint64_t slice);
const char *name_of(skink_scheduler *scheduler, struct skink__lease *lease, uint64_t slice)
{
    if (!skink__lease_peek(lease, slice)) return NULL;
    return skink__takeover_task_name(scheduler);
}
