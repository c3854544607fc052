/* SPDX-License-Identifier: MIT */
/* loop/memory.h - the library's own allocations, through the host's hooks. All return NULL without memory. */
#ifndef SKINK_LOOP_MEMORY_H
#define SKINK_LOOP_MEMORY_H
#include <stddef.h>

void *skink__alloc(size_t size_bytes);
void *skink__zalloc(size_t size_bytes); /* filled with zero */
void *skink__realloc(void *memory, size_t size_bytes);
void skink__free(void *memory); /* NULL is fine */
char *skink__strdup(const char *text);
char *skink__strndup(const char *text, size_t length);
#endif
