/* SPDX-License-Identifier: MIT */
/*
 * takeover.c - how long does the loop stand still, from the declaration of a deadlock to the first task that runs
 * again?
 *
 * The stuck task blocks for four times the timeout. From winning the lease to the fresh thread's first act is what the
 * library counts itself (recovery_sum_ns). That act is to call skink__thread_run(), and there the linker puts a
 * function of ours before it, which reads the clock. The task behind the stuck one in the ready queue reads it again,
 * first of all. That is done with nothing else in the scheduler, and with 100,000 suspended tasks.
 *
 * The baseline is the least that any design with a parked thread must pay: one thread sleeps for the same time, reads
 * the clock, writes a word and wakes another thread that waits for it, which reads the clock.
 */
#include "loop/takeover.h"
#include "bench.h"
#include "skink/skink.h"
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SAMPLES = 25, SUSPENDED = 100000, TIMEOUT_MS = 20 };

static void futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
    syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

/* ---- the wake-up of a parked thread ---- */

static struct {
    _Atomic uint32_t word;
    uint64_t running_ns;
} parked;

static void *park(void *arg)
{
    (void)arg;
    while (!atomic_load_explicit(&parked.word, memory_order_acquire))
        futex(&parked.word, FUTEX_WAIT_PRIVATE, 0);
    parked.running_ns = bench_now();
    return NULL;
}

static void block_ms(long ms)
{
    nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000L }, NULL);
}

static double wake_up_ns(void)
{
    pthread_t thread;
    atomic_store(&parked.word, 0);
    bench_check("thread", pthread_create(&thread, NULL, park, NULL));
    block_ms(TIMEOUT_MS);
    uint64_t begun_ns = bench_now();
    atomic_store_explicit(&parked.word, 1, memory_order_release);
    futex(&parked.word, FUTEX_WAKE_PRIVATE, 1);
    pthread_join(thread, NULL);
    return (double)(parked.running_ns - begun_ns);
}

/* ---- a takeover ---- */

struct takeover {
    skink_scheduler *scheduler;
    skink_future *finished;
    uint64_t running_ns;
};

static uint64_t fresh_ns; /* loop thread writes; read when the takeover is over */

void __real_skink__thread_run(struct skink__thread *thread, skink_scheduler *scheduler);
void __wrap_skink__thread_run(struct skink__thread *thread, skink_scheduler *scheduler);

void __wrap_skink__thread_run(struct skink__thread *thread, skink_scheduler *scheduler)
{
    fresh_ns = bench_now();
    __real_skink__thread_run(thread, scheduler);
}

static void first_again(void *arg)
{
    struct takeover *takeover = arg;
    takeover->running_ns = bench_now();
}

static void stuck(void *arg)
{
    struct takeover *takeover = arg;
    bench_check("skink_post", skink_post(takeover->scheduler, first_again, takeover));
    block_ms(4 * TIMEOUT_MS);
    bench_check("complete", skink_future_complete(takeover->finished, NULL)); /* migrates first */
}

/* Waits until the stray has come back and a thread stands by again. */
static skink_recovery_stats quiet_stats(skink_recovery *recovery)
{
    skink_recovery_stats stats = SKINK_RECOVERY_STATS_INIT;
    do {
        usleep(1000);
        bench_check("stats", skink_recovery_stats_read(recovery, &stats));
    } while (stats.strays || !stats.standby_threads);
    return stats;
}

/* False: the machine was so busy that the watchdog came too late, and nothing was declared. */
static bool take_over(skink_scheduler *scheduler, skink_recovery *recovery, double *ret_ns)
{
    struct takeover takeover = { .scheduler = scheduler };
    skink_recovery_stats before = quiet_stats(recovery);
    bench_check("future", skink_future_create(&takeover.finished));
    bench_check("skink_post", skink_post(scheduler, stuck, &takeover));
    bench_check("await", skink_await(takeover.finished, SKINK_FOREVER, NULL));
    skink_future_unref(takeover.finished);
    skink_recovery_stats after = quiet_stats(recovery);
    *ret_ns = (double)(after.recovery_sum_ns - before.recovery_sum_ns) + (double)takeover.running_ns - (double)fresh_ns;
    return after.takeovers == before.takeovers + 1 && takeover.running_ns > fresh_ns;
}

static double takeover_ns(skink_scheduler *scheduler, skink_recovery *recovery)
{
    double ns;
    for (int attempt = 0; attempt < 10; attempt++)
        if (take_over(scheduler, recovery, &ns)) return ns;
    bench_die("nothing was declared stuck", ETIMEDOUT);
}

/* ---- rounds ---- */

static void suspend(void *arg)
{
    (void)!skink_await(arg, SKINK_FOREVER, NULL);
}

static void wait_suspended(skink_scheduler *scheduler, uint64_t count)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    do {
        usleep(10000);
        bench_check("stats", skink_scheduler_stats_read(scheduler, &stats));
    } while (stats.tasks_suspended != count);
}

int main(int argc, char **argv)
{
    int rounds = (int)bench_argument(argc, argv, 1, 5);
    skink_scheduler *idle, *full;
    skink_recovery *recovery;
    skink_future *never;
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = TIMEOUT_MS * SKINK_MS;
    bench_check("recovery", skink_recovery_create(&options, &recovery));
    bench_check("future", skink_future_create(&never));
    bench_check("create", skink_scheduler_create(NULL, &idle));
    bench_check("create", skink_scheduler_create(NULL, &full));
    bench_check("start", skink_scheduler_start(idle));
    bench_check("start", skink_scheduler_start(full));
    for (int i = 0; i < SUSPENDED; i++)
        bench_check("skink_post", skink_post(full, suspend, never));
    wait_suspended(full, SUSPENDED);
    bench_check("watch", skink_recovery_watch(recovery, idle)); /* not before: spawning so many is long */
    bench_check("watch", skink_recovery_watch(recovery, full));

    for (int round = 1; round <= rounds; round++) {
        double wake_up[SAMPLES], with_none[SAMPLES], with_many[SAMPLES];
        for (int i = 0; i < SAMPLES; i++) {
            wake_up[i] = wake_up_ns();
            with_none[i] = takeover_ns(idle, recovery);
            with_many[i] = takeover_ns(full, recovery);
        }
        bench_row("takeover", "wake_up", round, bench_median(wake_up, SAMPLES) / 1000, "us");
        bench_row("takeover", "skink", round, bench_median(with_none, SAMPLES) / 1000, "us");
        bench_row("takeover", "skink_100000_suspended", round, bench_median(with_many, SAMPLES) / 1000, "us");
    }
    bench_check("complete", skink_future_complete(never, NULL));
    wait_suspended(full, 0);
    bench_check("stop", skink_scheduler_stop(idle, SKINK_FOREVER));
    bench_check("stop", skink_scheduler_stop(full, SKINK_FOREVER));
    skink_scheduler_destroy(idle);
    skink_scheduler_destroy(full);
    skink_recovery_destroy(recovery);
    skink_future_unref(never);
    return 0;
}
