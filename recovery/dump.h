/* SPDX-License-Identifier: MIT */
/* recovery/dump.h - what the two dumps have in common. */
#ifndef SKINK_RECOVERY_DUMP_H
#define SKINK_RECOVERY_DUMP_H
#include "loop/capability.h"
#include "recovery/symbols.h"
#include "recovery/text.h"
#include "skink/dump.h"

/* Check them, and fill in the defaults. -EINVAL, -E2BIG; -EDEADLK on the scheduler's own loop thread. */
int skink__dump_options_read(const skink_dump_options *given, skink_dump_options *ret_options);

/* Whose tasks are to be told: each once, with a reference on its memory. */
struct skink__dump_schedulers {
    skink_scheduler **list;
    size_t count;
};

/* -EINVAL: there is none; -EDEADLK: the caller is a task of one of them; -ENOMEM. */
int skink__dump_schedulers_init(struct skink__dump_schedulers *schedulers, const skink_dump_options *options);
void skink__dump_schedulers_fini(struct skink__dump_schedulers *schedulers);

/* The turn of one dump. */
SKINK__CAPABILITY(skink__dump_turn);

/* The table of symbols; one dump at a time from begin to end. A negative errno, and there is nothing to end. */
int skink__dump_begin(struct skink__symbols **ret_symbols) SKINK__TRY_ACQUIRES(0, skink__dump_turn);

/* Hands the text over, unless `err` or a lack of memory spoils it. Returns what the public call returns. */
int skink__dump_end(struct skink__symbols *symbols, struct skink__text *text, int err, char **ret_text,
                    size_t *ret_length) SKINK__RELEASES(skink__dump_turn);
#endif
