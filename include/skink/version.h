/* SPDX-License-Identifier: MIT */
/* skink/version.h - the version of these headers, and of the library that runs. */
#ifndef SKINK_VERSION_H
#define SKINK_VERSION_H
#include "skink/annot.h"
#ifdef __cplusplus
extern "C" {
#endif

#define SKINK_VERSION_MAJOR 0
#define SKINK_VERSION_MINOR 1
#define SKINK_VERSION_PATCH 0
#define SKINK_VERSION_STRING "0.1.0"

/* The version of the library at run time, such as "0.1.0". Static text. */
SKINK_API const char *skink_version(void) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
