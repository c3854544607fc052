/* SPDX-License-Identifier: MIT */
/* loop/descriptor.c - see descriptor.h. */
#include "loop/descriptor.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int skink__descriptor_not_zero(int fd)
{
    if (fd != 0) return fd < 0 ? -errno : fd;
    int other = fcntl(fd, F_DUPFD_CLOEXEC, 1);
    int err = other < 0 ? -errno : other;
    close(fd);
    return err;
}
