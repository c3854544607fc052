/* SPDX-License-Identifier: MIT */
/*
 * await_fd.c - suspending a task until a file descriptor is ready.
 *
 * libuv allows one handle per descriptor, so tasks that wait for the same one share it. The handle lives for as long as
 * somebody waits: a descriptor's number may be another file the next time, and libuv must look at it anew.
 */
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/state.h"
#include "skink/io.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>

struct fd_watch {
    uv_poll_t handle;
    struct skink__fd_watches *all;
    int fd;
    struct fd_waiter *waiters;
};

/* On the waiting task's stack. */
struct fd_waiter {
    struct fd_waiter *next; /* fd_watch.waiters */
    struct fd_watch *watch;
    skink_task *task;
    uint32_t wanted; /* SKINK_READABLE | SKINK_WRITABLE */
    uint32_t ready;
};

struct skink__fd_watches {
    int capacity;
    struct fd_watch **by_fd;
};

static void watch_freed(uv_handle_t *handle)
{
    skink__free(handle->data);
}

static void watch_close(struct fd_watch *watch)
{
    watch->all->by_fd[watch->fd] = NULL;
    uv_close((uv_handle_t *)&watch->handle, watch_freed);
}

static void unlink_waiter(struct fd_waiter *waiter)
{
    struct fd_waiter **link = &waiter->watch->waiters;
    while (*link != waiter)
        link = &(*link)->next;
    *link = waiter->next;
}

static uint32_t wanted_by_all(const struct fd_watch *watch)
{
    uint32_t wanted = 0;
    for (const struct fd_waiter *waiter = watch->waiters; waiter; waiter = waiter->next)
        wanted |= waiter->wanted;
    return wanted;
}

static void on_event(uv_poll_t *handle, int status, int events) SKINK__IN_RUNTIME;

/* Watch for what is still wanted, or let go. */
static int watch_update(struct fd_watch *watch)
{
    uint32_t wanted = wanted_by_all(watch);
    if (!wanted) {
        watch_close(watch);
        return 0;
    }
    int events = UV_DISCONNECT;
    if (wanted & SKINK_READABLE) events |= UV_READABLE;
    if (wanted & SKINK_WRITABLE) events |= UV_WRITABLE;
    return uv_poll_start(&watch->handle, events, on_event);
}

static void on_event(uv_poll_t *handle, int status, int events)
{
    struct fd_watch *watch = handle->data;
    uint32_t ready = 0;
    if (events & UV_READABLE) ready |= SKINK_READABLE;
    if (events & UV_WRITABLE) ready |= SKINK_WRITABLE;
    if (events & UV_DISCONNECT) ready |= SKINK_HANGUP;
    for (struct fd_waiter **link = &watch->waiters; *link;) {
        struct fd_waiter *waiter = *link;
        /* An error (status) is for everybody: the read or write that follows will say which it is. */
        uint32_t mine = status < 0 ? waiter->wanted | SKINK_HANGUP : ready & (waiter->wanted | SKINK_HANGUP);
        if (!mine || !skink__wait_claim(waiter->task)) {
            link = &waiter->next;
            continue;
        }
        *link = waiter->next;
        waiter->ready = mine;
        skink__wait_wake(waiter->task, 0, true);
    }
    int err = watch_update(watch);
    SKINK_ASSERT(err == 0);
}

static bool abort_fd(skink_task *task) SKINK__IN_RUNTIME
{
    struct fd_waiter *waiter = task->wait_object;
    if (!skink__wait_claim(task)) return false;
    unlink_waiter(waiter);
    (void)watch_update(waiter->watch); /* fewer events than before: cannot fail */
    return true;
}

static int table_reach(struct skink__fd_watches *all, int fd)
{
    if (fd < all->capacity) return 0;
    if (fcntl(fd, F_GETFD) < 0) return -EBADF; /* any number at all: no table is made for that */
    int capacity = all->capacity ? all->capacity : 64;
    while (capacity <= fd)
        capacity *= 2;
    struct fd_watch **by_fd = skink__realloc(all->by_fd, (size_t)capacity * sizeof *by_fd);
    if (!by_fd) return -ENOMEM;
    for (int i = all->capacity; i < capacity; i++)
        by_fd[i] = NULL;
    all->by_fd = by_fd;
    all->capacity = capacity;
    return 0;
}

