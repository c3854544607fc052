/* SPDX-License-Identifier: MIT */
/*
 * app/allocate.h - memory for the start of the program, and for reading the configuration again.
 *
 * Reading a configuration of a few kilobytes without memory has no sensible way on, so these end the process with
 * status 1 and say why. A server that runs calls them at SIGHUP alone.
 */
#ifndef SKINK_APP_ALLOCATE_H
#define SKINK_APP_ALLOCATE_H
#include <stddef.h>

void *skink__app_alloc(size_t size_bytes); /* filled with zero */
void *skink__app_realloc(void *memory, size_t size_bytes);
char *skink__app_strndup(const char *text, size_t length);
char *skink__app_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
#endif
