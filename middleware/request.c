/* SPDX-License-Identifier: MIT */
/* middleware/request.c - what a handler sees of one request. */
#include "middleware/request.h"
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/runtime.h"
#include "middleware/characters.h"
#include "middleware/response.h"
#include "middleware/worker_middleware.h"
#include <errno.h>
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
    request->client[0] = '\0';
    skink__http_message_init(&request->message);
    request->server = skink__http_server_ref(server);
    request->index = ++server->requests_begun;
    (void)skink__request_id_make(request->made_id, server->id_prefix, request->index);
    request->id = request->made_id;
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
    skink__pairs_fini(&request->query_pairs);
    skink__pairs_fini(&request->form_pairs);
    skink__pairs_fini(&request->cookies);
    skink__free(request->reply_headers);
    skink__free(request->on_worker); /* of a job whose end its loop could not be told */
    request->on_worker = NULL;
    skink__wait_slot_fini(&request->writer);
    skink__wait_slot_fini(&request->reader);
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
    skink__deadline_clear(&request->expiry);
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
    bool streamed = request->state == SKINK__REQUEST_STREAMED;
    if (request->state != SKINK__REQUEST_OPEN && !streamed) return; /* its answer was on its way */
    /* A server that is cut after its scheduler has stopped has no tasks to tell. */
    bool running = skink__http_server_is_running(request->server);
    if (running)
        (void)skink__worker_middleware_withdraw(request); /* first, for the record of it says how long it waited */
    if (gone) {
        skink__request_answered(request, SKINK__REQUEST_GONE, SKINK__CLIENT_CLOSED_REQUEST);
        request->connection = NULL;
        skink__deadline_clear(&request->late);
        skink__deadline_clear(&request->expiry);
    }
    if (!running) return;
    if (request->task) skink_task_cancel(request->task);
    skink__worker_middleware_cancel(request, -ECANCELED);
}

/* --- the target --- */

static bool encoding_is_valid(const char *text)
{
    while ((text = strchr(text, '%')) != NULL)
        if (skink__decode_percent(text++) < 0) return false;
    return true;
}

bool skink__request_is_about_server(const skink_request *request)
{
    const struct skink__http_message *message = &request->message;
    return message->head_complete && message->method == HTTP_OPTIONS &&
           strcmp(message->bytes + message->target, "*") == 0;
}

/* Where the path begins in a target; an empty string for "http://host", whose length is *ret_authority (0 for a mere
 * path). NULL: not a target this server takes. */
static const char *path_of(const char *target, size_t *ret_authority)
{
    *ret_authority = 0;
    if (*target == '/') return target;
    size_t scheme = strncasecmp(target, "http://", 7) == 0 ? 7 : strncasecmp(target, "https://", 8) == 0 ? 8 : 0;
    if (scheme == 0) return NULL;
    const char *host = target + scheme;
    size_t length = *ret_authority = strcspn(host, "/?#");
    if (length == 0 || *host == ':' || !skink__http_host_is_valid(host, length)) return NULL;
    return host + length;
}

/* RFC 9112, 3.2.2: the host of the target is the one that counts, whatever the header says. */
static void take_host(struct skink__http_message *message, const char *authority, size_t length, char *into)
{
    memcpy(into, authority, length);
    into[length] = '\0';
    for (uint32_t i = 0; i < message->header_count; i++) {
        struct skink__http_header *header = &message->headers[i];
        if (strcasecmp(message->bytes + header->name, "Host") != 0) continue;
        header->value = (uint32_t)(into - message->bytes);
        header->value_length = (uint32_t)length;
    }
}

/* The last X-Forwarded-For line was written last: go back through them while they lead to trusted proxies. */
static void find_client(skink_request *request, const struct skink__peer *peer)
{
    const struct skink__http_message *message = &request->message;
    struct skink__ip ip = peer->ip;
    bool behind = true;
    for (uint32_t i = message->header_count; behind && i-- > 0;) {
        const struct skink__http_header *header = &message->headers[i];
        if (strcasecmp(message->bytes + header->name, "X-Forwarded-For") == 0)
            behind = skink__client_behind(&request->server->trusted_proxies, message->bytes + header->value, &ip);
    }
    skink__ip_format(&ip, request->client);
}

void skink__request_identify(skink_request *request, const struct skink__peer *peer)
{
    memcpy(request->client, peer->text, sizeof request->client);
    if (!request->message.head_complete) return;
    const char *id = skink__http_message_header(&request->message, "X-Request-Id");
    if (id && skink__request_id_is_valid(id)) request->id = id;
    if (peer->trusted) find_client(request, peer);
}

int skink__request_prepare(skink_request *request, const struct skink__peer *peer)
{
    struct skink__http_message *message = &request->message;
    /* Path, segments and a host in the target go behind the head; none is longer than the target. */
    size_t copies = message->bytes[message->target] == '/' ? 2 : 3;
    if (skink__http_message_reserve(message, copies * ((size_t)message->target_length + 2)))
        return SKINK__HTTP_NO_MEMORY;
    skink__request_identify(request, peer);
    const char *target = message->bytes + message->target;
    size_t authority_length;
    const char *raw = path_of(target, &authority_length);
    if (!raw || strchr(raw, '#')) return SKINK__HTTP_BAD_TARGET;
    const char *query = strchrnul(raw, '?');
    size_t raw_length = (size_t)(query - raw);
    if (!encoding_is_valid(query)) return SKINK__HTTP_BAD_ENCODING;

    char *path = message->bytes + message->length;
    char *segments = path + message->target_length + 2;
    if (authority_length)
        take_host(message, raw - authority_length, authority_length, segments + message->target_length + 2);
    size_t length = skink__path_decode(raw, raw_length, path, segments);
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
    return request ? llhttp_method_name(request->message.method) : NULL;
}

