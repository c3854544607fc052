/* SPDX-License-Identifier: MIT */
/*
 * skink/module.h - what a shared object must have for `skinkd --module`.
 *
 * A module defines one function, skink_module_init. It is called once, after the configuration was read and
 * before the server listens, on the main thread. It adds its routes and middlewares there.
 *
 * More     docs/modules.md; examples/demo/demo.c.
 */
#ifndef SKINK_MODULE_H
#define SKINK_MODULE_H
#include "skink/annot.h"
#include "skink/http_server.h"
#include "skink/scheduler.h"
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define SKINK_MODULE_ABI 1 /* goes up when a module built against older headers would no longer run */

/* What a module is given. Borrowed; scheduler and server live until the process ends. */
typedef struct skink_module {
    uint32_t abi;                   /* SKINK_MODULE_ABI of the server that loads it                      */
    const char *path;               /* of the shared object                                              */
    skink_scheduler *scheduler;     /* for tasks of the module's own; not started yet                    */
    skink_http_server *http_server; /* for its routes and middlewares                                    */
    uint32_t loop_count;            /* loop.count. With more than 1 the routes and middlewares are copied to
                                       each loop after all modules were initialised, and handlers of
                                       different loops run at the same time; `scheduler` is the first    */
} skink_module;

/* The one entry point. Returns 0, or a negative errno, with which skinkd refuses to start (exit status 1). */
SKINK_NODISCARD SKINK_API int skink_module_init(const skink_module *module);

/* Write this once at file level: skinkd refuses a module without it, or with another number. */
#define SKINK_MODULE                                                                                                   \
    SKINK_API extern const uint32_t skink_module_abi;                                                                  \
    const uint32_t skink_module_abi = SKINK_MODULE_ABI

#ifdef __cplusplus
}
#endif
#endif
