/* SPDX-License-Identifier: MIT */
/*
 * post.c - what does it cost to hand work to the loop from another thread?
 *
 * The baseline is what a libuv program does: a mutex, a queue, uv_async_send(); its callback takes the whole queue and
 * calls each item's function. Both sides run the same function, and the posts are as many as the calls.
 *
 * Where the nodes come from decides such a comparison as soon as malloc() is in it, with nodes freed on another thread
 * than they were made on. So the baseline gets what skink has: each producer keeps a stock, which it refills from a
 * list that the loop returns nodes to, 32 at a time. `uv_async_malloc` is the same with malloc() and free(), as most
 * would write it; no bar is set for that.
 *
 * A producer that is WINDOW ahead of the loop waits, so that neither side wins by building up a queue that falls out of
 * the caches. `..._producer` is the time that the posting call itself takes, without those waits.
 */
#include "bench.h"
#include "skink/skink.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

enum { PRODUCERS_MAX = 2, WINDOW = 1024, CHUNK = 128, RETURN_BATCH = 32, POSTS = 256 * CHUNK, SAMPLES = 51 };

/* ---- the work, and how a producer paces itself ---- */

struct run;

struct producer {
    _Alignas(64) _Atomic uint64_t done; /* loop writes: how much of this sample's work is done */
    _Alignas(64) struct run *run;
    struct node *stock;
    uint64_t begun_ns, ended_ns, posting_ns; /* of this sample */
    pthread_t thread;
};

struct run {
    void (*post)(struct producer *producer);
    void (*leave)(struct producer *producer);
    pthread_barrier_t begin, end; /* of each sample; the main thread takes part */
    struct producer producers[PRODUCERS_MAX];
};

static void work(void *arg)
{
    struct producer *producer = arg;
    uint64_t done = atomic_load_explicit(&producer->done, memory_order_relaxed);
    atomic_store_explicit(&producer->done, done + 1, memory_order_release);
}

static void wait_until_done(struct producer *producer, uint64_t done)
{
    while (atomic_load_explicit(&producer->done, memory_order_acquire) < done)
        sched_yield();
}

static void produce_sample(struct producer *producer)
{
    producer->posting_ns = 0;
    producer->begun_ns = bench_now();
    for (uint64_t posted = 0; posted < POSTS; posted += CHUNK) {
        if (posted >= WINDOW) wait_until_done(producer, posted - WINDOW);
        uint64_t begun_ns = bench_now();
        for (int i = 0; i < CHUNK; i++)
            producer->run->post(producer);
        producer->posting_ns += bench_now() - begun_ns;
    }
    wait_until_done(producer, POSTS);
    producer->ended_ns = bench_now();
}

static void *produce(void *arg)
{
    struct producer *producer = arg;
    for (int i = 0; i < SAMPLES; i++) {
        pthread_barrier_wait(&producer->run->begin);
        produce_sample(producer);
        pthread_barrier_wait(&producer->run->end);
    }
    if (producer->run->leave) producer->run->leave(producer);
    return NULL;
}

/* Nanoseconds a post, from the first one of all to the last one's work; and those that posting itself took. */
static void take_sample(struct run *run, int count, double *ret_ns, double *ret_posting_ns)
{
    for (int i = 0; i < count; i++)
        atomic_store(&run->producers[i].done, 0);
    pthread_barrier_wait(&run->begin);
    pthread_barrier_wait(&run->end);
    uint64_t posting_ns = 0, begun_ns = UINT64_MAX, ended_ns = 0;
    for (int i = 0; i < count; i++) {
        const struct producer *producer = &run->producers[i];
        posting_ns += producer->posting_ns;
        if (producer->begun_ns < begun_ns) begun_ns = producer->begun_ns;
        if (producer->ended_ns > ended_ns) ended_ns = producer->ended_ns;
    }
    *ret_ns = (double)(ended_ns - begun_ns) / ((double)POSTS * count);
    *ret_posting_ns = (double)posting_ns / ((double)POSTS * count);
}

/* ---- skink ---- */

static skink_scheduler *scheduler;

static void post_skink(struct producer *producer)
{
    bench_check("skink_post", skink_post(scheduler, work, producer));
}

/* ---- mutex, queue and uv_async_send() ---- */

struct node {
    struct node *next;
    void (*fn)(void *arg);
    void *arg;
};

static struct {
    pthread_mutex_t lock;
    struct node *first;
    struct node **last;
    uv_loop_t loop;
    uv_async_t wakeup;
    pthread_t thread;
    _Atomic bool stopping;
    bool with_malloc;

    _Atomic(struct node *) shared; /* nodes on their way back to the producers */
    struct node *returning, *returning_last;
    int returning_count;
} rival = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct node *node_take(struct producer *producer)
{
    if (rival.with_malloc) return malloc(sizeof(struct node));
    if (!producer->stock) producer->stock = atomic_exchange_explicit(&rival.shared, NULL, memory_order_acquire);
    struct node *node = producer->stock;
    if (!node) return malloc(sizeof *node); /* WINDOW of them at most, in the first round */
    producer->stock = node->next;
    return node;
}

