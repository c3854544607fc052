/* SPDX-License-Identifier: MIT */
/*
 * app/config.h - the configuration of one process: every value with where it came from.
 *
 * Precedence: default, file, environment, --set; a later one wins, and each is checked even if another wins.
 * Owns     its texts. The file's name and the --set arguments are the caller's and must live for longer.
 * Threads  written by one thread before the server starts, read by any afterwards.
 */
#ifndef SKINK_APP_CONFIG_H
#define SKINK_APP_CONFIG_H
#include "app/problems.h"
#include "app/schema.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct config_value {
    uint64_t number; /* nanoseconds, bytes, a count, a word's position; 0 for texts, and what a list's element lacks */
    char *text;      /* of everything but numbers, else NULL */
    struct origin origin;
};

struct config_route {
    struct config_value values[CONFIG_ROUTE_ID_COUNT];
};

struct config {
    struct config_value values[CONFIG_ID_COUNT];
    struct config_route *routes;
    size_t route_count;
    /* Those that it had at the start, once a reload has replaced them: what cannot change is as they say. */
    bool routes_replaced;
    struct config_route *first_routes;
    size_t first_route_count;
};

/* Where a configuration comes from, besides the defaults. All borrowed. */
struct config_sources {
    const char *file;               /* NULL: none                                     */
    const char *const *environment; /* "NAME=value", ended by NULL; NULL: none        */
    const char *const *settings;    /* the arguments of --set, "key=value"; may be NULL */
    size_t setting_count;
    bool again; /* they have been read before: from a pipe nothing more is to be expected */
};

/* Read all sources. Complete in any case; if `problems` has errors afterwards, it is not to be used. */
void skink__config_load(struct config *config, const struct config_sources *sources, struct problems *problems);

void skink__config_fini(struct config *config);

/* Write it as YAML that can be read again, each value with its origin in a comment. */
void skink__config_print(const struct config *config, FILE *stream);
#endif
