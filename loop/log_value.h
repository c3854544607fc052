/* SPDX-License-Identifier: MIT */
/*
 * loop/log_value.h - a value as it may stand in a line of logfmt, whatever a host, an operator or a client
 * has put into it.
 *
 * For all who write such lines, skinkd among them, which sees nothing else of the library's inside: therefore inline.
 * It takes no lock and allocates nothing, for the line of a crash is made with it, too.
 */
#ifndef SKINK_LOOP_LOG_VALUE_H
#define SKINK_LOOP_LOG_VALUE_H
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum { SKINK__LOG_VALUE_BYTES = 384 /* two of them, and what belongs to them, fit into a line */ };

/* In quotes. Both are valid to the end of the block that they stand in. */
#define SKINK__QUOTED(value) skink__log_quote((char[SKINK__LOG_VALUE_BYTES]){ 0 }, (value))

/* The same, but as it is if it needs no quotes. */
#define SKINK__LOG_WORD(value) skink__log_word((char[SKINK__LOG_VALUE_BYTES]){ 0 }, (value))

/* Quotes and backslashes are escaped, control characters become '?', and what is too long is cut and ends in "...". */
static inline const char *skink__log_quote(char text[SKINK__LOG_VALUE_BYTES], const char *value)
{
    static const char end[] = "\"", cut_end[] = "...\"";
    size_t used = 0;
    text[used++] = '"';
    for (; *value && used + 2 + sizeof cut_end <= SKINK__LOG_VALUE_BYTES; value++) {
        unsigned char c = (unsigned char)*value;
        if (c == '"' || c == '\\') text[used++] = '\\';
        text[used++] = c < ' ' || c == 0x7f ? '?' : *value;
    }
    if (*value)
        memcpy(text + used, cut_end, sizeof cut_end);
    else
        memcpy(text + used, end, sizeof end);
    return text;
}

static inline bool skink__log_is_word(const char *value)
{
    const char *c = value;
    while ((unsigned char)*c > ' ' && (unsigned char)*c < 0x7f && *c != '"' && *c != '\\' && *c != '=')
        c++;
    return *value && *c == '\0';
}

static inline const char *skink__log_word(char text[SKINK__LOG_VALUE_BYTES], const char *value)
{
    bool fits = strnlen(value, SKINK__LOG_VALUE_BYTES) < SKINK__LOG_VALUE_BYTES;
    return fits && skink__log_is_word(value) ? value : skink__log_quote(text, value);
}
#endif
