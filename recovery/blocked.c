/* SPDX-License-Identifier: MIT */
/* recovery/blocked.c - see blocked.h. */
#include "recovery/blocked.h"
#include "recovery/unwind.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum skink__blocked_answer skink__parse_blocked(const char *text, struct skink__blocked *ret_blocked)
{
    struct skink__blocked b = { 0 };
    uint64_t sp, pc;
    if (strncmp(text, "running", 7) == 0) return SKINK__BLOCKED_NO;
    uint64_t *a = b.arguments;
    int fields = sscanf(text,
                        "%ld 0x%" SCNx64 " 0x%" SCNx64 " 0x%" SCNx64 " 0x%" SCNx64 " 0x%" SCNx64 " 0x%" SCNx64
                        " 0x%" SCNx64 " 0x%" SCNx64,
                        &b.number, &a[0], &a[1], &a[2], &a[3], &a[4], &a[5], &sp, &pc);
    if (fields == 3 && b.number == -1) { /* no call: only the last two are there */
        sp = a[0];
        pc = a[1];
        a[0] = a[1] = 0;
    } else if (fields != 9) {
        return SKINK__BLOCKED_UNKNOWN;
    }
    b.sp = (uintptr_t)sp;
    b.pc = (uintptr_t)pc;
    *ret_blocked = b;
    return SKINK__BLOCKED_YES;
}

enum skink__blocked_answer skink__blocked_read(pid_t tid, struct skink__blocked *ret_blocked)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return SKINK__BLOCKED_UNKNOWN;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0) return SKINK__BLOCKED_UNKNOWN;
    text[length] = '\0';
    return skink__parse_blocked(text, ret_blocked);
}

bool skink__blocked_still(pid_t tid, const struct skink__blocked *blocked)
{
    struct skink__blocked now;
    return skink__blocked_read(tid, &now) == SKINK__BLOCKED_YES && now.number == blocked->number &&
           now.sp == blocked->sp && now.pc == blocked->pc &&
           memcmp(now.arguments, blocked->arguments, sizeof now.arguments) == 0;
}

size_t skink__blocked_stack(struct skink__symbols *symbols, pid_t tid, const struct skink__blocked *blocked,
                            uintptr_t *pcs, size_t max, bool *ret_whole)
{
    /* The call's own instruction is just before the address that it returns to. */
    struct skink__registers registers = { .pc = blocked->number >= 0 ? blocked->pc - 1 : blocked->pc,
                                          .sp = blocked->sp };
    size_t count = skink__unwind(symbols, &registers, pcs, max, ret_whole);
    return skink__blocked_still(tid, blocked) ? count : 0;
}
