/* SPDX-License-Identifier: MIT */
/*
 * skink/dump.h - every task and every thread of the process, with their stacks merged where they are equal.
 *
 * What a debugger would show, without stopping anything: suspended tasks are looked at on their loop, for less than a
 * millisecond at a time; threads are looked at from outside, without a signal, as far as the kernel tells where they
 * are.
 *
 * Owns     nothing; a dump belongs to the caller.
 * Threads  any but the loop threads of the schedulers that are dumped. One dump is made at a time, others wait for it.
 * More     docs/dumps.md says how to read one.
 */
#ifndef SKINK_DUMP_H
#define SKINK_DUMP_H
#include "skink/annot.h"
#include "skink/recovery.h"
#include "skink/scheduler.h"
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef enum skink_dump_format {
    SKINK_DUMP_TEXT = 0, /* for reading */
    SKINK_DUMP_JSON = 1
} skink_dump_format;

/* For skink_dump_options.flags. */
enum {
    SKINK_DUMP_WATCHED = 1 /* the tasks of every scheduler that `recovery` watches, too */
};

/* Zero in any field means its default; an unknown flag is -EINVAL. */
typedef struct skink_dump_options {
    size_t size;    /* set by SKINK_DUMP_OPTIONS_INIT */
    uint32_t flags; /* SKINK_DUMP_* bits              */
    skink_dump_format format;
    skink_scheduler *scheduler;         /* whose tasks. Borrowed                                                */
    skink_recovery *recovery;           /* knows strays, standbys and incidents; NULL: there is none. Borrowed  */
    uint64_t patience_ns;               /* default 500 ms; how long loops that show nothing are waited for      */
    uint64_t timeout_ns;                /* default 10 s; for all of a dump of tasks                             */
    uint32_t stacks_max;                /* default 1000; so many different stacks are written, the rest counted */
    uint32_t scheduler_count;           /* of `schedulers`                                                      */
    skink_scheduler *const *schedulers; /* whose tasks besides; one that is named twice counts once. Borrowed   */
} skink_dump_options;
#define SKINK_DUMP_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        .size = sizeof(skink_dump_options)                                                                             \
    }

/*
 * Every task of the schedulers: how many have which stack, the most frequent first, all schedulers together. They are
 * looked at one after the other. While a loop is stuck and not yet given to another thread, its other tasks are told
 * all the same. When they cannot be (the loop is stuck in a runtime section, or does not run), the dump says so and
 * gives the numbers that are known. On 0 the caller owns the text and frees it with skink_dump_free(); ret_length (may
 * be NULL) does not count its terminating NUL.
 *   -EINVAL   no options, no scheduler, an unknown format or flag
 *   -E2BIG    options newer than this library, with a new field in use
 *   -EDEADLK  called on the loop thread of one of them
 *   -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_dump_tasks(const skink_dump_options *options, char **ret_text,
                                               size_t *ret_length) SKINK_ANY_THREAD SKINK_BLOCKS;

/*
 * Every thread of the process: what it is (loop thread, stray of an incident, standby, pool worker, watchdog, other),
 * where it waits, and the locks that threads wait for, with their owners; a chain of such that closes is a deadlock. No
 * scheduler need be named. The text as above.
 *   -EINVAL   no options, an unknown format or flag
 *   -EDEADLK  called on the loop thread of `scheduler`
 *   -E2BIG, -ENOMEM, or why /proc/self/task cannot be read
 */
SKINK_NODISCARD SKINK_API int skink_dump_threads(const skink_dump_options *options, char **ret_text,
                                                 size_t *ret_length) SKINK_ANY_THREAD SKINK_BLOCKS;

/* Free the text of a dump. NULL is fine. */
SKINK_API void skink_dump_free(char *text) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
