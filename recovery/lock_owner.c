/* SPDX-License-Identifier: MIT */
/* recovery/lock_owner.c - see lock_owner.h. */
#include "recovery/lock_owner.h"
#include "recovery/call_site.h"
#include "recovery/own_memory.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif
enum { LIBRARY_DEPTH_MAX = 8, INLINE_MAX = 16 };
#define ROBUST_MUTEX_BIT 16 /* glibc's, in the kind of a mutex */

const char *skink__wait_kind_name(enum skink__wait_kind kind)
{
    static const char *const names[] = {
        [SKINK__WAIT_NONE] = "none",       [SKINK__WAIT_MUTEX] = "mutex",         [SKINK__WAIT_RWLOCK] = "rwlock",
        [SKINK__WAIT_THREAD] = "thread",   [SKINK__WAIT_CONDITION] = "condition", [SKINK__WAIT_SEMAPHORE] = "semaphore",
        [SKINK__WAIT_BARRIER] = "barrier", [SKINK__WAIT_ONCE] = "once",           [SKINK__WAIT_FUTEX] = "futex",
    };
    return names[kind];
}

/* ---- which function waits ---- */

/* glibc's own names for these differ in leading underscores. A condition variable's wait takes the mutex again at its
 * end, in a function of its own: it is the inner one, and so it is found first. */
static const struct {
    const char *function;
    enum skink__wait_kind kind;
} waiting_functions[] = {
    { "pthread_mutex_lock", SKINK__WAIT_MUTEX },
    { "pthread_mutex_timedlock", SKINK__WAIT_MUTEX },
    { "pthread_mutex_clocklock", SKINK__WAIT_MUTEX },
    { "pthread_mutex_clocklock_common", SKINK__WAIT_MUTEX },
    { "pthread_mutex_lock_full", SKINK__WAIT_MUTEX },
    { "pthread_mutex_cond_lock", SKINK__WAIT_MUTEX },
    { "pthread_mutex_cond_lock_full", SKINK__WAIT_MUTEX },
    { "pthread_rwlock_rdlock", SKINK__WAIT_RWLOCK },
    { "pthread_rwlock_timedrdlock", SKINK__WAIT_RWLOCK },
    { "pthread_rwlock_clockrdlock", SKINK__WAIT_RWLOCK },
    { "pthread_rwlock_wrlock", SKINK__WAIT_RWLOCK },
    { "pthread_rwlock_timedwrlock", SKINK__WAIT_RWLOCK },
    { "pthread_rwlock_clockwrlock", SKINK__WAIT_RWLOCK },
    { "pthread_join", SKINK__WAIT_THREAD },
    { "pthread_clockjoin_ex", SKINK__WAIT_THREAD },
    { "pthread_timedjoin_np", SKINK__WAIT_THREAD },
    { "pthread_clockjoin_np", SKINK__WAIT_THREAD },
    { "thrd_join", SKINK__WAIT_THREAD },
    { "pthread_cond_wait", SKINK__WAIT_CONDITION },
    { "pthread_cond_timedwait", SKINK__WAIT_CONDITION },
    { "pthread_cond_clockwait", SKINK__WAIT_CONDITION },
    { "pthread_cond_destroy", SKINK__WAIT_CONDITION },
    { "sem_wait", SKINK__WAIT_SEMAPHORE },
    { "sem_timedwait", SKINK__WAIT_SEMAPHORE },
    { "sem_clockwait", SKINK__WAIT_SEMAPHORE },
    { "sem_wait_slow64", SKINK__WAIT_SEMAPHORE },
    { "pthread_barrier_wait", SKINK__WAIT_BARRIER },
    { "pthread_barrier_destroy", SKINK__WAIT_BARRIER },
    { "pthread_once", SKINK__WAIT_ONCE },
};

