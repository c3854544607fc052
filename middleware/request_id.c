/* SPDX-License-Identifier: MIT */
/* middleware/request_id.c - request ids: made, or taken over (request_id.h). */
#include "middleware/request_id.h"
#include <string.h>
#include <sys/random.h>
#include <time.h>

void skink__request_id_prefix(char prefix[SKINK__REQUEST_ID_PREFIX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    uint32_t random;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random) { /* a machine that has just been started */
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        random = (uint32_t)now.tv_nsec ^ (uint32_t)now.tv_sec << 16;
    }
    for (int i = 0; i < SKINK__REQUEST_ID_PREFIX_BYTES - 1; i++, random >>= 4)
        prefix[i] = digits[random & 15];
    prefix[SKINK__REQUEST_ID_PREFIX_BYTES - 1] = '-';
}

size_t skink__request_id_make(char id[SKINK__REQUEST_ID_MADE_BYTES], const char prefix[SKINK__REQUEST_ID_PREFIX_BYTES],
                              uint64_t index)
{
    char reversed[20];
    size_t n = 0;
    do {
        reversed[n++] = (char)('0' + index % 10);
        index /= 10;
    } while (index);
    memcpy(id, prefix, SKINK__REQUEST_ID_PREFIX_BYTES);
    size_t at = SKINK__REQUEST_ID_PREFIX_BYTES;
    while (n)
        id[at++] = reversed[--n];
    id[at] = '\0';
    return at;
}

static bool may_stand_in_id(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("-_.:+/=@", c) != NULL);
}

bool skink__request_id_is_valid(const char *id)
{
    size_t n = 0;
    while (may_stand_in_id(id[n]))
        if (++n > SKINK__REQUEST_ID_MAX) return false;
    return n > 0 && id[n] == '\0';
}
