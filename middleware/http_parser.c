/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_parser.c - llhttp behind the framing reader, and the rules that need a whole head.
 *
 * The head is collected in the message first and llhttp reads it there, so that its spans are offsets into one
 * buffer. llhttp gets the method only when all of it is there: so what it refuses does not depend on how far into
 * a word a slice reached.
 */
#include "middleware/http_parser.h"
#include "loop/memory.h"
#include "middleware/characters.h"
#include "middleware/pairs.h"
#include "middleware/routes.h"
#include <errno.h>
#include <string.h>
#include <strings.h>

enum { BODY_FIRST_BYTES = 4096 };

#define EQUALS(text, length, literal)                                                                                  \
    ((length) == sizeof(literal) - 1 && strncasecmp((text), (literal), sizeof(literal) - 1) == 0)

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* --- what llhttp calls; each gives -1 with parser->error set to refuse --- */

static struct skink__http_parser *parser_of(llhttp_t *llhttp)
{
    return llhttp->data;
}

static int refuse(struct skink__http_parser *parser, int error)
{
    parser->error = error;
    return -1;
}

static int on_url(llhttp_t *llhttp, const char *at, size_t length)
{
    struct skink__http_message *message = parser_of(llhttp)->message;
    if (message->target_length == 0) message->target = (uint32_t)(at - message->bytes);
    message->target_length += (uint32_t)length;
    return 0;
}

static int grow_headers(struct skink__http_message *message)
{
    if (message->header_count < message->header_capacity) return 0;
    uint32_t capacity = message->header_capacity * 2;
    bool moves_out = message->headers == message->inline_headers;
    struct skink__http_header *headers =
        skink__realloc(moves_out ? NULL : message->headers, capacity * sizeof *message->headers);
    if (!headers) return -ENOMEM;
    if (moves_out) memcpy(headers, message->inline_headers, sizeof message->inline_headers);
    message->headers = headers;
    message->header_capacity = capacity;
    return 0;
}

/* The name of a trailer, which may stand in several slices; only short ones matter. */
static int trailer_field(struct skink__http_parser *parser, const char *at, size_t length)
{
    size_t room = sizeof parser->field - parser->field_length;
    size_t n = length < room ? length : room;
    memcpy(parser->field + parser->field_length, at, n);
    parser->field_length = (uint8_t)(parser->field_length + n);
    return 0;
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t length)
{
    struct skink__http_parser *parser = parser_of(llhttp);
    struct skink__http_message *message = parser->message;
    if (parser->framing.trailing) return trailer_field(parser, at, length);
    struct skink__http_header *header = &message->headers[message->header_count];
    if (parser->field_length == 0) {
        if (grow_headers(message)) return refuse(parser, SKINK__HTTP_NO_MEMORY);
        header = &message->headers[message->header_count];
        *header = (struct skink__http_header){ .name = (uint32_t)(at - message->bytes) };
        parser->field_length = 1;
    }
    header->name_length += (uint32_t)length;
    return 0;
}

/* What frames or routes a message may not come behind it. */
static int trailer_field_complete(struct skink__http_parser *parser)
{
    size_t length = parser->field_length;
    parser->field_length = 0;
    bool matters = EQUALS(parser->field, length, "content-length") ||
                   EQUALS(parser->field, length, "transfer-encoding") || EQUALS(parser->field, length, "host");
    return matters ? refuse(parser, SKINK__HTTP_BAD_TRAILER) : 0;
}

/* Note the headers that say how the message is to be read; each may stand there once. */
static int note_special(struct skink__http_parser *parser, const char *name, size_t length, uint8_t index)
{
    if (EQUALS(name, length, "host")) {
        parser->host = index;
        return parser->hosts++ ? refuse(parser, SKINK__HTTP_BAD_HOST) : 0;
    }
    if (EQUALS(name, length, "expect") && parser->expects++ == 0) parser->expectation = index;
    if (EQUALS(name, length, "content-length")) {
        parser->content_length = index;
        if (parser->lengths++) return refuse(parser, SKINK__HTTP_BAD_CONTENT_LENGTH);
    }
    if (EQUALS(name, length, "transfer-encoding")) {
        parser->coding = index;
        if (parser->codings++) return refuse(parser, SKINK__HTTP_BAD_TRANSFER_ENCODING);
    }
    return parser->lengths && parser->codings ? refuse(parser, SKINK__HTTP_LENGTH_CONFLICT) : 0;
}

