/* SPDX-License-Identifier: MIT */
/* Strays come and go on threads of their own. */
/* expect: reading variable 'stray_count' requires holding capability 'skink__recovery_mutex' */
#include "recovery/state.h"

uint32_t strays_of(const skink_recovery *recovery);
uint32_t strays_of(const skink_recovery *recovery)
{
    return recovery->stray_count;
}