const char *skink_request_path(const skink_request *request)
{
    return request ? request->message.bytes + request->path : NULL;
}

const char *skink_request_query_string(const skink_request *request)
{
    return request ? request->message.bytes + request->query : NULL;
}

const char *skink_request_route(const skink_request *request)
{
    if (!request) return NULL;
    return request->route ? request->route->pattern : "";
}

uint64_t skink_request_index(const skink_request *request)
{
    return request ? request->index : 0;
}

uint64_t skink_request_queue_ns(const skink_request *request)
{
    return request ? atomic_load_explicit((_Atomic uint64_t *)&request->queue_ns, memory_order_relaxed) : 0;
}

const char *skink_request_id(const skink_request *request)
{
    return request ? request->id : NULL;
}

const char *skink_request_client(const skink_request *request)
{
    return request ? request->client : NULL;
}

const char *skink_request_allowed(skink_request *request)
{
    if (!request || request->route || !request->allowed) return NULL;
    skink__allow_text(request->allowed, request->allow_text);
    return request->allow_text;
}

const char *skink_request_header(const skink_request *request, const char *name)
{
    return request && name ? skink__http_message_header(&request->message, name) : NULL;
}

bool skink_request_header_at(const skink_request *request, size_t i, const char **ret_name, const char **ret_value)
{
    if (!request || !ret_name || !ret_value) return false;
    const struct skink__http_message *message = &request->message;
    if (i >= message->header_count) return false;
    *ret_name = message->bytes + message->headers[i].name;
    *ret_value = message->bytes + message->headers[i].value;
    return true;
}

const char *skink_request_param(const skink_request *request, const char *name)
{
    for (unsigned i = 0; request && name && i < request->param_count; i++)
        if (strcmp(request->route->param_names[i], name) == 0) return request->params[i];
    return NULL;
}

const void *skink_request_body(const skink_request *request, size_t *ret_length)
{
    bool whole = request && request->message.body && !request->message.streamed; /* else it is on its way */
    if (ret_length) *ret_length = whole ? request->message.body_length : 0;
    if (!request) return NULL;
    return whole ? request->message.body : "";
}

int skink_request_status(const skink_request *request)
{
    return request ? atomic_load_explicit(&request->status, memory_order_relaxed) : 0;
}

skink_token *skink_request_token(const skink_request *request)
{
    if (!request) return NULL;
    /* The task's own token: only its own task may ask for it. */
    bool own = request->on_worker ? skink__worker_middleware_is_current(request) : skink__runtime_is_current(request);
    if (!own) return NULL;
    skink_token *token = skink_task_token();
    /* Who polls it on another thread sees the deadline pass, be the loop stuck or not. */
    if (token && request->expiry.at_ns) skink__token_limit(token, request->expiry.at_ns);
    return token;
}

/* --- names and values --- */

const char *skink_request_query(skink_request *request, const char *name)
{
    if (!request || !name) return NULL;
    struct skink__pairs *pairs = &request->query_pairs;
    if (!pairs->read) {
        const char *text = skink_request_query_string(request);
        if (skink__pairs_add_form(pairs, text, strlen(text))) return NULL;
        pairs->read = true;
    }
    return skink__pairs_find(pairs, name);
}

/* "application/x-www-form-urlencoded", and perhaps parameters behind it. */
static bool is_form(const char *content_type)
{
    static const char form[] = "application/x-www-form-urlencoded";
    if (!content_type || strncasecmp(content_type, form, sizeof form - 1) != 0) return false;
    char next = content_type[sizeof form - 1];
    return next == '\0' || next == ';' || next == ' ' || next == '\t';
}

int skink_request_form(skink_request *request, const char *name, const char **ret_value)
{
    if (!request || !name || !ret_value || request->message.streamed) return -EINVAL;
    struct skink__pairs *pairs = &request->form_pairs;
    if (!pairs->read) {
        if (!is_form(skink_request_header(request, "Content-Type"))) return -EMEDIUMTYPE;
        int err = skink__pairs_add_form(pairs, request->message.body, request->message.body_length);
        if (err) return err == -EINVAL ? -EBADMSG : err;
        pairs->read = true;
    }
    *ret_value = skink__pairs_find(pairs, name);
    return 0;
}

static bool read_cookies(skink_request *request)
{
    const char *name, *value;
    for (size_t i = 0; skink_request_header_at(request, i, &name, &value); i++)
        if (strcasecmp(name, "Cookie") == 0 && skink__pairs_add_cookies(&request->cookies, value)) {
            skink__pairs_fini(&request->cookies); /* so that the next question starts anew */
            return false;
        }
    request->cookies.read = true;
    return true;
}

const char *skink_request_cookie(skink_request *request, const char *name)
{
    if (!request || !name || (!request->cookies.read && !read_cookies(request))) return NULL;
    return skink__pairs_find(&request->cookies, name);
}
