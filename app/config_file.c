/* SPDX-License-Identifier: MIT */
/* app/config_file.c - reading the configuration file, with a limit (see config_file.h). */
#include "app/config_file.h"
#include "app/allocate.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool refuse(const char *file, struct problems *problems, const char *what)
{
    skink__problem_add(problems, &(struct origin){ ORIGIN_FILE, file, 0, 0 }, "%s; expected a readable YAML file",
                       what);
    return false;
}

/* To the end, or one byte past the limit. Negative errno on failure. */
static int read_all(int fd, char *bytes, size_t *ret_length)
{
    size_t length = 0;
    while (length <= CONFIG_FILE_MAX_BYTES) {
        ssize_t got = read(fd, bytes + length, CONFIG_FILE_MAX_BYTES + 1 - length);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -errno;
        if (got == 0) break;
        length += (size_t)got;
    }
    *ret_length = length;
    return 0;
}

/* What it is that cannot be read; NULL if it can. */
static const char *unreadable(int fd, bool again)
{
    struct stat status;
    if (fstat(fd, &status) != 0) return NULL; /* reading it will say why */
    if (S_ISDIR(status.st_mode)) return "it is a directory";
    return again && S_ISFIFO(status.st_mode) ? "it is a pipe, which can be read only once" : NULL;
}

bool skink__config_file_read(const char *file, bool again, struct problems *problems, char **ret_bytes,
                             size_t *ret_length)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | (again ? O_NONBLOCK : 0));
    if (fd < 0) return refuse(file, problems, strerror(errno));
    const char *what = unreadable(fd, again);
    if (what) {
        close(fd);
        return refuse(file, problems, what);
    }
    char *bytes = skink__app_alloc(CONFIG_FILE_MAX_BYTES + 2);
    size_t length = 0;
    int error = read_all(fd, bytes, &length);
    close(fd);
    if (error || length > CONFIG_FILE_MAX_BYTES) {
        free(bytes);
        return refuse(file, problems, error ? strerror(-error) : "it is larger than 1mb");
    }
    *ret_bytes = bytes;
    *ret_length = length;
    return true;
}
