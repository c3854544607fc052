/* SPDX-License-Identifier: MIT */
/*
 * middleware/routes.h - which handler a method and path belong to.
 *
 * A tree of segments; routes are added before the first listen and never removed. A literal wins over a parameter,
 * a parameter over a rest; when the best path lacks the method, the next best is asked before 405 is said.
 */
#ifndef SKINK_MIDDLEWARE_ROUTES_H
#define SKINK_MIDDLEWARE_ROUTES_H
#include "middleware/concurrency_limit.h"
#include "middleware/deadline_list.h"
#include "middleware/http_framing.h"
#include "middleware/http_stats.h"
#include "middleware/quarantine.h"
#include "skink/http_server.h"
#include "skink/middleware.h"
#include <llhttp.h>
#include <stdatomic.h>

enum { SKINK__MAX_PARAMS = 8, SKINK__CODE_FIRST = 100, SKINK__CODES = 500 };

struct skink__route {
    /* skink__routes.first, in the order they were added. Whoever adds writes it last, so that a reader of the counters
     * on another thread sees whole routes. */
    _Atomic(struct skink__route *) next;
    _Atomic(struct skink__route *) next_twin; /* the same route of a server that has these routes too */
    struct skink__route *next_here;           /* skink__route_node.routes: same path, another method */
    llhttp_method_t method;
    char *pattern;
    char *name;                           /* "GET /users/{id}": the task's */
    _Atomic uint64_t deadlock_timeout_ns; /* any thread writes; read when a request is started */
    _Atomic unsigned action;              /* the same; a skink_action */
    _Atomic uint64_t request_timeout_ns;  /* the same; 0: the server's */
    struct skink__deadline_list expiry;   /* runtime section, once it is used */
    struct skink__limit *limit;           /* shared by all methods of the pattern */
    bool owns_limit;                      /* the first of them */
    struct skink__http_limits limits;     /* the server's, but for what the route has of its own */
    bool stream_body;                     /* its handlers read the body themselves */
    skink_execution execution;            /* 0: the server's; fixed when the first listener opens */
    skink_handler handler;
    void *arg;
    unsigned param_count;
    char *param_names[SKINK__MAX_PARAMS];
    /* Loop thread writes, any thread reads, relaxed. */
    _Atomic uint64_t codes[SKINK__CODES]; /* answers by status - SKINK__CODE_FIRST */
    _Atomic uint64_t buckets[SKINK__HTTP_BUCKETS];
    _Atomic uint64_t sum_ns;
    struct skink__quarantine quarantine;
};

struct skink__route_node;

struct skink__routes {
    _Atomic(struct skink__route *) first;
    struct skink__route *last;
    struct skink__route_node *root;
    struct skink__route none; /* counts what no route stands for; not in the list */
};

void skink__routes_init(struct skink__routes *routes);
void skink__routes_fini(struct skink__routes *routes);

/* -EINVAL: bad method or pattern. -EEXIST, -ENOMEM. *ret_route (may be NULL) is the routes'. */
int skink__routes_add(struct skink__routes *routes, const char *method, const char *pattern, skink_handler handler,
                      void *arg, struct skink__route **ret_route);

/* In the order in which they were added: the next route behind `after` (NULL: the first) that has this pattern (NULL:
 * any), with whatever method. NULL: there is none. Any thread. */
struct skink__route *skink__routes_next(const struct skink__routes *routes, const struct skink__route *after,
                                        const char *pattern);

struct skink__route_match {
    struct skink__route *route; /* NULL: none; then allowed says whether the path is known */
    unsigned param_count;
    const char *params[SKINK__MAX_PARAMS]; /* values, in the order of route->param_names */
    uint64_t allowed;                      /* bits 1 << llhttp_method_t of the methods this path has */
};

/* Decode `length` bytes of path into `path` (with its leading '/') and `segments`, as skink__routes_match() wants them;
 * each has room for length + 2 bytes. Returns the length of the decoded path, 0 for bad encoding. */
size_t skink__path_decode(const char *from, size_t length, char *path, char *segments);

/*
 * `path` is decoded, with its leading '/'; `segments` is the same without the leading '/', and with a NUL in place of
 * each '/' that separated segments before decoding; length is that of `segments`. Values point into the two.
 */
void skink__routes_match(const struct skink__routes *routes, llhttp_method_t method, const char *path,
                         const char *segments, size_t length, struct skink__route_match *ret_match);

/* "GET, HEAD, POST" of such bits, into `text`. */
enum { SKINK__ALLOW_BYTES = 64 };
void skink__allow_text(uint64_t allowed, char text[SKINK__ALLOW_BYTES]);

/* False: not one of the methods this server knows. */
bool skink__method_parse(const char *name, size_t length, llhttp_method_t *ret_method);
#endif
