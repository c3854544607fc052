/* SPDX-License-Identifier: MIT */
/*
 * examples/demo/demo.c - the module that the stock server loads: five routes to see skink at work.
 *
 *     GET  /hello               200, "hello\n"
 *     POST /echo                200, the body
 *     GET  /sleep?ms=N          suspends its task for N milliseconds, then 200; everybody else goes on
 *     GET  /stick?ms=N&how=H    really blocks the loop thread for N milliseconds, then 200
 *     GET  /spin                computes without end
 *
 * /stick is what a handler must never do, on purpose. ms=forever, which is also the default, never ends. H says how:
 *
 *     sleep     nanosleep (the default)
 *     mutex     a mutex that another thread holds for that time
 *     deadlock  two mutexes, which a thread of the pool takes in the other order; that one gives up after that time
 *     read      read(2) from a pipe that another thread writes to after that time
 *     spin      computing for that time
 *     selfwait  blocking on a future that only another task of the same loop completes. That task can run only once
 *               this one has let go of the loop. So the wait is refused at once, and the answer is 500 with the number
 *               of EDEADLK. With detection.mode=off the watchdog resolves it: the other task suspends for N ms and
 *               completes the future; without ms it completes it at once, with ms=forever never.
 *
 * After the time every helper thread has ended and been joined.
 */
#include "skink/module.h"
#include "skink/skink.h"
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

SKINK_MODULE;

#define MS_MAX (24 * 60 * 60 * 1000) /* a day; more is a mistake */

/* An answer that cannot be given is counted by the server: the client is gone, or was told that we are stuck. */
static void answer(skink_request *request, const char *text)
{
    skink_respond_text(request, 200, text);
}

static void refuse(skink_request *request, const char *message)
{
    skink_respond_error(request, 400, 400, message);
}

static void fail_with(skink_request *request, int error)
{
    skink_respond_error(request, 500, error < 0 ? -error : error, skink_strerror(error < 0 ? error : -error));
}

/* --- times --- */

/* "N" as nanoseconds; false for anything that is not a whole number of milliseconds up to a day. */
static bool parse_ms(const char *text, uint64_t *ret_ns)
{
    uint64_t ms = 0;
    if (!*text) return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        ms = ms * 10 + (uint64_t)(*text - '0');
        if (ms > MS_MAX) return false;
    }
    *ret_ns = ms * SKINK_MS;
    return true;
}

/* Blocks the calling thread until then, whatever signals come. SKINK_FOREVER means for ever. */
static void nap_until(uint64_t deadline_ns)
{
    for (uint64_t now; (now = skink_now()) < deadline_ns;) {
        uint64_t left = deadline_ns - now < SKINK_S * 3600 ? deadline_ns - now : SKINK_S * 3600;
        struct timespec time = { .tv_sec = (time_t)(left / SKINK_S), .tv_nsec = (long)(left % SKINK_S) };
        nanosleep(&time, NULL);
    }
}

static void spin_until(uint64_t deadline_ns)
{
    static volatile uint64_t turns; /* so that the compiler has to do it */
    while (deadline_ns == SKINK_FOREVER || skink_now() < deadline_ns)
        for (int i = 0; i < 1000; i++)
            turns = turns + 1;
}

/* --- the ways of getting stuck; each returns 0 or a negative errno, after the time is over --- */

static int stick_sleep(uint64_t deadline_ns)
{
    nap_until(deadline_ns);
    return 0;
}

static int stick_spin(uint64_t deadline_ns)
{
    spin_until(deadline_ns);
    return 0;
}

struct holder {
    pthread_mutex_t mutex;
    sem_t held;
    uint64_t deadline_ns;
};

static void *hold_mutex(void *arg)
{
    struct holder *holder = arg;
    pthread_mutex_lock(&holder->mutex);
    sem_post(&holder->held);
    nap_until(holder->deadline_ns);
    pthread_mutex_unlock(&holder->mutex);
    return NULL;
}

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) && errno == EINTR)
        continue;
}

