/* SPDX-License-Identifier: MIT */
/* tests/app/load.h - clients that never pause, and note each request that was not answered with 200. */
#ifndef SKINK_TESTS_APP_LOAD_H
#define SKINK_TESTS_APP_LOAD_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { LOAD_CLIENTS_MAX = 8 };

struct load {
    int port;
    const char *target;
    unsigned per_connection; /* requests on one connection, unless the server says Connection: close */
    _Atomic bool over;
    _Atomic uint64_t answered; /* with 200 */
    _Atomic uint64_t failed;
    char failure[256]; /* the first one */
    _Atomic bool failure_noted;
    pthread_t clients[LOAD_CLIENTS_MAX];
    unsigned client_count;
};

/* Start so many clients; the struct's port, target and per_connection are set. */
void load_start(struct load *load, unsigned client_count);

/* End them, each after the request it is at. */
void load_stop(struct load *load);
#endif
