/* SPDX-License-Identifier: MIT */
/*
 * middleware/error_body.c - the table of error numbers, and the JSON that tells one to a client.
 *
 * Small enough to be written by hand: one object, and one string that may hold anything.
 */
#include "middleware/error_body.h"
#include "loop/utf8.h"
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

/* The text as the inside of a JSON string; at most six bytes for each of its own. */
static size_t escape(char *out, const char *text)
{
    char *at = out;
    const char *from = text;
    while (*from) {
        size_t n = skink__utf8_length(from);
        if ((size_t)(from - text) + (n ? n : 1) > SKINK__ERROR_BODY_MESSAGE_MAX) break;
        if (n == 0) {
            at += sprintf(at, "\\ufffd");
            from++;
        } else if (*from == '"' || *from == '\\') {
            *at++ = '\\';
            *at++ = *from++;
        } else if ((unsigned char)*from < 0x20 || *from == 0x7f) {
            at += sprintf(at, "\\u%04x", (unsigned char)*from++);
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
