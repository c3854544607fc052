/* SPDX-License-Identifier: MIT */
/* faults.c - see faults.h. */
#include "tests/chaos/faults.h"
#include "skink/hooks.h"
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static _Atomic uint32_t rate;
static _Atomic uint64_t failures;
static uint64_t seed_of_all;
static _Atomic uint64_t threads_seen;

void chaos_seed(uint64_t seed)
{
    seed_of_all = seed;
}

/* xorshift64* (S. Vigna, 2016). Not inlined: a task may come back on another thread. */
__attribute__((noinline)) static uint64_t next_random(void)
{
    static _Thread_local uint64_t word;
    if (word == 0) word = seed_of_all * 0x9e3779b97f4a7c15u + atomic_fetch_add(&threads_seen, 1) * 2 + 1;
    word ^= word >> 12;
    word ^= word << 25;
    word ^= word >> 27;
    return word * 0x2545f4914f6cdd1du;
}

uint32_t chaos_random(uint32_t below)
{
    return below ? (uint32_t)((next_random() >> 33) % below) : 0;
}

void faults_set_rate(uint32_t one_in)
{
    atomic_store(&rate, one_in);
}

uint64_t faults_count(void)
{
    return atomic_load(&failures);
}

static bool fails(void)
{
    uint32_t one_in = atomic_load_explicit(&rate, memory_order_relaxed);
    if (!one_in || chaos_random(one_in)) return false;
    atomic_fetch_add(&failures, 1);
    return true;
}

static void *allocate(size_t size, void *arg)
{
    (void)arg;
    return fails() ? NULL : malloc(size);
}

static void *reallocate(void *memory, size_t size, void *arg)
{
    (void)arg;
    return fails() ? NULL : realloc(memory, size);
}

static void release(void *memory, void *arg)
{
    (void)arg;
    free(memory);
}

static void panic(const char *condition, const char *file, int line, void *arg)
{
    (void)arg;
    fprintf(stderr, "chaos: invariant broken: %s (%s:%d), seed %llu\n", condition, file, line,
            (unsigned long long)seed_of_all);
    abort();
}

void faults_install(void)
{
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.allocate = allocate;
    hooks.reallocate = reallocate;
    hooks.release = release;
    hooks.panic = panic;
    if (skink_hooks_set(&hooks)) abort();
}

/* ---- wrapped by the linker ---- */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    return fails() ? EAGAIN : __real_pthread_create(thread, attr, fn, arg);
}

void *__real_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (!fails()) return __real_mmap(address, length, protection, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (fails()) { /* the kernel's buffer is full: poll will say when it is not */
        errno = EAGAIN;
        return -1;
    }
    if (!fails() || message->msg_iovlen == 0 || message->msg_iov[0].iov_len < 2)
        return __real_sendmsg(fd, message, flags);
    struct iovec part = { message->msg_iov[0].iov_base, message->msg_iov[0].iov_len / 2 };
    struct msghdr less = *message;
    less.msg_iov = &part;
    less.msg_iovlen = 1;
    return __real_sendmsg(fd, &less, flags);
}

ssize_t __real_send(int fd, const void *bytes, size_t length, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t length, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t length, int flags)
{
    if (fails()) {
        errno = EAGAIN;
        return -1;
    }
    return __real_send(fd, bytes, fails() && length > 1 ? length / 2 : length, flags);
}

ssize_t __real_recv(int fd, void *buffer, size_t length, int flags);
ssize_t __wrap_recv(int fd, void *buffer, size_t length, int flags);
ssize_t __wrap_recv(int fd, void *buffer, size_t length, int flags)
{
    if (fails()) {
        errno = EAGAIN;
        return -1;
    }
    return __real_recv(fd, buffer, fails() && length > 1 ? 1 : length, flags);
}

/* The disk, that is; an eventfd never fails like this. */
ssize_t __real_write(int fd, const void *bytes, size_t length);
ssize_t __wrap_write(int fd, const void *bytes, size_t length);
ssize_t __wrap_write(int fd, const void *bytes, size_t length)
{
    struct stat status;
    if (fstat(fd, &status) || !S_ISREG(status.st_mode)) return __real_write(fd, bytes, length);
    if (fails()) {
        errno = ENOSPC;
        return -1;
    }
    return __real_write(fd, bytes, fails() && length > 1 ? length / 2 : length);
}

int __real_renameat(int folder, const char *from, int to_folder, const char *to);
int __wrap_renameat(int folder, const char *from, int to_folder, const char *to);
int __wrap_renameat(int folder, const char *from, int to_folder, const char *to)
{
    if (!fails()) return __real_renameat(folder, from, to_folder, to);
    errno = ENOSPC;
    return -1;
}

/* ---- libuv's calls, which find these instead of the C library's ---- */

/* There is no room for one more descriptor. libuv can bear that where it tries one out, and marks that by -1; elsewhere
 * it ends the process. */
int epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
    static int (*_Atomic real)(int epoll_fd, int operation, int fd, struct epoll_event *event);
    if (!real) real = (int (*)(int, int, int, struct epoll_event *))dlsym(RTLD_NEXT, "epoll_ctl");
    if (operation != EPOLL_CTL_ADD || event->data.fd != -1 || !fails()) return real(epoll_fd, operation, fd, event);
    errno = ENOSPC;
    return -1;
}

int epoll_wait(int epoll_fd, struct epoll_event *events, int events_max, int timeout_ms)
{
    static int (*_Atomic real)(int epoll_fd, struct epoll_event *events, int events_max, int timeout_ms);
    if (!real) real = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
    if (!fails()) return real(epoll_fd, events, events_max, timeout_ms);
    errno = EINTR;
    return -1;
}
