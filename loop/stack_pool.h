/* SPDX-License-Identifier: MIT */
/*
 * loop/stack_pool.h - guarded stacks, by the slab.
 *
 * Not thread-safe: the pool belongs to a scheduler's runtime section. fini is for when no stack is in use.
 */
#ifndef SKINK_LOOP_STACK_POOL_H
#define SKINK_LOOP_STACK_POOL_H
#include "loop/capability.h"
#include "loop/coroutine.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct skink__stack_slab;

/* How the page below a stack is made to fault. */
enum skink__stack_guard {
    SKINK__STACK_GUARD_MARKER,   /* MADV_GUARD_INSTALL, Linux 6.13 on: costs no mapping */
    SKINK__STACK_GUARD_MPROTECT, /* two mappings each, of which a process has 65,530 by default */
};

struct skink__stack_pool {
    size_t stack_bytes;               /* usable, a multiple of the page size */
    size_t stride_bytes;              /* with the guard page */
    struct skink__coroutine *free;    /* linked by skink__coroutine.next, most recently used first */
    struct skink__coroutine *idle;    /* the same, of those that were free at the last age() */
    struct skink__coroutine *surplus; /* the same, of those that were idle then: to be given back */
    size_t free_count;                /* in all three */
    struct skink__stack_slab *slabs;
    uint64_t allocated;            /* stacks ever carved */
    size_t cold_count;             /* stacks that cool() gave back and that are not in use again */
    enum skink__stack_guard guard; /* what this kernel can do, as far as is known */
    bool uses_reserve;             /* of mappings kept back for the rest of the process; see stack_pool.c */
    bool exhausted;                /* the mappings have run out: no stack is carved until cool() frees some */
};

/* Allocates nothing yet. */
void skink__stack_pool_init(struct skink__stack_pool *pool, size_t stack_bytes);
void skink__stack_pool_fini(struct skink__stack_pool *pool);

/* A coroutine with a stack of its own, or NULL without memory (or mappings). It is guarded, whatever happens. */
struct skink__coroutine *skink__stack_acquire(struct skink__stack_pool *pool) SKINK__IN_RUNTIME;

/* Give it back. Nobody stands on it any more. */
void skink__stack_release(struct skink__stack_pool *pool, struct skink__coroutine *co) SKINK__IN_RUNTIME;

/* A stack that stays free from one call to the one after the next is surplus. */
void skink__stack_pool_age(struct skink__stack_pool *pool) SKINK__IN_RUNTIME;

/* Return to the kernel the pages of at most `max` stacks that are surplus, while more than `keep` are free. False:
 * there are no more. */
bool skink__stack_pool_cool(struct skink__stack_pool *pool, size_t keep, size_t max) SKINK__IN_RUNTIME;
#endif
