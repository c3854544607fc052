/* SPDX-License-Identifier: MIT */
/* middleware/request.c - what a handler sees of one request. */
#include "middleware/request.h"
#include "loop/hooks.h"
#include "loop/memory.h"
#include "middleware/characters.h"
#include "middleware/response.h"
#include <string.h>
#include <strings.h>

/* --- life --- */

skink_request *skink__request_create(skink_http_server *server)
{
    skink_request *request = server->free_requests;
    if (request) {
        server->free_requests = request->next_free;
        server->free_request_count--;
    } else {
        request = skink__alloc(sizeof *request);
        if (!request) return NULL;
    }
    /* The large parts are not cleared: nobody reads of them what was not written. */
    memset(request, 0, offsetof(struct skink_request, params));
    request->incident[0] = '\0';
    skink__http_message_init(&request->message);
    request->server = skink__http_server_ref(server);
    request->index = ++server->requests_begun;
    request->started_ns = server->now_ns;
    atomic_init(&request->refs, 1);
    return request;
}

void skink__request_ref(skink_request *request)
{
    atomic_fetch_add_explicit(&request->refs, 1, memory_order_relaxed);
}

/* One reference less; true: it was the last, and what the request has has gone. */
static bool let_go(skink_request *request)
{
    uint32_t before = atomic_fetch_sub_explicit(&request->refs, 1, memory_order_acq_rel);
    SKINK_ASSERT(before > 0);
    if (before > 1) return false;
    skink__http_message_fini(&request->message);
    skink__free(request->query_pairs);
    skink__free(request->reply_headers);
    return true;
}

void skink__request_unref_lost(skink_request *request)
{
    skink_http_server *server = request->server;
    if (!let_go(request)) return;
    skink__free(request);
    skink__http_server_unref(server);
}

void skink__request_unref(skink_request *request)
{
    skink_http_server *server = request->server;
    if (!let_go(request)) return;
    skink__deadline_clear(&request->late);
    if (server->free_request_count < SKINK__POOL_MAX) {
        request->next_free = server->free_requests;
        server->free_requests = request;
        server->free_request_count++;
    } else {
        skink__free(request);
    }
    skink__http_server_unref(server);
}

void skink__request_client_left(skink_request *request, bool gone)
{
    if (request->state != SKINK__REQUEST_OPEN) return; /* its answer was on its way */
    if (gone) {
        skink__request_answered(request, SKINK__REQUEST_GONE, SKINK__CLIENT_CLOSED_REQUEST);
        request->connection = NULL;
        skink__deadline_clear(&request->late);
    }
    /* A server that is cut after its scheduler has stopped has no tasks to tell. */
    if (request->task && skink_scheduler_current() == request->server->scheduler) skink_task_cancel(request->task);
}

/* --- the target --- */

/* The byte that %XX at text stands for; -1: no such thing, or a NUL, which would end a string early. */
static int decode_percent(const char *text)
{
    int high = skink__hex_value(text[1]);
    int low = high < 0 ? -1 : skink__hex_value(text[2]);
    return low < 0 || (high | low) == 0 ? -1 : high << 4 | low;
}

static bool encoding_is_valid(const char *text)
{
    while ((text = strchr(text, '%')) != NULL)
        if (decode_percent(text++) < 0) return false;
    return true;
}

bool skink__request_is_about_server(const skink_request *request)
{
    const struct skink__http_message *message = &request->message;
    return message->method == HTTP_OPTIONS && strcmp(message->bytes + message->target, "*") == 0;
}

/* Where the path begins in a target; an empty string for "http://host". NULL: not a target this server takes. */
static const char *path_of(const char *target)
{
    if (*target == '/') return target;
    size_t scheme = strncasecmp(target, "http://", 7) == 0 ? 7 : strncasecmp(target, "https://", 8) == 0 ? 8 : 0;
    if (scheme == 0) return NULL;
    size_t authority = strcspn(target + scheme, "/?#");
    return authority > 0 ? target + scheme + authority : NULL;
}

/* Decode `length` bytes of path into `path` (with its leading '/') and `segments` (routes.h). Returns the length of
 * the decoded path, 0 for bad encoding. */
static size_t decode_path(const char *from, size_t length, char *path, char *segments)
{
    size_t n = 0;
    path[n++] = '/';
    for (size_t i = 1; i < length; i++) { /* the first is the '/' */
        char c = from[i];
        segments[n - 1] = c;
        if (c == '/') segments[n - 1] = '\0';
        if (c == '%') {
            int decoded = decode_percent(from + i);
            if (decoded < 0) return 0;
            segments[n - 1] = c = (char)decoded;
            i += 2;
        }
        path[n++] = c;
    }
    path[n] = '\0';
    segments[n - 1] = '\0';
    return n;
}

