/* SPDX-License-Identifier: MIT */
/* tests/support/process.h - what a process holds, from /proc, to see that nothing is left behind. */
#ifndef SKINK_TESTS_SUPPORT_PROCESS_H
#define SKINK_TESTS_SUPPORT_PROCESS_H
#include <stdbool.h>
#include <sys/types.h>

/* pid 0 is the calling process. All return -1 when /proc cannot be read. */
int test_thread_count(pid_t pid);
int test_fd_count(pid_t pid); /* without the one used for counting */

/* The same without files that are mapped: of the program's code and its debug information, each of which diagnosis
 * opens, for good, when a stack first has an address of it. Which incident that is, nobody can tell. */
int test_fd_count_but_code(pid_t pid);

/* Of the calling process, how many lead to where the path has this in it. */
int test_fd_count_to(const char *part_of_path);

long test_resident_kb(pid_t pid);

/* Does a thread of the calling process sleep in the kernel? Not while it runs, nor while it waits for a processor. */
bool test_thread_sleeps(pid_t tid);

/* Does the kernel know guards that cost no mapping (MADV_GUARD_INSTALL, Linux 6.13)? Without, a process has some 32,000
 * stacks. */
bool test_has_guard_markers(void);
#endif
