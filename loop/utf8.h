/* SPDX-License-Identifier: MIT */
/* loop/utf8.h - where the characters of a text are, for those who write it where only UTF-8 may stand. */
#ifndef SKINK_LOOP_UTF8_H
#define SKINK_LOOP_UTF8_H
#include <stddef.h>

/* How many bytes the well-formed character takes that the text begins with (Unicode 15, table 3-7: no overlong forms,
 * no surrogates); 0: there is none. The NUL that ends a text continues no character, so nothing behind it is read. */
static inline size_t skink__utf8_length(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    unsigned char lead = at[0], lowest = 0x80, highest = 0xbf;
    if (lead < 0x80) return 1;
    if (lead < 0xc2 || lead > 0xf4) return 0;
    size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (lead == 0xe0) lowest = 0xa0;  /* overlong */
    if (lead == 0xed) highest = 0x9f; /* surrogates */
    if (lead == 0xf0) lowest = 0x90;  /* overlong */
    if (lead == 0xf4) highest = 0x8f; /* beyond U+10FFFF */
    if (at[1] < lowest || at[1] > highest) return 0;
    for (size_t i = 2; i < length; i++)
        if (at[i] < 0x80 || at[i] > 0xbf) return 0;
    return length;
}
#endif
