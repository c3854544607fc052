/* SPDX-License-Identifier: MIT */
/*
 * recovery/thread_probe.h - what the kernel tells of one thread of this process, without disturbing it.
 *
 * Owns     three descriptors in /proc/self/task/TID, opened ahead of time, so that a look is a read and no more.
 * Threads  one at a time: the standby that opens it for itself, then the watchdog under the recovery's mutex.
 */
#ifndef SKINK_RECOVERY_THREAD_PROBE_H
#define SKINK_RECOVERY_THREAD_PROBE_H
#include "recovery/slice_clock.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* All zero is a probe that has not been opened: it knows nothing, and says so. */
struct skink__thread_probe {
    pid_t tid; /* 0: not opened */
    int stat_fd;
    int schedstat_fd;
    int syscall_fd; /* each -1 when it could not be opened (no /proc, no descriptors left, privileges dropped) */
};

/* What cannot be opened is tried again when it is wanted; readings say what is missing. */
void skink__thread_probe_open(struct skink__thread_probe *probe, pid_t tid);
void skink__thread_probe_close(struct skink__thread_probe *probe);

/* The cheap part, one system call: now_ns and cpu_ns. */
void skink__thread_probe_clock(const struct skink__thread_probe *probe, struct skink__reading *reading);

/* All of a reading: state and run delay as well. */
void skink__thread_probe_read(struct skink__thread_probe *probe, struct skink__reading *reading);

enum skink__poll_answer { SKINK__POLL_NO, SKINK__POLL_YES, SKINK__POLL_UNKNOWN };

/* Does the thread sleep in epoll_wait (or a sibling of it) on this epoll descriptor? */
enum skink__poll_answer skink__thread_probe_in_poll(struct skink__thread_probe *probe, int epoll_fd);

/* The system call that it is blocked in, as the kernel writes it into .../syscall; "" if that cannot be read. */
void skink__thread_probe_call(struct skink__thread_probe *probe, char *ret_text, size_t text_bytes);

/* The parsers, for tests. They return false when the text is not what the kernel writes. */
bool skink__parse_stat(const char *text, char *ret_state);
bool skink__parse_schedstat(const char *text, uint64_t *ret_run_delay_ns);
enum skink__poll_answer skink__parse_syscall(const char *text, int epoll_fd);
#endif
