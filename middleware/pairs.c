/* SPDX-License-Identifier: MIT */
/* middleware/pairs.c - "a=b" with something in between, read into strings (pairs.h). */
#include "middleware/pairs.h"
#include "loop/memory.h"
#include "middleware/characters.h"
#include <errno.h>
#include <string.h>

int skink__decode_percent(const char *text)
{
    int high = skink__hex_value(text[1]);
    int low = high < 0 ? -1 : skink__hex_value(text[2]);
    return low < 0 || (high | low) == 0 ? -1 : high << 4 | low;
}

/* Room for `more` bytes behind what there is; NULL without memory. */
static char *grow(struct skink__pairs *pairs, size_t more)
{
    char *larger = skink__realloc(pairs->bytes, pairs->length + more);
    if (!larger) return NULL;
    pairs->bytes = larger;
    return larger + pairs->length;
}

/* Decode one name or value up to `end`, and put a NUL behind it; NULL: bad encoding. */
static char *decode(char *to, const char *from, const char *end)
{
    for (; from < end; from++) {
        int c = (unsigned char)*from;
        if (c == '%') {
            c = end - from > 2 ? skink__decode_percent(from) : -1;
            from += 2;
        } else if (c == '+') {
            c = ' ';
        } else if (c == '\0') {
            c = -1;
        }
        if (c < 0) return NULL;
        *to++ = (char)c;
    }
    *to++ = '\0';
    return to;
}

int skink__pairs_add_form(struct skink__pairs *pairs, const char *text, size_t length)
{
    char *to = grow(pairs, 2 * length + 2); /* a name without '=' gets a NUL more */
    if (!to) return -ENOMEM;
    const char *at = text, *last = text + length;
    while (at < last) {
        const char *end = memchr(at, '&', (size_t)(last - at));
        if (!end) end = last;
        const char *equals = memchr(at, '=', (size_t)(end - at));
        if (end > at) {
            to = decode(to, at, equals ? equals : end);
            if (to) to = decode(to, equals ? equals + 1 : end, end);
            if (!to) return -EINVAL;
        }
        at = end + 1;
    }
    pairs->length = (size_t)(to - pairs->bytes);
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Copy the text between the two without blanks around it, and with a NUL behind it. */
static char *copy_trimmed(char *to, const char *from, const char *end, bool unquote)
{
    while (from < end && is_blank(*from))
        from++;
    while (end > from && is_blank(end[-1]))
        end--;
    if (unquote && end - from >= 2 && *from == '"' && end[-1] == '"') {
        from++;
        end--;
    }
    to = mempcpy(to, from, (size_t)(end - from));
    *to++ = '\0';
    return to;
}

int skink__pairs_add_cookies(struct skink__pairs *pairs, const char *text)
{
    char *to = grow(pairs, 2 * strlen(text) + 2);
    if (!to) return -ENOMEM;
    for (const char *at = text; *at;) {
        const char *end = at + strcspn(at, ";");
        const char *equals = memchr(at, '=', (size_t)(end - at));
        if (equals) {
            char *value = copy_trimmed(to, at, equals, false);
            if (value > to + 1) to = copy_trimmed(value, equals + 1, end, true);
        }
        at = *end ? end + 1 : end;
    }
    pairs->length = (size_t)(to - pairs->bytes);
    return 0;
}

bool skink__pairs_at(const struct skink__pairs *pairs, size_t i, const char **ret_name, const char **ret_value)
{
    if (!pairs->bytes) return false;
    const char *at = pairs->bytes, *end = at + pairs->length;
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        if (i-- == 0) {
            *ret_name = at;
            *ret_value = value;
            return true;
        }
        at = value + strlen(value) + 1;
    }
    return false;
}

const char *skink__pairs_find(const struct skink__pairs *pairs, const char *name)
{
    if (!pairs->bytes) return NULL;
    const char *at = pairs->bytes, *end = at + pairs->length;
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        if (strcmp(at, name) == 0) return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

void skink__pairs_fini(struct skink__pairs *pairs)
{
    skink__free(pairs->bytes);
    memset(pairs, 0, sizeof *pairs);
}
