/* SPDX-License-Identifier: MIT */
/*
 * middleware/late_window.h - what becomes of a request that was declared stuck.
 *
 * From the declaration on it has the late window to come free and answer itself. Then its client is told 503 with
 * the incident's id, and an answer that comes still later is dropped and counted (response.c). If the head of its
 * answer is out already, it has the window to go on writing; then the connection is cut. Runtime section.
 */
#ifndef SKINK_MIDDLEWARE_LATE_WINDOW_H
#define SKINK_MIDDLEWARE_LATE_WINDOW_H
#include "middleware/request.h"

void skink__late_window_open(skink_request *request, const char *incident_id);

/* What the server's lists call at the end of the window, and after it while the request's task is on its way to a slice
 * that it has first. */
void skink__late_window_end(struct skink__deadline *entry, void *server) SKINK__IN_RUNTIME;
#endif
