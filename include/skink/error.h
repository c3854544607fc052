/* SPDX-License-Identifier: MIT */
/*
 * skink/error.h - how skink says that something went wrong.
 *
 * Functions that can fail return 0 or a negative errno; codes of the system and of libuv (which are the same numbers on
 * Linux) pass through unchanged, and `errno` itself is never used. Each declaration lists what it returns. Two are not
 * repeated everywhere: -EINVAL for a NULL where none may be, and -EPERM where SKINK_IN_TASK says so. Functions that
 * cannot fail answer such a NULL as if there were nothing: with false, 0 or NULL, unless they say otherwise, and those
 * that return nothing do nothing. These codes have a meaning of skink's own:
 *
 *   -EINVAL     a value out of range, an unknown flag, a NULL where none may be
 *   -EPERM      not from here: a suspending call outside a task, or inside the runtime section
 *   -EALREADY   it has happened before: a second completion, a second answer
 *   -ECANCELED  the task, the future or the scheduler was cancelled or is stopping
 *   -ETIMEDOUT  the deadline passed first
 *   -EAGAIN     a limit is reached; the same call may succeed later
 *   -EDEADLK    the call would wait for itself
 *   -EBUSY      too late, since what would change is in use; or another task waits in the same call
 *   -E2BIG      an options struct from a newer skink, with a field in use that this one does not know
 *   -ENOMEM     no memory; nothing was changed
 */
#ifndef SKINK_ERROR_H
#define SKINK_ERROR_H
#include "skink/annot.h"
#ifdef __cplusplus
extern "C" {
#endif

/* A sentence for a negative errno or libuv code that skink returned, such as "the deadline passed first".
 * Never NULL; the text is static. Any thread, also signal handlers. */
SKINK_API const char *skink_strerror(int error) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
