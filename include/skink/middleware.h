/* SPDX-License-Identifier: MIT */
/*
 * skink/middleware.h - a function around every handler.
 *
 * A middleware calls the next one as a plain function: what stands before the call happens on the way in,
 * what stands after it on the way out.
 *
 * Threads  the request's own task.
 * More     docs/http.md, "Middlewares".
 */
#ifndef SKINK_MIDDLEWARE_H
#define SKINK_MIDDLEWARE_H
#include "skink/annot.h"
#include "skink/request.h"
#ifdef __cplusplus
extern "C" {
#endif

typedef struct skink_next skink_next; /* what is left of the pipeline; valid during the middleware's call */

/* Answers the request, with skink_respond() or one of its kin, before it returns. */
typedef void (*skink_handler)(skink_request *request, void *arg);

/* Calls skink_next_run() at most once, or answers the request itself. */
typedef void (*skink_middleware)(skink_request *request, skink_next *next, void *arg);

/* Run the rest of the pipeline, down to the handler; returns when that has returned. A second call does nothing, and is
 * logged. */
SKINK_API void skink_next_run(skink_next *next, skink_request *request) SKINK_IN_TASK SKINK_SUSPENDS;

#ifdef __cplusplus
}
#endif
#endif
