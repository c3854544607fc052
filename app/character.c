/* SPDX-License-Identifier: MIT */
/* app/character.c - UTF-8 as YAML wants it (see character.h). */
#include "app/character.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Bytes that the first one announces; 0 when none may start with it. */
static size_t announced_length(unsigned char first)
{
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first < 0xe0) return 2;
    if (first >= 0xe0 && first < 0xf0) return 3;
    return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

static bool is_allowed(uint32_t code, size_t length)
{
    static const uint32_t least_code[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (code < least_code[length] || code > 0x10ffff) return false; /* written longer than need be, or none at all */
    if (code == '\t' || code == '\n' || code == '\r' || code == 0x85) return true;
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return false; /* control characters */
    if (code >= 0xd800 && code < 0xe000) return false;              /* halves of UTF-16 */
    return code != 0xfffe && code != 0xffff;
}

size_t skink__character_length(const char *text, size_t left)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t length = announced_length(at[0]);
    if (length == 0 || left < length) return 0;
    uint32_t code = length == 1 ? at[0] : at[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (at[i] & 0x3f);
    }
    return is_allowed(code, length) ? length : 0;
}

/* Line ends that are wider than a byte, and the byte order mark, which shows nothing. */
static bool is_invisible(const char *text, size_t length)
{
    static const char *const wide[] = { "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xef\xbb\xbf" };
    if (length == 1) return text[0] == '\t' || text[0] == '\n' || text[0] == '\r';
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (strlen(wide[i]) == length && memcmp(text, wide[i], length) == 0) return true;
    return false;
}

size_t skink__printable_length(const char *text, size_t left)
{
    size_t length = skink__character_length(text, left);
    return length && !is_invisible(text, length) ? length : 0;
}

/* Of what is not printable: is it a character at all? */
static bool is_character(const char *text, size_t left)
{
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] < 0x80 || skink__character_length(text, left)) return true;
    return at[0] == 0xc2 && left > 1 && at[1] >= 0x80 && at[1] < 0xa0; /* the control characters above ASCII */
}

const char *skink__text_fault(const char *text, size_t length)
{
    while (length) {
        size_t character = skink__printable_length(text, length);
        if (character == 0) return is_character(text, length) ? "has a control character in it" : "is not UTF-8";
        text += character;
        length -= character;
    }
    return NULL;
}
