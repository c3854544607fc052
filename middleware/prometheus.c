/* SPDX-License-Identifier: MIT */
/* prometheus.c - Prometheus' text format, into one growing buffer (see prometheus.h). */
#include "middleware/prometheus.h"
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/utf8.h"
#include "skink/clock.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 8 * 1024, NUMBER_BYTES = 40 };

/* ---- the buffer ---- */

void skink__prometheus_init(struct skink__prometheus *writer)
{
    *writer = (struct skink__prometheus){ 0 };
}

void skink__prometheus_fini(struct skink__prometheus *writer)
{
    skink__free(writer->text);
    skink__prometheus_init(writer);
}

void skink__prometheus_clear(struct skink__prometheus *writer, size_t keep_bytes)
{
    if (writer->capacity > keep_bytes) {
        skink__prometheus_fini(writer);
        return;
    }
    writer->length = 0;
    writer->failed = false;
    writer->family = NULL;
}

static bool make_room(struct skink__prometheus *writer, size_t length)
{
    if (writer->failed) return false;
    if (length <= writer->capacity - writer->length) return true;
    size_t capacity = writer->capacity ? writer->capacity : FIRST_CAPACITY;
    while (capacity - writer->length < length)
        capacity *= 2;
    char *text = skink__realloc(writer->text, capacity);
    if (!text) {
        writer->failed = true;
        return false;
    }
    writer->text = text;
    writer->capacity = capacity;
    return true;
}

static void put(struct skink__prometheus *writer, const char *text, size_t length)
{
    if (!make_room(writer, length)) return;
    memcpy(writer->text + writer->length, text, length);
    writer->length += length;
}

static void put_text(struct skink__prometheus *writer, const char *text)
{
    put(writer, text, strlen(text));
}

/* ---- escaping ---- */

/* Quotes are escaped in label values, and must not be in HELP. */
static void put_escaped(struct skink__prometheus *writer, const char *text, bool quoted)
{
    while (*text) {
        size_t length = skink__utf8_length(text);
        if (!length)
            put_text(writer, "\xEF\xBF\xBD"); /* U+FFFD for each bad byte */
        else if (*text == '\\')
            put_text(writer, "\\\\");
        else if (*text == '\n')
            put_text(writer, "\\n");
        else if (*text == '"' && quoted)
            put_text(writer, "\\\"");
        else
            put(writer, text, length);
        text += length ? length : 1;
    }
}

/* ---- names ---- */

static bool is_name(const char *text)
{
    for (const char *at = text; *at; at++) {
        bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || *at == '_';
        if (!letter && (at == text || *at < '0' || *at > '9')) return false;
    }
    return *text != '\0';
}

void skink__prometheus_family(struct skink__prometheus *writer, enum skink__metric_type type, const char *name,
                              const char *help)
{
    static const char *const type_names[] = {
        [SKINK__COUNTER] = "counter", [SKINK__GAUGE] = "gauge", [SKINK__HISTOGRAM] = "histogram"
    };
    SKINK_ASSERT(is_name(name));
    if (writer->family && strcmp(writer->family, name) == 0) return;
    writer->family = name;
    writer->type = type;
    put_text(writer, "# HELP ");
    put_text(writer, name);
    put_text(writer, " ");
    put_escaped(writer, help, false);
    put_text(writer, "\n# TYPE ");
    put_text(writer, name);
    put_text(writer, " ");
    put_text(writer, type_names[type]);
    put_text(writer, "\n");
}

/* ---- numbers ---- */

/* The length of what is in `into`. Exact, and without a floating point number on the way. */
static size_t format_seconds(char into[NUMBER_BYTES], uint64_t value_ns)
{
    int length = snprintf(into, NUMBER_BYTES, "%" PRIu64 ".%09" PRIu64, value_ns / SKINK_S, value_ns % SKINK_S);
    while (into[length - 1] == '0')
        length--;
    if (into[length - 1] == '.') length--;
    into[length] = '\0';
    return (size_t)length;
}