/* "__new_sem_wait@@GLIBC_2.34" -> "sem_wait" */
static enum skink__wait_kind kind_of_function(const char *function)
{
    while (*function == '_')
        function++;
    if (strncmp(function, "new_", 4) == 0) function += 4;
    size_t length = strcspn(function, "@");
    for (size_t i = 0; i < sizeof waiting_functions / sizeof *waiting_functions; i++)
        if (strlen(waiting_functions[i].function) == length &&
            strncmp(waiting_functions[i].function, function, length) == 0)
            return waiting_functions[i].kind;
    return SKINK__WAIT_NONE;
}

/* Some functions of the C library leave the stack by a jump to one without an exported name. Then the call tells, which
 * the first frame outside of the library has made. */
static enum skink__wait_kind kind_by_call(struct skink__symbols *symbols, uintptr_t pc_of_caller)
{
    uintptr_t target = skink__call_site_target(symbols, pc_of_caller + 1);
    if (!target) return SKINK__WAIT_FUTEX;
    struct skink__frame frames[INLINE_MAX];
    size_t count = skink__symbols_find(symbols, target, frames, INLINE_MAX);
    enum skink__wait_kind kind = kind_of_function(frames[count - 1].function);
    return kind != SKINK__WAIT_NONE ? kind : SKINK__WAIT_FUTEX;
}

/* The innermost function that says something; only while the stack is in the C library, since further out nothing tells
 * what the word in question belongs to. (In a program that has the C library inside, nothing is known.) */
static enum skink__wait_kind kind_by_stack(struct skink__symbols *symbols, const uintptr_t *pcs, size_t count)
{
    for (size_t i = 0; i < count && i < LIBRARY_DEPTH_MAX; i++) {
        if (!skink__call_site_is_c_library(symbols, pcs[i]))
            return i > 0 ? kind_by_call(symbols, pcs[i]) : SKINK__WAIT_FUTEX;
        struct skink__frame frames[INLINE_MAX];
        size_t frame_count = skink__symbols_find(symbols, pcs[i], frames, INLINE_MAX);
        for (size_t k = 0; k < frame_count; k++) {
            enum skink__wait_kind kind = kind_of_function(frames[k].function);
            if (kind != SKINK__WAIT_NONE) return kind;
        }
    }
    return SKINK__WAIT_FUTEX;
}

/* ---- who owns it ---- */

/* The parts of glibc's objects that are read, on 64-bit machines. They are part of its binary interface, since programs
 * have them initialised at compile time. */
struct mutex_image {
    uint32_t lock; /* the futex; of a robust or PI one the owner's thread id, with flags */
    uint32_t count;
    int32_t owner;
    uint32_t users;
    int32_t kind;
};

struct rwlock_image {
    uint32_t readers;
    uint32_t writers;
    uint32_t write_phase_futex; /* readers wait here, and the first writer */
    uint32_t writers_futex;     /* the other writers */
    uint32_t padding[2];
    int32_t writer;
    int32_t shared;
};
#define OFFSETS_ARE_KNOWN (sizeof(void *) == 8 && sizeof(pthread_mutex_t) >= 40 && sizeof(pthread_rwlock_t) == 56)

static bool is_living_thread(pid_t tid)
{
    char path[64];
    struct stat unused;
    snprintf(path, sizeof path, "/proc/self/task/%d", (int)tid);
    return tid > 0 && stat(path, &unused) == 0;
}

static int futex_command(const struct skink__blocked *blocked)
{
    return (int)blocked->arguments[1] & FUTEX_CMD_MASK;
}

/* By the operation alone: the kernel itself keeps the owner's id in this word. */
static bool is_priority_inheriting(const struct skink__blocked *blocked)
{
    int command = futex_command(blocked);
    return command == FUTEX_LOCK_PI || command == FUTEX_LOCK_PI2;
}

static pid_t mutex_owner(const struct skink__blocked *blocked, const struct mutex_image *mutex)
{
    bool id_in_lock = is_priority_inheriting(blocked) || (mutex->kind & ROBUST_MUTEX_BIT);
    pid_t by_lock = (pid_t)(mutex->lock & FUTEX_TID_MASK);
    if (mutex->lock == 0) return 0;
    if (id_in_lock) return by_lock == mutex->owner && !(mutex->lock & FUTEX_OWNER_DIED) ? by_lock : 0;
    return mutex->owner > 0 ? mutex->owner : 0;
}

