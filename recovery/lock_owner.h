/* SPDX-License-Identifier: MIT */
/*
 * recovery/lock_owner.h - which lock a thread is blocked on, who holds it, and so on along the chain.
 *
 * Nothing is recorded when locks are taken: all is read from the blocked threads themselves. The kernel tells the
 * address of the word that a thread sleeps on (a futex), the thread's stack tells the function that sleeps
 * (pthread_mutex_lock, sem_wait, ...), and glibc's object around that word tells the owner.
 *
 * An owner is named only when everything agrees: the function is one that waits for an owner, the object looks like
 * one, two readings are equal, the owner is a living thread of this process, and the waiter still sleeps there
 * afterwards. Condition variables, semaphores, barriers and locks held by readers have no owner. In
 * doubt there is none.
 *
 * Helper threads only, as symbols.h.
 */
#ifndef SKINK_RECOVERY_LOCK_OWNER_H
#define SKINK_RECOVERY_LOCK_OWNER_H
#include "recovery/blocked.h"
#include "recovery/symbols.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum skink__wait_kind {
    SKINK__WAIT_NONE = 0,  /* not blocked, or not on a futex */
    SKINK__WAIT_MUTEX,     /* owner: who locked it */
    SKINK__WAIT_RWLOCK,    /* owner: who holds it for writing; none while readers hold it */
    SKINK__WAIT_THREAD,    /* pthread_join: owner is the thread that is to end */
    SKINK__WAIT_CONDITION, /* and from here on: never an owner */
    SKINK__WAIT_SEMAPHORE,
    SKINK__WAIT_BARRIER,
    SKINK__WAIT_ONCE,
    SKINK__WAIT_FUTEX /* of another kind, or one that is not known */
};

/* "mutex", "rwlock", "thread", "condition", "semaphore", "barrier", "once", "futex"; "none". Static text. */
const char *skink__wait_kind_name(enum skink__wait_kind kind);

struct skink__lock_wait {
    enum skink__wait_kind kind;
    uintptr_t address; /* of the object where it is known (mutex, rwlock, thread), else of the futex */
    pid_t owner;       /* 0: none, or not known */
};

enum { SKINK__STACK_MAX = 48 };

/* What a thread waited for that may have gone on since: by the call that it was blocked in, and its stack at that
 * moment. Nobody can say any more who had it. */
struct skink__lock_wait skink__lock_wait_was(struct skink__symbols *symbols, const struct skink__blocked *call,
                                             const uintptr_t *pcs, size_t count);

/* What can be seen of one thread from outside. */
struct skink__thread_view {
    pid_t tid;
    char name[16];  /* the kernel's; "" when the thread is gone */
    char state;     /* as in /proc: R S D T t ...; '?' */
    char wchan[40]; /* where in the kernel it waits, or "" */
    enum skink__blocked_answer answer;
    struct skink__blocked blocked; /* with SKINK__BLOCKED_YES */
    struct skink__lock_wait wait;
    uintptr_t
        pcs[SKINK__STACK_MAX]; /* innermost first, as skink__symbols_find() takes them; only of a blocked thread */
    size_t pc_count;
    bool whole; /* the stack was walked to its first frame */
};

void skink__thread_view_read(struct skink__symbols *symbols, pid_t tid, struct skink__thread_view *ret_view);

enum { SKINK__LOCK_CHAIN_MAX = 8 };

/* threads[0] is the one asked about, threads[i + 1] the owner of what threads[i] waits for. */
struct skink__lock_chain {
    size_t count;
    bool cycle; /* the last one's owner is threads[cycle_begin] */
    size_t cycle_begin;
    struct skink__thread_view threads[SKINK__LOCK_CHAIN_MAX];
};

/* Each link is looked at again at the end, and the chain is cut at one that no longer holds. */
void skink__lock_chain_read(struct skink__symbols *symbols, pid_t tid, struct skink__lock_chain *ret_chain);
#endif