int skink__request_prepare(skink_request *request)
{
    struct skink__http_message *message = &request->message;
    /* Path and segments go behind the head; neither is longer than the target. */
    if (skink__http_message_reserve(message, 2 * ((size_t)message->target_length + 2))) return SKINK__HTTP_NO_MEMORY;
    const char *target = message->bytes + message->target;
    const char *raw = path_of(target);
    if (!raw || strchr(raw, '#')) return SKINK__HTTP_BAD_TARGET;
    const char *query = strchrnul(raw, '?');
    size_t raw_length = (size_t)(query - raw);
    if (!encoding_is_valid(query)) return SKINK__HTTP_BAD_ENCODING;

    char *path = message->bytes + message->length;
    char *segments = path + message->target_length + 2;
    size_t length = decode_path(raw, raw_length, path, segments);
    if (length == 0) return SKINK__HTTP_BAD_ENCODING;
    request->path = (uint32_t)(path - message->bytes);
    request->query = *query == '?' ? (uint32_t)(query + 1 - message->bytes) : request->path + (uint32_t)length;

    struct skink__route_match match;
    skink__routes_match(&request->server->routes, message->method, path, segments, length - 1, &match);
    request->route = match.route;
    request->allowed = match.allowed;
    request->param_count = match.route ? match.param_count : 0;
    memcpy(request->params, match.params, request->param_count * sizeof *match.params);
    return 0;
}

/* --- getters --- */

const char *skink_request_method(const skink_request *request)
{
    return llhttp_method_name(request->message.method);
}

const char *skink_request_path(const skink_request *request)
{
    return request->message.bytes + request->path;
}

const char *skink_request_query_string(const skink_request *request)
{
    return request->message.bytes + request->query;
}

const char *skink_request_route(const skink_request *request)
{
    return request->route ? request->route->pattern : "";
}

uint64_t skink_request_index(const skink_request *request)
{
    return request->index;
}

uint64_t skink_request_queue_ns(const skink_request *request)
{
    return request->queue_ns;
}

const char *skink_request_header(const skink_request *request, const char *name)
{
    return skink__http_message_header(&request->message, name);
}

bool skink_request_header_at(const skink_request *request, size_t i, const char **ret_name, const char **ret_value)
{
    const struct skink__http_message *message = &request->message;
    if (i >= message->header_count) return false;
    *ret_name = message->bytes + message->headers[i].name;
    *ret_value = message->bytes + message->headers[i].value;
    return true;
}

const char *skink_request_param(const skink_request *request, const char *name)
{
    for (unsigned i = 0; i < request->param_count; i++)
        if (strcmp(request->route->param_names[i], name) == 0) return request->params[i];
    return NULL;
}

const void *skink_request_body(const skink_request *request, size_t *ret_length)
{
    if (ret_length) *ret_length = request->message.body_length;
    return request->message.body ? request->message.body : "";
}

int skink_request_status(const skink_request *request)
{
    return atomic_load_explicit(&request->status, memory_order_relaxed);
}

skink_token *skink_request_token(const skink_request *request)
{
    /* The task's own token: only its own task may ask for it. */
    return request->task && skink_task_current() == request->task ? skink_task_token() : NULL;
}

/* --- the query --- */

/* Decode one name or value up to `end`, and put a NUL behind it. Its encoding has been found valid. */
static char *decode_query(char *to, const char *from, const char *end)
{
    for (; from < end; from++) {
        if (*from == '%') {
            *to++ = (char)decode_percent(from);
            from += 2;
        } else {
            *to++ = *from == '+' ? ' ' : *from;
        }
    }
    *to++ = '\0';
    return to;
}

/* "a=b&c" becomes a NUL b NUL c NUL NUL. False without memory. */
static bool split_query(skink_request *request)
{
    const char *at = skink_request_query_string(request);
    char *to = skink__alloc(2 * strlen(at) + 2); /* a name without '=' gets a NUL more */
    if (!to) return false;
    request->query_pairs = to;
    while (*at) {
        const char *end = at + strcspn(at, "&");
        const char *equals = memchr(at, '=', (size_t)(end - at));
        if (end > at) {
            to = decode_query(to, at, equals ? equals : end);
            to = decode_query(to, equals ? equals + 1 : end, end);
        }
        at = *end ? end + 1 : end;
    }
    request->query_pairs_length = (size_t)(to - request->query_pairs);
    return true;
}

const char *skink_request_query(skink_request *request, const char *name)
{
    if (!request->query_pairs && !split_query(request)) return NULL;
    const char *at = request->query_pairs;
    const char *end = at + request->query_pairs_length;
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        if (strcmp(at, name) == 0) return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}
