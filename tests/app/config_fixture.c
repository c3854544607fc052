/* SPDX-License-Identifier: MIT */
/* tests/app/config_fixture.c - see config_fixture.h. */
#include "config_fixture.h"
#include "tests/support/case.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *temporary_file(const void *bytes, size_t length)
{
    char *name = strdup("/tmp/skink-test-XXXXXX");
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), (ssize_t)length);
    close(fd);
    return name;
}

bool file_says(const char *file, const char *text)
{
    char bytes[16384];
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, bytes, sizeof bytes - 1);
    close(fd);
    bytes[length > 0 ? length : 0] = '\0';
    return strstr(bytes, text);
}

/* Every mention of the file becomes FILE: its name is another one each time. */
static char *without_name(const char *text, const char *file)
{
    char *clean = calloc(1, strlen(text) + 1), *end = clean;
    while (*text) {
        if (file && strncmp(text, file, strlen(file)) == 0) {
            end = stpcpy(end, "FILE");
            text += strlen(file);
        } else {
            *end++ = *text++;
        }
    }
    return clean;
}

static size_t count_of(const char *const *list)
{
    size_t count = 0;
    while (list && list[count])
        count++;
    return count;
}

static struct loaded *load_from(const char *file, const char *const *environment, const char *const *settings)
{
    struct loaded *loaded = calloc(1, sizeof *loaded);
    struct problems problems = { 0 };
    struct config_sources sources = { file, environment, settings, count_of(settings) };
    skink__config_load(&loaded->config, &sources, &problems);
    char *text = NULL;
    size_t length;
    FILE *stream = open_memstream(&text, &length);
    skink__problems_print(&problems, stream);
    fclose(stream);
    loaded->errors = problems.errors;
    loaded->messages = without_name(text, file);
    free(text);
    skink__problems_fini(&problems);
    return loaded;
}

static struct loaded *load_file(const char *bytes, size_t length, const char *const *environment,
                                const char *const *settings)
{
    char *file = bytes ? temporary_file(bytes, length) : NULL;
    struct loaded *loaded = load_from(file, environment, settings);
    if (file) unlink(file);
    /* The origins keep the name; a constant one stands in for it. */
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++)
        if (loaded->config.values[i].origin.kind == ORIGIN_FILE) loaded->config.values[i].origin.name = "FILE";
    for (size_t i = 0; i < loaded->config.route_count; i++)
        for (size_t j = 0; j < CONFIG_ROUTE_ID_COUNT; j++)
            loaded->config.routes[i].values[j].origin.name = "FILE";
    free(file);
    return loaded;
}

struct loaded *load_all(const char *text, const char *const *environment, const char *const *settings)
{
    return load_file(text, text ? strlen(text) : 0, environment, settings);
}

struct loaded *load_bytes(const char *bytes, size_t length)
{
    return load_file(bytes, length, NULL, NULL);
}

void loaded_free(struct loaded *loaded)
{
    skink__config_fini(&loaded->config);
    free(loaded->messages);
    free(loaded);
}

void assert_messages(const struct loaded *loaded, const char *expected)
{
    assert_string_equal(loaded->messages, expected);
}

void assert_said(const char *text, const char *expected)
{
    struct loaded *loaded = load(text);
    assert_messages(loaded, expected);
    loaded_free(loaded);
}
