/* SPDX-License-Identifier: MIT */
/* middleware/pairs.h - names and values taken out of a query string, a form or a Cookie header. */
#ifndef SKINK_MIDDLEWARE_PAIRS_H
#define SKINK_MIDDLEWARE_PAIRS_H
#include <stdbool.h>
#include <stddef.h>

/* name NUL value NUL name NUL value NUL ... */
struct skink__pairs {
    char *bytes;
    size_t length;
    bool read; /* there is nothing to be read again */
};

/* The byte that %XX at text stands for; -1: no such thing, or a NUL, which would end a string early. The text must go
 * on for two bytes, or end in a NUL before. */
int skink__decode_percent(const char *text);

/* Add what "a=b&c=d" says, application/x-www-form-urlencoded: '+' is a blank, %XX a byte. -EINVAL: bad encoding, or a
 * NUL; -ENOMEM. Nothing was added then. */
int skink__pairs_add_form(struct skink__pairs *pairs, const char *text, size_t length);

/* Add what "a=b; c=d" of a Cookie header says (RFC 6265, 5.4). Quotes around a value are taken off; what has no name is
 * left out. -ENOMEM. */
int skink__pairs_add_cookies(struct skink__pairs *pairs, const char *text);

/* First value of that name; NULL without one. */
const char *skink__pairs_find(const struct skink__pairs *pairs, const char *name);

/* The i-th, from 0; false past the last. */
bool skink__pairs_at(const struct skink__pairs *pairs, size_t i, const char **ret_name, const char **ret_value);

void skink__pairs_fini(struct skink__pairs *pairs);
#endif
