/* SPDX-License-Identifier: MIT */
/* middleware/builtin/unmatched.c - 404 and 405 at the end of the pipeline, so that every middleware sees them pass. */
#include "middleware/builtin/builtin.h"

enum { NOT_FOUND = 1201, METHOD_NOT_ALLOWED = 1202 }; /* docs/errors.md */

void skink__unmatched(skink_request *request, void *arg)
{
    (void)arg;
    const char *allowed = skink_request_allowed(request);
    if (!allowed)
        skink_respond_number(request, NOT_FOUND);
    else if (skink_response_header(request, "Allow", allowed) == 0) /* without memory for it there is no answer: 500 */
        skink_respond_number(request, METHOD_NOT_ALLOWED);
}
