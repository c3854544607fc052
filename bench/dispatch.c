/* SPDX-License-Identifier: MIT */
/*
 * dispatch.c - what does it cost to run a task that is ready, against calling a function pointer from a list?
 *
 * Both sides do the same: a first task posts BURST empty ones and one that is last, and reads the clock as its last
 * act; the last one reads it again. So the time is that of BURST + 1 dispatches, and posting is not in it (self_post.c
 * has that). A dispatch is: take the task off the queue, call its function, give the task back to its pool. On the
 * scheduler's side this includes both lease transitions, all states and counters, and the stack, which goes from task
 * to task without a switch ("chaining"). A batch is made longer than a burst, since the bare queue has no event loop to
 * look at; what that costs shows in self_post.c.
 *
 * bench_dispatch_without_lease is this program with a loop whose lease is a plain variable (without_lease.h).
 */
#include "bare_queue.h"
#include "skink/skink.h"

#ifdef BENCH_WITHOUT_LEASE
#define SIDE "skink_without_lease"
#else
#define SIDE "skink"
#endif

enum { BURST = 254, BURSTS = 4000 };

static struct bare_queue bare;
static skink_scheduler *scheduler;

static void post(void (*fn)(void *arg), void *arg)
{
    if (scheduler)
        bench_check("skink_post", skink_post(scheduler, fn, arg));
    else
        bare_post(&bare, fn, arg);
}

struct run {
    uint64_t calls;
    uint64_t begun_ns;
    int burst;
    double spent_ns[BURSTS];
    skink_future *finished;
};

static void empty_task(void *arg)
{
    ++*(uint64_t *)arg;
}

static void last_of_burst(void *arg);

static void first_of_burst(void *arg)
{
    struct run *run = arg;
    for (int i = 0; i < BURST; i++)
        post(empty_task, &run->calls);
    post(last_of_burst, run);
    run->begun_ns = bench_now();
}

static void last_of_burst(void *arg)
{
    struct run *run = arg;
    run->spent_ns[run->burst++] = (double)(bench_now() - run->begun_ns);
    if (run->burst < BURSTS)
        post(first_of_burst, run);
    else if (run->finished)
        bench_check("complete", skink_future_complete(run->finished, NULL));
}

/* Of the median burst, so that one that was interrupted does not count. */
static double ns_a_task(struct run *run)
{
    if (run->calls != (uint64_t)BURST * BURSTS) bench_die("tasks were lost", EPROTO);
    return bench_median(run->spent_ns, BURSTS) / (BURST + 1.0);
}

static double bare_round(void)
{
    struct run run = { 0 };
    post(first_of_burst, &run);
    bare_run(&bare);
    return ns_a_task(&run);
}

static double skink_round(skink_scheduler *subject)
{
    struct run run = { 0 };
    bench_check("future", skink_future_create(&run.finished));
    scheduler = subject;
    post(first_of_burst, &run);
    bench_check("await", skink_await(run.finished, SKINK_FOREVER, NULL));
    scheduler = NULL;
    skink_future_unref(run.finished);
    return ns_a_task(&run);
}

int main(int argc, char **argv)
{
    int rounds = (int)bench_argument(argc, argv, 1, 5);
    bare_queue_init(&bare, BURST + 8);
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.batch_max = 1U << 30;
    skink_scheduler *subject;
    bench_check("create", skink_scheduler_create(&options, &subject));
    bench_check("start", skink_scheduler_start(subject));
    for (int round = 0; round <= rounds; round++) {
        double bare_ns = bare_round();
        double skink_ns = skink_round(subject);
        if (round == 0) continue; /* warms up */
        bench_row("dispatch", "bare", round, bare_ns, "ns");
        bench_row("dispatch", SIDE, round, skink_ns, "ns");
    }
    bench_check("stop", skink_scheduler_stop(subject, SKINK_FOREVER));
    skink_scheduler_destroy(subject);
    bare_queue_fini(&bare);
    return 0;
}
