/* SPDX-License-Identifier: MIT */
/*
 * watchdog.c - what does it cost to be watched?
 *
 * The timeout is one second. First the loop is kept busy with tasks that post themselves, then nothing is to be done.
 * Of the watchdog's thread the kernel tells its processor time and how often it ran (/proc/self/task/TID). `sleeper` is
 * a thread that wakes up as often as the watchdog would have to if the loop did not put its looks off, and does
 * nothing.
 */
#include "bench.h"
#include "skink/skink.h"
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <unistd.h>

struct usage {
    double cpu_ns;
    double wake_ups;
};

static long watchdog_tid(void)
{
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks) bench_die("/proc/self/task", errno);
    long tid = 0;
    struct dirent *entry;
    while (tid == 0 && (entry = readdir(tasks))) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        if (fgets(name, sizeof name, file) && strcmp(name, "skink-watchdog\n") == 0)
            tid = strtol(entry->d_name, NULL, 10);
        fclose(file);
    }
    closedir(tasks);
    if (tid == 0) bench_die("the watchdog's thread", ESRCH);
    return tid;
}

/* schedstat: time on a processor, time waiting for one, how often it was given one. */
static struct usage usage_of(long tid)
{
    char path[64];
    struct usage usage;
    snprintf(path, sizeof path, "/proc/self/task/%ld/schedstat", tid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%lf %*s %lf", &usage.cpu_ns, &usage.wake_ups) != 2) bench_die(path, EIO);
    fclose(file);
    return usage;
}

static _Atomic bool busy = true;

static void again(void *arg)
{
    if (atomic_load_explicit(&busy, memory_order_relaxed)) bench_check("skink_post", skink_post(arg, again, arg));
}

static void measure(const char *side, long tid, int round, unsigned seconds)
{
    char wake_ups[48];
    struct usage before = usage_of(tid);
    uint64_t begun_ns = bench_now();
    sleep(seconds);
    struct usage after = usage_of(tid);
    double spent_ns = (double)(bench_now() - begun_ns);
    bench_row("watchdog", side, round, (after.cpu_ns - before.cpu_ns) / spent_ns * 100, "percent");
    snprintf(wake_ups, sizeof wake_ups, "%s_wake_ups", side);
    bench_row("watchdog", wake_ups, round, after.wake_ups - before.wake_ups, "count");
}

enum { LOOKS_A_SECOND = 24 };

static _Atomic long sleeper_tid;

static void *sleep_and_wake(void *unused)
{
    (void)unused;
    struct timespec rest = { .tv_nsec = 1000000000 / LOOKS_A_SECOND };
    prctl(PR_SET_TIMERSLACK, (unsigned long)rest.tv_nsec / 32, 0, 0, 0);
    atomic_store(&sleeper_tid, (long)gettid());
    while (atomic_load_explicit(&busy, memory_order_relaxed))
        ppoll(NULL, 0, &rest, NULL);
    atomic_store(&sleeper_tid, 0);
    return NULL;
}

static void measure_sleeper(int round, unsigned seconds)
{
    pthread_t thread;
    bench_check("thread", pthread_create(&thread, NULL, sleep_and_wake, NULL));
    usleep(100000);
    measure("sleeper", atomic_load(&sleeper_tid), round, seconds);
    pthread_detach(thread); /* it ends with `busy` */
}

int main(int argc, char **argv)
{
    int rounds = (int)bench_argument(argc, argv, 1, 3);
    unsigned seconds = (unsigned)bench_argument(argc, argv, 2, 5);
    skink_scheduler *scheduler;
    skink_recovery *recovery;
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = SKINK_S;
    bench_check("recovery", skink_recovery_create(&options, &recovery));
    bench_check("create", skink_scheduler_create(NULL, &scheduler));
    bench_check("watch", skink_recovery_watch(recovery, scheduler));
    bench_check("start", skink_scheduler_start(scheduler));
    usleep(100000);
    long tid = watchdog_tid();
    for (int round = 1; round <= rounds; round++) {
        atomic_store(&busy, true);
        bench_check("skink_post", skink_post(scheduler, again, scheduler));
        usleep(500000);
        measure("busy", tid, round, seconds);
        measure_sleeper(round, seconds);
        atomic_store(&busy, false);
        sleep(2); /* until it has seen that the loop sleeps, and parked */
        measure("idle", tid, round, seconds);
    }
    bench_check("stop", skink_scheduler_stop(scheduler, SKINK_FOREVER));
    skink_recovery_destroy(recovery);
    skink_scheduler_destroy(scheduler);
    return 0;
}
