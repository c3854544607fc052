/* SPDX-License-Identifier: MIT */
/* loop/uv_means.c - see uv_means.h. */
#include "loop/uv_means.h"
#include "skink/clock.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- descriptors ---- */

/* A loop has an epoll descriptor, a pipe and an eventfd; the pipe of the process comes with the first. */
enum { LOOP_DESCRIPTORS = 6 };

int skink__uv_has_descriptors(void)
{
    int fds[LOOP_DESCRIPTORS], err = 0;
    unsigned count = 0;
    while (!err && count < LOOP_DESCRIPTORS) {
        int fd = eventfd(0, EFD_CLOEXEC);
        if (fd < 0)
            err = -errno;
        else
            fds[count++] = fd;
    }
    while (count > 0)
        close(fds[--count]);
    return err;
}

/* ---- threads of the pool ---- */

/* libuv's own numbers (threadpool.c). */
enum { POOL_DEFAULT = 4, POOL_MAX = 1024 };

enum { GONE_WITHIN_MS = 20, LOOK_AGAIN_US = 20 };

/* One that is there only to show that it can be. */
struct trial {
    uv_thread_t thread;
    uv_sem_t *go; /* so that all are there at once */
    _Atomic pid_t tid;
};

static unsigned pool_size(void)
{
    const char *text = getenv("UV_THREADPOOL_SIZE");
    unsigned size = text ? (unsigned)atoi(text) : POOL_DEFAULT;
    if (size == 0) return 1;
    return size < POOL_MAX ? size : POOL_MAX;
}

static void trial_main(void *arg)
{
    struct trial *trial = arg;
    atomic_store(&trial->tid, (pid_t)syscall(SYS_gettid));
    uv_sem_wait(trial->go);
}

/* A thread counts towards RLIMIT_NPROC for a moment after it was joined, and as long as the kernel knows its id. */
static void wait_until_gone(pid_t tid, uint64_t deadline_ns)
{
    while (syscall(SYS_tgkill, getpid(), tid, 0) == 0 && skink_now() < deadline_ns)
        nanosleep(&(struct timespec){ .tv_nsec = LOOK_AGAIN_US * 1000 }, NULL);
}

/* As many threads as the pool has, all at once: 0 or -EAGAIN. */
static int try_threads(struct trial *trials, unsigned count)
{
    uv_sem_t go;
    if (uv_sem_init(&go, 0)) return -EAGAIN;
    unsigned made = 0;
    for (; made < count; made++) {
        trials[made].go = &go;
        atomic_init(&trials[made].tid, 0);
        if (uv_thread_create(&trials[made].thread, trial_main, &trials[made])) break;
    }
    for (unsigned i = 0; i < made; i++)
        uv_sem_post(&go);
    for (unsigned i = 0; i < made; i++)
        uv_thread_join(&trials[i].thread);
    uint64_t deadline_ns = skink_after(GONE_WITHIN_MS * SKINK_MS);
    for (unsigned i = 0; i < made; i++)
        wait_until_gone(atomic_load(&trials[i].tid), deadline_ns);
    uv_sem_destroy(&go);
    return made == count ? 0 : -EAGAIN;
}

int skink__uv_queue_work(uv_loop_t *loop, uv_work_t *request, uv_work_cb work, uv_after_work_cb done)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of two loops one tries and creates, the other waits */
    static struct trial trials[POOL_MAX];                     /* too large for the stack of a task */
    static _Atomic bool pool_is_there;
    if (atomic_load_explicit(&pool_is_there, memory_order_acquire)) return uv_queue_work(loop, request, work, done);
    pthread_mutex_lock(&mutex);
    int err = atomic_load(&pool_is_there) ? 0 : try_threads(trials, pool_size());
    if (!err) err = uv_queue_work(loop, request, work, done);
    if (!err) atomic_store_explicit(&pool_is_there, true, memory_order_release);
    pthread_mutex_unlock(&mutex);
    return err;
}
