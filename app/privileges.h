/* SPDX-License-Identifier: MIT */
/* app/privileges.h - becoming somebody with less to say, once the sockets are open. */
#ifndef SKINK_APP_PRIVILEGES_H
#define SKINK_APP_PRIVILEGES_H
#include <stdbool.h>

enum { PRIVILEGES_COMPLAINT_BYTES = 256 };

/*
 * Become "NAME" or "NAME:GROUP", for good, in all threads: user, group, and the user's other groups. The process may
 * still look at its own threads afterwards, which recovery needs. NULL or who we are already: nothing. False: that
 * failed, and `complaint` says why; then the process must end.
 */
bool skink__privileges_drop(const char *who, char complaint[PRIVILEGES_COMPLAINT_BYTES]);
#endif
