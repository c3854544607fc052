/* SPDX-License-Identifier: MIT */
/* recovery/text.c - see text.h. */
#include "recovery/text.h"
#include "loop/memory.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool make_room(struct skink__text *text, size_t more)
{
    if (text->failed) return false;
    if (text->length + more < text->capacity) return true;
    size_t capacity = text->capacity ? text->capacity : 4096;
    while (capacity <= text->length + more)
        capacity *= 2;
    char *bytes = skink__realloc(text->bytes, capacity);
    text->failed = bytes == NULL;
    if (!bytes) return false;
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

static void append(struct skink__text *text, const char *bytes, size_t length)
{
    if (!make_room(text, length)) return;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void skink__text_add(struct skink__text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    if (length >= 0 && make_room(text, (size_t)length + 1)) {
        vsnprintf(text->bytes + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
    va_end(arguments);
}

/* How many bytes the character takes that begins here; 0: it is none (Unicode 15, table 3-7). */
static size_t utf8_length(const unsigned char *s)
{
    size_t length = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : 4;
    if (length == 4 && (s[0] < 0xf0 || s[0] > 0xf4)) return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)) return 0;
    if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
    return length;
}

void skink__text_add_json(struct skink__text *text, const char *string)
{
    if (!string) {
        append(text, "null", 4);
        return;
    }
    append(text, "\"", 1);
    for (const unsigned char *s = (const unsigned char *)string; *s;) {
        size_t length = utf8_length(s);
        if (length == 0) {
            append(text, "\xEF\xBF\xBD", 3);
            length = 1;
        } else if (*s == '"' || *s == '\\') {
            skink__text_add(text, "\\%c", *s);
        } else if (*s < ' ' || *s == 0x7f) {
            skink__text_add(text, "\\u%04x", *s);
        } else {
            append(text, (const char *)s, length);
        }
        s += length;
    }
    append(text, "\"", 1);
}

void skink__text_add_line(struct skink__text *text, const char *string)
{
    for (; *string; string++)
        append(text, (unsigned char)*string < ' ' || *string == 0x7f ? "?" : string, 1);
}
