/* SPDX-License-Identifier: MIT */
/* tests/app/config_fixture.h - a configuration read from texts, and what was said about it. */
#ifndef SKINK_TESTS_APP_CONFIG_FIXTURE_H
#define SKINK_TESTS_APP_CONFIG_FIXTURE_H
#include "app/config.h"
#include <stdbool.h>

struct loaded {
    struct config config;
    char *messages; /* one a line, in the order in which a user sees them; places in the file without its folder */
    size_t errors;
};

/* Read `text` as a file of its own (NULL: none), with environment and settings ended by NULL (may be NULL). */
struct loaded *load_all(const char *text, const char *const *environment, const char *const *settings);

/* The same for a text that may contain NUL. */
struct loaded *load_bytes(const char *bytes, size_t length);

static inline struct loaded *load(const char *text)
{
    return load_all(text, NULL, NULL);
}

void loaded_free(struct loaded *loaded);

/* Fail the case unless these are all the messages there are. */
void assert_messages(const struct loaded *loaded, const char *expected);

/* Read, compare all messages, free. */
void assert_said(const char *text, const char *expected);

/* A temporary file with these bytes; the caller unlinks and frees its name. */
char *temporary_file(const void *bytes, size_t length);

/* Does a file of at most 16 KB have this text in it? */
bool file_says(const char *file, const char *text);
#endif
