/* SPDX-License-Identifier: MIT */
/*
 * app/log.h - what the server says, and what it was asked: lines in logfmt or JSON, each with its time.
 *
 * Threads  any, several at once, also the loop thread inside the runtime section.
 * Never blocks, takes no lock and allocates nothing. Lines for a file, and those about requests, go through a ring to a
 * thread that writes them; without either there is no such thread, and lines go to stderr at once. When the reader or
 * the disk does not keep up, lines are dropped and counted, and `event=log_dropped lines=N` says so as soon
 * as there is room.
 */
#ifndef SKINK_APP_LOG_H
#define SKINK_APP_LOG_H
#include "skink/access.h"
#include "skink/hooks.h"
#include <stdbool.h>
#include <stdint.h>

/* Find out what kind of file `fd` is and how it is written without waiting. Once, before there are threads. */
void skink__log_open(int fd);

/* Empty texts are none. Borrowed for as long as the process runs. */
struct log_options {
    skink_log_level level;
    bool json;
    bool access;             /* a line for each request */
    const char *file;        /* instead of stderr */
    const char *access_file; /* instead of the former, for lines about requests */
};

/* From now on so; starts the thread that writes, if one is needed. Once, after skink__log_open(). On false `complaint`
 * says which file cannot be opened. */
bool skink__log_configure(const struct log_options *options, char *complaint, size_t size);

/* Lines less important than this one are not written, from now on. Any thread. */
void skink__log_set_level(skink_log_level level);

/* Open the files anew, soon: somebody has moved them away. Any thread. */
void skink__log_reopen(void);

/* Write what there is, as far as that can be done in a second. */
void skink__log_close(void);

/* One line of skinkd's own. Cut at 1023 bytes. */
void skink__log_line(skink_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For skink_hooks.log and skink_hooks.panic. */
void skink__log_hook(skink_log_level level, const char *pairs, void *arg);
void skink__log_panic_hook(const char *condition, const char *file, int line, void *arg);

/* For skink_http_options.access. */
void skink__log_access(const skink_access *access, void *arg);

/* Lines dropped so far. */
uint64_t skink__log_dropped(void);
#endif
