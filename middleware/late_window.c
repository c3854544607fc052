/* SPDX-License-Identifier: MIT */
/* middleware/late_window.c - a stuck request's last chance, and the answer in its place (late_window.h). */
#include "middleware/late_window.h"
#include "loop/runtime.h"
#include "middleware/response.h"
#include "skink/clock.h"
#include <stddef.h>
#include <stdio.h>

void skink__late_window_open(skink_request *request, const char *incident_id)
{
    if (request->state != SKINK__REQUEST_OPEN && request->state != SKINK__REQUEST_STREAMED)
        return; /* nobody waits: it got stuck after its answer */
    snprintf(request->incident, sizeof request->incident, "%s", incident_id);
    /* A task that came back and got stuck again is still late by the first time. */
    if (skink__deadline_is_set(&request->late)) return;
    request->late_waits = false;
    skink__deadline_set(&request->server->late, &request->late, skink_now());
}

/*
 * At the end of the window its task may be on its way: while something else held the loop it came free, or what it
 * waited for came about; and libuv's timers run before the inbox and the ready queue. So it has the slice that it is
 * owed first, and only that one. A loop that is held starts none.
 */
static bool has_its_turn_first(skink_request *request) SKINK__IN_RUNTIME
{
    if (!request->task || skink__scheduler_is_held(request->server->scheduler)) return false;
    return request->late_waits ? skink__task_is_owed_slice(request->task) : skink__task_owe_slice(request->task);
}

void skink__late_window_end(struct skink__deadline *entry, void *server)
{
    (void)server;
    skink_request *request = (skink_request *)((char *)entry - offsetof(struct skink_request, late));
    if (has_its_turn_first(request)) {
        request->late_waits = true;
        skink__deadline_set(&request->server->late_turn, &request->late, skink_now());
        return;
    }
    skink__answer_instead(request, SKINK__HTTP_DEADLOCK, false);
}
