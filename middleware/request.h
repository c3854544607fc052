/* SPDX-License-Identifier: MIT */
/*
 * middleware/request.h - one request, from its first byte to the end of its task.
 *
 * Two hold it: the connection, until the answer is out or the client is gone, and the task, until it ends. What both
 * could touch is touched in the runtime section only, where at most one of them is; the rest is written before
 * the task starts and only read afterwards, or belongs to the task alone.
 */
#ifndef SKINK_MIDDLEWARE_REQUEST_H
#define SKINK_MIDDLEWARE_REQUEST_H
#include "loop/runtime.h"
#include "middleware/client.h"
#include "middleware/concurrency_limit.h"
#include "middleware/deadline_list.h"
#include "middleware/http_parser.h"
#include "middleware/http_server.h"
#include "middleware/pairs.h"
#include "middleware/request_id.h"
#include "skink/recovery.h"
#include "skink/request.h"

enum skink__request_state {
    SKINK__REQUEST_OPEN,     /* not answered                                              */
    SKINK__REQUEST_STREAMED, /* the head of its answer is out, the body is being written  */
    SKINK__REQUEST_ANSWERED, /* the answer is out                                         */
    SKINK__REQUEST_GONE,     /* the client is: what the task answers is dropped           */
    SKINK__REQUEST_TOLD      /* the client was told that it is stuck: dropped and counted */
};

/* Limits of concurrency, in the order in which a request passes them. */
enum { SKINK__STAGE_ROUTE, SKINK__STAGE_SERVER, SKINK__STAGES };

struct skink__on_worker; /* worker_middleware.c */

struct skink_request {
    /* Written before the task starts, only read by it. */
    skink_http_server *server; /* a reference */
    uint64_t index;
    uint64_t started_ns;
    _Atomic uint64_t queue_ns;  /* for how long it waited to be let in, and for a worker, which adds that; relaxed */
    struct skink__route *route; /* NULL: none matched */
    uint64_t allowed;           /* the methods of the path, when none matched */
    uint32_t path;              /* offsets into message.bytes */
    uint32_t query;
    const char *id; /* made_id, or in message.bytes */
    unsigned param_count;

    /* Runtime section. */
    enum skink__request_state state;
    _Atomic uint32_t refs;                /* any: a stray whose scheduler has stopped lets go on its own thread */
    bool missing_counted;                 /* that its handler gave no answer has been counted */
    bool drop_counted;                    /* an answer that was dropped has been counted */
    struct skink__connection *connection; /* NULL: nobody waits for the answer */
    struct skink__on_worker *on_worker;   /* until its loop knows of its job's end; NULL on the loop */
    skink_task *task;                     /* borrowed, from its start until it ends or is given up; NULL else */
    bool in_flight;                       /* counted as such */
    int error_number;                     /* the server answered with it, or cut an answer for it; 0: neither */
    uint64_t sent_bytes;                  /* of its answer, handed over so far */
    struct skink__task_watch watch;       /* how long it runs; that it suspends, while it streams */
    bool on_trial;                        /* admitted to find out whether its route is well again */
    bool stuck;                           /* was declared stuck once; counted in the server's `stuck` and the route's */
    struct skink__deadline late;
    bool late_waits;                /* its late window is over, but for a slice that its task is owed */
    struct skink__deadline expiry;  /* at_ns is there before the task starts, and stays; 0: it has all time */
    struct skink__wait_slot writer; /* its task waits for the client to take what was written */
    struct skink__wait_slot reader; /* its task waits for more of the body */
    uint64_t stream_left;           /* STREAMED: what may still be written; UINT64_MAX: as much as there is */
    size_t stream_turn;             /* written since the task last let others run */
    int body_error;                 /* why there is no more of a streamed body; 0: nothing has happened to it */
    bool stream_chunked;
    bool stream_no_body;           /* it answers a HEAD */
    bool stream_close;             /* its end is the connection's */
    struct skink__waiting waiting; /* for a permit */
    unsigned stages_passed;        /* it holds the permits of these */

    /* Loop thread writes in the runtime section, the task reads; relaxed, it is a number on its own. */
    _Atomic int status;

    /* The task's alone. */
    bool answer_refused;             /* the loop did not run as it answered; looked at once the task has ended */
    struct skink__pairs query_pairs; /* each is decoded at the first question */
    struct skink__pairs form_pairs;
    struct skink__pairs cookies;

    char allow_text[SKINK__ALLOW_BYTES]; /* skink_request_allowed()'s */

    /* The task fills it in the runtime section, its answer reads it there. */
    char *reply_headers; /* whole lines */
    size_t reply_headers_length;
    size_t reply_headers_capacity;
    bool has_server_header; /* among them */

    struct skink_request *next_free; /* skink_http_server.free_requests */

    /* From here on nothing is cleared for a new request. */
    const char *params[SKINK__MAX_PARAMS]; /* param_count of them; written before the task starts */
    char made_id[SKINK__REQUEST_ID_MADE_BYTES];
    char client[SKINK__CLIENT_BYTES];       /* "" until its head is complete */
    char incident[SKINK_INCIDENT_ID_BYTES]; /* "" until it was declared stuck; runtime section */
    struct skink__http_message message;
};

/* With one reference; NULL without memory. Runtime section, as all of these. */
skink_request *skink__request_create(skink_http_server *server);
void skink__request_ref(skink_request *request);
void skink__request_unref_lost(skink_request *request); /* on a stray whose scheduler has stopped */
void skink__request_unref(skink_request *request);

/* The head is complete, or (then its client is the peer itself) never will be: find its id and its client. The peer is
 * who the connection belongs to. */
void skink__request_identify(skink_request *request, const struct skink__peer *peer);

/* The head is complete: the same, and take its target apart and find its route. 0 or an error's number. */
int skink__request_prepare(skink_request *request, const struct skink__peer *peer);

/* "OPTIONS *": about the server, not about a path. Any time before its target has been taken apart. */
bool skink__request_is_about_server(const skink_request *request);

/* The client has gone for good (gone), or will send no more: tell the task. */
void skink__request_client_left(skink_request *request, bool gone) SKINK__IN_RUNTIME;
#endif
