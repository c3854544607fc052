/* SPDX-License-Identifier: MIT */
/* middleware/characters.c - the table of characters.h. */
#include "middleware/characters.h"

#define BOTH (SKINK__TOKEN_CHAR | SKINK__HOST_CHAR)
#define RANGE(first, last) [first... last] = BOTH

/* Ranges in initialisers are an extension that gcc and clang share. */
const uint8_t skink__characters[256] = {
    RANGE('0', '9'),
    RANGE('A', 'Z'),
    RANGE('a', 'z'),
    ['!'] = BOTH,
    ['$'] = BOTH,
    ['%'] = BOTH,
    ['&'] = BOTH,
    ['\''] = BOTH,
    ['*'] = BOTH,
    ['+'] = BOTH,
    ['-'] = BOTH,
    ['.'] = BOTH,
    ['_'] = BOTH,
    ['~'] = BOTH,
    ['#'] = SKINK__TOKEN_CHAR,
    ['^'] = SKINK__TOKEN_CHAR,
    ['`'] = SKINK__TOKEN_CHAR,
    ['|'] = SKINK__TOKEN_CHAR,
    ['('] = SKINK__HOST_CHAR,
    [')'] = SKINK__HOST_CHAR,
    [';'] = SKINK__HOST_CHAR,
    ['='] = SKINK__HOST_CHAR,
};
