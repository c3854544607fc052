/* SPDX-License-Identifier: MIT */
/* app/log_text.c - putting values where nothing in them can do harm (see log_text.h). */
#include "app/log_text.h"
#include "app/character.h"
#include "loop/civil_date.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TAIL_BYTES = 8 }; /* kept free for the end of the line */

static void put(struct log_text *text, const char *bytes, size_t length)
{
    size_t room = (size_t)(text->end - text->at);
    if (length > room) length = room;
    memcpy(text->at, bytes, length);
    text->at += length;
}

static void put_name(struct log_text *text, const char *name, size_t length)
{
    bool first = text->at == text->start + text->json;
    if (text->json) {
        put(text, first ? "\"" : ",\"", first ? 1 : 2);
        put(text, name, length);
        put(text, "\":", 2);
    } else {
        if (!first) put(text, " ", 1);
        put(text, name, length);
        put(text, "=", 1);
    }
}

static char *put_digits(char *at, unsigned number, unsigned digits)
{
    for (unsigned i = digits; i-- > 0; number /= 10)
        at[i] = (char)('0' + number % 10);
    return at + digits;
}

/* "2026-11-22T03:13:54.042Z" */
static void put_now(struct log_text *text)
{
    struct timespec now;
    char stamp[32], *at = stamp;
    clock_gettime(CLOCK_REALTIME, &now);
    struct skink__civil_date date = skink__civil_date_of((uint64_t)now.tv_sec / SKINK__SECONDS_A_DAY);
    unsigned seconds = (unsigned)((uint64_t)now.tv_sec % SKINK__SECONDS_A_DAY);
    at = put_digits(at, date.year, 4), *at++ = '-';
    at = put_digits(at, date.month, 2), *at++ = '-';
    at = put_digits(at, date.day, 2), *at++ = 'T';
    at = put_digits(at, seconds / 3600, 2), *at++ = ':';
    at = put_digits(at, seconds / 60 % 60, 2), *at++ = ':';
    at = put_digits(at, seconds % 60, 2), *at++ = '.';
    at = put_digits(at, (unsigned)(now.tv_nsec / 1000000), 3), *at++ = 'Z';
    put_name(text, "time", 4);
    if (text->json) put(text, "\"", 1);
    put(text, stamp, (size_t)(at - stamp));
    if (text->json) put(text, "\"", 1);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is kept in a structure, and written there */
void skink__text_begin(struct log_text *text, char *bytes, size_t size, bool json)
{
    *text = (struct log_text){ .start = bytes, .at = bytes, .end = bytes + size - TAIL_BYTES, .json = json };
    if (json) *text->at++ = '{';
    put_now(text);
}

/* One character of a value, escaped if need be, into `to`; returns how many bytes of the value that was. */
static size_t escape(const struct log_text *text, const char *value, size_t left, char to[16])
{
    unsigned char c = (unsigned char)*value;
    if (c == '"' || c == '\\') {
        snprintf(to, 16, "\\%c", c);
        return 1;
    }
    if (c >= ' ' && c < 0x7f) {
        to[0] = (char)c, to[1] = '\0';
        return 1;
    }
    size_t length = c >= 0x80 ? skink__character_length(value, left) : 0;
    if (length > 0 && !(c == 0xc2 && (unsigned char)value[1] < 0xa0)) { /* but for the C1 controls */
        memcpy(to, value, length);
        to[length] = '\0';
        return length;
    }
    if (c >= 0x80 && text->json)
        snprintf(to, 16, "\\ufffd");
    else if (c == '\n' || c == '\r' || c == '\t')
        snprintf(to, 16, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else
        snprintf(to, 16, text->json ? "\\u%04x" : "\\x%02x", c);
    return 1;
}

/* May it stand in logfmt without quotes? */
static bool is_plain(const char *value, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (value[i] <= ' ' || value[i] >= 0x7f || value[i] == '"' || value[i] == '=' || value[i] == '\\') return false;
    return length > 0;
}

static void put_value(struct log_text *text, const char *value, size_t length, size_t most)
{
    bool quoted = text->json || !is_plain(value, length);
    size_t used = 0;
    if (quoted) put(text, "\"", 1);
    for (size_t i = 0; i < length;) {
        char one[16];
        size_t took = escape(text, value + i, length - i, one), more = strlen(one);
        if (used + more + 3 > most || (size_t)(text->end - text->at) < more + 4) {
            put(text, "...", 3);
            break;
        }
        put(text, one, more);
        used += more;
        i += took;
    }
    if (quoted) put(text, "\"", 1);
}

void skink__text_string(struct log_text *text, const char *name, const char *value, size_t length, size_t most)
{
    if ((size_t)(text->end - text->at) < strlen(name) + 16) return; /* rather no pair than half of one */
    put_name(text, name, strlen(name));
    put_value(text, value, length, most);
}

void skink__text_number(struct log_text *text, const char *name, uint64_t number)
{
    char digits[20];
    unsigned n = sizeof digits;
    if ((size_t)(text->end - text->at) < strlen(name) + 28) return;
    do
        digits[--n] = (char)('0' + number % 10);
    while (number /= 10);
    put_name(text, name, strlen(name));
    put(text, digits + n, sizeof digits - n);
}

void skink__text_seconds(struct log_text *text, const char *name, uint64_t duration_ns)
{
    char fraction[8] = ".";
    if ((size_t)(text->end - text->at) < strlen(name) + 36) return;
    skink__text_number(text, name, duration_ns / 1000000000);
    put_digits(fraction + 1, (unsigned)(duration_ns / 1000 % 1000000), 6);
    put(text, fraction, 7);
}

/* The value at `from`, up to a blank or its closing quote, without quotes and escapes; where it ends. */
static const char *unquote(const char *from, char *value, size_t size, size_t *ret_length)
{
    bool quoted = *from == '"';
    size_t length = 0;
    from += quoted;
    while (*from && (quoted ? *from != '"' : *from != ' ')) {
        if (quoted && *from == '\\' && from[1]) from++;
        if (length < size) value[length++] = *from;
        from++;
    }
    *ret_length = length;
    return from + (quoted && *from == '"');
}

void skink__text_pairs(struct log_text *text, const char *line)
{
    if (!text->json) { /* it is that already; only what would end the line must not be in it */
        put(text, " ", 1);
        for (; *line; line++) {
            unsigned char c = (unsigned char)*line;
            put(text, c < ' ' || c == 0x7f ? "?" : line, 1);
        }
        return;
    }
    if (line[strcspn(line, "= ")] != '=') { /* not pairs but a sentence */
        skink__text_string(text, "message", line, strlen(line), 1000);
        return;
    }
    while (*line) {
        char value[1024], name[64];
        line += strspn(line, " ");
        size_t length, name_length = strcspn(line, "= ");
        if (name_length == 0 && *line != '=') break;
        snprintf(name, sizeof name, "%.*s", (int)name_length, line);
        line += name_length;
        line = *line == '=' ? unquote(line + 1, value, sizeof value, &length) : (length = 0, line);
        skink__text_string(text, name, value, length, 600);
    }
}

size_t skink__text_end(struct log_text *text)
{
    text->end += TAIL_BYTES;
    if (text->json) put(text, "}", 1);
    put(text, "\n", 1);
    return (size_t)(text->at - text->start);
}
