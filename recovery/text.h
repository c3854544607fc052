/* SPDX-License-Identifier: MIT */
/* recovery/text.h - a text that grows, for dumps. Without memory it stops growing, and `failed` says so at the end. */
#ifndef SKINK_RECOVERY_TEXT_H
#define SKINK_RECOVERY_TEXT_H
#include "skink/annot.h"
#include <stdbool.h>
#include <stddef.h>

struct skink__text { /* all zero is an empty one */
    char *bytes;     /* ends with a NUL once something was added; to be freed by skink__free() */
    size_t length;
    size_t capacity;
    bool failed;
};

void skink__text_add(struct skink__text *text, const char *format, ...) SKINK_PRINTF(2, 3);

/* As a JSON string with its quotes, or null for NULL. What is not UTF-8 is replaced. */
void skink__text_add_json(struct skink__text *text, const char *string);

/* As it is, but one line: control characters become '?'. */
void skink__text_add_line(struct skink__text *text, const char *string);
#endif
