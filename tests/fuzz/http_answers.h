/* SPDX-License-Identifier: MIT */
/* tests/fuzz/http_answers.h - what a client got from one connection:
 * is it a row of HTTP answers, the last one perhaps cut? */
#ifndef SKINK_TESTS_FUZZ_HTTP_ANSWERS_H
#define SKINK_TESTS_FUZZ_HTTP_ANSWERS_H
#include <stdbool.h>
#include <stddef.h>

struct answers {
    char *bytes;
    size_t length, capacity;
    bool too_many; /* more than is kept: what is there is not judged */
};

void answers_add(struct answers *answers, const char *bytes, size_t length);

/* Fails when they are not. Says how many final answers are complete. */
unsigned answers_check(const struct answers *answers);

void answers_fini(struct answers *answers);
#endif
