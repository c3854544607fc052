/* SPDX-License-Identifier: MIT */
/*
 * recovery/stacks.h - many stacks, merged where they are equal, and written out with names.
 *
 * Helper threads; a set belongs to one of them at a time.
 */
#ifndef SKINK_RECOVERY_STACKS_H
#define SKINK_RECOVERY_STACKS_H
#include "recovery/symbols.h"
#include "recovery/text.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SKINK__GROUP_NAMES = 3, SKINK__GROUP_NAME_BYTES = 64 };

/* Stacks that are the same, in the same state. */
struct skink__group {
    struct skink__group *next; /* skink__stacks.buckets */
    uint64_t hash;
    uint64_t count;
    const char *state;                                       /* a static text */
    char names[SKINK__GROUP_NAMES][SKINK__GROUP_NAME_BYTES]; /* the first ones that differ; "" behind them */
    bool more_names;
    bool cut;     /* it goes on, and it is not known how */
    size_t index; /* the order in which they were first met */
    size_t pc_count;
    uintptr_t pcs[];
};

struct skink__stacks {
    struct skink__group **buckets;
    size_t bucket_count; /* a power of two, or 0 */
    size_t group_count;
    uint64_t total; /* of all counts */
    uint64_t lost;  /* of these, for lack of memory in no group */
};

/* One more stack (or `count`); pcs as in symbols.h, innermost first. name: NULL or a text, which is cut to fit. Returns
 * its group, or NULL without memory. */
struct skink__group *skink__stacks_add(struct skink__stacks *stacks, const char *state, const uintptr_t *pcs,
                                       size_t pc_count, bool cut, const char *name, uint64_t count);

/* All groups, the most frequent first; NULL without memory, or without groups. To be freed by skink__free(). */
struct skink__group **skink__stacks_sorted(const struct skink__stacks *stacks);
void skink__stacks_fini(struct skink__stacks *stacks);

/* A stack without what is skink's own affair at both of its ends: as lines, or as a JSON array of objects: function,
 * file, line, inlined, address. */
void skink__stack_write_text(struct skink__text *text, struct skink__symbols *symbols, const uintptr_t *pcs,
                             size_t pc_count, bool cut);
void skink__stack_write_json(struct skink__text *text, struct skink__symbols *symbols, const uintptr_t *pcs,
                             size_t pc_count);
#endif
