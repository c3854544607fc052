/* SPDX-License-Identifier: MIT */
/*
 * middleware/incidents_endpoint.c - what recovery has recorded, as JSON (see incidents_endpoint.h).
 *
 * Copying a record takes a lock that the watchdog takes as well, for a moment each; the text is made without it.
 */
#include "middleware/incidents_endpoint.h"
#include "skink/request.h"
#include <errno.h>
#include <stdio.h>

/* Takes over the text. What cannot be sent is the client's loss alone. */
static void answer(skink_request *request, int err, char *text, size_t length)
{
    if (err) {
        skink_respond_error(request, 500, 500, "no memory for the answer");
        return;
    }
    if (skink_response_header(request, "Cache-Control", "no-store") == 0)
        skink_respond(request, 200, "application/json", text, length);
    skink_incident_json_free(text);
}

static void handle_list(skink_request *request, void *arg)
{
    skink_recovery *recovery = arg;
    char *text = NULL;
    size_t length = 0;
    if (!recovery) {
        skink_respond(request, 200, "application/json", "[]\n", 3);
        return;
    }
    int err = skink_incidents_json(recovery, &text, &length);
    answer(request, err, text, length);
}

static void handle_one(skink_request *request, void *arg)
{
    skink_recovery *recovery = arg;
    const char *id = skink_request_param(request, "id");
    skink_incident *incident;
    int err = recovery ? skink_incident_find(recovery, id, &incident) : -ENOENT;
    if (err == -ENOENT) {
        char message[160];
        snprintf(message, sizeof message,
                 "there is no incident %.32s in memory; the newest %d are kept, see /incidents", id,
                 SKINK_INCIDENTS_KEPT);
        skink_respond_error(request, 404, 404, message);
        return;
    }
    char *text = NULL;
    size_t length = 0;
    if (!err) {
        err = skink_incident_json(incident, &text, &length);
        skink_incident_free(incident);
    }
    answer(request, err, text, length);
}

int skink__incidents_endpoint_add(skink_http_server *http_server, skink_recovery *recovery)
{
    int err = skink_http_route(http_server, "GET", "/incidents", NULL, handle_list, recovery);
    return err ? err : skink_http_route(http_server, "GET", "/incidents/{id}", NULL, handle_one, recovery);
}
