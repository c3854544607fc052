/* SPDX-License-Identifier: MIT */
/*
 * skink/crash.h - the last words of a process that a task crashes.
 *
 * A task that runs over the end of its stack hits the guard page below it. The process dies of that, as it must: nobody
 * knows what state the task left behind. With this installed it first says which task it was.
 */
#ifndef SKINK_CRASH_H
#define SKINK_CRASH_H
#include "skink/annot.h"
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Zero in any field means its default; an unknown flag is -EINVAL. */
typedef struct skink_crash_options {
    size_t size;    /* set by SKINK_CRASH_OPTIONS_INIT                                                        */
    uint32_t flags; /* none yet                                                                               */
    int fd;         /* where the line is written; default 2, standard error; -1: nowhere                      */
    /* Called in the signal handler, on the crashed thread's signal stack, with the line (logfmt, no newline). Only what
     * is async-signal-safe may be done there. NULL: nothing. */
    void (*report)(const char *line, size_t length, void *arg);
    void *arg;
} skink_crash_options;
#define SKINK_CRASH_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        .size = sizeof(skink_crash_options)                                                                            \
    }

/*
 * From now on SIGSEGV and SIGBUS are reported before they take their course: one line such as
 *
 *     event=crash signal=SIGSEGV reason=stack_overflow address=0x7f2a4c3fdff8 task="GET /deep" request=17 thread=4711
 *
 * and then what was installed before: another handler, or the default, which ends the process. Opt-in, since handlers
 * belong to the process: a host that has its own installs this one after it. skinkd does so. NULL options: all
 * defaults.
 *   -EALREADY  it is installed
 *   -EINVAL, -E2BIG, or what sigaction() says
 */
SKINK_NODISCARD SKINK_API int skink_crash_report(const skink_crash_options *options) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
