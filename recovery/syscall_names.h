/* SPDX-License-Identifier: MIT */
/* recovery/syscall_names.h - system calls that a thread may be found in, by number. */
#ifndef SKINK_RECOVERY_SYSCALL_NAMES_H
#define SKINK_RECOVERY_SYSCALL_NAMES_H

/* What its first argument is, as far as somebody wants to know what a thread waits for. */
enum skink__call_kind {
    SKINK__CALL_PLAIN,
    SKINK__CALL_DESCRIPTOR, /* a file descriptor              */
    SKINK__CALL_POLL,       /* an array of struct pollfd      */
    SKINK__CALL_FUTEX       /* the address of a futex         */
};

struct skink__call {
    long number;
    const char *name;
    enum skink__call_kind kind;
};

/* NULL: not in the table. Static. */
const struct skink__call *skink__call_find(long number);
#endif
