/* SPDX-License-Identifier: MIT */
/*
 * middleware/dump_endpoint.h - GET /tasks and GET /threads of the stats endpoint: text, or JSON with ?format=json.
 *
 * A dump may take a second, so it is made on a thread that is started for it: the handler suspends, and /metrics and
 * /health are answered meanwhile. Not on libuv's pool, whose threads may be the ones that are stuck.
 */
#ifndef SKINK_MIDDLEWARE_DUMP_ENDPOINT_H
#define SKINK_MIDDLEWARE_DUMP_ENDPOINT_H
#include "skink/http_server.h"
#include "skink/stats_server.h"

struct skink__dump_endpoint;

/* Add both routes; the sources are borrowed. On 0 *ret_endpoint is to be destroyed after the server has stopped. */
int skink__dump_endpoint_add(skink_http_server *http_server, const skink_stats_sources *sources,
                             struct skink__dump_endpoint **ret_endpoint);

/* Waits for a dump that is being made: nothing is read of the sources afterwards. NULL is fine. */
void skink__dump_endpoint_destroy(struct skink__dump_endpoint *endpoint);
#endif
