/* SPDX-License-Identifier: MIT */
/* app/inherited.c - $LISTEN_FDS, as sd_listen_fds(3) describes it (see inherited.h). */
#include "app/inherited.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_FD 3

/* All of text is digits, and not too many; -1 else. */
static long number_of(const char *text)
{
    if (!*text || strlen(text) > 9 || strspn(text, "0123456789") != strlen(text)) return -1;
    return strtol(text, NULL, 10);
}

/* The i-th of the names between colons; "" when there are fewer. */
static void name_at(const char *names, size_t i, char name[16])
{
    while (names && i-- > 0) {
        names = strchr(names, ':');
        names += names != NULL;
    }
    snprintf(name, 16, "%.*s", names ? (int)strcspn(names, ":") : 0, names ? names : "");
}

/* Which socket is for what: by its name, else by its place. */
static bool assign(struct inherited *inherited, const char *names, char *complaint)
{
    size_t unnamed = 0, stats = 0;
    for (size_t i = 0; i < inherited->count; i++) {
        struct inherited_socket *socket = &inherited->sockets[i];
        char name[16];
        name_at(names, i, name);
        snprintf(socket->address, sizeof socket->address, "fd:%d", FIRST_FD + (int)i);
        bool by_place = strcmp(name, "http") != 0 && strcmp(name, "stats") != 0;
        socket->is_stats = by_place ? unnamed == 1 : strcmp(name, "stats") == 0;
        unnamed += by_place;
        stats += socket->is_stats;
    }
    if (unnamed <= 2 && stats <= 1) return true;
    snprintf(complaint, INHERITED_COMPLAINT_BYTES,
             "%zu inherited sockets, of which %zu are for stats and %zu have no name; expected at most one for stats "
             "and two without FileDescriptorName=http or stats",
             inherited->count, stats, unnamed);
    return false;
}

static bool take(struct inherited *inherited, char *complaint)
{
    const char *count = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
    if (!count || !pid || number_of(pid) != (long)getpid()) return true; /* for another process, if for any */
    long number = number_of(count);
    if (number < 0 || number > INHERITED_MAX) {
        snprintf(complaint, INHERITED_COMPLAINT_BYTES, "LISTEN_FDS=%.32s; expected a number from 0 to %d", count,
                 INHERITED_MAX);
        return false;
    }
    inherited->count = (size_t)number;
    for (int fd = FIRST_FD; fd < FIRST_FD + (int)number; fd++) {
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0) continue;
        snprintf(complaint, INHERITED_COMPLAINT_BYTES, "LISTEN_FDS=%.32s, but descriptor %d is not open", count, fd);
        return false;
    }
    return assign(inherited, getenv("LISTEN_FDNAMES"), complaint);
}

bool skink__inherited_take(struct inherited *inherited, char complaint[INHERITED_COMPLAINT_BYTES])
{
    *inherited = (struct inherited){ 0 };
    bool ok = take(inherited, complaint);
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDNAMES");
    return ok;
}

bool skink__inherited_has(const struct inherited *inherited, bool is_stats)
{
    for (size_t i = 0; i < inherited->count; i++)
        if (inherited->sockets[i].is_stats == is_stats) return true;
    return false;
}

void skink__inherited_close(struct inherited *inherited)
{
    for (size_t i = 0; i < inherited->count; i++)
        close(FIRST_FD + (int)i);
    inherited->count = 0;
}
