/* SPDX-License-Identifier: MIT */
/* middleware/builtin/missing_answer.c - a handler that says nothing is answered for, and named. */
#include "middleware/builtin/builtin.h"

enum { NO_ANSWER = 1001 }; /* docs/errors.md */

void skink__missing_answer(skink_request *request, skink_next *next, void *arg)
{
    (void)arg;
    skink_next_run(next, request);
    if (skink_request_status(request) == 0) skink_respond_number(request, NO_ANSWER);
}
