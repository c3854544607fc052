/* SPDX-License-Identifier: MIT */
/* tests/middleware/stats_fixture.h - a server with routes that get stuck, the stats server beside it,
 * and a client that blocks. */
#ifndef SKINK_TESTS_MIDDLEWARE_STATS_FIXTURE_H
#define SKINK_TESTS_MIDDLEWARE_STATS_FIXTURE_H
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { ANSWER_BYTES = 256 * 1024 };

/* The state of each case: of TEST_MAIN(cases, stats_setup, stats_teardown). */
struct stats_fixture {
    skink_scheduler *scheduler;
    skink_recovery *recovery;
    skink_http_server *http_server;
    skink_stats_server *stats_server;
    int port, stats_port;
    sem_t gate;          /* what stuck requests wait for */
    _Atomic int stuck;   /* requests that stand at the gate */
    char *answer;        /* of the last request */
    uint64_t timeout_ns; /* may be set before stats_open() */
    uint32_t max_strays;
    uint32_t max_connections; /* 0: the default */
    bool wide;                /* with workers, and a second loop */
    skink_workers *workers;
    skink_scheduler *second_scheduler;
    skink_http_server *second_server;
};

int stats_setup(void **state);
int stats_teardown(void **state);

/* All of it, with what the fields say; the stats server alone, beside what is there. */
void stats_open(struct stats_fixture *f);
void stats_open_alone(struct stats_fixture *f);

/* A connection, or -1; send these bytes; read until the other side closes: the status, or -1. */
int stats_dial(int port);
bool stats_say(int fd, const char *request);
int stats_hear(int fd, char *answer);

/* One request on a connection of its own; its status, or -1. */
int stats_ask(int port, const char *method, const char *target, char *answer);

/* Send a request that gets stuck; the connection, for the caller to close. */
int stats_stick(struct stats_fixture *f);

/* A scrape; the page behind the headers. */
const char *stats_scrape(struct stats_fixture *f);

/* The value of one series ("name" or "name{labels}") in a new scrape; -1 if it is not there. */
double stats_value_of(struct stats_fixture *f, const char *series);

/* What /health says now: the status, if the reason is this one; else 0. */
int stats_health_with(struct stats_fixture *f, const char *reason);

/* A task's function: awaits this future, and lets go of its reference. */
void stats_await(void *future);
#endif
