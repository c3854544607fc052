/* SPDX-License-Identifier: MIT */
/* error.c - sentences for error codes, and the version. */
#include "skink/error.h"
#include "skink/version.h"
#include <uv.h>

const char *skink_strerror(int error)
{
    switch (error) {
    case 0:
        return "success";
    case UV_EINVAL:
        return "invalid argument";
    case UV_EPERM:
        return "not permitted from here";
    case UV_EALREADY:
        return "it has happened before";
    case UV_ECANCELED:
        return "cancelled";
    case UV_ETIMEDOUT:
        return "the deadline passed first";
    case UV_EAGAIN:
        return "a limit is reached; try again later";
    case -35:
        return "it would wait for itself"; /* EDEADLK, which libuv has no name for */
    default:
        break;
    }
    /* uv_strerror() allocates for a code that it does not know. */
    switch (error) {
#define CASE(name, text)                                                                                               \
    case UV_##name:                                                                                                    \
        return text;
        UV_ERRNO_MAP(CASE)
#undef CASE
    default:
        return "unknown error";
    }
}

const char *skink_version(void)
{
    return SKINK_VERSION_STRING;
}
