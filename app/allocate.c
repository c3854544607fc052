/* SPDX-License-Identifier: MIT */
/* app/allocate.c - allocations that end the process when there is no memory (see allocate.h). */
#include "app/allocate.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *memory)
{
    if (memory) return memory;
    fputs("skinkd: out of memory\n", stderr);
    _Exit(1);
}

void *skink__app_alloc(size_t size_bytes)
{
    return checked(calloc(1, size_bytes ? size_bytes : 1));
}

void *skink__app_realloc(void *memory, size_t size_bytes)
{
    return checked(realloc(memory, size_bytes ? size_bytes : 1));
}

char *skink__app_strndup(const char *text, size_t length)
{
    return checked(strndup(text, length));
}

char *skink__app_format(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    return checked(length < 0 ? NULL : text);
}
