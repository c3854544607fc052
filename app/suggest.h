/* SPDX-License-Identifier: MIT */
/* app/suggest.h - what a misspelt word was probably meant to be. */
#ifndef SKINK_APP_SUGGEST_H
#define SKINK_APP_SUGGEST_H
#include <stddef.h>

/* Keeps the nearest candidate: start with SUGGEST_INIT, offer each, then read `best` (NULL when none is near). */
struct suggestion {
    const char *best;
    unsigned distance;
};
#define SUGGEST_INIT                                                                                                   \
    {                                                                                                                  \
        NULL, 0                                                                                                        \
    }
void skink__suggest_offer(struct suggestion *suggestion, const char *word, const char *candidate);

/* The configuration key that `name` was probably meant to be; NULL when none is near. A key's last part alone,
 * `deadlock_timeout`, finds the key. */
const char *skink__suggest_key(const char *name);
#endif
