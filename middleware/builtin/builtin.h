/* SPDX-License-Identifier: MIT */
/*
 * middleware/builtin/builtin.h - the middlewares that come with skink, one file each.
 *
 * They see of a request what anybody's middleware sees: these files include nothing but public headers and this one (a
 * test looks). Where each stands in a pipeline is said in one place, middleware/pipeline.c.
 */
#ifndef SKINK_MIDDLEWARE_BUILTIN_H
#define SKINK_MIDDLEWARE_BUILTIN_H
#include "skink/middleware.h"

/* Answers 500, number 1001, for a handler that returned without an answer. */
void skink__missing_answer(skink_request *request, skink_next *next, void *arg);

/* Stands where the handler would: answers 404, or 405 with Allow, to a request that no route takes. */
void skink__unmatched(skink_request *request, void *arg);

/* Lets those pass who send "Authorization: Bearer " and the token, which is `arg` and not empty; answers 401, number
 * 1203, to others. How long that takes does not depend on how much of the token is right. */
void skink__bearer(skink_request *request, skink_next *next, void *arg);
#endif
