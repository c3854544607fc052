/* SPDX-License-Identifier: MIT */
/* loop/options.h - reading an options struct that may be older or newer than this library. */
#ifndef SKINK_LOOP_OPTIONS_H
#define SKINK_LOOP_OPTIONS_H
#include <errno.h>
#include <stddef.h>
#include <string.h>

/*
 * Copy *given (NULL: nothing, all defaults) of given_size bytes into *copy of known_size bytes; what an older caller
 * lacks is zero, and what a newer one has beyond must be zero. Both begin with their size_t size.
 *   -EINVAL  the size was never set
 *   -E2BIG   a field in use that this library does not know
 */
static inline int skink__options_read(void *copy, size_t known_size, const void *given)
{
    memset(copy, 0, known_size);
    if (!given) return 0;
    size_t given_size = *(const size_t *)given;
    if (given_size < sizeof(size_t)) return -EINVAL;
    for (size_t i = known_size; i < given_size; i++)
        if (((const char *)given)[i]) return -E2BIG;
    memcpy(copy, given, given_size < known_size ? given_size : known_size);
    return 0;
}
#define SKINK__OPTIONS_READ(copy, given) skink__options_read((copy), sizeof *(copy), (given))

/* Fill in a stats struct of the caller's, as far as it reaches; its size stays. -EINVAL if that was never set. */
static inline int skink__stats_write(void *stats, const void *values, size_t known_size)
{
    size_t size = *(size_t *)stats;
    if (size < sizeof(size_t)) return -EINVAL;
    size_t length = size < known_size ? size : known_size;
    memcpy((char *)stats + sizeof(size_t), (const char *)values + sizeof(size_t), length - sizeof(size_t));
    return 0;
}
#endif
