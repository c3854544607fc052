/* SPDX-License-Identifier: MIT */
/* memory.c - the allocator: the host's if it set one, else the arena. */
#include "loop/memory.h"
#include "loop/arena.h"
#include "loop/hooks.h"
#include "loop/sanitizer.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* Sanitizers know libc's heap, and find in it what they would not find in an arena. */
#if SKINK__ASAN || SKINK__TSAN || SKINK__VALGRIND
#define DEFAULT_ALLOCATE malloc
#define DEFAULT_REALLOCATE realloc
#define DEFAULT_RELEASE free
#else
#define DEFAULT_ALLOCATE skink__arena_alloc
#define DEFAULT_REALLOCATE skink__arena_realloc
#define DEFAULT_RELEASE skink__arena_free
#endif

void *skink__alloc(size_t size_bytes)
{
    const skink_hooks *hooks = skink__hooks();
    return hooks->allocate ? hooks->allocate(size_bytes, hooks->arg) : DEFAULT_ALLOCATE(size_bytes);
}

void *skink__zalloc(size_t size_bytes)
{
    void *memory = skink__alloc(size_bytes);
    if (memory) memset(memory, 0, size_bytes);
    return memory;
}

void *skink__realloc(void *memory, size_t size_bytes)
{
    const skink_hooks *hooks = skink__hooks();
    return hooks->reallocate ? hooks->reallocate(memory, size_bytes, hooks->arg)
                             : DEFAULT_REALLOCATE(memory, size_bytes);
}

void skink__free(void *memory)
{
    const skink_hooks *hooks = skink__hooks();
    if (!memory) return;
    if (hooks->release)
        hooks->release(memory, hooks->arg);
    else
        DEFAULT_RELEASE(memory);
}

static void *zalloc_array(size_t count, size_t size_bytes)
{
    size_t bytes;
    return __builtin_mul_overflow(count, size_bytes, &bytes) ? NULL : skink__zalloc(bytes);
}

int skink_uv_replace_allocator(void)
{
    skink__hooks_freeze(); /* blocks must go back where they came from */
    return uv_replace_allocator(skink__alloc, skink__realloc, zalloc_array, skink__free);
}

/* The host's allocator need not align to cache lines: so a little more, and its address right in front of ours. */
void *skink__zalloc_aligned(size_t size_bytes, size_t alignment)
{
    char *memory = skink__zalloc(size_bytes + sizeof(void *) + alignment);
    if (!memory) return NULL;
    uintptr_t first = (uintptr_t)memory + sizeof(void *);
    char *aligned = memory + sizeof(void *) + (-first & (alignment - 1));
    memcpy(aligned - sizeof(void *), &memory, sizeof memory);
    return aligned;
}

void skink__free_aligned(void *memory)
{
    if (!memory) return;
    void *first;
    memcpy(&first, (char *)memory - sizeof first, sizeof first);
    skink__free(first);
}

char *skink__strndup(const char *text, size_t length)
{
    char *copy = skink__alloc(length + 1);
    if (!copy) return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *skink__strdup(const char *text)
{
    return skink__strndup(text, strlen(text));
}
