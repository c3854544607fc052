/* SPDX-License-Identifier: MIT */
/*
 * middleware/expiry.h - how long a request may take until its client is told 504.
 *
 * The time begins when the request is complete, and what it waits to be let in counts. At its end the client gets the
 * answer, the request's token fires with -ETIMEDOUT, so that what its task waits for ends, and an answer that the
 * handler gives all the same is dropped and counted (response.c). An answer that is being written by then is cut.
 * Runtime section.
 */
#ifndef SKINK_MIDDLEWARE_EXPIRY_H
#define SKINK_MIDDLEWARE_EXPIRY_H
#include "middleware/request.h"

/* The request is complete. */
void skink__expiry_begin(skink_request *request);

/* How long it may take in all; 0: as long as it wants. */
uint64_t skink__expiry_timeout(const skink_request *request);

/* Its time is over, as another clock has found. */
void skink__expiry_now(skink_request *request) SKINK__IN_RUNTIME;

/* What the server's lists call. */
void skink__expiry_end(struct skink__deadline *entry, void *server) SKINK__IN_RUNTIME;
#endif