/* No call of skink stands between lock and unlock: after one the task could be on another thread. */
static int stick_mutex(uint64_t deadline_ns)
{
    struct holder holder = { .mutex = PTHREAD_MUTEX_INITIALIZER, .deadline_ns = deadline_ns };
    pthread_t thread;
    sem_init(&holder.held, 0, 0);
    int error = pthread_create(&thread, NULL, hold_mutex, &holder);
    if (error == 0) {
        wait_for(&holder.held);
        pthread_mutex_lock(&holder.mutex);
        pthread_mutex_unlock(&holder.mutex);
        pthread_join(thread, NULL);
    }
    sem_destroy(&holder.held);
    pthread_mutex_destroy(&holder.mutex);
    return -error;
}

/* Each holds one of them and wants the other. */
struct embrace {
    pthread_mutex_t ours, theirs;
    sem_t ours_held, theirs_held, over;
    uint64_t deadline_ns;
};

/* The monotonic clock, as skink_now(). */
static int lock_until(pthread_mutex_t *mutex, uint64_t deadline_ns)
{
    if (deadline_ns == SKINK_FOREVER) return pthread_mutex_lock(mutex);
    struct timespec until = { .tv_sec = (time_t)(deadline_ns / SKINK_S), .tv_nsec = (long)(deadline_ns % SKINK_S) };
    return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
}

static void *lock_the_other_way_round(void *arg)
{
    struct embrace *embrace = arg;
    pthread_mutex_lock(&embrace->theirs);
    sem_post(&embrace->theirs_held);
    wait_for(&embrace->ours_held);
    if (lock_until(&embrace->ours, embrace->deadline_ns) == 0) pthread_mutex_unlock(&embrace->ours);
    pthread_mutex_unlock(&embrace->theirs);
    sem_post(&embrace->over);
    return NULL;
}

/* As with one mutex: no call of skink in between. */
static int stick_deadlock(uint64_t deadline_ns)
{
    struct embrace embrace = { .ours = PTHREAD_MUTEX_INITIALIZER,
                               .theirs = PTHREAD_MUTEX_INITIALIZER,
                               .deadline_ns = deadline_ns };
    skink_future *future;
    sem_init(&embrace.ours_held, 0, 0);
    sem_init(&embrace.theirs_held, 0, 0);
    sem_init(&embrace.over, 0, 0);
    int error = skink_offload_start(skink_scheduler_current(), lock_the_other_way_round, &embrace, &future);
    if (error == 0) {
        wait_for(&embrace.theirs_held);
        pthread_mutex_lock(&embrace.ours);
        sem_post(&embrace.ours_held);
        pthread_mutex_lock(&embrace.theirs);
        pthread_mutex_unlock(&embrace.theirs);
        pthread_mutex_unlock(&embrace.ours);
        wait_for(&embrace.over); /* it may still be at the semaphore */
        skink_future_unref(future);
    }
    sem_destroy(&embrace.over);
    sem_destroy(&embrace.theirs_held);
    sem_destroy(&embrace.ours_held);
    return error;
}

struct writer {
    int fd;
    uint64_t deadline_ns;
};

static void *write_late(void *arg)
{
    struct writer *writer = arg;
    nap_until(writer->deadline_ns);
    (void)!write(writer->fd, "x", 1);
    return NULL;
}

/* A function of its own, not inlined: errno may live elsewhere once the task has changed its thread. */
__attribute__((noinline)) static int open_pipe(int ends[2])
{
    return pipe(ends) ? -errno : 0;
}

__attribute__((noinline)) static void read_byte(int fd)
{
    char byte;
    while (read(fd, &byte, 1) < 0 && errno == EINTR)
        continue;
}

static int stick_read(uint64_t deadline_ns)
{
    int ends[2];
    int error = open_pipe(ends);
    if (error) return error;
    struct writer writer = { ends[1], deadline_ns };
    pthread_t thread;
    error = -pthread_create(&thread, NULL, write_late, &writer);
    if (error == 0) {
        read_byte(ends[0]);
        pthread_join(thread, NULL);
    }
    close(ends[0]);
    close(ends[1]);
    return error;
}

/* What both tasks know of each other; the later one frees it. */
struct promise {
    skink_future *future;
    uint64_t deadline_ns; /* 0: at once */
};

static void keep_promise(void *arg)
{
    struct promise *promise = arg;
    int error = promise->deadline_ns ? skink_sleep_until(promise->deadline_ns) : 0;
    if (error)
        (void)!skink_future_fail(promise->future, error); /* the server is stopping: let the other one go */
    else
        (void)!skink_future_complete(promise->future, NULL);
    skink_future_unref(promise->future);
    free(promise);
}

