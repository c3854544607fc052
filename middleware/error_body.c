/* SPDX-License-Identifier: MIT */
/*
 * middleware/error_body.c - the table of error numbers, and the JSON that tells one to a client.
 *
 * Small enough to be written by hand: one object, and one string that may hold anything.
 */
#include "middleware/error_body.h"
#include <stdio.h>
#include <string.h>

int skink__http_error_status(int number)
{
    switch (number) {
#define X(number, name, status, message)                                                                               \
    case number:                                                                                                       \
        return status;
        SKINK__HTTP_ERRORS(X)
#undef X
    default:
        return 500;
    }
}

bool skink__http_error_exists(int number)
{
    switch (number) {
#define X(number, name, status, message) case number:
        SKINK__HTTP_ERRORS(X)
#undef X
        return true;
    default:
        return false;
    }
}

const char *skink__http_error_message(int number)
{
    switch (number) {
#define X(number, name, status, message)                                                                               \
    case number:                                                                                                       \
        return message;
        SKINK__HTTP_ERRORS(X)
#undef X
    default:
        return "internal error";
    }
}

/* Length of the well-formed UTF-8 character at text, 0 if there is none (RFC 3629: no overlong forms, no surrogates). */
static size_t utf8_length(const unsigned char *text)
{
    unsigned char c = text[0];
    if (c < 0x80) return 1;
    size_t n = c >= 0xc2 && c <= 0xdf ? 2 : c >= 0xe0 && c <= 0xef ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((text[i] & 0xc0) != 0x80) return 0; /* the text's NUL ends it, too */
    if (c == 0xe0 && text[1] < 0xa0) return 0;
    if (c == 0xed && text[1] > 0x9f) return 0;
    if (c == 0xf0 && text[1] < 0x90) return 0;
    if (c == 0xf4 && text[1] > 0x8f) return 0;
    return n;
}

/* The text as the inside of a JSON string; at most six bytes for each of its own. */
static size_t escape(char *out, const char *text)
{
    char *at = out;
    const unsigned char *from = (const unsigned char *)text;
    while (*from) {
        size_t n = utf8_length(from);
        if ((size_t)(from - (const unsigned char *)text) + (n ? n : 1) > SKINK__ERROR_BODY_MESSAGE_MAX) break;
        if (n == 0) {
            at += sprintf(at, "\\ufffd");
            from++;
        } else if (*from == '"' || *from == '\\') {
            *at++ = '\\';
            *at++ = (char)*from++;
        } else if (*from < 0x20 || *from == 0x7f) {
            at += sprintf(at, "\\u%04x", *from++);
        } else {
            memcpy(at, from, n);
            at += n;
            from += n;
        }
    }
    return (size_t)(at - out);
}

size_t skink__error_body(char body[SKINK__ERROR_BODY_BYTES], int status, int number, const char *message,
                         const char *request_id, const char *incident)
{
    char *at = body;
    at += sprintf(at, "{\"status\":%d,\"error\":true,\"number\":%d,\"message\":\"", status, number);
    at += escape(at, message);
    at += sprintf(at, "\",\"request\":\"%.128s\"", request_id);
    if (incident) at += sprintf(at, ",\"incident\":\"%.31s\"", incident); /* ours: letters, digits and dashes */
    at += sprintf(at, "}\n");
    return (size_t)(at - body);
}
