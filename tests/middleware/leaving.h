/* SPDX-License-Identifier: MIT */
/* tests/middleware/leaving.h - a route that waits, and tells what became of it when its client
 * left or the server went. */
#ifndef SKINK_TESTS_MIDDLEWARE_LEAVING_H
#define SKINK_TESTS_MIDDLEWARE_LEAVING_H
#include "tests/middleware/fixture.h"
#include <stdatomic.h>

struct leaving {
    _Atomic int started;
    _Atomic int sleep_result; /* 1: not known yet */
    _Atomic int token_status;
    _Atomic int respond_result;
    skink_token *token; /* published by started; the test holds the reference */
};

/* Its handler; arg is a struct leaving. */
void wait_for_leaving(skink_request *request, void *arg);

/* A server with "GET /wait", which sleeps for 20 s, and the common routes; started. */
void leaving_fixture(struct fixture *fixture, struct leaving *leaving);
#endif
