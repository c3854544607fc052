/* SPDX-License-Identifier: MIT */
/*
 * app/problems.h - everything that is wrong with a configuration, collected so that one run tells all of it.
 *
 * Owns     the texts.
 * Threads  one.
 */
#ifndef SKINK_APP_PROBLEMS_H
#define SKINK_APP_PROBLEMS_H
#include "app/schema.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Where a value, or a mistake, stands. Also the order of precedence: a later one wins. */
enum origin_kind { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENVIRONMENT, ORIGIN_SET };

struct origin {
    enum origin_kind kind;
    const char *name; /* the file, or the variable; borrowed, and in a problem no longer valid: it is in the text */
    unsigned line;    /* in the file, from 1; 0 when it is about the whole file  */
    unsigned column;
};

/* "skinkd.yaml:3:5", "environment SKINK_HTTP_LISTEN", "--set", "default". At most size - 1 bytes. */
void skink__origin_format(const struct origin *origin, char *text, size_t size);

#define PROBLEMS_MAX 1000 /* past it they are only counted */

struct problem {
    struct origin origin;
    size_t number; /* in the order of discovery */
    bool warning;
    char *text; /* whole, with the place in front */
};

struct problems {
    struct problem *items;
    size_t count;
    size_t capacity;
    size_t dropped;
    size_t errors; /* of all, how many are no mere warnings */
};

void skink__problem_add(struct problems *problems, const struct origin *origin, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for something that does not keep the program from starting. */
void skink__problem_warn(struct problems *problems, const struct origin *origin, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put the items in the order of the file, then of the environment and of the command line. */
void skink__problems_sort(struct problems *problems);

/* Write all in that order, a line each. May block: not while the server runs. */
void skink__problems_print(struct problems *problems, FILE *stream);

void skink__problems_fini(struct problems *problems);

/* Make a user's bytes fit for a message: quoted, cut, nothing unprintable. Returns `quoted`. */
#define QUOTED_BYTES 80
const char *skink__quote(const char *text, size_t length, char quoted[QUOTED_BYTES]);
#endif
