/* SPDX-License-Identifier: MIT */
/*
 * tests/fuzz/fuzz_config.c - the configuration, from file, environment and --set: whatever the bytes are, reading ends,
 * and either everything is in its range or something was said about the place where it is not.
 *
 * An input is a file; behind a byte 0xff and a letter stands something else: E a variable of the environment, S an
 * argument of --set, F the file as it is when it is read again, which must come to what it comes to the first time.
 */
#include "app/allocate.h"
#include "app/config.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition)
{
    if (!condition) abort();
}

/* What --print-config shows must be readable, and mean the same. */
static void check_round_trip(const struct config *config)
{
    int fd = memfd_create("printed", MFD_CLOEXEC);
    check(fd >= 0);
    FILE *stream = fdopen(fd, "w");
    check(stream != NULL);
    skink__config_print(config, stream);
    fflush(stream);
    char *file = skink__app_format("/proc/self/fd/%d", fd);
    struct config again;
    struct problems problems = { 0 };
    struct config_sources sources = { .file = file };
    skink__config_load(&again, &sources, &problems);
    check(problems.errors == 0);
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++)
        check(again.values[i].number == config->values[i].number);
    check(again.route_count == config->route_count);
    skink__problems_fini(&problems);
    skink__config_fini(&again);
    free(file);
    fclose(stream);
}

enum { TEXTS_MAX = 16, SEPARATOR = 0xff };

/* An input taken apart. */
struct parts {
    char *texts[2 * TEXTS_MAX]; /* copies, each of its own size */
    size_t text_count;
    const char *environment[TEXTS_MAX + 1];
    const char *settings[TEXTS_MAX];
    size_t environment_count, setting_count;
    const uint8_t *again; /* the second file; NULL: none */
    size_t again_size;
};

static void add_text(struct parts *parts, uint8_t letter, const uint8_t *bytes, size_t size)
{
    bool variable = letter == 'E' && parts->environment_count < TEXTS_MAX;
    bool setting = letter == 'S' && parts->setting_count < TEXTS_MAX;
    if (!variable && !setting) return;
    char *text = skink__app_strndup((const char *)bytes, strnlen((const char *)bytes, size));
    parts->texts[parts->text_count++] = text;
    if (variable) parts->environment[parts->environment_count++] = text;
    if (setting) parts->settings[parts->setting_count++] = text;
}

/* Says how long the file is. */
static size_t take_apart(struct parts *parts, const uint8_t *data, size_t size)
{
    const uint8_t *end = data + size, *at = memchr(data, SEPARATOR, size);
    size_t file_size = at ? (size_t)(at - data) : size;
    while (at && end - at >= 2) {
        const uint8_t *bytes = at + 2;
        at = memchr(bytes, SEPARATOR, (size_t)(end - bytes));
        size_t length = (size_t)((at ? at : end) - bytes);
        add_text(parts, bytes[-1], bytes, length);
        if (bytes[-1] != 'F') continue;
        parts->again = bytes;
        parts->again_size = length;
    }
    return file_size;
}

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* Each problem says where it is, and all of them can be printed. */
static void check_problems(struct problems *problems, const char *file, const struct parts *parts)
{
    char *printed;
    size_t length;
    FILE *stream = open_memstream(&printed, &length);
    check(stream != NULL);
    skink__problems_print(problems, stream);
    fclose(stream);
    check((length > 0) == (problems->count > 0));
    free(printed);
    for (size_t i = 0; i < problems->count; i++) {
        const char *text = problems->items[i].text;
        check(begins_with(text, file) || (parts->environment_count > 0 && begins_with(text, "environment SKINK_")) ||
              (parts->setting_count > 0 && begins_with(text, "--set: ")));
    }
}

/* What a later source says wins, so no value is from an earlier one than its own origin says. */
static void check_origins(const struct config *config, const struct parts *parts)
{
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++) {
        const struct config_value *value = &config->values[i];
        check(value->origin.kind != ORIGIN_SET || parts->setting_count > 0);
        check(value->origin.kind != ORIGIN_ENVIRONMENT || parts->environment_count > 0);
        char place[64];
        skink__origin_format(&value->origin, place, sizeof place);
        check(strlen(place) > 0);
    }
}

static bool is_same(const struct config_value *a, const struct config_value *b)
{
    return a->number == b->number && (a->text == NULL) == (b->text == NULL) &&
           (!a->text || strcmp(a->text, b->text) == 0);
}

/* Another reading of the same leads to the same, which is what a reload relies on. */
static void check_repeats(const struct config *config, const struct config_sources *sources, size_t errors)
{
    struct config again;
    struct problems problems = { 0 };
    skink__config_load(&again, sources, &problems);
    check(problems.errors == errors && again.route_count == config->route_count);
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++)
        check(is_same(&again.values[i], &config->values[i]));
    skink__problems_fini(&problems);
    skink__config_fini(&again);
}

static void fuzz_file(const uint8_t *bytes, size_t size, const struct parts *parts)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    check(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    char file[64];
    snprintf(file, sizeof file, "/proc/self/fd/%d", fd);
    struct config config;
    struct problems problems = { 0 };
    struct config_sources sources = { .file = file,
                                      .environment = parts->environment,
                                      .settings = parts->settings,
                                      .setting_count = parts->setting_count };
    skink__config_load(&config, &sources, &problems);
    check_problems(&problems, file, parts);
    check_origins(&config, parts);
    check_repeats(&config, &sources, problems.errors);
    if (problems.errors == 0) check_round_trip(&config);
    skink__problems_fini(&problems);
    skink__config_fini(&config);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct parts parts = { .text_count = 0 };
    size_t file_size = take_apart(&parts, data, size);
    fuzz_file(data, file_size, &parts);
    if (parts.again) fuzz_file(parts.again, parts.again_size, &parts);
    for (size_t i = 0; i < parts.text_count; i++)
        free(parts.texts[i]);
    return 0;
}
