/* SPDX-License-Identifier: MIT */
/* app/config_value.h - one value: from what a user writes to what the program uses, and back. */
#ifndef SKINK_APP_CONFIG_VALUE_H
#define SKINK_APP_CONFIG_VALUE_H
#include "app/schema.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COMPLAINT_BYTES 400
#define VALUE_TEXT_BYTES 32

/*
 * Read `length` bytes of text as a value of this key, its range included. On true *ret_number is in nanoseconds, bytes
 * or a count, a word's position, and 0 for other texts, which are the value themselves. On false `complaint` says what
 * is wrong and what was expected.
 */
bool skink__value_parse(const struct config_key *key, const char *text, size_t length, uint64_t *ret_number,
                        char complaint[COMPLAINT_BYTES]);

/* A number as a user would write it, in the largest unit that loses nothing: "30s", "64kb", "8". */
void skink__value_format(enum config_type type, uint64_t number, char text[VALUE_TEXT_BYTES]);

/* "a duration from 10ms to 24h, such as 30s (units us, ms, s, m, h)". */
void skink__value_describe(const struct config_key *key, char text[COMPLAINT_BYTES]);
#endif
