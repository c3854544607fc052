/* SPDX-License-Identifier: MIT */
/*
 * skink/shutdown.h - the end of a server that nobody notices: announce it, refuse what is new, let the rest finish.
 *
 * Threads  any that is no loop thread.
 * Errors   int functions return 0 or a negative errno.
 * More     docs/operations.md, "The way down".
 */
#ifndef SKINK_SHUTDOWN_H
#define SKINK_SHUTDOWN_H
#include "skink/annot.h"
#include "skink/http_server.h"
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Zero in any field means none of it. */
typedef struct skink_shutdown_options {
    size_t size;       /* set by SKINK_SHUTDOWN_OPTIONS_INIT                                                     */
    uint64_t delay_ns; /* default 0; between saying that the server goes and refusing what is new                */
    uint64_t grace_ns; /* default 0; after the delay, for requests and tasks in flight to finish by themselves   */
} skink_shutdown_options;
#define SKINK_SHUTDOWN_OPTIONS_INIT                                                                                    \
    {                                                                                                                  \
        .size = sizeof(skink_shutdown_options)                                                                         \
    }

/*
 * Say that the server goes, and no more: from now on its readiness is bad (skink/stats_server.h) and each answer
 * carries Connection: close, so that balancers and clients look elsewhere. It still accepts connections and answers
 * requests. There is no way back. Returns at once. Idempotent; NULL is fine.
 */
SKINK_API void skink_http_server_drain(skink_http_server *server) SKINK_ANY_THREAD;

/*
 * End these servers and stop their schedulers: drain them; wait delay_ns; close the listeners, and from then on answer
 * each new request on an open connection with 503, number 1006, and Connection: close; wait until every request and
 * task has ended and every answer has been handed over, or grace_ns has passed; then stop their workers and the
 * schedulers, which cancels what is left (tokens fire) and drops one second later what has not ended then
 * (skink_scheduler_stop()).
 *
 * What was accepted since the drain began, and waits for its first request, gets that one answered: up to one second. A
 * loop thread that is stuck meanwhile changes nothing: a fresh one goes on while there is grace left. Blocks the caller
 * for the delay, the grace and some seconds at most. Destroy servers and schedulers afterwards; where several servers
 * share a scheduler, that is stopped once. options may be NULL.
 *
 *   0           whatever was in flight has finished by itself
 *   -ECANCELED  something was cut: a task that was cancelled, dropped or is with a stray, or an answer not read
 *   -EDEADLK    called from a task of one of these schedulers; or from any task, if a server has workers
 *   -ETIMEDOUT  a loop thread is stuck in a runtime section (see skink_scheduler_stop())
 *   -EINVAL     no server, or a NULL among them
 *   -E2BIG      options newer than this library, with a new field in use
 */
SKINK_NODISCARD SKINK_API int skink_shutdown(skink_http_server *const *servers, size_t server_count,
                                             const skink_shutdown_options *options) SKINK_ANY_THREAD SKINK_BLOCKS;

#ifdef __cplusplus
}
#endif
#endif
