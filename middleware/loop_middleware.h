/* SPDX-License-Identifier: MIT */
/*
 * middleware/loop_middleware.h - LoopMiddleware: the boundary between the runtime section and a request's task.
 *
 * In front of it stands what libuv's callbacks do: bytes, connections, deadlines. Behind it everything is host
 * code on the loop: middlewares and handlers, which may suspend, get stuck, be abandoned and come back.
 */
#ifndef SKINK_MIDDLEWARE_LOOP_MIDDLEWARE_H
#define SKINK_MIDDLEWARE_LOOP_MIDDLEWARE_H
#include "middleware/request.h"

/* Put a prepared request onto the loop as a task. 0, or the number of the error to answer with. */
int skink__loop_middleware_start(skink_request *request);

/* The number of the error with which a prepared request must be answered at once, as it would not be started now; else
 * 0, which promises nothing. */
int skink__loop_middleware_refusal(skink_request *request);

/* Answer with that error, say when to come again, and count it. The connection has let go of the request then. */
void skink__loop_middleware_refuse(skink_request *request, int number);
#endif
