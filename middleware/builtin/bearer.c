/* SPDX-License-Identifier: MIT */
/* middleware/builtin/bearer.c - only for those who have the token. */
#include "middleware/builtin/builtin.h"
#include <string.h>
#include <strings.h>

enum { UNAUTHORIZED = 1203 }; /* docs/errors.md */

/* Looks at every byte of what was given, whatever it has found before. */
static bool is_same(const char *given, const char *token)
{
    size_t given_length = strlen(given), length = strlen(token);
    volatile unsigned char difference = given_length != length;
    for (size_t i = 0; i < given_length; i++)
        difference = (unsigned char)(difference | (given[i] ^ token[i % length]));
    return difference == 0;
}

static bool is_authorized(const skink_request *request, const char *token)
{
    const char *given = skink_request_header(request, "Authorization");
    if (!given || strncasecmp(given, "Bearer ", 7) != 0) return false;
    given += 7;
    return is_same(given + strspn(given, " "), token);
}

void skink__bearer(skink_request *request, skink_next *next, void *arg)
{
    if (is_authorized(request, arg))
        skink_next_run(next, request);
    else if (skink_response_header(request, "WWW-Authenticate", "Bearer") == 0)
        skink_respond_number(request, UNAUTHORIZED);
}