/* What it waits for is a robust mutex, without a word from the stack: the value that it waits to change is a living
 * thread's id with the mark for waiters, the field for the owner says the same, and the kind does. Nothing else of
 * glibc's looks like that. (The function that waits there has no exported name, and its caller has left the
 * stack by a jump.) */
static bool is_robust_by_content(const struct skink__blocked *blocked, const struct mutex_image *mutex)
{
    uint64_t awaited = blocked->arguments[2];
    return (awaited & FUTEX_WAITERS) && (mutex->kind & ROBUST_MUTEX_BIT) && (mutex->kind & ~0x1ff) == 0 &&
           mutex->owner > 0 && (uint32_t)mutex->owner == (awaited & FUTEX_TID_MASK) && is_living_thread(mutex->owner);
}

/* Kind and address, without a look at the object. The address of a read-write lock is a multiple of 8, so the futex's
 * tells which of the two it is. */
static struct skink__lock_wait wait_for_object(const struct skink__blocked *blocked, enum skink__wait_kind by_stack)
{
    uintptr_t futex = (uintptr_t)blocked->arguments[0];
    struct skink__lock_wait wait = { .kind = by_stack, .address = futex };
    if (is_priority_inheriting(blocked)) wait.kind = SKINK__WAIT_MUTEX;
    if (OFFSETS_ARE_KNOWN && wait.kind == SKINK__WAIT_RWLOCK)
        wait.address = futex - (futex % 8 == 0 ? offsetof(struct rwlock_image, write_phase_futex)
                                               : offsetof(struct rwlock_image, writers_futex));
    return wait;
}

/* Fill in kind, address and owner from what is in memory now. */
static void look_at_object(const struct skink__blocked *blocked, enum skink__wait_kind by_stack,
                           struct skink__lock_wait *wait)
{
    uintptr_t futex = (uintptr_t)blocked->arguments[0];
    *wait = wait_for_object(blocked, by_stack);
    if (!OFFSETS_ARE_KNOWN) return;
    struct mutex_image mutex;
    struct rwlock_image rwlock;
    int32_t tid;
    switch (wait->kind) {
    case SKINK__WAIT_MUTEX:
        if (skink__own_memory_read(futex, &mutex, sizeof mutex)) wait->owner = mutex_owner(blocked, &mutex);
        break;
    case SKINK__WAIT_RWLOCK:
        if (skink__own_memory_read(wait->address, &rwlock, sizeof rwlock) && rwlock.writer > 0)
            wait->owner = rwlock.writer;
        break;
    case SKINK__WAIT_THREAD:
        if (skink__own_memory_read(futex, &tid, sizeof tid) && (uint64_t)tid == blocked->arguments[2])
            wait->owner = tid;
        break;
    case SKINK__WAIT_FUTEX:
        if (skink__own_memory_read(futex, &mutex, sizeof mutex) && is_robust_by_content(blocked, &mutex)) {
            wait->kind = SKINK__WAIT_MUTEX;
            wait->owner = mutex_owner(blocked, &mutex);
        }
        break;
    default:
        break;
    }
}

static bool same_wait(const struct skink__lock_wait *a, const struct skink__lock_wait *b)
{
    return a->kind == b->kind && a->address == b->address && a->owner == b->owner;
}

static bool is_futex_wait(const struct skink__blocked *blocked)
{
    return blocked->number == SYS_futex;
}

static struct skink__lock_wait lock_wait_of(struct skink__symbols *symbols, const struct skink__thread_view *view)
{
    struct skink__lock_wait wait = { .kind = SKINK__WAIT_NONE }, again;
    if (view->answer != SKINK__BLOCKED_YES || !is_futex_wait(&view->blocked)) return wait;
    enum skink__wait_kind by_stack = kind_by_stack(symbols, view->pcs, view->pc_count);
    look_at_object(&view->blocked, by_stack, &wait);
    if (!wait.owner) return wait;
    bool alive = is_living_thread(wait.owner);
    bool still = skink__blocked_still(view->tid, &view->blocked);
    look_at_object(&view->blocked, by_stack, &again);
    if (!alive || !still || !same_wait(&wait, &again)) wait.owner = 0;
    return wait;
}

