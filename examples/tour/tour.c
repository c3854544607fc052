/* SPDX-License-Identifier: MIT */
/*
 * examples/tour/tour.c - a second module, for what the demo does not show: long answers, long bodies, and loading once.
 *
 *     skinkd --module demo.so --module tour.so
 *
 *     GET  /stream?bytes=N      N bytes, written piece by piece; without N, until the client leaves
 *     PUT  /upload              200, and how many bytes the body had, read as it arrives; at most 64 GiB
 *     GET  /cold?ms=N           needs what takes N milliseconds to load (200 by default), and is loaded once: however
 *                               many requests come meanwhile, they are suspended until it is there. Says how often it
 *                               was loaded
 */
#include "skink/module.h"
#include "skink/skink.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

SKINK_MODULE;

#define NUMBER_MAX 1000000000000000U

static void refuse(skink_request *request, const char *message)
{
    skink_respond_error(request, 400, 400, message);
}

/* False for anything that is not a whole number up to NUMBER_MAX. */
static bool parse_number(const char *text, uint64_t *ret_number)
{
    uint64_t number = 0;
    if (!*text) return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        number = number * 10 + (uint64_t)(*text - '0');
        if (number > NUMBER_MAX) return false;
    }
    *ret_number = number;
    return true;
}

/* As fast as the client takes it, and no faster. */
static void stream(skink_request *request, void *arg)
{
    (void)arg;
    static const char line[64] = "skink streams as fast as you read. ............................\n";
    char piece[16384];
    for (size_t i = 0; i < sizeof piece; i += sizeof line)
        memcpy(piece + i, line, sizeof line);
    const char *bytes = skink_request_query(request, "bytes");
    uint64_t left = UINT64_MAX;
    if (bytes && !parse_number(bytes, &left)) {
        refuse(request, "bytes must be a whole number, at most 10^15: /stream?bytes=1000000");
        return;
    }
    int error = skink_response_begin(request, 200, "text/plain", bytes ? left : SKINK_LENGTH_UNKNOWN);
    while (!error && left > 0) {
        size_t n = left < sizeof piece ? (size_t)left : sizeof piece;
        error = skink_response_write(request, piece, n);
        if (bytes) left -= n;
    }
    if (!error) skink_response_end(request);
}

static void upload(skink_request *request, void *arg)
{
    (void)arg;
    char buffer[16384], text[64];
    uint64_t total = 0;
    size_t n = 1;
    int error = 0;
    while (!error && n > 0) {
        error = skink_request_read(request, buffer, sizeof buffer, &n);
        if (!error) total += n;
    }
    if (error) return; /* the client is gone, or has been told what is wrong with its body */
    snprintf(text, sizeof text, "%" PRIu64 " bytes\n", total);
    skink_respond_text(request, 200, text);
}

static skink_once catalogue_once = SKINK_ONCE_INIT;
static int catalogue_loads;        /* the loop's: tasks need no lock */
static uint64_t catalogue_load_ns; /* of the request that came first */

static int load_catalogue(void *arg)
{
    (void)arg;
    int error = skink_sleep(catalogue_load_ns);
    if (error == 0) catalogue_loads++;
    return error;
}

static void cold(skink_request *request, void *arg)
{
    (void)arg;
    const char *ms = skink_request_query(request, "ms");
    uint64_t load_ms = 200;
    if (ms && !parse_number(ms, &load_ms)) {
        refuse(request, "ms must be a whole number of milliseconds, at most 10^15: /cold?ms=200");
        return;
    }
    if (catalogue_load_ns == 0) catalogue_load_ns = load_ms * SKINK_MS;
    int error = skink_once_run(&catalogue_once, load_catalogue, NULL, skink_after(30 * SKINK_S));
    if (error) {
        skink_respond_error(request, 500, -error, skink_strerror(error));
        return;
    }
    char text[64];
    snprintf(text, sizeof text, "loaded %d time%s\n", catalogue_loads, catalogue_loads == 1 ? "" : "s");
    skink_respond_text(request, 200, text);
}

int skink_module_init(const skink_module *module)
{
    skink_route_options streamed = SKINK_ROUTE_OPTIONS_INIT;
    streamed.stream_body = true;
    streamed.max_body_bytes = (size_t)64 << 30;
    int error = skink_http_route(module->http_server, "GET", "/stream", NULL, stream, NULL);
    if (error == 0) error = skink_http_route(module->http_server, "PUT", "/upload", &streamed, upload, NULL);
    if (error == 0) error = skink_http_route(module->http_server, "GET", "/cold", NULL, cold, NULL);
    return error;
}
