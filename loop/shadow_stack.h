/* SPDX-License-Identifier: MIT */
/* loop/shadow_stack.h - does the processor keep a second record of return addresses,
 * which a switch of stacks would break? */
#ifndef SKINK_LOOP_SHADOW_STACK_H
#define SKINK_LOOP_SHADOW_STACK_H
#include <stdbool.h>

/* Does the calling thread run with one, and does our switch not know how to deal with it? */
bool skink__shadow_stack_forbids_switch(void);
#endif
