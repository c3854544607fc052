/* SPDX-License-Identifier: MIT */
/*
 * arena.c - size classes with a free list each (segregated fits: Wilson and others, "Dynamic storage
 * allocation", 1995).
 *
 * Four classes per doubling, so at most a fifth of a block is lost to rounding. Nothing is split or joined: the library
 * allocates few kinds of things, again and again.
 */
#include "loop/arena.h"
#include "loop/capability.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum {
    HEADER_BYTES = 16,
    SMALLEST_BYTES = 32, /* the first class, header included */
    STEPS_PER_DOUBLING = 4,
    CLASS_COUNT = 45, /* up to 64 KiB */
    SLAB_BYTES_FIRST = 64 * 1024,
    SLAB_BYTES_MAX = 1024 * 1024
};

/* In front of every block. */
struct header {
    size_t block_bytes; /* header included; larger than the largest class: a mapping of its own */
    size_t class_index;
};
_Static_assert(sizeof(struct header) == HEADER_BYTES, "blocks stay aligned to 16");

struct free_block {
    struct header header;
    struct free_block *next;
};

static skink__mutex lock = PTHREAD_MUTEX_INITIALIZER;

static struct {
    struct free_block *free[CLASS_COUNT];
    char *slab; /* what is left of the newest slab */
    size_t slab_left;
    size_t slab_next_bytes;
} arena SKINK__GUARDED_BY(lock) = { .slab_next_bytes = SLAB_BYTES_FIRST };

/* 32, 40, 48, 56, 64, 80, ... rounded up to multiples of 16 by the caller's alignment: 32, 48, 48, 64, 64, 80, ... */
static size_t class_bytes(size_t class_index)
{
    size_t base = (size_t)SMALLEST_BYTES << (class_index / STEPS_PER_DOUBLING);
    size_t bytes = base + base / STEPS_PER_DOUBLING * (class_index % STEPS_PER_DOUBLING);
    return (bytes + HEADER_BYTES - 1) / HEADER_BYTES * HEADER_BYTES;
}

/* The first class that holds so many bytes; CLASS_COUNT if none does. */
static size_t class_for(size_t bytes)
{
    if (bytes <= SMALLEST_BYTES) return 0;
    size_t doubling = (size_t)(63 - __builtin_clzll((unsigned long long)(bytes - 1) / SMALLEST_BYTES));
    size_t class_index = doubling * STEPS_PER_DOUBLING;
    while (class_index < CLASS_COUNT && class_bytes(class_index) < bytes)
        class_index++;
    return class_index;
}

static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Under the lock. What is left of the old slab is lost: less than one block of the class that did not fit. */
static struct free_block *carve(size_t bytes) SKINK__REQUIRES(lock)
{
    if (arena.slab_left < bytes) {
        char *slab = map(arena.slab_next_bytes);
        if (!slab) return NULL;
        arena.slab = slab;
        arena.slab_left = arena.slab_next_bytes;
        if (arena.slab_next_bytes < SLAB_BYTES_MAX) arena.slab_next_bytes *= 2;
    }
    struct free_block *block = (struct free_block *)(void *)arena.slab;
    arena.slab += bytes;
    arena.slab_left -= bytes;
    return block;
}

static struct free_block *take(size_t class_index)
{
    skink__mutex_lock(&lock);
    struct free_block *block = arena.free[class_index];
    if (block)
        arena.free[class_index] = block->next;
    else
        block = carve(class_bytes(class_index));
    skink__mutex_unlock(&lock);
    return block;
}

static size_t page_up(size_t bytes)
{
    return (bytes + 4095) & ~(size_t)4095;
}

void *skink__arena_alloc(size_t size_bytes)
{
    if (size_bytes > SIZE_MAX / 2) return NULL;
    size_t bytes = size_bytes + HEADER_BYTES;
    size_t class_index = class_for(bytes);
    bool large = class_index >= CLASS_COUNT;
    bytes = large ? page_up(bytes) : class_bytes(class_index);
    struct free_block *block = large ? map(bytes) : take(class_index);
    if (!block) return NULL;
    block->header = (struct header){ bytes, class_index };
    return (char *)block + HEADER_BYTES;
}

static struct free_block *block_of(void *memory)
{
    return (struct free_block *)(void *)((char *)memory - HEADER_BYTES);
}

void skink__arena_free(void *memory)
{
    if (!memory) return;
    struct free_block *block = block_of(memory);
    size_t class_index = block->header.class_index;
    if (class_index >= CLASS_COUNT) {
        munmap(block, block->header.block_bytes);
        return;
    }
    skink__mutex_lock(&lock);
    block->next = arena.free[class_index];
    arena.free[class_index] = block;
    skink__mutex_unlock(&lock);
}

void *skink__arena_realloc(void *memory, size_t size_bytes)
{
    if (!memory) return skink__arena_alloc(size_bytes);
    struct free_block *block = block_of(memory);
    size_t room = block->header.block_bytes - HEADER_BYTES;
    if (size_bytes <= room) return memory;
    if (size_bytes > SIZE_MAX / 2) return NULL;
    if (block->header.class_index >= CLASS_COUNT) {
        size_t bytes = page_up(size_bytes + HEADER_BYTES);
        void *moved = mremap(block, block->header.block_bytes, bytes, MREMAP_MAYMOVE);
        if (moved == MAP_FAILED) return NULL;
        ((struct free_block *)moved)->header.block_bytes = bytes;
        return (char *)moved + HEADER_BYTES;
    }
    void *larger = skink__arena_alloc(size_bytes);
    if (!larger) return NULL;
    memcpy(larger, memory, room);
    skink__arena_free(memory);
    return larger;
}
