/* SPDX-License-Identifier: MIT */
/*
 * skink/access.h - one record for each request, for a log of who asked what and what became of it.
 *
 * Threads  see skink_access_fn.
 * More     docs/operations.md, "The logs".
 */
#ifndef SKINK_ACCESS_H
#define SKINK_ACCESS_H
#include "skink/annot.h"
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* What became of a request. */
typedef enum skink_outcome {
    SKINK_OUTCOME_OK = 0,          /* its handler, or a middleware, answered, whatever the status      */
    SKINK_OUTCOME_CLIENT_GONE = 1, /* its client had gone before it was answered whole                 */
    SKINK_OUTCOME_DEADLOCK = 2,    /* it got stuck, and its client was told so, if only by a cut        */
    SKINK_OUTCOME_LATE_ANSWER = 3, /* it got stuck, and answered itself in the late window all the same */
    SKINK_OUTCOME_REJECTED = 4,    /* it was answered with an error before or instead of its handler   */
    SKINK_OUTCOME_EXPIRED = 5      /* its time was over, and its client was told so, if only by a cut   */
} skink_outcome;

/* "ok", "client_gone", "deadlock", "late_answer", "rejected", "expired". Static. */
SKINK_API const char *skink_outcome_text(skink_outcome outcome) SKINK_ANY_THREAD;

/* All strings are valid during the call only. What is not known of a request that could not be read is "" or 0; its id
 * is that of its answer, and its client the other end of the connection. */
typedef struct skink_access {
    size_t size;        /* of this struct as the library knows it; fields past it are not there */
    uint64_t index;     /* skink_request_index() */
    const char *id;     /* skink_request_id() */
    const char *client; /* skink_request_client() */
    const char *method;
    const char *path;  /* decoded, and so with any byte but NUL in it; without the query; "*" of "OPTIONS *" */
    const char *route; /* the pattern; "" without one */
    int status;        /* as answered; 499 when the client had gone */
    skink_outcome outcome;
    uint64_t bytes;    /* of the answer, with its head, as handed over */
    uint64_t queue_ns; /* in the queues of concurrency, and until a worker took it */
    uint64_t run_ns;   /* in its handler, without waits, up to the answer */
    uint64_t wall_ns;  /* from its first byte to its answer */
} skink_access;

/* Called once for each request, when it has been answered or its client has gone, in the runtime section of the
 * server's scheduler: it must not block, and of skink it may call nothing. */
typedef void (*skink_access_fn)(const skink_access *access, void *arg);

#ifdef __cplusplus
}
#endif
#endif