static int on_header_field_complete(llhttp_t *llhttp)
{
    struct skink__http_parser *parser = parser_of(llhttp);
    if (++parser->header_count > SKINK__HTTP_MAX_HEADERS) return refuse(parser, SKINK__HTTP_TOO_MANY_HEADERS);
    if (parser->framing.trailing) return trailer_field_complete(parser);
    parser->field_length = 0;
    parser->value_open = 0;
    struct skink__http_message *message = parser->message;
    const struct skink__http_header *header = &message->headers[message->header_count];
    return note_special(parser, message->bytes + header->name, header->name_length, (uint8_t)message->header_count);
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t length)
{
    struct skink__http_parser *parser = parser_of(llhttp);
    struct skink__http_message *message = parser->message;
    if (parser->framing.trailing) return 0;
    struct skink__http_header *header = &message->headers[message->header_count];
    if (!parser->value_open) {
        parser->value_open = 1;
        header->value = (uint32_t)(at - message->bytes);
    }
    header->value_length += (uint32_t)length;
    return 0;
}

/* What is said of the connection itself, by words between commas. llhttp misses a word with a tab behind it, and takes
 * Proxy-Connection for the same, which is for somebody else. */
static void note_connection(struct skink__http_parser *parser, const char *value, size_t length)
{
    const char *end = value + length;
    while (value < end) {
        const char *comma = memchr(value, ',', (size_t)(end - value)), *last = comma ? comma : end;
        while (value < last && is_blank(*value))
            value++;
        size_t word = (size_t)(last - value);
        while (word > 0 && is_blank(value[word - 1]))
            word--;
        if (EQUALS(value, word, "close")) parser->says_close = true;
        if (EQUALS(value, word, "keep-alive")) parser->says_keep_alive = true;
        value = last + (comma != NULL);
    }
}

static int on_header_value_complete(llhttp_t *llhttp)
{
    struct skink__http_parser *parser = parser_of(llhttp);
    struct skink__http_message *message = parser->message;
    if (parser->framing.trailing) return 0;
    struct skink__http_header *header = &message->headers[message->header_count++];
    const char *value = message->bytes + header->value;
    while (header->value_length > 0 && is_blank(value[header->value_length - 1]))
        header->value_length--;
    if (EQUALS(message->bytes + header->name, header->name_length, "connection"))
        note_connection(parser, value, header->value_length);
    if (header->value_length == 0) header->value = header->name + header->name_length; /* a NUL will stand there */
    return 0;
}

/* "[...]", an address in brackets: how long it is, 0 for none. */
static size_t bracketed_length(const char *host, size_t length)
{
    const char *end = memchr(host, ']', length);
    size_t inside = end ? (size_t)(end - host) - 1 : 0;
    for (size_t i = 1; i <= inside; i++)
        if (host[i] != ':' && !skink__is_host_char(host[i])) return 0;
    return inside > 0 ? inside + 2 : 0;
}

/* RFC 3986, 3.2: a name or an address, then perhaps a colon and a port of digits. */
bool skink__http_host_is_valid(const char *host, size_t length)
{
    size_t at = 0;
    if (length > 0 && host[0] == '[') {
        at = bracketed_length(host, length);
        if (at == 0) return false;
    } else {
        for (; at < length && skink__is_host_char(host[at]); at++)
            if (host[at] == '%' && (length - at < 3 || skink__decode_percent(host + at) < 0)) return false;
    }
    if (at == length) return true;
    if (host[at++] != ':') return false;
    for (; at < length; at++)
        if (host[at] < '0' || host[at] > '9') return false;
    return true;
}