static void node_give_back(struct node *node)
{
    if (rival.with_malloc) {
        free(node);
        return;
    }
    node->next = rival.returning;
    if (!rival.returning) rival.returning_last = node;
    rival.returning = node;
    if (++rival.returning_count < RETURN_BATCH) return;
    struct node *head = atomic_load_explicit(&rival.shared, memory_order_relaxed);
    do {
        rival.returning_last->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&rival.shared, &head, rival.returning, memory_order_release,
                                                    memory_order_relaxed));
    rival.returning = NULL;
    rival.returning_count = 0;
}

static void post_rival(struct producer *producer)
{
    struct node *node = node_take(producer);
    if (!node) bench_die("node", ENOMEM);
    *node = (struct node){ .fn = work, .arg = producer };
    pthread_mutex_lock(&rival.lock);
    *rival.last = node;
    rival.last = &node->next;
    pthread_mutex_unlock(&rival.lock);
    uv_async_send(&rival.wakeup);
}

/* A producer's thread ends: its stock goes. */
static void leave_rival(struct producer *producer)
{
    while (producer->stock) {
        struct node *next = producer->stock->next;
        free(producer->stock);
        producer->stock = next;
    }
}

static void on_wakeup(uv_async_t *wakeup)
{
    pthread_mutex_lock(&rival.lock);
    struct node *node = rival.first;
    rival.first = NULL;
    rival.last = &rival.first;
    pthread_mutex_unlock(&rival.lock);
    while (node) {
        struct node *next = node->next;
        node->fn(node->arg);
        node_give_back(node);
        node = next;
    }
    if (atomic_load(&rival.stopping)) uv_close((uv_handle_t *)wakeup, NULL);
}

static void *rival_thread(void *arg)
{
    (void)arg;
    uv_run(&rival.loop, UV_RUN_DEFAULT);
    return NULL;
}

static void rival_start(void)
{
    rival.last = &rival.first;
    bench_check("uv_loop_init", uv_loop_init(&rival.loop));
    bench_check("uv_async_init", uv_async_init(&rival.loop, &rival.wakeup, on_wakeup));
    bench_check("thread", pthread_create(&rival.thread, NULL, rival_thread, NULL));
}

static void rival_stop(void)
{
    atomic_store(&rival.stopping, true);
    uv_async_send(&rival.wakeup);
    pthread_join(rival.thread, NULL);
    uv_loop_close(&rival.loop);
}

/* ---- rounds ---- */

/* Many short samples, of which the median counts: on a machine that does other things as well, some are interrupted. */
static void round_of(const char *side, void (*post)(struct producer *producer),
                     void (*leave)(struct producer *producer), int producers, int round)
{
    struct run run = { .post = post, .leave = leave };
    double ns[SAMPLES], posting_ns[SAMPLES];
    pthread_barrier_init(&run.begin, NULL, (unsigned)producers + 1);
    pthread_barrier_init(&run.end, NULL, (unsigned)producers + 1);
    for (int i = 0; i < producers; i++) {
        run.producers[i].run = &run;
        bench_check("thread", pthread_create(&run.producers[i].thread, NULL, produce, &run.producers[i]));
    }
    for (int i = 0; i < SAMPLES; i++)
        take_sample(&run, producers, &ns[i], &posting_ns[i]);
    for (int i = 0; i < producers; i++)
        pthread_join(run.producers[i].thread, NULL);
    pthread_barrier_destroy(&run.begin);
    pthread_barrier_destroy(&run.end);
    if (round == 0) return; /* warms up */

    char question[32], posting_side[48];
    snprintf(question, sizeof question, "post_%d", producers);
    snprintf(posting_side, sizeof posting_side, "%s_producer", side);
    bench_row(question, side, round, bench_median(ns, SAMPLES), "ns");
    bench_row(question, posting_side, round, bench_median(posting_ns, SAMPLES), "ns");
}

int main(int argc, char **argv)
{
    int rounds = (int)bench_argument(argc, argv, 1, 5);
    bench_check("create", skink_scheduler_create(NULL, &scheduler));
    bench_check("start", skink_scheduler_start(scheduler));
    rival_start();
    for (int round = 0; round <= rounds; round++) {
        for (int producers = 1; producers <= PRODUCERS_MAX; producers++) {
            rival.with_malloc = false;
            round_of("uv_async", post_rival, leave_rival, producers, round);
            round_of("skink", post_skink, NULL, producers, round);
            rival.with_malloc = true;
            round_of("uv_async_malloc", post_rival, leave_rival, producers, round);
        }
    }
    rival_stop();
    bench_check("stop", skink_scheduler_stop(scheduler, SKINK_FOREVER));
    skink_scheduler_destroy(scheduler);
    return 0;
}
