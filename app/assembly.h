/* SPDX-License-Identifier: MIT */
/*
 * app/assembly.h - from a configuration to a running server: recovery, scheduler, HTTP server, modules, stats.
 *
 * Owns     all of these parts.
 * Threads  the main thread.
 */
#ifndef SKINK_APP_ASSEMBLY_H
#define SKINK_APP_ASSEMBLY_H
#include "app/config.h"
#include "skink/recovery.h"
#include <stdbool.h>
#include <stddef.h>

/* Exit statuses of skinkd; the man page explains them. */
enum exit_status {
    EXIT_STATUS_OK = 0,
    EXIT_STATUS_CANNOT_START = 1,
    EXIT_STATUS_CONFIGURATION = 2, /* or usage */
    EXIT_STATUS_CUT = 3,           /* the stop cut something: a task, or a second signal came */
    EXIT_STATUS_LIMIT = 70         /* recovery.on_limit says drain, and a limit was reached */
};

struct assembly; /* opaque */

/*
 * Build everything and start it. On EXIT_STATUS_OK the caller owns *ret_assembly and requests are being answered; else
 * everything is undone and the reason is on stderr. Once the sockets are open the process becomes `user` (NULL: it
 * stays who it is). The configuration must live for longer.
 */
enum exit_status skink__assembly_start(const struct config *config, const char *const *modules, size_t module_count,
                                       const char *user, struct assembly **ret_assembly);

/* Could this configuration be applied? The paths of its routes are checked, for only the modules know them. */
void skink__assembly_check(const struct assembly *assembly, const struct config *next, struct problems *problems);

/* The configuration that it was started with has changed: its routes are about to (forget those that the next one does
 * not name), and it has (take over what can be changed while it runs). Main thread. */
void skink__assembly_forget_routes(struct assembly *assembly, const struct config *next);
void skink__assembly_apply(struct assembly *assembly);

/* Stop it as shutdown.delay (left out unless with_delay) and shutdown.grace say. Was nothing cut? Never blocks for
 * longer than these and some seconds. */
bool skink__assembly_stop(struct assembly *assembly, bool with_delay);

/* An operator wants to go on: limits of recovery are not in force for now, quarantined routes are tried. */
void skink__assembly_resume(struct assembly *assembly);

/* For notify.h; its own, and gone with it. */
skink_recovery *skink__assembly_recovery(const struct assembly *assembly);

/* Free it, running or not; NULL is fine. False when threads that were abandoned, or are wedged, still run code of
 * modules: then the process must end without running the destructors of libraries, by _exit(). */
bool skink__assembly_destroy(struct assembly *assembly);
#endif
