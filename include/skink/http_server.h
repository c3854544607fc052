/* SPDX-License-Identifier: MIT */
/*
 * skink/http_server.h - an HTTP/1.1 server on a scheduler's own libuv loop.
 *
 * Owns     its listeners and connections; routes and middlewares are fixed before the first listen.
 * Threads  any; see each declaration for what must come before the first listen.
 * Errors   int functions return 0 or a negative errno.
 * More     docs/http.md.
 */
#ifndef SKINK_HTTP_SERVER_H
#define SKINK_HTTP_SERVER_H
#include "skink/access.h"
#include "skink/annot.h"
#include "skink/incident.h"
#include "skink/middleware.h"
#include "skink/scheduler.h"
#include "skink/workers.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct skink_http_server skink_http_server; /* opaque */

/* Several servers, in one process or in several of the same user, may listen on the same TCP port; the kernel spreads
 * the connections over them (SO_REUSEPORT). All of them must have the flag. */
#define SKINK_HTTP_REUSE_PORT 1u

/* Where the requests of a route run: middlewares, handler and all. docs/concurrency.md compares them. */
typedef enum skink_execution {
    SKINK_EXECUTE_DEFAULT = 0, /* for a route: as its server; for a server: on the loop                         */
    SKINK_EXECUTE_LOOP = 1,    /* on the loop thread, many at once, each between two waits; they may not block  */
    SKINK_EXECUTE_THREADS = 2, /* on workers, one request on each at a time; they may block                     */
    SKINK_EXECUTE_SERIAL = 3   /* on workers, one request at a time in all; they may block                      */
} skink_execution;

/* Zero in any field means its default, SKINK_FOREVER in a timeout as long as it takes; an unknown flag is -EINVAL. */
typedef struct skink_http_options {
    size_t size;                /* set by SKINK_HTTP_OPTIONS_INIT                                          */
    uint32_t flags;             /* SKINK_HTTP_* bits                                                       */
    uint32_t max_connections;   /* default 10000; a connection past it is answered 503 and closed          */
    size_t max_header_bytes;    /* default 16 KiB; request line, headers and trailers together             */
    size_t max_body_bytes;      /* default 1 MiB                                                           */
    size_t max_backlog_bytes;   /* default 64 KiB; read ahead of the answer on one connection              */
    uint64_t header_timeout_ns; /* default 10 s; from the first byte of a request to its last, with body   */
    uint64_t idle_timeout_ns;   /* default 75 s; between requests on an open connection                    */
    uint64_t late_window_ns;    /* default 1 s; how long a request declared stuck may still answer itself  */
    const char *server_header;  /* default "skink"; "" for none; copied                                    */

    /* A route whose requests were declared stuck this many times (at most 32) in quarantine_window_ns (default 120 s)
     * answers 503 at once for quarantine_period_ns (default 30 s), and is then tried with one request. 0: never. */
    uint32_t quarantine_strikes;
    uint64_t quarantine_window_ns;
    uint64_t quarantine_period_ns;
    uint32_t max_requests; /* at once; default 0: as many as come                                     */
    uint32_t max_queue;    /* past max_requests, so many wait; default 0. One more is answered 429    */
    /* Who is believed about X-Forwarded-For: addresses and networks between commas, "10.0.0.0/8, fd00::/8", and
     * "unix" for clients of unix sockets. Default: nobody. Copied. */
    const char *trusted_proxies;
    /* From a request being complete to its answer; default 0: as long as it takes. Past it the client gets 504, the
     * request's token fires with -ETIMEDOUT, and what the handler answers later is dropped. A streamed answer counts to
     * its end, and is cut. */
    uint64_t request_timeout_ns;
    /* Of a streamed answer that its client has not taken; past it the writer waits. Default 64 KiB. */
    size_t max_unsent_bytes;

    skink_execution execution; /* of routes that say nothing else; default: on the loop                           */
    skink_workers *workers;    /* where the others run; they may be those of other servers too. To be destroyed
                                  before the server. Default none: then nothing may run anywhere but on the loop  */
    skink_access_fn access; /* told of each request; default nobody. While there is one the time of slices is taken */
    void *access_arg;
} skink_http_options;
#define SKINK_HTTP_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        .size = sizeof(skink_http_options)                                                                             \
    }

