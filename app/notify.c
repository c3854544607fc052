/* SPDX-License-Identifier: MIT */
/* app/notify.c - sd_notify's protocol, and the thread that carries the watchdog's tick (notify.h). */
#include "app/notify.h"
#include "app/log.h"
#include "loop/capability.h"
#include "skink/clock.h"
#include "skink/error.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static skink__mutex mutex = PTHREAD_MUTEX_INITIALIZER;

/* One service manager per process. */
static struct {
    struct sockaddr_un address;
    socklen_t address_length; /* 0: nobody is there */
    int fd;
    uint64_t interval_ns; /* between two WATCHDOG=1; 0: none are wanted */
    _Atomic bool failed;  /* and the log has said so */

    skink_recovery *recovery;
    pthread_t thread;
    bool running;
    pthread_cond_t changed;
    bool quit SKINK__GUARDED_BY(mutex);
} notify = { .fd = -1, .changed = PTHREAD_COND_INITIALIZER };

/* ---- saying something ---- */

static void say_failed(int error, const char *lines)
{
    if (atomic_exchange(&notify.failed, true)) return;
    skink__log_line(SKINK_LOG_WARNING, "event=notify_failed error=\"%s\" message=\"%.*s\"", skink_strerror(error),
                    (int)strcspn(lines, "\n"), lines);
}

void skink__notify(const char *lines)
{
    if (notify.address_length == 0) return;
    ssize_t sent = sendto(notify.fd, lines, strlen(lines), MSG_NOSIGNAL | MSG_DONTWAIT,
                          (const struct sockaddr *)&notify.address, notify.address_length);
    if (sent < 0) say_failed(-errno, lines);
}

/* "/run/systemd/notify", or "@name" in the abstract name space. */
static bool read_address(const char *text)
{
    size_t length = strlen(text);
    if ((text[0] != '/' && text[0] != '@') || length < 2 || length >= sizeof notify.address.sun_path) return false;
    notify.address.sun_family = AF_UNIX;
    memcpy(notify.address.sun_path, text, length);
    if (text[0] == '@') notify.address.sun_path[0] = '\0';
    notify.address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (text[0] == '/'));
    return true;
}

/* A number and nothing else; 0 otherwise. */
static uint64_t number_of(const char *text)
{
    if (!text || *text < '0' || *text > '9') return 0;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    return errno || *end ? 0 : number;
}

static void read_watchdog(const char *usec, const char *pid)
{
    if (pid && number_of(pid) != (uint64_t)getpid()) return; /* meant for the process that started us */
    uint64_t timeout_us = number_of(usec);
    if (timeout_us > UINT64_MAX / SKINK_US) return;
    notify.interval_ns = timeout_us * SKINK_US / 2;
}

void skink__notify_open(void)
{
    const char *address = getenv("NOTIFY_SOCKET");
    if (address && *address) {
        if (read_address(address)) {
            notify.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
            if (notify.fd < 0) {
                say_failed(-errno, "NOTIFY_SOCKET");
                notify.address_length = 0;
            }
        } else {
            say_failed(-EINVAL, "NOTIFY_SOCKET");
        }
    }
    read_watchdog(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"));
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

/* ---- the watchdog's tick ---- */

/* True: it is time to end. */
static bool wait_until(uint64_t time_ns)
{
    struct timespec time = { .tv_sec = (time_t)(time_ns / SKINK_S), .tv_nsec = (long)(time_ns % SKINK_S) };
    skink__mutex_lock(&mutex);
    int err = 0;
    while (!notify.quit && err == 0)
        err = pthread_cond_clockwait(&notify.changed, &mutex, CLOCK_MONOTONIC, &time);
    bool quit = notify.quit;
    skink__mutex_unlock(&mutex);
    return quit;
}

static void *carry_ticks(void *arg)
{
    (void)arg;
    prctl(PR_SET_NAME, "skink-notify", 0, 0, 0);
    bool silent = false;
    for (uint64_t next_ns = skink_now();; next_ns += notify.interval_ns) {
        /* A late answer is an answer: no shorter patience than the manager's own. */
        int err = skink_recovery_ping(notify.recovery, next_ns + notify.interval_ns);
        if (err == 0) skink__notify("WATCHDOG=1");
        if (err && !silent)
            skink__log_line(SKINK_LOG_ERROR, "event=watchdog_silent for_ms=%llu",
                            (unsigned long long)(notify.interval_ns / SKINK_MS));
        silent = err != 0;
        if (wait_until(next_ns + notify.interval_ns)) return NULL;
        /* After a pause (SIGSTOP, a suspended machine) the past is not made up for. */
        if (skink_now() > next_ns + 2 * notify.interval_ns) next_ns = skink_now() - notify.interval_ns;
    }
}

int skink__notify_watchdog_start(skink_recovery *recovery)
{
    if (notify.address_length == 0 || notify.interval_ns == 0) return 0;
    notify.recovery = recovery;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&notify.thread, NULL, carry_ticks, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    notify.running = err == 0;
    return -err;
}

void skink__notify_watchdog_stop(void)
{
    if (!notify.running) return;
    skink__mutex_lock(&mutex);
    notify.quit = true;
    pthread_cond_signal(&notify.changed);
    skink__mutex_unlock(&mutex);
    pthread_join(notify.thread, NULL);
    notify.running = false;
}