static int check_host(struct skink__http_parser *parser)
{
    const struct skink__http_message *message = parser->message;
    if (!parser->hosts) return message->version_1_1 ? refuse(parser, SKINK__HTTP_BAD_HOST) : 0;
    const struct skink__http_header *header = &message->headers[parser->host];
    bool valid = skink__http_host_is_valid(message->bytes + header->value, header->value_length);
    return valid ? 0 : refuse(parser, SKINK__HTTP_BAD_HOST);
}

/* Exactly one "chunked" on 1.1, or nothing. A list that ends in it names codings that are not implemented. */
static int check_coding(struct skink__http_parser *parser)
{
    const struct skink__http_message *message = parser->message;
    const struct skink__http_header *header = &message->headers[parser->coding];
    if (!parser->codings) return 0;
    if (!message->version_1_1) return refuse(parser, SKINK__HTTP_BAD_TRANSFER_ENCODING);
    const char *value = message->bytes + header->value;
    if (EQUALS(value, header->value_length, "chunked")) return 0;
    static const char last[] = "chunked";
    size_t length = header->value_length, n = sizeof last - 1;
    bool listed = length > n + 1 && strncasecmp(value + length - n, last, n) == 0 &&
                  (value[length - n - 1] == ',' || value[length - n - 1] == ' ');
    bool doubled = length > n && strncasecmp(value, last, n) == 0;
    return refuse(parser, listed && !doubled ? SKINK__HTTP_CODING_NOT_IMPLEMENTED : SKINK__HTTP_BAD_TRANSFER_ENCODING);
}

/* llhttp has read the number; here it must be digits and nothing else, and within the limit. */
static int check_length(struct skink__http_parser *parser)
{
    const struct skink__http_message *message = parser->message;
    const struct skink__http_header *header = &message->headers[parser->content_length];
    if (!parser->lengths) {
        bool wants = message->method == HTTP_POST || message->method == HTTP_PUT || message->method == HTTP_PATCH;
        return wants && !parser->codings ? refuse(parser, SKINK__HTTP_LENGTH_REQUIRED) : 0;
    }
    if (header->value_length == 0) return refuse(parser, SKINK__HTTP_BAD_CONTENT_LENGTH);
    for (uint32_t i = 0; i < header->value_length; i++) {
        char c = message->bytes[header->value + i];
        if (c < '0' || c > '9') return refuse(parser, SKINK__HTTP_BAD_CONTENT_LENGTH);
    }
    return 0;
}

static int check_expectation(struct skink__http_parser *parser)
{
    struct skink__http_message *message = parser->message;
    const struct skink__http_header *header = &message->headers[parser->expectation];
    if (!parser->expects || !message->version_1_1) return 0; /* RFC 9110, 10.1.1: from 1.0 it is ignored */
    if (parser->expects > 1 || !EQUALS(message->bytes + header->value, header->value_length, "100-continue"))
        return refuse(parser, SKINK__HTTP_BAD_EXPECTATION);
    message->expects_continue = parser->codings > 0 || parser->llhttp.content_length > 0;
    return 0;
}

static int on_headers_complete(llhttp_t *llhttp)
{
    struct skink__http_parser *parser = parser_of(llhttp);
    struct skink__http_message *message = parser->message;
    message->version_1_1 = llhttp->http_minor == 1;
    message->keep_alive = !parser->says_close && (message->version_1_1 || parser->says_keep_alive);
    parser->announced = llhttp->content_length;
    llhttp->upgrade = 0; /* offers of another protocol are not taken up: RFC 9110, 7.8 */
    if (check_host(parser) || check_coding(parser) || check_length(parser) || check_expectation(parser)) return -1;
    return 0;
}

