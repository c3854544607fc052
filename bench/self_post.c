/* SPDX-License-Identifier: MIT */
/*
 * self_post.c - what does a task cost from post to end, through the public API, against the bare queue?
 *
 * Both sides run one task that posts itself again, a million times: a node or task object from the pool, into the
 * queue, off the queue, the call, back to the pool. The scheduler's side has in it what a program would have: two
 * entries into the runtime section (the post, and the end of the task), the default batch, and so the event loop's turn
 * (a poll of the kernel) every 256 tasks. `yield` is the other way to go round: one task that lets the others run
 * first, which is two switches of stacks and no new task.
 */
#include "bare_queue.h"
#include "skink/skink.h"

static struct bare_queue bare;

struct run {
    long left;
    uint64_t spent_ns;
    skink_scheduler *scheduler;
    skink_future *finished;
};

static void bare_again(void *arg)
{
    struct run *run = arg;
    if (--run->left) bare_post(&bare, bare_again, run);
}

static double bare_round(long times)
{
    struct run run = { .left = times };
    uint64_t begun_ns = bench_now();
    bare_post(&bare, bare_again, &run);
    bare_run(&bare);
    return (double)(bench_now() - begun_ns) / (double)times;
}

static void finish(struct run *run, uint64_t begun_ns)
{
    run->spent_ns = bench_now() - begun_ns;
    bench_check("complete", skink_future_complete(run->finished, NULL));
}

static void skink_again(void *arg)
{
    struct run *run = arg;
    if (--run->left)
        bench_check("skink_post", skink_post(run->scheduler, skink_again, run));
    else
        finish(run, run->spent_ns);
}

static void skink_first(void *arg)
{
    struct run *run = arg;
    run->spent_ns = bench_now(); /* when it began, until finish() */
    skink_again(run);
}

static void yield_again(void *arg)
{
    struct run *run = arg;
    uint64_t begun_ns = bench_now();
    while (--run->left)
        bench_check("skink_yield", skink_yield());
    finish(run, begun_ns);
}

static double skink_round(skink_scheduler *scheduler, void (*fn)(void *arg), long times)
{
    struct run run = { .left = times, .scheduler = scheduler };
    bench_check("future", skink_future_create(&run.finished));
    bench_check("skink_post", skink_post(scheduler, fn, &run));
    bench_check("await", skink_await(run.finished, SKINK_FOREVER, NULL));
    skink_future_unref(run.finished);
    return (double)run.spent_ns / (double)times;
}

int main(int argc, char **argv)
{
    int rounds = (int)bench_argument(argc, argv, 1, 5);
    long times = bench_argument(argc, argv, 2, 1000000);
    bare_queue_init(&bare, 8);
    skink_scheduler *scheduler;
    bench_check("create", skink_scheduler_create(NULL, &scheduler));
    bench_check("start", skink_scheduler_start(scheduler));
    for (int round = 0; round <= rounds; round++) {
        double bare_ns = bare_round(times);
        double skink_ns = skink_round(scheduler, skink_first, times);
        double yield_ns = skink_round(scheduler, yield_again, times);
        if (round == 0) continue; /* warms up */
        bench_row("self_post", "bare", round, bare_ns, "ns");
        bench_row("self_post", "skink", round, skink_ns, "ns");
        bench_row("self_post", "skink_yield", round, yield_ns, "ns");
    }
    bench_check("stop", skink_scheduler_stop(scheduler, SKINK_FOREVER));
    skink_scheduler_destroy(scheduler);
    bare_queue_fini(&bare);
    return 0;
}
