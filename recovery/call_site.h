/* SPDX-License-Identifier: MIT */
/*
 * recovery/call_site.h - which function of the C library did a call go to? Read from the code of the call.
 *
 * A stack does not tell all: functions leave it by a jump to the next one, or keep their return address in a register
 * only.
 */
#ifndef SKINK_RECOVERY_CALL_SITE_H
#define SKINK_RECOVERY_CALL_SITE_H
#include "recovery/symbols.h"
#include <stdbool.h>
#include <stdint.h>

bool skink__call_site_is_c_library(struct skink__symbols *symbols, uintptr_t pc);

/* The first address of the function of the C library that the call before return_address goes to; 0: it goes elsewhere,
 * or does not say where. Helper threads, as symbols.h. */
uintptr_t skink__call_site_target(struct skink__symbols *symbols, uintptr_t return_address);

/* The same for a jump at pc that is always taken. */
uintptr_t skink__call_site_jump(struct skink__symbols *symbols, uintptr_t pc);
#endif
