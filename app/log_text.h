/* SPDX-License-Identifier: MIT */
/*
 * app/log_text.h - one line of a log, as logfmt or as JSON, in memory of a fixed size.
 *
 * Whatever a client sent cannot end a line or a value: it is escaped. What does not fit is cut, and marked with "...".
 */
#ifndef SKINK_APP_LOG_TEXT_H
#define SKINK_APP_LOG_TEXT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_text {
    char *start, *at, *end;
    bool json;
};

/* Begin a line in `size` bytes, with the time. */
void skink__text_begin(struct log_text *text, char *bytes, size_t size, bool json);

/* name=value; at most `most` bytes of value, escapes included. */
void skink__text_string(struct log_text *text, const char *name, const char *value, size_t length, size_t most);
void skink__text_number(struct log_text *text, const char *name, uint64_t number);
void skink__text_seconds(struct log_text *text, const char *name, uint64_t duration_ns);

/* Another line's pairs, in logfmt as the library writes it, made into ours. */
void skink__text_pairs(struct log_text *text, const char *line);

/* The line's end; returns its length. */
size_t skink__text_end(struct log_text *text);
#endif
