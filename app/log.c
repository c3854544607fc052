/* SPDX-License-Identifier: MIT */
/* app/log.c - writing log lines without ever waiting for whoever reads them (see log.h). */
#include "app/log.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TEXT_BYTES 1024
#define LINE_BYTES 1200 /* with time and level; less than PIPE_BUF, so that a pipe takes it whole or not at all */

enum sink {
    SINK_FILE,   /* writes go to the page cache                                                    */
    SINK_OPENED, /* a pipe or terminal, opened anew without blocking: only our own view of it      */
    SINK_SOCKET, /* told with each send not to block                                               */
    SINK_POLLED  /* a pipe or terminal that cannot be opened anew: asked first; a rest of a risk   */
};

/* Written by skink__log_open() before there are threads. */
static struct {
    int fd;
    enum sink sink;
} output = { STDERR_FILENO, SINK_POLLED };

static _Atomic uint64_t dropped;        /* all so far; only counts, so relaxed                    */
static _Atomic uint64_t dropped_untold; /* not yet told by a line; taken by the thread that tells */

/*
 * O_NONBLOCK belongs to the open file, which we share with the shell and with every other program on that terminal or
 * pipe. So it is not set on the descriptor we were given but on one of our own.
 */
void skink__log_open(int fd)
{
    struct stat status;
    output.fd = fd;
    output.sink = SINK_POLLED;
    if (fstat(fd, &status)) return;
    if (S_ISREG(status.st_mode)) output.sink = SINK_FILE;
    if (S_ISSOCK(status.st_mode)) output.sink = SINK_SOCKET;
    if (!S_ISFIFO(status.st_mode) && !S_ISCHR(status.st_mode)) return;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (own < 0) return;
    output.fd = own;
    output.sink = SINK_OPENED;
}

static bool write_now(const char *line, size_t length)
{
    if (output.sink == SINK_SOCKET)
        return send(output.fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length;
    if (output.sink == SINK_POLLED) {
        struct pollfd room = { .fd = output.fd, .events = POLLOUT };
        if (poll(&room, 1, 0) != 1 || !(room.revents & POLLOUT)) return false;
    }
    ssize_t written;
    do
        written = write(output.fd, line, length);
    while (written < 0 && errno == EINTR);
    return written == (ssize_t)length;
}

/* The date of a count of days since 1970, in the proleptic Gregorian calendar. gmtime_r() would do, but it takes a
 * lock of the C library's, which a stuck task may hold. Years start in March here, so that the leap day comes last. */
static void date_of(int64_t days, int *ret_year, int *ret_month, int *ret_day)
{
    days += 719468; /* from 0000-03-01 */
    int64_t era = days / 146097;
    int64_t day_of_era = days % 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    *ret_day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    *ret_month = (int)(month < 10 ? month + 3 : month - 9);
    *ret_year = (int)(year_of_era + era * 400 + (*ret_month <= 2));
}

static size_t format_line(char *line, skink_log_level level, const char *text)
{
    static const char *const names[] = { "error", "warning", "info", "debug" };
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int year, month, day;
    date_of(now.tv_sec / 86400, &year, &month, &day);
    int seconds = (int)(now.tv_sec % 86400);
    int length = snprintf(line, LINE_BYTES, "time=%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ level=%s %.*s\n", year, month,
                          day, seconds / 3600, seconds / 60 % 60, seconds % 60, now.tv_nsec / 1000000,
                          names[level > SKINK_LOG_DEBUG ? SKINK_LOG_DEBUG : level], TEXT_BYTES - 1, text);
    return (size_t)length;
}

static void count_dropped(uint64_t lines)
{
    atomic_fetch_add_explicit(&dropped_untold, lines, memory_order_relaxed);
}

static void tell_dropped(void)
{
    uint64_t lines = atomic_exchange_explicit(&dropped_untold, 0, memory_order_relaxed);
    char text[64], line[LINE_BYTES];
    snprintf(text, sizeof text, "event=log_dropped lines=%" PRIu64, lines);
    if (lines && !write_now(line, format_line(line, SKINK_LOG_WARNING, text))) count_dropped(lines);
}

void skink__log_hook(skink_log_level level, const char *line, void *arg)
{
    (void)arg;
    char whole[LINE_BYTES];
    int saved = errno; /* the caller may be in the middle of reading its own */
    if (atomic_load_explicit(&dropped_untold, memory_order_relaxed)) tell_dropped();
    if (!write_now(whole, format_line(whole, level, line))) {
        atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
        count_dropped(1);
    }
    errno = saved;
}

void skink__log_line(skink_log_level level, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    skink__log_hook(level, text, NULL);
}

void skink__log_panic_hook(const char *condition, const char *file, int line, void *arg)
{
    (void)arg;
    skink__log_line(SKINK_LOG_ERROR, "event=panic condition=\"%s\" file=%s line=%d", condition, file, line);
}

uint64_t skink__log_dropped(void)
{
    return atomic_load_explicit(&dropped, memory_order_relaxed);
}
