/* SPDX-License-Identifier: MIT */
/* middleware/access.c - a request as one record, at the moment when nothing more can become of it (access.h). */
#include "middleware/access.h"
#include "middleware/error_numbers.h"

const char *skink_outcome_text(skink_outcome outcome)
{
    static const char *const texts[] = { "ok", "client_gone", "deadlock", "late_answer", "rejected", "expired" };
    return (unsigned)outcome < sizeof texts / sizeof *texts ? texts[outcome] : "unknown";
}

/* What its own handler said, if only that it says nothing, is no rejection. */
static skink_outcome outcome_of(const skink_request *request)
{
    switch (request->error_number) {
    case 0:
    case SKINK__HTTP_NO_ANSWER:
        break;
    case SKINK__HTTP_DEADLOCK:
        return SKINK_OUTCOME_DEADLOCK;
    case SKINK__HTTP_WORKER_TIMEOUT: /* its thread was taken from it, or it was suspended when its time was over */
        return request->incident[0] ? SKINK_OUTCOME_DEADLOCK : SKINK_OUTCOME_EXPIRED;
    case SKINK__HTTP_REQUEST_EXPIRED:
        return SKINK_OUTCOME_EXPIRED;
    default:
        return SKINK_OUTCOME_REJECTED;
    }
    if (request->state == SKINK__REQUEST_GONE) return SKINK_OUTCOME_CLIENT_GONE;
    return request->incident[0] ? SKINK_OUTCOME_LATE_ANSWER : SKINK_OUTCOME_OK;
}

void skink__access_tell(const skink_request *request, uint64_t wall_ns)
{
    bool known = request->path > 0; /* its target has been taken apart */
    const char *unknown = skink__request_is_about_server(request) ? "*" : "";
    skink_access access = {
        .size = sizeof access,
        .index = request->index,
        .id = request->id,
        .client = request->client,
        .method = request->message.head_complete ? skink_request_method(request) : "",
        .path = known ? skink_request_path(request) : unknown,
        .route = skink_request_route(request),
        .status = skink_request_status(request),
        .outcome = outcome_of(request),
        .bytes = request->sent_bytes,
        .queue_ns = skink_request_queue_ns(request),
        .run_ns = skink__task_watch_read(&request->watch),
        .wall_ns = wall_ns,
    };
    request->server->access(&access, request->server->access_arg);
}
