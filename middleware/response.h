/* SPDX-License-Identifier: MIT */
/* middleware/response.h - answers, on their way from a handler or from the server itself to the connection. */
#ifndef SKINK_MIDDLEWARE_RESPONSE_H
#define SKINK_MIDDLEWARE_RESPONSE_H
#include "middleware/request.h"

enum { SKINK__CLIENT_CLOSED_REQUEST = 499 }; /* counted for requests whose client had gone; never sent */

struct skink__answer {
    int status;
    const char *content_type; /* NULL: none */
    const void *body;
    size_t length;
    const char *lines;   /* whole header lines, NUL-terminated; NULL: none */
    bool handlers_lines; /* and those that the handler added */
    bool close;          /* whatever the client asked for */
};

/* All in the runtime section. */

/* Send the one answer of a request that is OPEN and has a connection. 0, or -ECANCELED: the connection broke. Either way
 * the connection has let go of the request: who uses it further must hold a reference. */
int skink__answer(skink_request *request, const struct skink__answer *answer);

/* The same with an error of the server's own. */
int skink__answer_error(skink_request *request, int number, const char *lines, bool close);

/* The same in the place of its handler, whose own answer will be dropped. */
void skink__answer_instead(skink_request *request, int number, bool close);

/* Count and log that its handler gave no answer. */
void skink__request_note_missing(skink_request *request);

/* Note how a request ended: state, status, counters. Not yet for one that was answered before. */
void skink__request_answered(skink_request *request, enum skink__request_state state, int status);

/* Put an answer without a request into the server's scratch memory; *ret_length is its length. NULL without memory. */
const char *skink__answer_compose_refusal(skink_http_server *server, int number, size_t *ret_length);
#endif