/* Settings of one route. Zero in any field means the server's. */
typedef struct skink_route_options {
    size_t size;                  /* set by SKINK_ROUTE_OPTIONS_INIT                          */
    uint64_t deadlock_timeout_ns; /* of each slice of a request on this route; at least 10 ms */
    uint32_t max_requests;        /* as skink_http_route_set_limits(), for all methods of the pattern */
    uint32_t max_queue;
    uint64_t request_timeout_ns; /* as skink_http_options; 0: the server's */
    bool stream_body;            /* the handler starts when the head is complete, and uses skink_request_read() */
    size_t max_body_bytes;       /* default: the server's                                                       */
    skink_execution execution;   /* as skink_http_route_set_execution(), for this method alone */
} skink_route_options;
#define SKINK_ROUTE_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        .size = sizeof(skink_route_options)                                                                            \
    }

/* Is this a list for skink_http_options.trusted_proxies? For hosts that read it from somewhere; NULL is an empty one.
 * -EINVAL: *ret_at (may be NULL) is the offset of the first thing in it that is neither an address nor a network.
 * -ENOMEM. */
SKINK_NODISCARD SKINK_API int skink_http_check_proxies(const char *text, size_t *ret_at) SKINK_ANY_THREAD;

/* Create a server on a scheduler that the caller keeps alive for longer. NULL options means all defaults. On 0 the
 * caller owns it.
 *   -EINVAL  unknown flag or a value out of range, what is no network, or an execution that needs workers, without any
 *   -E2BIG, -ENOMEM */
SKINK_NODISCARD SKINK_API int skink_http_server_create(skink_scheduler *scheduler, const skink_http_options *options,
                                                       skink_http_server **ret_server) SKINK_ANY_THREAD;

/*
 * Add a route. `pattern` is a path of literal segments and `{name}` parameters, each one whole segment:
 * "/users/{id}"; a last segment `{name...}` takes the rest of the path. A literal wins over a parameter, and
 * a parameter over a rest. HEAD is served by a GET route unless it has one of its own; a known path with
 * another method gets 405 with Allow. options may be NULL. Strings are copied. Before the first listen.
 *   -EINVAL  bad pattern (one with more than 8 parameters, too) or method, a timeout below 10 ms, or an execution that
 *            needs workers, and the server has none
 *   -EEXIST  the same method and pattern were added before
 *   -EBUSY   the server listens already
 *   -E2BIG, -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_http_route(skink_http_server *server, const char *method, const char *pattern,
                                               const skink_route_options *options, skink_handler handler,
                                               void *arg) SKINK_ANY_THREAD;

/* Add a middleware around all routes; the first added is the outermost. Before the first listen.
 *   -EBUSY, -EINVAL, -ENOMEM */
SKINK_NODISCARD SKINK_API int skink_http_use(skink_http_server *server, skink_middleware middleware,
                                             void *arg) SKINK_ANY_THREAD;

/* The same around the requests whose path is `prefix` ("/api") or begins with it and a '/', whether a route takes them
 * or not. Prefix and path are compared decoded. Copied.
 *   -EBUSY, -EINVAL (no leading '/'), -ENOMEM */
SKINK_NODISCARD SKINK_API int skink_http_use_on(skink_http_server *server, const char *prefix,
                                                skink_middleware middleware, void *arg) SKINK_ANY_THREAD;

/* Change the deadlock timeout of one pattern, all its methods; 0: the recovery's.
 *   -EINVAL  below 10 ms
 *   -ENOENT  no route has this pattern */
SKINK_NODISCARD SKINK_API int skink_http_route_set_timeout(skink_http_server *server, const char *pattern,
                                                           uint64_t deadlock_timeout_ns) SKINK_ANY_THREAD;

/*
 * At most max_requests at once (0: as many as come), and at most max_queue that wait, in order of arrival; one more
 * is answered 429 with Retry-After. Takes effect at once, while the server runs too: a larger limit lets in
 * who waits, a smaller one ends nothing. A request that is declared stuck does not count any more, and one that waits
 * leaves the queue when its client does. Always 0, but -EINVAL for NULL.
 */
SKINK_API int skink_http_set_limits(skink_http_server *server, uint32_t max_requests,
                                    uint32_t max_queue) SKINK_ANY_THREAD;

/* The same for the requests of one pattern, all its methods together, on top of the server's: a request passes the
 * limit of its route first and then, after at most one more wait, the server's. -ENOENT: no route has this pattern. */
SKINK_NODISCARD SKINK_API int skink_http_route_set_limits(skink_http_server *server, const char *pattern,
                                                          uint32_t max_requests, uint32_t max_queue) SKINK_ANY_THREAD;

/* Change what is done when a slice of a request of one pattern, all its methods, has used up its time;
 * SKINK_ACTION_DEFAULT: the recovery's.
 *   -EINVAL  no such action, or SKINK_ACTION_HOLD
 *   -ENOENT  no route has this pattern */
