/* SPDX-License-Identifier: MIT */
/*
 * middleware/drain.h - a server on its way down, as its connections and listeners see it.
 *
 * The thread that runs skink_shutdown() asks for one stage after the other; the loop thread takes them, in the runtime
 * section, and counts what is still going on. Nothing is counted before the drain, so that serving pays nothing for it.
 */
#ifndef SKINK_MIDDLEWARE_DRAIN_H
#define SKINK_MIDDLEWARE_DRAIN_H
#include "loop/inbox.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct skink_http_server;

enum skink__drain_stage {
    SKINK__DRAIN_NONE,
    SKINK__DRAIN_ANNOUNCED, /* still serving; connections are counted        */
    SKINK__DRAIN_SHUNNING,  /* new connections are left to other servers on the same port, if it is shared */
    SKINK__DRAIN_REFUSING   /* listeners closed, new requests get 503        */
};

/* What a connection means to a shutdown. */
enum skink__activity {
    SKINK__ACTIVITY_IDLE,  /* nobody is owed anything                                                    */
    SKINK__ACTIVITY_LOOSE, /* worth a moment: its first request may be on its way, or its client reads   */
    SKINK__ACTIVITY_BUSY   /* a request is being read, worked on or answered                             */
};

struct skink__drain {
    _Atomic bool announced; /* any thread */

    struct skink__message message;         /* the inbox's while `posted` */
    _Atomic bool posted;                   /* any thread sets it, the loop thread clears it */
    _Atomic enum skink__drain_stage asked; /* never goes back */

    /* Loop thread writes, any thread reads. */
    _Atomic enum skink__drain_stage reached;
    _Atomic uint64_t busy;
    _Atomic uint64_t loose;

    /* Runtime section. */
    bool counting;
    bool shunning;
    uint64_t refusing_since_ns; /* 0: not yet */
};

/* Has it said that it goes? Any thread. */
bool skink__drain_is_announced(const struct skink_http_server *server);

/* Ask for a stage, or with the one that is reached: for a sign of life. Any thread. */
void skink__drain_ask(struct skink_http_server *server, enum skink__drain_stage stage);

/* A connection's activity changes. Runtime section; only while `counting`. */
void skink__drain_count(struct skink__drain *drain, enum skink__activity before, enum skink__activity after);
#endif
