/* SPDX-License-Identifier: MIT */
/* recovery/thread_probe.c - reading /proc/self/task/TID; see thread_probe.h. */
#include "recovery/thread_probe.h"
#include "skink/clock.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int open_file(pid_t tid, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/%s", (int)tid, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

void skink__thread_probe_open(struct skink__thread_probe *probe, pid_t tid)
{
    probe->tid = tid;
    probe->stat_fd = open_file(tid, "stat");
    probe->schedstat_fd = open_file(tid, "schedstat");
    probe->syscall_fd = open_file(tid, "syscall");
}

static void close_file(int fd)
{
    if (fd >= 0) close(fd);
}

void skink__thread_probe_close(struct skink__thread_probe *probe)
{
    if (probe->tid == 0) return;
    close_file(probe->stat_fd);
    close_file(probe->schedstat_fd);
    close_file(probe->syscall_fd);
    *probe = (struct skink__thread_probe){ 0 };
}

/* A file of /proc, afresh each time, since it is read from its beginning. What could not be opened ahead of time (all
 * descriptors were in use) is tried again now. False: there is nothing to read. */
static bool read_file(int *fd, pid_t tid, const char *name, char *text, size_t text_bytes)
{
    if (*fd < 0) *fd = open_file(tid, name);
    if (*fd < 0) return false;
    ssize_t length = pread(*fd, text, text_bytes - 1, 0);
    if (length <= 0) return false;
    text[length] = '\0';
    return true;
}

/* The kernel's name for the processor clock of any thread of this process: its id and three bits that say that it is
 * a thread's (4) and which of its clocks (2, what the scheduler counts). pthread_getcpuclockid() would make the same
 * from a pthread_t, which must not have ended. */
static clockid_t cpu_clock(pid_t tid)
{
    return (clockid_t)(~(unsigned)tid << 3 | 6u);
}

void skink__thread_probe_clock(const struct skink__thread_probe *probe, struct skink__reading *reading)
{
    *reading = (struct skink__reading){ .now_ns = skink_now(), .state = SKINK__STATE_UNKNOWN };
    struct timespec cpu;
    if (probe->tid == 0 || clock_gettime(cpu_clock(probe->tid), &cpu) != 0) return;
    reading->cpu_ns = (uint64_t)cpu.tv_sec * SKINK_S + (uint64_t)cpu.tv_nsec;
    reading->has_cpu = true;
}

bool skink__parse_stat(const char *text, char *ret_state)
{
    const char *end_of_name = strrchr(text, ')'); /* the name may hold anything, brackets too */
    if (!end_of_name || end_of_name[1] != ' ' || end_of_name[2] == '\0') return false;
    *ret_state = end_of_name[2];
    return true;
}

bool skink__parse_schedstat(const char *text, uint64_t *ret_run_delay_ns)
{
    uint64_t on_processor_ns;
    return sscanf(text, "%" SCNu64 " %" SCNu64, &on_processor_ns, ret_run_delay_ns) == 2;
}

void skink__thread_probe_read(struct skink__thread_probe *probe, struct skink__reading *reading)
{
    char text[512]; /* the state stands within the first 30 bytes of stat */
    skink__thread_probe_clock(probe, reading);
    if (probe->tid == 0) return;
    if (!read_file(&probe->stat_fd, probe->tid, "stat", text, sizeof text) || !skink__parse_stat(text, &reading->state))
        reading->state = SKINK__STATE_UNKNOWN;
    reading->has_run_delay = read_file(&probe->schedstat_fd, probe->tid, "schedstat", text, sizeof text) &&
                             skink__parse_schedstat(text, &reading->run_delay_ns);
}

static bool is_epoll_wait(long number)
{
    switch (number) {
#ifdef SYS_epoll_wait /* not on aarch64 */
    case SYS_epoll_wait:
#endif
    case SYS_epoll_pwait:
#ifdef SYS_epoll_pwait2
    case SYS_epoll_pwait2:
#endif
        return true;
    default:
        return false;
    }
}

enum skink__poll_answer skink__parse_syscall(const char *text, int epoll_fd)
{
    long number;
    uint64_t first_argument;
    if (strncmp(text, "running", 7) == 0) return SKINK__POLL_NO;
    int fields = sscanf(text, "%ld 0x%" SCNx64, &number, &first_argument);
    if (fields < 1) return SKINK__POLL_UNKNOWN;
    return fields == 2 && is_epoll_wait(number) && first_argument == (uint64_t)epoll_fd ? SKINK__POLL_YES
                                                                                        : SKINK__POLL_NO;
}

enum skink__poll_answer skink__thread_probe_in_poll(struct skink__thread_probe *probe, int epoll_fd)
{
    char text[256];
    if (probe->tid == 0) return SKINK__POLL_UNKNOWN;
    if (!read_file(&probe->syscall_fd, probe->tid, "syscall", text, sizeof text)) return SKINK__POLL_UNKNOWN;
    return skink__parse_syscall(text, epoll_fd);
}

void skink__thread_probe_call(struct skink__thread_probe *probe, char *ret_text, size_t text_bytes)
{
    if (probe->tid == 0 || !read_file(&probe->syscall_fd, probe->tid, "syscall", ret_text, text_bytes))
        ret_text[0] = '\0';
}
