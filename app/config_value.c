/* SPDX-License-Identifier: MIT */
/* app/config_value.c - reading and writing single values (see config_value.h). There is one way to write each: a
 * whole number with its unit right behind it. */
#include "app/config_value.h"
#include "app/character.h"
#include "app/problems.h"
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

enum { TEXT_MAX = 400 }; /* bytes; --print-config shows all of it */

struct unit {
    const char *name;
    uint64_t factor;
};

/* From the smallest to the largest, ended by a NULL. */
static const struct unit duration_units[] = { { "us", UINT64_C(1000) },         { "ms", UINT64_C(1000000) },
                                              { "s", UINT64_C(1000000000) },    { "m", UINT64_C(60000000000) },
                                              { "h", UINT64_C(3600000000000) }, { NULL, 0 } };
static const struct unit size_units[] = {
    { "kb", UINT64_C(1) << 10 }, { "mb", UINT64_C(1) << 20 }, { "gb", UINT64_C(1) << 30 }, { NULL, 0 }
};
static const struct unit no_units[] = { { NULL, 0 } };

static const struct unit *units_of(enum config_type type)
{
    if (type == CONFIG_DURATION) return duration_units;
    if (type == CONFIG_SIZE) return size_units;
    return no_units;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "`text` <what>; expected <what the key takes>". */
__attribute__((format(printf, 5, 6))) static bool complain(const struct config_key *key, const char *text,
                                                           size_t length, char *complaint, const char *format, ...)
{
    char quoted[QUOTED_BYTES], expected[COMPLAINT_BYTES], what[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    skink__value_describe(key, expected);
    snprintf(complaint, COMPLAINT_BYTES, "%s %s; expected %.180s", skink__quote(text, length, quoted), what, expected);
    return false;
}

/* Digits at the start of text; false when the number does not fit. */
static bool read_digits(const char *text, size_t length, size_t *ret_used, uint64_t *ret_number)
{
    uint64_t number = 0;
    size_t used = 0;
    for (; used < length && is_digit(text[used]); used++) {
        if (__builtin_mul_overflow(number, UINT64_C(10), &number)) return false;
        if (__builtin_add_overflow(number, (uint64_t)(text[used] - '0'), &number)) return false;
    }
    *ret_used = used;
    *ret_number = number;
    return true;
}

static const struct unit *find_unit(const struct unit *units, const char *text, size_t length)
{
    for (const struct unit *unit = units; unit->name; unit++)
        if (strlen(unit->name) == length && memcmp(unit->name, text, length) == 0) return unit;
    return NULL;
}

/* What follows the digits is not one of the units: say in which way. */
static bool complain_of_unit(const struct config_key *key, const char *text, size_t length, size_t used,
                             char *complaint)
{
    const struct unit *units = units_of(key->type);
    const char *rest = text + used;
    size_t rest_length = length - used;
    char quoted[QUOTED_BYTES];
    if (rest_length == 0) return complain(key, text, length, complaint, "has no unit");
    if ((rest[0] == '.' || rest[0] == ',') && rest_length > 1 && is_digit(rest[1]))
        return complain(key, text, length, complaint, "is not a whole number%s",
                        units->name ? " (use a smaller unit)" : "");
    if (!units->name) return complain(key, text, length, complaint, "is not a whole number");
    if (rest[0] == ' ') return complain(key, text, length, complaint, "has a blank before its unit");
    for (const struct unit *unit = units; unit->name; unit++)
        if (strlen(unit->name) == rest_length && strncasecmp(unit->name, rest, rest_length) == 0)
            return complain(key, text, length, complaint, "has its unit in capitals");
    return complain(key, text, length, complaint, "has an unknown unit %s", skink__quote(rest, rest_length, quoted));
}

/* The number alone, without the check of its range, which is written the same way. */
static bool parse_number(const struct config_key *key, const char *text, size_t length, uint64_t *ret_number,
                         char *complaint)
{
    const struct unit *units = units_of(key->type);
    uint64_t number = 0;
    size_t used = 0;
    if (length == 0) return complain(key, text, length, complaint, "is no value");
    if (text[0] == '-') return complain(key, text, length, complaint, "is negative");
    if (!is_digit(text[0])) return complain(key, text, length, complaint, "is not a number");
    if (!read_digits(text, length, &used, &number)) return complain(key, text, length, complaint, "is too large");
    if (used > 1 && text[0] == '0')
        return complain(key, text, length, complaint, "starts with a zero, which some would read as octal");
    const struct unit *unit = find_unit(units, text + used, length - used);
    if (!unit && (units->name || used < length)) return complain_of_unit(key, text, length, used, complaint);
    if (unit && __builtin_mul_overflow(number, unit->factor, &number))
        return complain(key, text, length, complaint, "is too large");
    *ret_number = number;
    return true;
}

/* A bound of the table. It is well formed: a test reads them all. */
static uint64_t bound(const struct config_key *key, const char *text)
{
    uint64_t number = 0;
    char complaint[COMPLAINT_BYTES];
    return parse_number(key, text, strlen(text), &number, complaint) ? number : 0;
}

static bool parse_in_range(const struct config_key *key, const char *text, size_t length, uint64_t *ret_number,
                           char *complaint)
{
    uint64_t number = 0;
    if (!parse_number(key, text, length, &number, complaint)) return false;
    if (key->least && number < bound(key, key->least)) return complain(key, text, length, complaint, "is too small");
    if (key->most && number > bound(key, key->most)) return complain(key, text, length, complaint, "is too large");
    *ret_number = number;
    return true;
}

static bool is_port(const char *text)
{
    size_t used = 0;
    uint64_t number = 0;
    return read_digits(text, strlen(text), &used, &number) && used > 0 && !text[used] && number <= 65535;
}

/* The forms that skink_http_listen() takes. Names of hosts are not among them: to resolve one can block for long, and
 * gives several addresses. NULL when it is right. */
static const char *address_fault(const char *address)
{
    if (strncmp(address, "unix:", 5) == 0) {
        size_t path_length = strlen(address + 5);
        if (path_length == 0) return "names no socket file";
        return path_length < sizeof((struct sockaddr_un *)NULL)->sun_path ? NULL : "is too long for a unix socket";
    }
    const char *colon = strrchr(address, ':');
    if (!colon) return "has no port";
    if (!is_port(colon + 1)) return "has no port from 0 to 65535";
    char host[INET6_ADDRSTRLEN + 2] = "";
    size_t host_length = (size_t)(colon - address);
    if (host_length >= sizeof host) return "is not an address";
    memcpy(host, address, host_length);
    unsigned char binary[sizeof(struct in6_addr)];
    if (host_length == 0) return NULL;
    if (host[0] == '[') {
        if (host[host_length - 1] != ']') return "has no closing bracket";
        host[host_length - 1] = '\0';
        return inet_pton(AF_INET6, host + 1, binary) == 1 ? NULL : "is not an IPv6 address";
    }
    if (inet_pton(AF_INET6, host, binary) == 1 || strchr(host, ':')) return "needs brackets around its IPv6 address";
    return inet_pton(AF_INET, host, binary) == 1 ? NULL : "is not a numeric address";
}

static bool parse_address(const struct config_key *key, const char *text, size_t length, char *complaint)
{
    char address[256];
    if (length == 0) return complain(key, text, length, complaint, "is no value");
    if (length >= sizeof address) return complain(key, text, length, complaint, "is not an address");
    const char *fault = skink__text_fault(text, length);
    if (fault) return complain(key, text, length, complaint, "%s", fault);
    memcpy(address, text, length);
    address[length] = '\0';
    fault = address_fault(address);
    return fault ? complain(key, text, length, complaint, "%s", fault) : true;
}

static bool parse_path(const struct config_key *key, const char *text, size_t length, char *complaint)
{
    if (length == 0) return complain(key, text, length, complaint, "is no value");
    if (text[0] != '/') return complain(key, text, length, complaint, "does not start with a slash");
    if (memchr(text, ' ', length)) return complain(key, text, length, complaint, "has a blank in it");
    const char *fault = skink__text_fault(text, length);
    return fault ? complain(key, text, length, complaint, "%s", fault) : true;
}

/* The position of the word among the key's; -1: it is none of them. */
static int word_position(const char *words, const char *text, size_t length)
{
    for (int position = 0; *words; position++) {
        size_t word = strcspn(words, " ");
        if (word == length && memcmp(words, text, length) == 0) return position;
        words += word;
        words += *words == ' ';
    }
    return -1;
}

static bool parse_word(const struct config_key *key, const char *text, size_t length, uint64_t *ret_number,
                       char *complaint)
{
    int position = word_position(key->words, text, length);
    if (position < 0) return complain(key, text, length, complaint, "is none of its words");
    *ret_number = (uint64_t)position;
    return true;
}

static bool parse_text(const struct config_key *key, const char *text, size_t length, char *complaint)
{
    if (length > TEXT_MAX) return complain(key, text, length, complaint, "is too long");
    const char *fault = skink__text_fault(text, length);
    return fault ? complain(key, text, length, complaint, "%s", fault) : true;
}

bool skink__value_parse(const struct config_key *key, const char *text, size_t length, uint64_t *ret_number,
                        char complaint[COMPLAINT_BYTES])
{
    *ret_number = 0;
    if (key->type == CONFIG_ADDRESS) return parse_address(key, text, length, complaint);
    if (key->type == CONFIG_PATH) return parse_path(key, text, length, complaint);
    if (key->type == CONFIG_WORD) return parse_word(key, text, length, ret_number, complaint);
    if (key->type == CONFIG_TEXT) return parse_text(key, text, length, complaint);
    return parse_in_range(key, text, length, ret_number, complaint);
}

void skink__value_format(enum config_type type, uint64_t number, char text[VALUE_TEXT_BYTES])
{
    const struct unit *best = NULL;
    for (const struct unit *unit = units_of(type); unit->name; unit++)
        if (number % unit->factor == 0 && (number || !best)) best = unit;
    snprintf(text, VALUE_TEXT_BYTES, "%" PRIu64 "%s", best ? number / best->factor : number, best ? best->name : "");
}

/* "one of loop, threads, serial". */
static void describe_words(const char *words, char text[COMPLAINT_BYTES])
{
    size_t length = (size_t)snprintf(text, COMPLAINT_BYTES, "one of ");
    for (; *words && length + 2 < COMPLAINT_BYTES; words++) {
        if (*words == ' ') text[length++] = ',';
        text[length++] = *words;
    }
    text[length] = '\0';
}

void skink__value_describe(const struct config_key *key, char text[COMPLAINT_BYTES])
{
    switch (key->type) {
    case CONFIG_DURATION:
        snprintf(text, COMPLAINT_BYTES, "a duration from %s to %s, such as %s (units us, ms, s, m, h)", key->least,
                 key->most, key->fallback ? key->fallback : "500ms");
        break;
    case CONFIG_SIZE:
        snprintf(text, COMPLAINT_BYTES, "a size from %s to %s, such as %s (units kb, mb, gb)", key->least, key->most,
                 key->fallback);
        break;
    case CONFIG_COUNT:
        snprintf(text, COMPLAINT_BYTES, "a whole number from %s to %s, such as %s", key->least, key->most,
                 key->fallback ? key->fallback : "100");
        break;
    case CONFIG_ADDRESS:
        snprintf(text, COMPLAINT_BYTES, "an address such as %s, \"[::1]:8080\", :8080 or unix:/run/skinkd.sock",
                 key->fallback);
        break;
    case CONFIG_PATH:
        snprintf(text, COMPLAINT_BYTES, "a route's pattern such as /hello");
        break;
    case CONFIG_WORD:
        describe_words(key->words, text);
        break;
    case CONFIG_TEXT:
        snprintf(text, COMPLAINT_BYTES, "%s", key->takes);
        break;
    }
}
