/* SPDX-License-Identifier: MIT */
/*
 * middleware/process_metrics.h - the standard process_* metrics of Prometheus, from /proc and the kernel's clocks.
 *
 * Any thread; no lock, and no memory of its own. What cannot be read is left out of the page.
 */
#ifndef SKINK_MIDDLEWARE_PROCESS_METRICS_H
#define SKINK_MIDDLEWARE_PROCESS_METRICS_H
#include "middleware/prometheus.h"
#include <stdbool.h>
#include <stdint.h>

/* What is read of /proc/self/stat. */
struct skink__process_stat {
    uint64_t threads;
    uint64_t start_ticks; /* since boot */
    uint64_t virtual_bytes;
    uint64_t resident_pages;
};

/* False if the text is no such line. The command's name in it may hold anything, blanks and brackets included. */
bool skink__process_stat_parse(const char *text, struct skink__process_stat *ret_stat);

/* When this process was started, wall clock; 0 if it cannot be known. Read once: later the answer would move with every
 * correction of the wall clock. */
uint64_t skink__process_start_unix_ns(void);

/* Memory in RAM now; 0 if it cannot be known. */
uint64_t skink__process_resident_bytes(void);

/* start_unix_ns is the answer of the function above. */
void skink__process_metrics_write(struct skink__prometheus *writer, uint64_t start_unix_ns);
#endif