/* The watch of this descriptor, made if there is none. */
static int watch_find(skink_scheduler *scheduler, int fd, struct fd_watch **ret_watch) SKINK__IN_RUNTIME
{
    if (!scheduler->fd_watches) scheduler->fd_watches = skink__zalloc(sizeof *scheduler->fd_watches);
    struct skink__fd_watches *all = scheduler->fd_watches;
    if (!all) return -ENOMEM;
    int err = table_reach(all, fd);
    if (err) return err;
    *ret_watch = all->by_fd[fd];
    if (*ret_watch) return 0;
    struct fd_watch *watch = skink__zalloc(sizeof *watch);
    if (!watch) return -ENOMEM;
    err = uv_poll_init(&scheduler->loop, &watch->handle, fd);
    if (err) {
        skink__free(watch);
        return err;
    }
    watch->handle.data = watch;
    watch->all = all;
    watch->fd = fd;
    all->by_fd[fd] = watch;
    *ret_watch = watch;
    return 0;
}

static int task_await_fd(skink_task *task, int fd, uint32_t events, uint64_t deadline_ns,
                         uint32_t *ret_events) SKINK__LEAVES_RUNTIME
{
    struct fd_waiter waiter = { .task = task, .wanted = events };
    int err = watch_find(task->scheduler, fd, &waiter.watch);
    if (err) goto leave;
    err = skink__wait_begin(task, deadline_ns, -ETIMEDOUT, abort_fd, &waiter);
    if (err) goto leave_watch;
    waiter.next = waiter.watch->waiters;
    waiter.watch->waiters = &waiter;
    err = watch_update(waiter.watch);
    if (err) {
        unlink_waiter(&waiter);
        skink__wait_undo(task);
        goto leave_watch;
    }
    err = skink__wait_suspend(task);
    if (!err && ret_events) *ret_events = waiter.ready;
    return err;
leave_watch:
    if (!waiter.watch->waiters) watch_close(waiter.watch);
leave:
    skink__runtime_leave(task->scheduler);
    return err;
}

static int poll_timeout_ms(uint64_t deadline_ns)
{
    if (deadline_ns == SKINK_FOREVER) return -1;
    uint64_t now = skink_now();
    uint64_t left_ms = deadline_ns > now ? (deadline_ns - now + SKINK_MS - 1) / SKINK_MS : 0;
    return left_ms < 3600000 ? (int)left_ms : 3600000;
}

static int thread_await_fd(int fd, uint32_t events, uint64_t deadline_ns, uint32_t *ret_events)
{
    struct pollfd entry = { .fd = fd };
    if (events & SKINK_READABLE) entry.events |= POLLIN;
    if (events & SKINK_WRITABLE) entry.events |= POLLOUT;
    for (;;) {
        int count = poll(&entry, 1, poll_timeout_ms(deadline_ns));
        if (count > 0) break;
        if (count < 0 && errno != EINTR) return -errno;
        if (deadline_ns != SKINK_FOREVER && skink_now() >= deadline_ns) return -ETIMEDOUT;
    }
    if (entry.revents & POLLNVAL) return -EBADF;
    uint32_t ready = 0;
    if (entry.revents & POLLIN) ready |= SKINK_READABLE;
    if (entry.revents & POLLOUT) ready |= SKINK_WRITABLE;
    if (entry.revents & (POLLHUP | POLLERR)) ready |= SKINK_HANGUP;
    if (ret_events) *ret_events = ready;
    return 0;
}

int skink_await_fd(int fd, uint32_t events, uint64_t deadline_ns, uint32_t *ret_events)
{
    if (!events || events & ~(SKINK_READABLE | SKINK_WRITABLE)) return -EINVAL;
    if (fd < 0) return -EBADF;
    skink_scheduler *here = skink__runtime_enter();
    if (here && skink__in_task()) {
        skink__assume_runtime();
        return task_await_fd(skink__thread_self()->current, fd, events, deadline_ns, ret_events);
    }
    skink__runtime_leave(here);
    return here ? -EPERM : thread_await_fd(fd, events, deadline_ns, ret_events);
}

void skink__fd_watches_fini(skink_scheduler *scheduler)
{
    struct skink__fd_watches *all = scheduler->fd_watches;
    scheduler->fd_watches = NULL;
    if (!all) return;
    for (int fd = 0; fd < all->capacity; fd++)
        if (all->by_fd[fd]) watch_close(all->by_fd[fd]);
    skink__free(all->by_fd);
    skink__free(all);
}
