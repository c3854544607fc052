/* SPDX-License-Identifier: MIT */
/* loop/hooks.h - the host's hooks, as the library calls them (skink/hooks.h). */
#ifndef SKINK_LOOP_HOOKS_H
#define SKINK_LOOP_HOOKS_H
#include "skink/hooks.h"

/* One logfmt line to the host; cut at 1023 bytes. Allocates nothing, takes no lock. */
void skink__log(skink_log_level level, const char *format, ...) SKINK_PRINTF(2, 3);

void skink__thread_started(const char *role);
void skink__thread_ending(const char *role);

/* From now on skink_hooks_set() is refused. */
void skink__hooks_freeze(void);

/* The hooks in force. */
const skink_hooks *skink__hooks(void);

_Noreturn void skink__panic(const char *condition, const char *file, int line);

/* An invariant of skink's own; always on. */
#define SKINK_ASSERT(condition) ((condition) ? (void)0 : skink__panic(#condition, __FILE__, __LINE__))
#endif
