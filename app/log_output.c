/* SPDX-License-Identifier: MIT */
/* app/log_output.c - where lines go (see log_output.h). */
#include "app/log_output.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * O_NONBLOCK belongs to the open file, which we share with the shell and with every other program on that terminal or
 * pipe. So it is not set on the descriptor we were given but on one of our own.
 */
void skink__output_take(struct log_output *output, int fd)
{
    struct stat status;
    *output = (struct log_output){ .fd = fd, .sink = SINK_POLLED };
    if (fstat(fd, &status)) return;
    if (S_ISREG(status.st_mode)) output->sink = SINK_FILE;
    if (S_ISSOCK(status.st_mode)) output->sink = SINK_SOCKET;
    if (!S_ISFIFO(status.st_mode) && !S_ISCHR(status.st_mode)) return;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (own < 0) return;
    output->fd = own;
    output->sink = SINK_OPENED;
}

int skink__output_open(struct log_output *output, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    if (fd < 0) return errno;
    int old = output->path ? output->fd : -1;
    skink__output_take(output, fd);
    output->path = path;
    if (old >= 0) close(old);
    return 0;
}

/* How much of it was taken. What a full disk left over is tried again, which says why. */
static size_t write_bytes(int fd, const char *bytes, size_t length)
{
    size_t written = 0;
    while (written < length) {
        ssize_t n = write(fd, bytes + written, length - written);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        written += (size_t)n;
    }
    return written;
}

bool skink__output_write(struct log_output *output, const char *line, size_t length)
{
    if (output->sink == SINK_SOCKET)
        return send(output->fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length;
    if (output->sink == SINK_POLLED) {
        struct pollfd room = { .fd = output->fd, .events = POLLOUT };
        if (poll(&room, 1, 0) != 1 || !(room.revents & POLLOUT)) return false;
    }
    if (output->torn) {
        if (write_bytes(output->fd, "\n", 1) != 1) return false;
        output->torn = false;
    }
    size_t written = write_bytes(output->fd, line, length);
    if (written < length && written > 0) output->torn = line[written - 1] != '\n';
    return written == length;
}
