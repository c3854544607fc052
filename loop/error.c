/* SPDX-License-Identifier: MIT */
/* error.c - sentences for error codes, and the version. */
#include "skink/error.h"
#include "skink/version.h"
#include <errno.h>
#include <uv.h>

const char *skink_strerror(int error)
{
    switch (error) {
    case 0:
        return "success";
    /* What these mean here, or what libuv has no name for. */
    case -EINVAL:
        return "invalid argument";
    case -EPERM:
        return "not permitted from here";
    case -EALREADY:
        return "it has happened before";
    case -ECANCELED:
        return "cancelled";
    case -ETIMEDOUT:
        return "the deadline passed first";
    case -EAGAIN:
        return "a limit is reached; try again later";
    case -EDEADLK:
        return "it would wait for itself";
    case -E2BIG:
        return "options of a newer version";
    case -ENOTSUP:
        return "not supported in this process";
    case -EBADMSG:
        return "malformed";
    case -EMEDIUMTYPE:
        return "of another media type";
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
