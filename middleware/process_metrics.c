/* SPDX-License-Identifier: MIT */
/* process_metrics.c - what the kernel knows of this process (see process_metrics.h). */
#include "middleware/process_metrics.h"
#include "skink/clock.h"
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

bool skink__process_stat_parse(const char *text, struct skink__process_stat *ret_stat)
{
    const char *name_end = strrchr(text, ')');
    struct skink__process_stat stat;
    /* Fields 3 to 24 of proc(5): num_threads is 20, starttime 22, vsize 23, rss 24. */
    if (!name_end || sscanf(name_end + 1,
                            " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64
                            " %*s %" SCNu64 " %" SCNu64 " %" SCNu64,
                            &stat.threads, &stat.start_ticks, &stat.virtual_bytes, &stat.resident_pages) != 4)
        return false;
    *ret_stat = stat;
    return true;
}

static bool read_stat(struct skink__process_stat *ret_stat)
{
    char text[1024]; /* 52 numbers and a name of 15 bytes; what is needed stands in the first half */
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0) return false;
    text[length] = '\0';
    return skink__process_stat_parse(text, ret_stat);
}

uint64_t skink__process_resident_bytes(void)
{
    struct skink__process_stat stat;
    return read_stat(&stat) ? stat.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now)) return 0;
    return (uint64_t)now.tv_sec * SKINK_S + (uint64_t)now.tv_nsec;
}

uint64_t skink__process_start_unix_ns(void)
{
    struct skink__process_stat stat;
    uint64_t ticks_per_second = (uint64_t)sysconf(_SC_CLK_TCK);
    uint64_t boot_unix_ns = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME);
    if (!read_stat(&stat) || boot_unix_ns == 0) return 0;
    return boot_unix_ns + stat.start_ticks * (SKINK_S / ticks_per_second);
}

static bool count_fds(uint64_t *ret_count)
{
    struct stat info;
    if (stat("/proc/self/fd", &info)) return false;
    *ret_count = (uint64_t)info.st_size;
    if (info.st_size > 0) return true; /* since Linux 6.2 it is the count, at no cost */
    DIR *directory = opendir("/proc/self/fd");
    if (!directory) return false;
    uint64_t count = 0;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.') count++;
    closedir(directory);
    *ret_count = count - 1; /* the directory itself was open */
    return true;
}

static void write_limit(struct skink__prometheus *writer, int resource, const char *name, const char *help)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit)) return;
    skink__prometheus_family(writer, SKINK__GAUGE, name, help);
    if (limit.rlim_cur == RLIM_INFINITY)
        skink__prometheus_number(writer, NULL, INFINITY);
    else
        skink__prometheus_count(writer, NULL, limit.rlim_cur);
}

static void write_gauge(struct skink__prometheus *writer, const char *name, const char *help, uint64_t value)
{
    skink__prometheus_family(writer, SKINK__GAUGE, name, help);
    skink__prometheus_count(writer, NULL, value);
}

void skink__process_metrics_write(struct skink__prometheus *writer, uint64_t start_unix_ns)
{
    /* The clock is exact; the ticks in /proc/self/stat are hundredths of a second. */
    uint64_t cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    if (cpu_ns) {
        skink__prometheus_family(writer, SKINK__COUNTER, "process_cpu_seconds_total",
                                 "Processor time, user and system, of all threads.");
        skink__prometheus_seconds(writer, NULL, cpu_ns);
    }
    struct skink__process_stat stat;
    if (read_stat(&stat)) {
        write_gauge(writer, "process_resident_memory_bytes", "Memory in RAM.",
                    stat.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE));
        write_gauge(writer, "process_virtual_memory_bytes", "Address space in use.", stat.virtual_bytes);
        write_gauge(writer, "process_threads", "Threads of the process, strays included.", stat.threads);
    }
    write_limit(writer, RLIMIT_AS, "process_virtual_memory_max_bytes", "Limit of the address space; +Inf without one.");
    uint64_t fds;
    if (count_fds(&fds)) write_gauge(writer, "process_open_fds", "Open file descriptors.", fds);
    write_limit(writer, RLIMIT_NOFILE, "process_max_fds", "Limit of open file descriptors.");
    if (start_unix_ns) {
        skink__prometheus_family(writer, SKINK__GAUGE, "process_start_time_seconds",
                                 "When the process was started, in seconds since 1970.");
        skink__prometheus_seconds(writer, NULL, start_unix_ns);
    }
}
