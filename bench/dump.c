/* SPDX-License-Identifier: MIT */
/*
 * dump.c - how long does a dump of 100,000 suspended tasks take, and for how long is their loop held meanwhile?
 *
 * Tasks wait at three depths. The hold is what one task of the same loop sees that does nothing but yield: the longest
 * processor time of its thread between two of its turns, so what the machine does beside it is left out. The same
 * without a dump is shown too. The first dump also reads the debugging information; the rounds come after it.
 */
#include "bench.h"
#include "skink/skink.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

struct pulse {
    _Atomic bool quit;
    _Atomic bool ended;
    _Atomic uint64_t longest_ns; /* set to 0 by who wants to know */
};

static uint64_t thread_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * SKINK_S + (uint64_t)now.tv_nsec;
}

static void beat(void *arg)
{
    struct pulse *pulse = arg;
    uint64_t before = thread_time();
    while (!atomic_load_explicit(&pulse->quit, memory_order_relaxed)) {
        (void)!skink_yield();
        uint64_t now = thread_time();
        if (now - before > atomic_load_explicit(&pulse->longest_ns, memory_order_relaxed))
            atomic_store_explicit(&pulse->longest_ns, now - before, memory_order_relaxed);
        before = now;
    }
    atomic_store(&pulse->ended, true);
}

__attribute__((noinline)) static int wait_at_depth(skink_future *future, int depth)
{
    if (depth > 0) return wait_at_depth(future, depth - 1) + 1;
    return skink_await(future, SKINK_FOREVER, NULL);
}

static void wait_flat(void *arg)
{
    (void)wait_at_depth(arg, 0);
}

static void wait_deep(void *arg)
{
    volatile int depth = wait_at_depth(arg, 5);
    (void)depth;
}

static void wait_deeper(void *arg)
{
    volatile int depth = wait_at_depth(arg, 15);
    (void)depth;
}

static uint64_t suspended_tasks(skink_scheduler *scheduler)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    bench_check("stats", skink_scheduler_stats_read(scheduler, &stats));
    return stats.tasks_suspended;
}

static double dump_ms(skink_scheduler *scheduler)
{
    skink_dump_options options = SKINK_DUMP_OPTIONS_INIT;
    options.scheduler = scheduler;
    options.format = SKINK_DUMP_JSON;
    char *text;
    uint64_t begun = bench_now();
    bench_check("skink_dump_tasks", skink_dump_tasks(&options, &text, NULL));
    double ms = (double)(bench_now() - begun) / 1e6;
    if (!strstr(text, "\"complete\":true")) bench_die("an incomplete dump", ETIMEDOUT);
    skink_dump_free(text);
    return ms;
}

int main(int argc, char **argv)
{
    int rounds = (int)bench_argument(argc, argv, 1, 5);
    long count = bench_argument(argc, argv, 2, 100000);
    void (*const kinds[])(void *) = { wait_flat, wait_deep, wait_deeper };
    static struct pulse pulse;
    skink_scheduler *scheduler;
    skink_future *never;
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.task_max = (uint32_t)count + 1024;
    bench_check("future", skink_future_create(&never));
    bench_check("create", skink_scheduler_create(&options, &scheduler));
    bench_check("start", skink_scheduler_start(scheduler));
    for (long i = 0; i < count; i++)
        bench_check("skink_post", skink_post(scheduler, kinds[i % 3], never));
    while (suspended_tasks(scheduler) != (uint64_t)count)
        usleep(10000);
    bench_check("skink_post", skink_post(scheduler, beat, &pulse));
    bench_row("dump", "first", 1, dump_ms(scheduler), "ms");
    for (int round = 1; round <= rounds; round++) {
        atomic_store(&pulse.longest_ns, 0);
        usleep(200000);
        bench_row("dump", "hold_without", round, (double)atomic_load(&pulse.longest_ns) / 1e3, "us");
        atomic_store(&pulse.longest_ns, 0);
        bench_row("dump", "skink", round, dump_ms(scheduler), "ms");
        bench_row("dump", "hold", round, (double)atomic_load(&pulse.longest_ns) / 1e3, "us");
    }
    atomic_store(&pulse.quit, true);
    while (!atomic_load(&pulse.ended))
        usleep(1000);
    bench_check("complete", skink_future_complete(never, NULL));
    bench_check("stop", skink_scheduler_stop(scheduler, SKINK_FOREVER));
    skink_scheduler_destroy(scheduler);
    skink_future_unref(never);
    return 0;
}
