/* SPDX-License-Identifier: MIT */
/* middleware/incidents_endpoint.h - GET /incidents and /incidents/{id}, for the stats server. */
#ifndef SKINK_MIDDLEWARE_INCIDENTS_ENDPOINT_H
#define SKINK_MIDDLEWARE_INCIDENTS_ENDPOINT_H
#include "skink/http_server.h"
#include "skink/recovery.h"

/* Add the two routes. recovery outlives the server; NULL: there are no incidents. Errors: skink_http_route's. */
int skink__incidents_endpoint_add(skink_http_server *http_server, skink_recovery *recovery);
#endif
