/* SPDX-License-Identifier: MIT */
/* middleware/characters.h - what bytes mean in HTTP, by table: these are asked for every byte of every head. */
#ifndef SKINK_MIDDLEWARE_CHARACTERS_H
#define SKINK_MIDDLEWARE_CHARACTERS_H
#include <stdbool.h>
#include <stdint.h>

enum {
    SKINK__TOKEN_CHAR = 1, /* RFC 9110, 5.6.2: methods, header names */
    SKINK__HOST_CHAR = 2   /* RFC 3986, 3.2.2: names and addresses, without brackets and colons */
};

extern const uint8_t skink__characters[256];

static inline bool skink__is_token_char(char c)
{
    return skink__characters[(unsigned char)c] & SKINK__TOKEN_CHAR;
}

static inline bool skink__is_host_char(char c)
{
    return skink__characters[(unsigned char)c] & SKINK__HOST_CHAR;
}

/* The value of a hexadecimal digit; -1 for anything else. */
static inline int skink__hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}
#endif
