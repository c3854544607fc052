/* SPDX-License-Identifier: MIT */
/* middleware/response.h - answers, on their way from a handler or from the server itself to the connection. */
#ifndef SKINK_MIDDLEWARE_RESPONSE_H
#define SKINK_MIDDLEWARE_RESPONSE_H
#include "middleware/request.h"

enum { SKINK__CLIENT_CLOSED_REQUEST = 499 }; /* counted for requests whose client had gone; never sent */

/* How the length of the body is told. */
enum skink__body_form {
    SKINK__BODY_WHOLE,     /* the body is here; by Content-Length */
    SKINK__BODY_ANNOUNCED, /* it is going to be written; by Content-Length */
    SKINK__BODY_CHUNKED,   /* it is going to be written, in chunks */
    SKINK__BODY_TO_THE_END /* it ends with the connection, as HTTP/1.0 has it */
};

struct skink__answer {
    int status;
    const char *content_type; /* NULL: none */
    const void *body;
    size_t length;
    enum skink__body_form form;
    const char *lines;   /* whole header lines, NUL-terminated; NULL: none */
    bool handlers_lines; /* and those that the handler added */
    bool close;          /* whatever the client asked for */
};

/* All in the runtime section. */

/* Send the one answer of a request that is OPEN and has a connection. 0, or -ECANCELED: the connection broke. Either
 * way the connection has let go of the request: who uses it further must hold a reference. */
int skink__answer(skink_request *request, const struct skink__answer *answer) SKINK__IN_RUNTIME;

/* Send bytes of a STREAMED answer: small ones together, at the latest when its task suspends. As
 * skink__connection_send(). */
int skink__answer_send(skink_request *request, struct iovec *parts, int count) SKINK__IN_RUNTIME;

/* Send the head of an answer whose body is going to be written: from then on the request is STREAMED, and the
 * connection keeps it. -ENOMEM: nothing was sent; -ECANCELED: the connection broke. */
int skink__answer_begin(skink_request *request, const struct skink__answer *answer) SKINK__IN_RUNTIME;

/* A STREAMED answer is complete. As skink__answer(), the connection lets go of the request. */
void skink__answer_end(skink_request *request) SKINK__IN_RUNTIME;

/* A STREAMED answer will not be: its connection is cut, so that the client cannot take it for complete. Counted, and
 * logged with the reason. */
void skink__answer_cut(skink_request *request, enum skink__request_state state, const char *reason) SKINK__IN_RUNTIME;

/* Why this request can have no answer of its handler's any more; 0 if it can (have more of one, if it is STREAMED).
 * Each dropped answer is counted once. */
int skink__request_refusal(skink_request *request);

/* May this be the value of a header? */
bool skink__header_value_is_valid(const char *value);

/* May an answer of this status have a body that is not empty? */
bool skink__status_may_have_body(int status);

/* skink__answer() with an error of the server's own. */
int skink__answer_error(skink_request *request, int number, const char *lines, bool close) SKINK__IN_RUNTIME;

/* The same in the place of its handler, whose own answer will be dropped. If that has begun already, it is cut. */
void skink__answer_instead(skink_request *request, int number, bool close) SKINK__IN_RUNTIME;

/* Count and log that its handler gave no answer. */
void skink__request_note_missing(skink_request *request);

/* In the request's task, outside of the runtime section: call fn, which gives its answer or begins it, in that of its
 * server. It is noted when that is not to be had. As skink__runtime_call(). */
int skink__answer_hand_over(skink_request *request, int (*fn)(void *arg), void *arg);

/* Note how a request ended: state, status, counters. Not yet for one that was answered before. */
void skink__request_answered(skink_request *request, enum skink__request_state state, int status) SKINK__IN_RUNTIME;

/* Put an answer without a request into the server's scratch memory; *ret_length is its length. NULL without memory. */
const char *skink__answer_compose_refusal(skink_http_server *server, int number, size_t *ret_length);
#endif
