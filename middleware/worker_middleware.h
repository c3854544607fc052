/* SPDX-License-Identifier: MIT */
/*
 * middleware/worker_middleware.h - the boundary between a request and the worker it runs on.
 *
 * What loop_middleware.h is for the loop. The request's task is on another scheduler here, so everything that comes
 * back from it (it is stuck, its time is up, it has ended) is a message to the loop of the request's server; and what
 * a handler asks of its request there is a call to that loop (response.c). Runtime section of that loop.
 */
#ifndef SKINK_MIDDLEWARE_WORKER_MIDDLEWARE_H
#define SKINK_MIDDLEWARE_WORKER_MIDDLEWARE_H
#include "middleware/request.h"

/* Where a request is to run: what its route says, or else its server. */
skink_execution skink__execution_of(const skink_request *request);

/* Hand a prepared request to the workers of its server. 0, or the number of the error to answer with. */
int skink__worker_middleware_start(skink_request *request);

/* It waits for a worker no longer. False: it has one, or is not meant for one. */
bool skink__worker_middleware_withdraw(skink_request *request) SKINK__IN_RUNTIME;

/* Its client is gone, or its time (reason: -ECANCELED, -ETIMEDOUT): end its task's waits, should it be meant for a
 * worker. */
void skink__worker_middleware_cancel(skink_request *request, int reason) SKINK__IN_RUNTIME;

/* In a task: is it that of this request, on a worker? */
bool skink__worker_middleware_is_current(const skink_request *request);
#endif
