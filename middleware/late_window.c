/* SPDX-License-Identifier: MIT */
/* middleware/late_window.c - a stuck request's last chance, and the answer in its place (late_window.h). */
#include "middleware/late_window.h"
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
    if (!skink__deadline_is_set(&request->late))
        skink__deadline_set(&request->server->late, &request->late, skink_now());
}

void skink__late_window_end(struct skink__deadline *entry, void *server)
{
    (void)server;
    skink_request *request = (skink_request *)((char *)entry - offsetof(struct skink_request, late));
    skink__answer_instead(request, SKINK__HTTP_DEADLOCK, false);
}
