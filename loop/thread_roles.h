/* SPDX-License-Identifier: MIT */
/*
 * loop/thread_roles.h - what the threads of this process that skink starts, or works on, are for; by the kernel's id.
 *
 * No lock: who lists the threads does so while any of them may be stuck. A thread's entry goes when it ends.
 */
#ifndef SKINK_LOOP_THREAD_ROLES_H
#define SKINK_LOOP_THREAD_ROLES_H
#include <sys/types.h>

/* The calling thread's, from now on; a static text. Nothing happens when the table is full. */
void skink__thread_role_set(const char *role);

/* That of another; NULL when it is not known. Any thread. */
const char *skink__thread_role(pid_t tid);

/* The calling thread is one of libuv's pool. Cheap when it has said so before. */
void skink__thread_role_set_pool(void);
#define SKINK__ROLE_POOL "pool"
#endif
