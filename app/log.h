/* SPDX-License-Identifier: MIT */
/*
 * app/log.h - lines in logfmt on stderr, each with its time and level.
 *
 * Threads  any, several at once, also the loop thread inside the runtime section.
 * Never blocks, takes no lock and allocates nothing: when the reader of a pipe, socket or terminal does not keep up,
 * lines are dropped and counted, and `event=log_dropped lines=N` says so as soon as there is room.
 */
#ifndef SKINK_APP_LOG_H
#define SKINK_APP_LOG_H
#include "skink/hooks.h"
#include <stdint.h>

/* Find out what kind of file `fd` is and how it is written without waiting. Once, before there are threads. */
void skink__log_open(int fd);

/* One line of skinkd's own. Cut at 1023 bytes. */
void skink__log_line(skink_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For skink_hooks.log and skink_hooks.panic. */
void skink__log_hook(skink_log_level level, const char *line, void *arg);
void skink__log_panic_hook(const char *condition, const char *file, int line, void *arg);

/* Lines dropped so far. */
uint64_t skink__log_dropped(void);
#endif
