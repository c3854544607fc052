/* SPDX-License-Identifier: MIT */
/*
 * tests/fuzz/fuzz_config.c - the configuration file: whatever the bytes are, reading ends, and either everything is in
 * its range or something was said about a line of the file.
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
    check(problems.count == 0);
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++)
        check(again.values[i].number == config->values[i].number);
    check(again.route_count == config->route_count);
    skink__problems_fini(&problems);
    skink__config_fini(&again);
    free(file);
    fclose(stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    char file[64];
    snprintf(file, sizeof file, "/proc/self/fd/%d", fd);
    struct config config;
    struct problems problems = { 0 };
    struct config_sources sources = { .file = file };
    skink__config_load(&config, &sources, &problems);
    for (size_t i = 0; i < problems.count; i++)
        check(strncmp(problems.items[i].text, file, strlen(file)) == 0);
    if (problems.errors == 0) check_round_trip(&config);
    skink__problems_fini(&problems);
    skink__config_fini(&config);
    close(fd);
    return 0;
}
