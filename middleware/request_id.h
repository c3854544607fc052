/* SPDX-License-Identifier: MIT */
/*
 * middleware/request_id.h - the name under which a request is found again: in its answer, in logs, in error bodies.
 *
 * A client's own X-Request-Id is taken over when it is harmless wherever it is written; else one is made of the
 * server's random prefix and the request's index.
 */
#ifndef SKINK_MIDDLEWARE_REQUEST_ID_H
#define SKINK_MIDDLEWARE_REQUEST_ID_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SKINK__REQUEST_ID_MAX = 128,              /* of a client's own */
    SKINK__REQUEST_ID_PREFIX_BYTES = 9,       /* "5f3a9c2e-" */
    SKINK__REQUEST_ID_MADE_BYTES = 9 + 20 + 1 /* with any index, and a NUL */
};

/* A server's prefix: eight random digits and a dash; not NUL-terminated. */
void skink__request_id_prefix(char prefix[SKINK__REQUEST_ID_PREFIX_BYTES]);

/* Make one; returns its length. */
size_t skink__request_id_make(char id[SKINK__REQUEST_ID_MADE_BYTES], const char prefix[SKINK__REQUEST_ID_PREFIX_BYTES],
                              uint64_t index);

/* May a client's own be taken over? Letters, digits and -_.:+/=@, at least one and at most SKINK__REQUEST_ID_MAX. */
bool skink__request_id_is_valid(const char *id);
#endif
