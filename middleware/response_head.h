/* SPDX-License-Identifier: MIT */
/* middleware/response_head.h - the head of an answer: its status line and its headers, as bytes. */
#ifndef SKINK_MIDDLEWARE_RESPONSE_HEAD_H
#define SKINK_MIDDLEWARE_RESPONSE_HEAD_H
#include "middleware/response.h"

/* Everything that an answer's head is made of. */
struct skink__response_head {
    const struct skink__answer *answer;
    const char *id;            /* of the request; NULL without one */
    const char *reply_headers; /* of the handler; not NUL-terminated */
    size_t reply_headers_length;
    bool own_server_header;
    const char *connection_line;
    size_t content_type_length; /* filled in by skink__response_head_room() */
};

/* Room for the head and `more` bytes behind it, in the server's scratch memory; NULL without memory. */
char *skink__response_head_room(skink_http_server *server, struct skink__response_head *head, size_t more);

/* The head into that room; returns its end. */
char *skink__response_head_put(skink_http_server *server, char *at, const struct skink__response_head *head);

/* Does an answer of this status have a body, if only an empty one? */
bool skink__status_has_body(int status);
#endif
