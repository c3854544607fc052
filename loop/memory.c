/* SPDX-License-Identifier: MIT */
/* memory.c - the allocator: libc's, until there are hooks. */
#include "loop/memory.h"
#include <stdlib.h>
#include <string.h>

void *skink__alloc(size_t size_bytes)
{
    return malloc(size_bytes);
}

void *skink__zalloc(size_t size_bytes)
{
    return calloc(1, size_bytes);
}

void *skink__realloc(void *memory, size_t size_bytes)
{
    return realloc(memory, size_bytes);
}

void skink__free(void *memory)
{
    free(memory);
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
