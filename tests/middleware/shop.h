/* SPDX-License-Identifier: MIT */
/* tests/middleware/shop.h - a server with workers, and routes whose handlers block, suspend,
 * and keep count of who is inside. */
#ifndef SKINK_TESTS_MIDDLEWARE_SHOP_H
#define SKINK_TESTS_MIDDLEWARE_SHOP_H
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define H "Host: a\r\n"
#define WAIT_MS 6000

enum { MANY = 32 };

struct shop {
    struct fixture fixture;
    skink_workers *workers;
    skink_recovery *recovery;
    atomic_int entered, inside, most, left; /* of /block and /step */
    atomic_int release;                     /* how many may leave /block; -1: all of them */
    atomic_int order[MANY];                 /* "n" of the i-th one that was started */
    atomic_int result;                      /* of the last await, or the last answer */
    atomic_int failures;                    /* of checks inside handlers */
};

#define SHOP_CHECK(condition)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            print_error("%s:%d: %s\n", __FILE__, __LINE__, #condition);                                                \
            atomic_fetch_add(&shop->failures, 1);                                                                      \
        }                                                                                                              \
    } while (0)

struct shop_setup {
    uint32_t threads;
    skink_execution execution;
    uint64_t timeout_ns; /* of the recovery and of the workers; 0: not watched */
    uint32_t max_strays;
    uint32_t max_requests, max_queue;
    skink_access_fn access; /* is given the shop */
};

/*
 * The common routes, of which /hello runs on the loop, and:
 *     GET /block   blocks its thread until shop.release lets it go
 *     GET /step    blocks its thread for two milliseconds
 *     GET /long    suspends, for as long as it may
 */
void shop_create(struct shop *shop, const struct shop_setup *setup);
void shop_start(struct shop *shop);
void shop_destroy(struct shop *shop); /* all that block are let go */

/* The handler of /step, for other routes. */
void shop_step(skink_request *request, void *shop);

/* A middleware that notes a 404 in shop.result on the way out. */
void shop_note_way_out(skink_request *request, skink_next *next, void *shop);

skink_workers_stats shop_stats(const struct shop *shop);
skink_recovery_stats shop_recovery_stats(const struct shop *shop);
uint64_t shop_permits(const struct shop *shop); /* in use, of all */

/* Send "GET path?n=N" on a connection of its own. */
int shop_ask(const struct shop *shop, const char *path, int n);

/* Read an answer: this status, the number in its body, with an incident's id or without. */
void shop_expect_error(int fd, int status, const char *number, bool has_incident);

/* "GET /hello" on a connection of its own is answered. */
void shop_hello(const struct shop *shop);
#endif
