/* SPDX-License-Identifier: MIT */
/*
 * middleware/admission.h - from a request that is complete to one that runs: at once, after a wait, or not at all.
 *
 * A request passes the limit of its route first and that of the server then, so that who waits for a busy route
 * keeps nobody else out. While it waits it is a request and its connection: it has no task and no stack.
 *
 * A permit goes back when the request's task has ended, or was declared stuck: whichever is first, and once. Who
 * gets it then becomes a task in the ready queue; nothing runs in place. Runtime section only.
 */
#ifndef SKINK_MIDDLEWARE_ADMISSION_H
#define SKINK_MIDDLEWARE_ADMISSION_H
#include "middleware/request.h"

/* Start a prepared request, let it wait, or answer it with the error that it gets. */
void skink__admission_enter(skink_request *request) SKINK__IN_RUNTIME;

/* Its task has ended or will never run further, or it was declared stuck. Idempotent. */
void skink__admission_leave(skink_request *request) SKINK__IN_RUNTIME;

/* It is answered: should it wait still, it does so no longer. */
void skink__admission_forget(skink_request *request) SKINK__IN_RUNTIME;

/* A limit has changed: let in who may enter now. */
void skink__admission_review(skink_http_server *server) SKINK__IN_RUNTIME;

static inline bool skink__admission_waits(const skink_request *request)
{
    return skink__is_waiting(&request->waiting);
}
#endif
