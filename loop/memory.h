/* SPDX-License-Identifier: MIT */
/* loop/memory.h - the library's own allocations, through the host's hooks. All return NULL without memory. */
#ifndef SKINK_LOOP_MEMORY_H
#define SKINK_LOOP_MEMORY_H
#include <stddef.h>

void *skink__alloc(size_t size_bytes);
void *skink__zalloc(size_t size_bytes); /* filled with zero */
void *skink__realloc(void *memory, size_t size_bytes);
void skink__free(void *memory); /* NULL is fine */
/* The same at an address that is a multiple of alignment, a power of two; to be freed by its own function. */
void *skink__zalloc_aligned(size_t size_bytes, size_t alignment);
void skink__free_aligned(void *memory);
char *skink__strdup(const char *text);
char *skink__strndup(const char *text, size_t length);
#endif
