/* SPDX-License-Identifier: MIT */
/* tests/support/process.c - reading /proc. */
#include "tests/support/process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int count_entries(pid_t pid, const char *directory)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)(pid ? pid : getpid()), directory);
    DIR *dir = opendir(path);
    if (!dir) return -1;
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.') count++;
    closedir(dir);
    return count;
}

int test_thread_count(pid_t pid)
{
    return count_entries(pid, "task");
}

int test_fd_count(pid_t pid)
{
    int count = count_entries(pid, "fd");
    if (count > 0 && (pid == 0 || pid == getpid())) count--; /* the directory itself was open */
    return count;
}

/* All of a file of /proc; NULL when it cannot be read. */
static char *read_all(const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file) return NULL;
    char *text = NULL;
    size_t capacity = 0;
    ssize_t length = getdelim(&text, &capacity, '\0', file); /* it has none */
    fclose(file);
    if (length >= 0) return text;
    free(text);
    return NULL;
}

int test_fd_count_but_code(pid_t pid)
{
    int owner = (int)(pid ? pid : getpid()), count = 0;
    char path[64], target[4096];
    snprintf(path, sizeof path, "/proc/%d/fd", owner);
    DIR *dir = opendir(path);
    snprintf(path, sizeof path, "/proc/%d/maps", owner);
    char *maps = dir ? read_all(path) : NULL;
    for (struct dirent *entry; maps && (entry = readdir(dir));) {
        ssize_t length = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        if (length <= 0) continue; /* "." and "..", or closed since */
        target[length] = '\0';
        if (!(target[0] == '/' && strstr(maps, target))) count++;
    }
    if (maps && owner == getpid()) count--; /* the directory itself was open */
    if (dir) closedir(dir);
    if (!maps) return -1;
    free(maps);
    return count;
}

int test_fd_count_to(const char *part_of_path)
{
    int count = 0;
    char target[4096];
    DIR *dir = opendir("/proc/self/fd");
    if (!dir) return -1;
    for (struct dirent *entry; (entry = readdir(dir));) {
        ssize_t length = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = '\0';
        if (strstr(target, part_of_path)) count++;
    }
    closedir(dir);
    return count;
}

long test_resident_kb(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", (int)(pid ? pid : getpid()));
    FILE *file = fopen(path, "re");
    if (!file) return -1;
    char line[256];
    long kb = -1;
    while (kb < 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %ld kB", &kb) != 1) kb = -1;
    fclose(file);
    return kb;
}

bool test_thread_sleeps(pid_t tid)
{
    char path[64], stat[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    FILE *file = fopen(path, "re");
    if (!file) return false;
    size_t length = fread(stat, 1, sizeof stat - 1, file);
    fclose(file);
    stat[length] = '\0';
    const char *name_end = strrchr(stat, ')'); /* the name may contain anything */
    return name_end && strncmp(name_end, ") S", 3) == 0;
}

bool test_has_guard_markers(void)
{
    enum { GUARD_INSTALL = 102 }; /* MADV_GUARD_INSTALL, which Debian 12's headers do not have */
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool has = page != MAP_FAILED && madvise(page, bytes, GUARD_INSTALL) == 0;
    munmap(page, bytes);
    return has;
}