/* Whatever stands for the decimal point in the host's locale, it is the one thing in there that is not expected. */
static void format_number(char into[NUMBER_BYTES], double value)
{
    char printed[NUMBER_BYTES];
    snprintf(printed, sizeof printed, "%.15g", value); /* 0.1 rather than 0.10000000000000001 */
    if (strtod(printed, NULL) != value) snprintf(printed, sizeof printed, "%.17g", value);
    size_t length = 0;
    for (const char *at = printed; *at; at++) {
        if (strchr("0123456789+-e", *at))
            into[length++] = *at;
        else if (length && into[length - 1] != '.')
            into[length++] = '.';
    }
    into[length] = '\0';
}

/* ---- samples ---- */

/* name_suffix{labels,le="bound"}, with the blank behind it; bound may be NULL. */
static void put_series(struct skink__prometheus *writer, const char *suffix, const struct skink__label *labels,
                       const char *bound)
{
    SKINK_ASSERT(writer->family);
    put_text(writer, writer->family);
    put_text(writer, suffix);
    const char *before = "{";
    for (const struct skink__label *label = labels; label && label->name; label++, before = ",") {
        SKINK_ASSERT(is_name(label->name));
        put_text(writer, before);
        put_text(writer, label->name);
        put_text(writer, "=\"");
        put_escaped(writer, label->value, true);
        put_text(writer, "\"");
    }
    if (bound) {
        put_text(writer, before);
        put_text(writer, "le=\"");
        put_text(writer, bound);
        put_text(writer, "\"");
        before = ",";
    }
    put_text(writer, *before == ',' ? "} " : " ");
}

static void put_line_end(struct skink__prometheus *writer, const char *value)
{
    put_text(writer, value);
    put_text(writer, "\n");
}

static void put_count(struct skink__prometheus *writer, uint64_t value)
{
    char text[NUMBER_BYTES];
    snprintf(text, sizeof text, "%" PRIu64, value);
    put_line_end(writer, text);
}

void skink__prometheus_count(struct skink__prometheus *writer, const struct skink__label *labels, uint64_t value)
{
    SKINK_ASSERT(writer->type != SKINK__HISTOGRAM);
    put_series(writer, "", labels, NULL);
    put_count(writer, value);
}

void skink__prometheus_seconds(struct skink__prometheus *writer, const struct skink__label *labels, uint64_t value_ns)
{
    SKINK_ASSERT(writer->type != SKINK__HISTOGRAM);
    char text[NUMBER_BYTES];
    format_seconds(text, value_ns);
    put_series(writer, "", labels, NULL);
    put_line_end(writer, text);
}

void skink__prometheus_number(struct skink__prometheus *writer, const struct skink__label *labels, double value)
{
    SKINK_ASSERT(writer->type != SKINK__HISTOGRAM);
    char text[NUMBER_BYTES];
    put_series(writer, "", labels, NULL);
    if (isnan(value))
        put_line_end(writer, "NaN");
    else if (isinf(value))
        put_line_end(writer, value < 0 ? "-Inf" : "+Inf");
    else {
        format_number(text, value);
        put_line_end(writer, text);
    }
}

void skink__prometheus_histogram(struct skink__prometheus *writer, const struct skink__label *labels,
                                 const struct skink__histogram *histogram)
{
    SKINK_ASSERT(writer->type == SKINK__HISTOGRAM);
    char text[NUMBER_BYTES];
    uint64_t so_far = 0;
    for (size_t i = 0; i < histogram->bucket_count; i++) {
        bool last = i + 1 == histogram->bucket_count;
        if (!last) format_seconds(text, histogram->bounds_ns[i]);
        so_far += histogram->counts[i];
        put_series(writer, "_bucket", labels, last ? "+Inf" : text);
        put_count(writer, so_far);
    }
    format_seconds(text, histogram->sum_ns);
    put_series(writer, "_sum", labels, NULL);
    put_line_end(writer, text);
    put_series(writer, "_count", labels, NULL);
    put_count(writer, so_far);
}
