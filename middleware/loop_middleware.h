/* SPDX-License-Identifier: MIT */
/*
 * middleware/loop_middleware.h - LoopMiddleware: the boundary between the runtime section and a request's task.
 *
 * In front of it stands what libuv's callbacks do: bytes, connections, deadlines. Behind it everything is host
 * code on the loop: middlewares and handlers, which may suspend, get stuck, be abandoned and come back.
 */
#ifndef SKINK_MIDDLEWARE_LOOP_MIDDLEWARE_H
#define SKINK_MIDDLEWARE_LOOP_MIDDLEWARE_H
#include "loop/runtime.h"
#include "middleware/request.h"

/* Start a prepared request where it is to run: as a task on the loop, or on a worker. 0, or the number of the error to
 * answer with. */
int skink__loop_middleware_start(skink_request *request) SKINK__IN_RUNTIME;

/* The number of the error with which a prepared request must be answered at once, as it would not be started now; else
 * 0, which promises nothing. */
int skink__loop_middleware_refusal(skink_request *request);

/* Answer with that error, say when to come again, and count it. The connection has let go of the request then. */
void skink__loop_middleware_refuse(skink_request *request, int number) SKINK__IN_RUNTIME;

/* --- for worker_middleware.c, where a request's life ends in the same steps --- */

/* It was declared stuck. */
void skink__request_note_stuck(skink_request *request, const struct skink__abandonment *why) SKINK__IN_RUNTIME;

/* In its task: its route came into quarantine while it waited for its turn. And, in the runtime section: say so. */
bool skink__request_came_too_late(const skink_request *request);
void skink__request_refuse_late(skink_request *request) SKINK__IN_RUNTIME;

/* A stop leaves its task behind, which may yet come back. Its client is answered, and does not wait for that. */
void skink__request_give_up(skink_request *request) SKINK__IN_RUNTIME;

/* Its task has come to its end: answer for it, should it have said nothing, and let go of it. */
void skink__request_finish(skink_request *request) SKINK__IN_RUNTIME;

/* Its task has come to its end, or never will (ran: false): the task's reference goes. */
void skink__request_let_go(skink_request *request, bool ran) SKINK__IN_RUNTIME;

/* On a stray that comes back after the scheduler of its task has stopped. */
void skink__request_lose(skink_request *request);

/* What reports are told of it. On any thread: it reads what was written before the task started. */
void skink__request_label(const skink_request *request, struct skink__task_label *ret_label);
#endif
