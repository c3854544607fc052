/* SPDX-License-Identifier: MIT */
/* hooks.c - the one set of hooks of this process. Written before the first scheduler exists, read-only afterwards. */
#include "loop/hooks.h"
#include "loop/capability.h"
#include "loop/options.h"
#include "loop/thread_roles.h"
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

static skink_hooks hooks_in_force;
static _Atomic bool frozen;
static skink__mutex setting = PTHREAD_MUTEX_INITIALIZER;

int skink_hooks_set(const skink_hooks *hooks)
{
    skink_hooks copy;
    int err = SKINK__OPTIONS_READ(&copy, hooks);
    if (err) return err;
    if (!copy.allocate != !copy.reallocate || !copy.allocate != !copy.release) return -EINVAL;
    skink__mutex_lock(&setting);
    if (atomic_load(&frozen))
        err = -EBUSY;
    else
        hooks_in_force = copy;
    skink__mutex_unlock(&setting);
    return err;
}

void skink__hooks_freeze(void)
{
    if (atomic_load(&frozen)) return;
    skink__mutex_lock(&setting); /* a set under way is finished or refused, never half seen */
    atomic_store(&frozen, true);
    skink__mutex_unlock(&setting);
}

const skink_hooks *skink__hooks(void)
{
    return &hooks_in_force;
}

void skink__log(skink_log_level level, const char *format, ...)
{
    if (!hooks_in_force.log) return;
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    hooks_in_force.log(level, line, hooks_in_force.arg);
}

void skink__thread_started(const char *role)
{
    skink__thread_role_set(role);
    if (hooks_in_force.thread_start) hooks_in_force.thread_start(role, hooks_in_force.arg);
}

void skink__thread_ending(const char *role)
{
    if (hooks_in_force.thread_end) hooks_in_force.thread_end(role, hooks_in_force.arg);
}

void skink__panic(const char *condition, const char *file, int line)
{
    if (hooks_in_force.panic) hooks_in_force.panic(condition, file, line, hooks_in_force.arg);
    __builtin_trap();
}
