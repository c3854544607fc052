/* SPDX-License-Identifier: MIT */
/*
 * suspended.c - how much memory does a suspended task take, when there are a million of them?
 *
 * Each awaits a future, so it has a stack, with the page that it has touched and its guard. Resident memory of the
 * process is read before the first and after the last. The mappings of the process are counted as well: the default of
 * vm.max_map_count is 65530, and a design with one mapping a stack ends there.
 */
#include "bench.h"
#include "skink/skink.h"
#include <unistd.h>

static double resident_bytes(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*s %ld", &pages) != 1) bench_die("/proc/self/statm", EIO);
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static long mappings(void)
{
    long lines = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    if (!file) bench_die("/proc/self/maps", errno);
    for (int c; (c = getc(file)) != EOF;)
        lines += c == '\n';
    fclose(file);
    return lines;
}

static void suspend(void *arg)
{
    (void)!skink_await(arg, SKINK_FOREVER, NULL);
}

static uint64_t suspended_tasks(skink_scheduler *scheduler)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    bench_check("stats", skink_scheduler_stats_read(scheduler, &stats));
    return stats.tasks_suspended;
}

int main(int argc, char **argv)
{
    int rounds = (int)bench_argument(argc, argv, 1, 1);
    long count = bench_argument(argc, argv, 2, 1000000);
    for (int round = 1; round <= rounds; round++) {
        skink_scheduler *scheduler;
        skink_future *never;
        bench_check("future", skink_future_create(&never));
        bench_check("create", skink_scheduler_create(NULL, &scheduler));
        bench_check("start", skink_scheduler_start(scheduler));
        double before = resident_bytes();
        for (long i = 0; i < count; i++)
            bench_check("skink_post", skink_post(scheduler, suspend, never));
        while (suspended_tasks(scheduler) != (uint64_t)count)
            usleep(10000);
        bench_row("suspended", "skink", round, (resident_bytes() - before) / (double)count, "bytes");
        bench_row("suspended", "mappings", round, (double)mappings(), "count");
        bench_check("complete", skink_future_complete(never, NULL));
        bench_check("stop", skink_scheduler_stop(scheduler, SKINK_FOREVER));
        skink_scheduler_destroy(scheduler);
        skink_future_unref(never);
    }
    return 0;
}