static int on_body(llhttp_t *llhttp, const char *at, size_t length)
{
    struct skink__http_parser *parser = parser_of(llhttp);
    struct skink__http_message *message = parser->message;
    if (message->streamed && message->body_at > 0) { /* what has been taken makes room */
        message->body_length -= message->body_at;
        memmove(message->body, message->body + message->body_at, message->body_length);
        message->body_at = 0;
    }
    size_t needed = message->body_length + length + 1;
    if (needed > message->body_capacity) {
        /* Grows with what has arrived, never with what was announced. */
        size_t capacity = message->body_capacity ? message->body_capacity * 2 : BODY_FIRST_BYTES;
        while (capacity < needed)
            capacity *= 2;
        if (!parser->codings && !message->streamed && capacity > parser->announced + 1)
            capacity = (size_t)parser->announced + 1;
        char *body = skink__realloc(message->body, capacity);
        if (!body) return refuse(parser, SKINK__HTTP_NO_MEMORY);
        message->body = body;
        message->body_capacity = capacity;
    }
    memcpy(message->body + message->body_length, at, length);
    message->body_length += length;
    message->body[message->body_length] = '\0';
    return 0;
}

static int on_message_complete(llhttp_t *llhttp)
{
    parser_of(llhttp)->message_complete = true;
    return 0;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_field_complete = on_header_field_complete,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* --- feeding --- */

void skink__http_parser_init(struct skink__http_parser *parser, const struct skink__http_limits *limits)
{
    *parser = (struct skink__http_parser){ .limits = limits };
    llhttp_init(&parser->llhttp, HTTP_REQUEST, &settings);
    skink__http_framing_init(&parser->framing);
}

/* What llhttp refused on its own, in our numbers. The framing reader has seen to versions, lines and sizes. */
static int number_of(const llhttp_t *llhttp, llhttp_errno_t error)
{
    switch (error) {
    case HPE_INVALID_METHOD:
        return SKINK__HTTP_METHOD_NOT_IMPLEMENTED;
    case HPE_INVALID_URL:
        return SKINK__HTTP_BAD_TARGET;
    case HPE_INVALID_VERSION:
    case HPE_INVALID_CONSTANT:
        return SKINK__HTTP_BAD_REQUEST_LINE;
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return SKINK__HTTP_LENGTH_CONFLICT;
    case HPE_INVALID_CONTENT_LENGTH: {
        const char *reason = llhttp_get_error_reason(llhttp);
        bool overflow = reason && strstr(reason, "overflow");
        return overflow ? SKINK__HTTP_BODY_TOO_LARGE : SKINK__HTTP_BAD_CONTENT_LENGTH;
    }
    case HPE_INVALID_TRANSFER_ENCODING:
        return SKINK__HTTP_BAD_TRANSFER_ENCODING;
    case HPE_INVALID_CHUNK_SIZE:
    case HPE_STRICT:
        return SKINK__HTTP_BAD_CHUNK;
    default:
        return SKINK__HTTP_BAD_HEADER;
    }
}

/* Let llhttp read; 0 or an error's number. */
static int run_llhttp(struct skink__http_parser *parser, const char *bytes, size_t length)
{
    if (length == 0) return 0;
    llhttp_errno_t error = llhttp_execute(&parser->llhttp, bytes, length);
    if (parser->error) return parser->error;
    return error == HPE_OK ? 0 : number_of(&parser->llhttp, error);
}

/* Store bytes of the head, and let llhttp read what it has not read yet once the method is known. */
static int take_head(struct skink__http_parser *parser, const char *bytes, size_t length, bool method_known)
{
    struct skink__http_message *message = parser->message;
    if (skink__http_message_reserve(message, length)) return SKINK__HTTP_NO_MEMORY;
    memcpy(message->bytes + message->length, bytes, length);
    message->length += (uint32_t)length;
    if (!method_known) return 0;
    uint32_t from = parser->fed;
    parser->fed = message->length;
    return run_llhttp(parser, message->bytes + from, message->length - from);
}

/* Put NULs behind the texts that the request will hand out. llhttp is through with these bytes. */
static void end_texts(struct skink__http_message *message)
{
    message->bytes[message->target + message->target_length] = '\0';
    for (uint32_t i = 0; i < message->header_count; i++) {
        const struct skink__http_header *header = &message->headers[i];
        message->bytes[header->name + header->name_length] = '\0';
        message->bytes[header->value + header->value_length] = '\0';
    }
}

/* The head is complete for both readers: what follows it? */
static int end_head(struct skink__http_parser *parser, bool *ret_complete)
{
    struct skink__http_message *message = parser->message;
    bool chunked = parser->codings > 0;
    *ret_complete = skink__http_framing_body(&parser->framing, chunked, chunked ? 0 : parser->announced);
    if (*ret_complete != parser->message_complete) return SKINK__HTTP_BAD_REQUEST_LINE;
    end_texts(message);
    message->head_complete = true;
    return 0;
}

int skink__http_parser_admit_body(struct skink__http_parser *parser, const struct skink__http_limits *limits)
{
    parser->body_unjudged = false;
    parser->limits = limits;
    return parser->announced > limits->max_body_bytes ? SKINK__HTTP_BODY_TOO_LARGE : 0;
}

/* Empty lines in front are not part of the request. Returns how many bytes they take. */
static size_t skip_empty_lines(struct skink__http_parser *parser, const char *bytes, size_t length, int *ret_error)
{
    struct skink__http_framing *framing = &parser->framing;
    size_t used = 0;
    for (; used < length && !skink__http_framing_begun(framing); used++) {
        size_t taken;
        if (bytes[used] != '\r' && bytes[used] != '\n') break;
        if (skink__http_framing_scan(framing, parser->limits, bytes + used, 1, &taken, ret_error) ==
            SKINK__FRAMED_ERROR)
            break;
    }
    return used;
}

enum skink__http_verdict skink__http_parser_feed(struct skink__http_parser *parser, struct skink__http_message *message,
                                                 const char *bytes, size_t length, size_t *ret_used, int *ret_error)
{
    struct skink__http_framing *framing = &parser->framing;
    size_t used = 0;
    int error = 0;
    parser->message = message;
    parser->llhttp.data = parser;
    if (parser->body_unjudged && length > 0) error = skink__http_parser_admit_body(parser, parser->limits);
    if (!error) used = skip_empty_lines(parser, bytes, length, &error);
    while (used < length && !error) {
        bool in_head = skink__http_framing_in_head(framing);
        bool method_known = framing->state > SKINK__FRAME_METHOD;
        size_t taken;
        int refused = 0;
        enum skink__http_frame_event event =
            skink__http_framing_scan(framing, parser->limits, bytes + used, length - used, &taken, &refused);
        if (event == SKINK__FRAMED_METHOD) {
            error = take_head(parser, bytes + used, taken, false);
            if (!error && !skink__method_parse(message->bytes, message->length - 1, &message->method))
                error = SKINK__HTTP_METHOD_NOT_IMPLEMENTED;
        } else if (in_head) {
            error = take_head(parser, bytes + used, taken, method_known);
        } else {
            error = run_llhttp(parser, bytes + used, taken);
        }
        used += taken;
        if (!error) error = refused;
        bool complete = event == SKINK__FRAMED_MESSAGE;
        if (!error && event == SKINK__FRAMED_HEAD) error = end_head(parser, &complete);
        if (!error && complete != parser->message_complete) error = SKINK__HTTP_BAD_REQUEST_LINE;
        if (!error && complete) {
            *ret_used = used;
            return SKINK__HTTP_MESSAGE;
        }
        if (!error && event == SKINK__FRAMED_HEAD) {
            parser->body_unjudged = true;
            *ret_used = used;
            return SKINK__HTTP_HEAD;
        }
    }
    *ret_used = used;
    if (!error) return SKINK__HTTP_MORE;
    *ret_error = error;
    return SKINK__HTTP_REFUSED;
}
