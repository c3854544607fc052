/* SPDX-License-Identifier: MIT */
/*
 * skink/hooks.h - what the host may take into its own hands: log, panic, memory, threads.
 *
 * The library never prints and never ends the process on its own. It returns errors, and tells through these
 * hooks what nobody asked for (a recovery, a thread that could not be created).
 *
 * Hooks are one set per process: the allocator and the panic hook serve every scheduler alike. Set them before the
 * first scheduler or recovery is created; later calls return -EBUSY.
 */
#ifndef SKINK_HOOKS_H
#define SKINK_HOOKS_H
#include "skink/annot.h"
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef enum skink_log_level {
    SKINK_LOG_ERROR = 0,
    SKINK_LOG_WARNING = 1,
    SKINK_LOG_INFO = 2,
    SKINK_LOG_DEBUG = 3
} skink_log_level;

typedef struct skink_hooks {
    size_t size; /* set by SKINK_HOOKS_INIT */

    /* One line in logfmt (`event=deadlock task=/stick ...`), without a newline; the text is valid during the call only.
     * After an `event=deadlock` lines for people follow, which begin with "| ", at most 4 KB of them. Called from the
     * watchdog, from loop threads inside the runtime section and from helper threads, several at once: it must be
     * thread-safe and must not block. NULL: lines are dropped. */
    void (*log)(skink_log_level level, const char *line, void *arg);

    /* An invariant of skink is broken; what, where. Must not return: after it the memory of the process is
     * not to be trusted. NULL, or a hook that returns: the process traps (SIGILL or SIGTRAP). */
    void (*panic)(const char *condition, const char *file, int line, void *arg);

    /* Memory for everything the library allocates, called from any thread, inside the runtime section too:
     * they must never wait for something that a stuck task can hold. All three or none. NULL: an arena of skink's
     * own, so that a thread that is stuck inside malloc stops nobody else. */
    void *(*allocate)(size_t size_bytes, void *arg);
    void *(*reallocate)(void *memory, size_t size_bytes, void *arg);
    void (*release)(void *memory, void *arg);

    /* On each thread that may run tasks or call the host, right after it starts and right before it ends (a Java or
     * Python host attaches the thread here). `role` is "loop", "worker", "standby", "watchdog", "maker" (of standbys),
     * "report" (which calls the incident callback) or "stats". NULL: nothing. */
    void (*thread_start)(const char *role, void *arg);
    void (*thread_end)(const char *role, void *arg);

    void *arg; /* handed to every hook; the host keeps it alive for as long as the process runs */
} skink_hooks;
#define SKINK_HOOKS_INIT                                                                                               \
    {                                                                                                                  \
        .size = sizeof(skink_hooks)                                                                                    \
    }

/*
 * Install the hooks for this process. The struct is copied; NULL takes all of them back.
 *   -EINVAL  some but not all of the memory hooks are set
 *   -E2BIG   a struct from a newer skink with a field in use that this one does not know
 *   -EBUSY   a scheduler or a recovery has been created already, or libuv's allocator replaced
 */
SKINK_NODISCARD SKINK_API int skink_hooks_set(const skink_hooks *hooks) SKINK_ANY_THREAD;

/*
 * Let libuv allocate where skink does, in the whole process, for the same reason. skinkd does so; a host that uses
 * libuv elsewhere decides for itself. Call it before the first use of libuv and after skink_hooks_set().
 * Without memory skink returns errors; libuv ends the process in a few places, whosever allocator it has (when
 * its table of watched descriptors cannot grow, for one).
 *   -EINVAL  libuv refused
 */
SKINK_NODISCARD SKINK_API int skink_uv_replace_allocator(void) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
