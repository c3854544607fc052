/* SPDX-License-Identifier: MIT */
/*
 * loop/arena.h - memory of skink's own, apart from the host's heap.
 *
 * A thread that is stuck inside malloc holds a lock of the heap. If the loop needed that lock in the runtime section,
 * it would be stuck as well, where nobody can recover it. So what the library allocates comes from here: the one lock
 * is held for a few instructions by skink's code only.
 *
 * Blocks of fixed sizes, carved from slabs that are never given back; what is larger is mapped by itself. A block is
 * for anything that malloc's is for. Any thread.
 */
#ifndef SKINK_LOOP_ARENA_H
#define SKINK_LOOP_ARENA_H
#include <stddef.h>

void *skink__arena_alloc(size_t size_bytes);                 /* aligned to 16; NULL without memory */
void *skink__arena_realloc(void *memory, size_t size_bytes); /* as realloc; NULL leaves the block as it was */
void skink__arena_free(void *memory);                        /* NULL is fine */
#endif
