/* SPDX-License-Identifier: MIT */
/*
 * middleware/prometheus.h - a writer of Prometheus' text format, version 0.0.4.
 *
 * It knows the format and nothing of what is measured. Numbers are written by hand where they can be, since printf
 * follows the locale of the host, and a decimal comma is a syntax error there. Belongs to one thread at a time.
 *
 * Without memory it stops writing and remembers that: the caller asks once, at the end.
 */
#ifndef SKINK_MIDDLEWARE_PROMETHEUS_H
#define SKINK_MIDDLEWARE_PROMETHEUS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SKINK__PROMETHEUS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum skink__metric_type { SKINK__COUNTER, SKINK__GAUGE, SKINK__HISTOGRAM };

/* A list of these ends with a NULL name; NULL instead of a list is no labels. */
struct skink__label {
    const char *name;
    const char *value; /* any bytes: what is no UTF-8 becomes U+FFFD, or the whole page would be refused */
};

/* Durations counted per bucket, not cumulative; the last bucket is what is above the last bound. */
struct skink__histogram {
    const uint64_t *bounds_ns; /* ascending; bucket_count - 1 of them */
    const uint64_t *counts;
    size_t bucket_count;
    uint64_t sum_ns;
};

struct skink__prometheus {
    char *text; /* NULL before the first byte; not terminated */
    size_t length;
    size_t capacity;
    bool failed;        /* out of memory: the text is of no use */
    const char *family; /* the open one; the caller's string */
    enum skink__metric_type type;
};

void skink__prometheus_init(struct skink__prometheus *writer); /* allocates nothing */
void skink__prometheus_fini(struct skink__prometheus *writer);

/* Begin a new page; the memory of the last one is kept if it is no more than keep_bytes. */
void skink__prometheus_clear(struct skink__prometheus *writer, size_t keep_bytes);

/*
 * Open a family: HELP and TYPE, once, and all samples that follow are of it. Opening the open one again does
 * nothing. The name lives until the next family is opened. Names are checked by assertion: they are literals.
 */
void skink__prometheus_family(struct skink__prometheus *writer, enum skink__metric_type type, const char *name,
                              const char *help);

/* One sample of a counter or gauge. */
void skink__prometheus_count(struct skink__prometheus *writer, const struct skink__label *labels, uint64_t value);
void skink__prometheus_seconds(struct skink__prometheus *writer, const struct skink__label *labels, uint64_t value_ns);
void skink__prometheus_number(struct skink__prometheus *writer, const struct skink__label *labels, double value);

/* The samples of one histogram, in seconds. _count is what the buckets add up to, so that the page agrees with
 * itself even when the counts were read while they changed. */
void skink__prometheus_histogram(struct skink__prometheus *writer, const struct skink__label *labels,
                                 const struct skink__histogram *histogram);
#endif
