/* SPDX-License-Identifier: MIT */
/* Waiters are linked and unlinked by several threads. */
/* expect: reading variable 'waiters' requires holding capability 'skink__future_mutex' */
#include "loop/state.h"

bool is_awaited(const skink_future *future);
bool is_awaited(const skink_future *future)
{
    return future->waiters != NULL;
}