struct skink__lock_wait skink__lock_wait_was(struct skink__symbols *symbols, const struct skink__blocked *call,
                                             const uintptr_t *pcs, size_t count)
{
    if (!is_futex_wait(call)) return (struct skink__lock_wait){ .kind = SKINK__WAIT_NONE };
    return wait_for_object(call, kind_by_stack(symbols, pcs, count));
}

/* ---- one thread ---- */

/* The first line of a file of /proc/self/task/TID, or "". */
static void read_file(pid_t tid, const char *name, char *ret_text, size_t text_bytes)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/%s", (int)tid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, ret_text, text_bytes - 1) : 0;
    if (fd >= 0) close(fd);
    ret_text[length > 0 ? length : 0] = '\0';
    ret_text[strcspn(ret_text, "\n")] = '\0';
}

static char state_of(pid_t tid)
{
    char text[128];
    read_file(tid, "stat", text, sizeof text);
    const char *end_of_name = strrchr(text, ')'); /* the name may hold anything */
    return end_of_name && end_of_name[1] == ' ' && end_of_name[2] ? end_of_name[2] : '?';
}

/* False: it moved in the middle of the look. */
static bool look(struct skink__symbols *symbols, pid_t tid, struct skink__thread_view *view)
{
    memset(view, 0, sizeof *view);
    view->tid = tid;
    read_file(tid, "comm", view->name, sizeof view->name);
    view->state = state_of(tid);
    read_file(tid, "wchan", view->wchan, sizeof view->wchan);
    if (strcmp(view->wchan, "0") == 0) view->wchan[0] = '\0';
    view->answer = skink__blocked_read(tid, &view->blocked);
    if (view->answer != SKINK__BLOCKED_YES) return true;
    view->pc_count = skink__blocked_stack(symbols, tid, &view->blocked, view->pcs, SKINK__STACK_MAX, &view->whole);
    view->wait = lock_wait_of(symbols, view);
    return view->pc_count > 0 && skink__blocked_still(tid, &view->blocked);
}

void skink__thread_view_read(struct skink__symbols *symbols, pid_t tid, struct skink__thread_view *ret_view)
{
    enum { LOOKS = 3 };
    for (int i = 0; i < LOOKS && !look(symbols, tid, ret_view);)
        i++;
}

/* ---- the chain ---- */

static bool find_in_chain(const struct skink__lock_chain *chain, pid_t tid, size_t *ret_index)
{
    for (size_t i = 0; i < chain->count; i++) {
        if (chain->threads[i].tid != tid) continue;
        *ret_index = i;
        return true;
    }
    return false;
}

/* While the later links were being read an earlier one may have come free. */
static void verify(struct skink__symbols *symbols, struct skink__lock_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        struct skink__thread_view *view = &chain->threads[i];
        if (!view->wait.owner) continue;
        struct skink__lock_wait now = lock_wait_of(symbols, view);
        if (same_wait(&now, &view->wait)) continue;
        view->wait.owner = 0;
        chain->count = i + 1;
        chain->cycle = false;
        return;
    }
}

void skink__lock_chain_read(struct skink__symbols *symbols, pid_t tid, struct skink__lock_chain *ret_chain)
{
    struct skink__lock_chain *chain = ret_chain;
    chain->count = 0;
    chain->cycle = false;
    chain->cycle_begin = 0;
    for (pid_t next = tid; next && !chain->cycle && chain->count < SKINK__LOCK_CHAIN_MAX;) {
        struct skink__thread_view *view = &chain->threads[chain->count++];
        skink__thread_view_read(symbols, next, view);
        next = view->wait.owner;
        chain->cycle = next && find_in_chain(chain, next, &chain->cycle_begin);
    }
    verify(symbols, chain);
}
