/* SPDX-License-Identifier: MIT */
/* app/token.c - reading a secret from a file (see token.h). */
#include "app/token.h"
#include "app/log.h"
#include "loop/log_value.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool complain(char *complaint, const char *path, const char *what)
{
    snprintf(complaint, TOKEN_COMPLAINT_BYTES, "%.400s: %s", path, what);
    return false;
}

static void warn_of_mode(const char *path, int fd)
{
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_mode & (S_IRGRP | S_IROTH))
        skink__log_line(SKINK_LOG_WARNING, "event=token_readable file=%s advice=\"chmod 600\"", SKINK__QUOTED(path));
}

/* What may stand in a header as it is. */
static bool is_visible(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text > '~') return false;
    return true;
}

bool skink__token_read(const char *path, char token[TOKEN_BYTES], char complaint[TOKEN_COMPLAINT_BYTES])
{
    char text[2 * TOKEN_BYTES];
    *token = '\0';
    if (!*path) return true;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return complain(complaint, path, strerror(errno));
    ssize_t length = read(fd, text, sizeof text - 1);
    int error = errno;
    warn_of_mode(path, fd);
    close(fd);
    if (length < 0) return complain(complaint, path, strerror(error));
    text[length] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    char *begin = text + strspn(text, " \t");
    size_t used = strlen(begin);
    while (used && (begin[used - 1] == ' ' || begin[used - 1] == '\t'))
        begin[--used] = '\0';
    if (used == 0) return complain(complaint, path, "its first line is empty; expected a token");
    if (used >= TOKEN_BYTES) return complain(complaint, path, "its first line is too long; expected at most 256 bytes");
    if (!is_visible(begin)) return complain(complaint, path, "expected visible characters without blanks between them");
    memcpy(token, begin, used + 1);
    return true;
}