/* The other task, which holds a reference on the future until it has completed it. */
static int make_promise(skink_future *future, uint64_t deadline_ns, skink_task **ret_task)
{
    struct promise *promise = malloc(sizeof *promise);
    if (!promise) return -ENOMEM;
    *promise = (struct promise){ skink_future_ref(future), deadline_ns };
    int error = skink_spawn(skink_scheduler_current(), NULL, ret_task, keep_promise, promise);
    if (error) {
        skink_future_unref(future);
        free(promise);
    }
    return error;
}

static int stick_selfwait(uint64_t deadline_ns)
{
    skink_future *future;
    skink_task *task = NULL;
    int error = skink_future_create(&future);
    if (error) return error;
    error = make_promise(future, deadline_ns, &task);
    if (error == 0) error = skink_future_set_completer(future, task);
    if (error == 0) error = skink_future_block(future, SKINK_FOREVER, NULL);
    if (error && task) (void)skink_task_cancel(task); /* nobody waits for it any more */
    skink_task_unref(task);
    skink_future_unref(future);
    return error;
}

/* --- the routes --- */

static void hello(skink_request *request, void *arg)
{
    (void)arg;
    answer(request, "hello\n");
}

static void echo(skink_request *request, void *arg)
{
    (void)arg;
    size_t length;
    const void *body = skink_request_body(request, &length);
    const char *type = skink_request_header(request, "Content-Type");
    skink_respond(request, 200, type ? type : "application/octet-stream", body, length);
}

static void sleep_awhile(skink_request *request, void *arg)
{
    (void)arg;
    const char *ms = skink_request_query(request, "ms");
    uint64_t delay_ns;
    if (!ms || !parse_ms(ms, &delay_ns)) {
        refuse(request, "ms must be a whole number of milliseconds, at most a day: /sleep?ms=1000");
        return;
    }
    int error = skink_sleep(delay_ns);
    if (error)
        fail_with(request, error); /* cancelled: the client is gone, or the server stops */
    else
        answer(request, "slept\n");
}

static const struct way {
    const char *name;
    int (*stick)(uint64_t deadline_ns);
} ways[] = { { "sleep", stick_sleep },
             { "mutex", stick_mutex },
             { "deadlock", stick_deadlock },
             { "read", stick_read },
             { "spin", stick_spin },
             { "selfwait", stick_selfwait },
             { NULL, NULL } };

static const struct way *find_way(const char *name)
{
    for (const struct way *way = ways; way->name; way++)
        if (strcmp(way->name, name) == 0) return way;
    return NULL;
}

static void stick(skink_request *request, void *arg)
{
    (void)arg;
    const char *how = skink_request_query(request, "how");
    const char *ms = skink_request_query(request, "ms");
    const struct way *way = find_way(how ? how : "sleep");
    uint64_t delay_ns = SKINK_FOREVER;
    if (!way) {
        refuse(request, "how must be sleep, mutex, deadlock, read, spin or selfwait");
        return;
    }
    if (ms && strcmp(ms, "forever") && !parse_ms(ms, &delay_ns)) {
        refuse(request, "ms must be forever or a whole number of milliseconds, at most a day: /stick?ms=1000");
        return;
    }
    bool at_once = !ms && way->stick == stick_selfwait;
    int error = way->stick(at_once ? 0 : skink_after(delay_ns));
    char text[64];
    snprintf(text, sizeof text, "stuck: %s\n", way->name);
    if (error)
        fail_with(request, error);
    else
        answer(request, text);
}

static void spin(skink_request *request, void *arg)
{
    (void)arg;
    spin_until(SKINK_FOREVER);
    answer(request, "never\n");
}

int skink_module_init(const skink_module *module)
{
    static const struct {
        const char *method, *pattern;
        skink_handler handler;
    } routes[] = { { "GET", "/hello", hello },
                   { "POST", "/echo", echo },
                   { "GET", "/sleep", sleep_awhile },
                   { "GET", "/stick", stick },
                   { "GET", "/spin", spin } };
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        int error =
            skink_http_route(module->http_server, routes[i].method, routes[i].pattern, NULL, routes[i].handler, NULL);
        if (error) return error;
    }
    return 0;
}
