/* SPDX-License-Identifier: MIT */
/* recovery/dump.h - what the two dumps have in common. */
#ifndef SKINK_RECOVERY_DUMP_H
#define SKINK_RECOVERY_DUMP_H
#include "recovery/symbols.h"
#include "recovery/text.h"
#include "skink/dump.h"

/* Options with the defaults filled in, and the table of symbols; one dump at a time from begin to end. A negative errno, and
 * there is nothing to end. */
int skink__dump_begin(const skink_dump_options *given, skink_dump_options *ret_options,
                      struct skink__symbols **ret_symbols);

/* Hands the text over, unless `err` or a lack of memory spoils it. Returns what the public call returns. */
int skink__dump_end(struct skink__symbols *symbols, struct skink__text *text, int err, char **ret_text,
                    size_t *ret_length);
#endif
