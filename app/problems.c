/* SPDX-License-Identifier: MIT */
/* app/problems.c - collecting and printing what is wrong with a configuration (see problems.h). */
#include "app/problems.h"
#include "app/allocate.h"
#include "app/character.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void skink__origin_format(const struct origin *origin, char *text, size_t size)
{
    switch (origin->kind) {
    case ORIGIN_DEFAULT:
        snprintf(text, size, "default");
        break;
    case ORIGIN_FILE:
        if (origin->line)
            snprintf(text, size, "%s:%u:%u", origin->name, origin->line, origin->column);
        else
            snprintf(text, size, "%s", origin->name);
        break;
    case ORIGIN_ENVIRONMENT:
        snprintf(text, size, "environment %s", origin->name);
        break;
    case ORIGIN_SET:
        snprintf(text, size, "--set");
        break;
    }
}

__attribute__((format(printf, 4, 0))) static void add(struct problems *problems, const struct origin *origin,
                                                      bool warning, const char *format, va_list arguments)
{
    if (!warning) problems->errors++;
    if (problems->count == PROBLEMS_MAX) {
        problems->dropped++;
        return;
    }
    if (problems->count == problems->capacity) {
        problems->capacity = problems->capacity ? problems->capacity * 2 : 16;
        problems->items = skink__app_realloc(problems->items, problems->capacity * sizeof *problems->items);
    }
    char place[512];
    skink__origin_format(origin, place, sizeof place);
    char what[1024];
    vsnprintf(what, sizeof what, format, arguments);
    problems->items[problems->count] = (struct problem){
        .origin = *origin,
        .number = problems->count,
        .warning = warning,
        .text = skink__app_format("%s: %s%s", place, warning ? "warning: " : "", what),
    };
    problems->count++;
}

void skink__problem_add(struct problems *problems, const struct origin *origin, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(problems, origin, false, format, arguments);
    va_end(arguments);
}

void skink__problem_warn(struct problems *problems, const struct origin *origin, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(problems, origin, true, format, arguments);
    va_end(arguments);
}

static int by_place(const void *left, const void *right)
{
    const struct problem *a = left, *b = right;
    if (a->origin.kind != b->origin.kind) return a->origin.kind < b->origin.kind ? -1 : 1;
    if (a->origin.line != b->origin.line) return a->origin.line < b->origin.line ? -1 : 1;
    if (a->origin.column != b->origin.column) return a->origin.column < b->origin.column ? -1 : 1;
    return a->number < b->number ? -1 : 1;
}

void skink__problems_sort(struct problems *problems)
{
    if (problems->count) qsort(problems->items, problems->count, sizeof *problems->items, by_place);
}

void skink__problems_print(struct problems *problems, FILE *stream)
{
    skink__problems_sort(problems);
    for (size_t i = 0; i < problems->count; i++)
        fprintf(stream, "%s\n", problems->items[i].text);
    if (problems->dropped) fprintf(stream, "... and %zu more\n", problems->dropped);
}

void skink__problems_fini(struct problems *problems)
{
    for (size_t i = 0; i < problems->count; i++)
        free(problems->items[i].text);
    free(problems->items);
    *problems = (struct problems){ 0 };
}

const char *skink__quote(const char *text, size_t length, char quoted[QUOTED_BYTES])
{
    static const char more[] = "...";
    size_t room = QUOTED_BYTES - sizeof more - 2; /* the quotes; sizeof counts the NUL */
    char *end = quoted;
    *end++ = '"';
    size_t at = 0;
    while (at < length) {
        size_t character = skink__printable_length(text + at, length - at);
        if (at + (character ? character : 1) > room) break;
        if (character)
            end = mempcpy(end, text + at, character);
        else
            *end++ = '?';
        at += character ? character : 1;
    }
    if (at < length) end = stpcpy(end, more);
    *end++ = '"';
    *end = '\0';
    return quoted;
}
