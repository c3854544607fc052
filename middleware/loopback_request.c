/* SPDX-License-Identifier: MIT */
/*
 * middleware/loopback_request.c - one request over a loopback, and its answer read as a client reads it.
 *
 * Interim answers (100 Continue) are passed over. Where the answer ends is llhttp's word, so that a test sees a body
 * whose chunks or length are wrong as the failure that it is.
 */
#include "loop/memory.h"
#include "skink/loopback.h"
#include <errno.h>
#include <llhttp.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum { RECEIVE_BYTES = 4096 };

struct text {
    char *bytes; /* followed by a NUL */
    size_t length, capacity;
};

struct skink_answer {
    int status;
    struct text headers; /* name NUL value NUL ... */
    struct text body;
};

/* While it is read. */
struct reading {
    llhttp_t llhttp;
    skink_answer *answer;
    bool is_head; /* of the request: the answer has no body */
    bool in_value;
    bool complete;
    bool no_memory;
};

static int append(struct reading *reading, struct text *text, const char *bytes, size_t length)
{
    size_t needed = text->length + length + 1;
    if (needed > text->capacity) {
        size_t capacity = needed > 2 * text->capacity ? needed : 2 * text->capacity;
        char *larger = skink__realloc(text->bytes, capacity);
        if (!larger) {
            reading->no_memory = true;
            return -1;
        }
        text->bytes = larger;
        text->capacity = capacity;
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
    return 0;
}

static int on_field(llhttp_t *llhttp, const char *at, size_t length)
{
    struct reading *reading = llhttp->data;
    struct text *headers = &reading->answer->headers;
    if (reading->in_value && append(reading, headers, "", 1)) return -1; /* the NUL behind the value before */
    reading->in_value = false;
    return append(reading, headers, at, length);
}

static int on_value(llhttp_t *llhttp, const char *at, size_t length)
{
    struct reading *reading = llhttp->data;
    struct text *headers = &reading->answer->headers;
    if (!reading->in_value && append(reading, headers, "", 1)) return -1;
    reading->in_value = true;
    return append(reading, headers, at, length);
}

static int on_headers_complete(llhttp_t *llhttp)
{
    struct reading *reading = llhttp->data;
    return reading->is_head && llhttp->status_code >= 200 ? 1 : 0; /* 1: no body, whatever its length says */
}

static int on_body(llhttp_t *llhttp, const char *at, size_t length)
{
    struct reading *reading = llhttp->data;
    return append(reading, &reading->answer->body, at, length);
}

static int on_message_complete(llhttp_t *llhttp)
{
    struct reading *reading = llhttp->data;
    if (llhttp->status_code < 200) { /* an interim one: the real one follows */
        reading->answer->headers.length = 0;
        reading->in_value = false;
        return 0;
    }
    reading->answer->status = llhttp->status_code;
    reading->complete = true;
    return HPE_PAUSED; /* what follows is of no interest */
}

static const llhttp_settings_t settings = {
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static void reading_init(struct reading *reading, skink_answer *answer, const char *request, size_t length)
{
    *reading = (struct reading){ .answer = answer, .is_head = length > 5 && memcmp(request, "HEAD ", 5) == 0 };
    llhttp_init(&reading->llhttp, HTTP_RESPONSE, &settings);
    reading->llhttp.data = reading;
}

/* The next bytes, or the end of them (0). 1: complete; 0: more is needed; or what is wrong. */
static int read_on(struct reading *reading, const char *bytes, size_t length)
{
    llhttp_errno_t error = length ? llhttp_execute(&reading->llhttp, bytes, length) : llhttp_finish(&reading->llhttp);
    if (reading->complete) return 1;
    if (reading->no_memory) return -ENOMEM;
    if (error != HPE_OK) return length ? -EBADMSG : -ECONNRESET;
    return length ? 0 : -ECONNRESET;
}

static int receive_answer(skink_loopback *loopback, struct reading *reading, uint64_t deadline_ns)
{
    char bytes[RECEIVE_BYTES];
    for (;;) {
        size_t length;
        int err = skink_loopback_receive(loopback, bytes, sizeof bytes, deadline_ns, &length);
        if (!err) err = read_on(reading, bytes, length);
        if (err) return err > 0 ? 0 : err;
    }
}

int skink_loopback_request(skink_http_server *server, const char *request, size_t length_bytes, uint64_t deadline_ns,
                           skink_answer **ret_answer)
{
    if (!request || !length_bytes || !ret_answer) return -EINVAL;
    skink_answer *answer = skink__zalloc(sizeof *answer);
    if (!answer) return -ENOMEM;
    struct reading reading;
    reading_init(&reading, answer, request, length_bytes);
    skink_loopback *loopback;
    int err = skink_loopback_open(server, NULL, &loopback);
    if (!err) {
        err = skink_loopback_send(loopback, request, length_bytes, deadline_ns, NULL);
        /* A server that has heard enough closes, and has said why. */
        if (!err || err == -EPIPE) err = receive_answer(loopback, &reading, deadline_ns);
        skink_loopback_close(loopback);
    }
    if (err) {
        skink_answer_free(answer);
        return err;
    }
    *ret_answer = answer;
    return 0;
}

/* --- what it says --- */

int skink_answer_status(const skink_answer *answer)
{
    return answer ? answer->status : 0;
}

const char *skink_answer_header(const skink_answer *answer, const char *name)
{
    if (!answer || !name) return NULL;
    const char *at = answer->headers.bytes, *end = at ? at + answer->headers.length : NULL;
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        if (strcasecmp(at, name) == 0) return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

const char *skink_answer_body(const skink_answer *answer, size_t *ret_length)
{
    if (ret_length) *ret_length = answer ? answer->body.length : 0;
    if (!answer) return NULL;
    return answer->body.bytes ? answer->body.bytes : "";
}

void skink_answer_free(skink_answer *answer)
{
    if (!answer) return;
    skink__free(answer->headers.bytes);
    skink__free(answer->body.bytes);
    skink__free(answer);
}