SKINK_NODISCARD SKINK_API int skink_http_route_set_action(skink_http_server *server, const char *pattern,
                                                          skink_action action) SKINK_ANY_THREAD;

/* Change how long requests may take, for those that are complete from now on; 0: as long as they want. Always 0, but
 * -EINVAL for NULL. */
SKINK_API int skink_http_set_request_timeout(skink_http_server *server, uint64_t request_timeout_ns) SKINK_ANY_THREAD;

/* The same for the requests of one pattern, all its methods; 0: the server's. -ENOENT: no route has this pattern. */
SKINK_NODISCARD SKINK_API int skink_http_route_set_request_timeout(skink_http_server *server, const char *pattern,
                                                                   uint64_t request_timeout_ns) SKINK_ANY_THREAD;

/* Change these timeouts of skink_http_options, for what begins to wait from now on. A zero leaves that one as it is. */
SKINK_API void skink_http_set_timeouts(skink_http_server *server, uint64_t header_timeout_ns, uint64_t idle_timeout_ns,
                                       uint64_t late_window_ns) SKINK_ANY_THREAD;

/* Let every route out of quarantine: a human has seen to it. A request that gets stuck all the same puts its route
 * back. NULL is fine. */
SKINK_API void skink_http_quarantine_lift(skink_http_server *server) SKINK_ANY_THREAD;

/*
 * Give `to` all routes and middlewares of `from`, with their arguments and settings, so that several loops serve the
 * same: each server on a scheduler of its own, all of them with SKINK_HTTP_REUSE_PORT on one port. Handlers of
 * different loops run at the same time: what they share needs locks, or has to be there once for each loop
 * (skink_scheduler_current()). What `from` counts includes what `to` counts from then on. Before either listens; `to`
 * must have no routes yet, and a server is copied to once.
 *   -EINVAL  a NULL, twice the same server, or `to` has routes or is a copy already
 *   -EBUSY   one of them listens already
 *   -ENOMEM  `to` is to be destroyed
 */
SKINK_NODISCARD SKINK_API int skink_http_copy_routes(skink_http_server *from, skink_http_server *to) SKINK_ANY_THREAD;

/* Where requests of this pattern run, all its methods. Before the first listen.
 *   -EINVAL  no such way, or one that needs workers, and the server has none
 *   -ENOENT  no route has this pattern
 *   -EBUSY   the server listens already */
SKINK_NODISCARD SKINK_API int skink_http_route_set_execution(skink_http_server *server, const char *pattern,
                                                             skink_execution execution) SKINK_ANY_THREAD;

/* The i-th route, from 0 in the order they were added; false past the last. The strings live as long as the server.
 * Before the first listen. */
SKINK_API bool skink_http_route_at(const skink_http_server *server, size_t i, const char **ret_method,
                                   const char **ret_pattern) SKINK_ANY_THREAD;

/*
 * Listen on `address`: "127.0.0.1:8080", "[::1]:8080", ":8080" (all interfaces), "unix:/run/x.sock". Port 0
 * takes a free one; *ret_port (may be NULL) says which. A left-over socket file nobody listens on is
 * replaced. "fd:3" is a stream socket that listens already, inherited from a service manager, say: the server takes a
 * duplicate of it, and leaves what waits in its queue at the end to whoever listens next. Blocks until the listener is
 * open; may be called several times.
 *   -EINVAL     not an address, or "fd:" with what is no listening stream socket
 *   -EBADF      "fd:" with a descriptor that is not open
 *   -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, -ENAMETOOLONG, ... from the system
 *   -ECANCELED  server or scheduler is stopping
 *   -EPERM      inside the runtime section of another scheduler
 *   -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_http_listen(skink_http_server *server, const char *address,
                                                int *ret_port) SKINK_ANY_THREAD SKINK_BLOCKS;

/* Close the listeners and every idle connection; requests in flight are answered with Connection: close.
 * Returns at once. Idempotent; NULL is fine. */
SKINK_API void skink_http_server_stop(skink_http_server *server) SKINK_ANY_THREAD;

/* Destroy it, before or after its scheduler was stopped, but before that is destroyed; open connections are cut.
 * Requests that a stray still stands on keep their memory until it ends. When a stop of the scheduler has given up
 * (-ETIMEDOUT) it is leaked, as the scheduler is. NULL is fine. Never from a request's task, nor inside the runtime
 * section of another scheduler. */
SKINK_API void skink_http_server_destroy(skink_http_server *server) SKINK_ANY_THREAD SKINK_BLOCKS;

#ifdef __cplusplus
}
#endif
#endif
