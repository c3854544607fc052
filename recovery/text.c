/* SPDX-License-Identifier: MIT */
/* recovery/text.c - see text.h. */
#include "recovery/text.h"
#include "loop/memory.h"
#include "loop/utf8.h"
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

void skink__text_add_json(struct skink__text *text, const char *string)
{
    if (!string) {
        append(text, "null", 4);
        return;
    }
    append(text, "\"", 1);
    for (const char *s = string; *s;) {
        size_t length = skink__utf8_length(s);
        if (length == 0) {
            append(text, "\xEF\xBF\xBD", 3);
            length = 1;
        } else if (*s == '"' || *s == '\\') {
            skink__text_add(text, "\\%c", *s);
        } else if ((unsigned char)*s < ' ' || *s == 0x7f) {
            skink__text_add(text, "\\u%04x", (unsigned char)*s);
        } else {
            append(text, s, length);
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
