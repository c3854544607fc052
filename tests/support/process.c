/* SPDX-License-Identifier: MIT */
/* tests/support/process.c - reading /proc. */
#include "tests/support/process.h"

#include <dirent.h>
#include <stdio.h>
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
