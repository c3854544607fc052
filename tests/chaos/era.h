/* SPDX-License-Identifier: MIT */
/* tests/chaos/era.h - what the threads of one era share. */
#ifndef SKINK_TESTS_CHAOS_ERA_H
#define SKINK_TESTS_CHAOS_ERA_H
#include "skink/skink.h"
#include <stdatomic.h>
#include <stdbool.h>

struct era {
    skink_scheduler *scheduler;
    uint64_t timeout_ns; /* of the watchdog */
    int port;            /* of the HTTP server; 0 without one */
    _Atomic bool over;   /* no more jobs and requests */
    _Atomic int inside;  /* tasks between section_enter and section_leave */
    _Atomic int faults;  /* of skink's, not those that were injected */
};

void era_fault(struct era *era, const char *what);

/* Clients of the HTTP server until the era is over; a thread's main. */
struct client {
    struct era *era;
    uint64_t answered, broken, left;
};
void *client_main(void *client);
int client_routes(skink_http_server *server, struct era *era);
#endif
