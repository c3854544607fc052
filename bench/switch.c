/* SPDX-License-Identifier: MIT */
/*
 * bench/switch.c - what it costs to change stacks: nanoseconds for one pair of switches, there and back.
 *
 *     bench_switch [rounds]
 *
 * Ways are taken in turns, so that a disturbance of the machine falls on all of them; of each the median round counts.
 * The linked backend is the one the build chose; "makecontext, _setjmp" is the fallback, compiled in under other names.
 * The last lines go round many coroutines of a pool, as a scheduler does, which is a matter of caches.
 */
#include "loop/switch.h"
#include "loop/coroutine.h"
#include "loop/stack_pool.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

void *fallback_switch_prepare(void *stack_bottom, void *stack_top, void (*enter)(void *arg), void *arg);
void fallback_switch_stack(void **save_sp, void *to_sp) SKINK__RETURNS_BY_JUMP;

enum { STACK_BYTES = 64 * 1024, ROUNDS_MAX = 101, HERD_MAX = 100000 };

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static char *new_stack(void)
{
    char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED) exit(1);
    return stack;
}

/* The bare backends. */

struct bare {
    void *inside, *outside;
};
static struct bare linked, fallback;

static void linked_entry(void *arg)
{
    (void)arg;
    for (;;)
        skink__switch_stack(&linked.inside, linked.outside);
}

static void linked_pairs(long count)
{
    for (long i = 0; i < count; i++)
        skink__switch_stack(&linked.outside, linked.inside);
}

static void fallback_entry(void *arg)
{
    (void)arg;
    for (;;)
        fallback_switch_stack(&fallback.inside, fallback.outside);
}

static void fallback_pairs(long count)
{
    for (long i = 0; i < count; i++)
        fallback_switch_stack(&fallback.outside, fallback.inside);
}

static ucontext_t uc_inside, uc_outside;

static void swapcontext_entry(void)
{
    for (;;)
        swapcontext(&uc_inside, &uc_outside);
}

static void swapcontext_pairs(long count)
{
    for (long i = 0; i < count; i++)
        swapcontext(&uc_outside, &uc_inside);
}

static void prepare_bare(void)
{
    char *stack = new_stack();
    linked.inside = skink__switch_prepare(stack, stack + STACK_BYTES, linked_entry, NULL);
    stack = new_stack();
    fallback.inside = fallback_switch_prepare(stack, stack + STACK_BYTES, fallback_entry, NULL);
    getcontext(&uc_inside);
    uc_inside.uc_stack.ss_sp = new_stack();
    uc_inside.uc_stack.ss_size = STACK_BYTES;
    makecontext(&uc_inside, swapcontext_entry, 0);
}

/* Coroutines of a pool. */

static struct skink__stack_pool pool;
static struct skink__context outside;
static struct skink__coroutine *herd[HERD_MAX];
static volatile size_t herd_count = 1;

static void suspend_for_ever(void *arg)
{
    struct skink__coroutine *co = arg;
    for (;;)
        skink__switch(&co->context, &outside);
}

static void herd_pairs(long count)
{
    size_t size = herd_count;
    for (size_t i = 0; count-- > 0; i = i + 1 < size ? i + 1 : 0)
        skink__switch(&outside, &herd[i]->context);
}

static void finish(void *arg)
{
    struct skink__coroutine *co = arg;
    skink__switch_for_good(&co->context, &outside);
}

static void whole_lives(long count)
{
    while (count-- > 0) {
        struct skink__coroutine *co = skink__stack_acquire(&pool);
        skink__coroutine_prepare(co, finish, co);
        skink__switch(&outside, &co->context);
        skink__stack_release(&pool, co);
    }
}

static void prepare_herd(void)
{
    skink__context_init_thread(&outside);
    skink__stack_pool_init(&pool, STACK_BYTES);
    for (size_t i = 0; i < HERD_MAX; i++) {
        herd[i] = skink__stack_acquire(&pool);
        if (!herd[i]) exit(1);
        skink__coroutine_prepare(herd[i], suspend_for_ever, herd[i]);
        skink__switch(&outside, &herd[i]->context);
    }
}

struct way {
    const char *name;
    void (*pairs)(long count);
    long count;
    size_t herd_count;
    double ns[ROUNDS_MAX];
};

static struct way ways[] = {
    { "linked backend", linked_pairs, 1000000, 1 },
    { "makecontext, _setjmp", fallback_pairs, 300000, 1 },
    { "swapcontext", swapcontext_pairs, 50000, 1 },
    { "skink__switch, 1 coroutine", herd_pairs, 1000000, 1 },
    { "skink__switch, 16 in turn", herd_pairs, 1000000, 16 },
    { "skink__switch, 256 in turn", herd_pairs, 1000000, 256 },
    { "skink__switch, 4096 in turn", herd_pairs, 500000, 4096 },
    { "skink__switch, 100000 in turn", herd_pairs, 300000, HERD_MAX },
    { "acquire, run, finish, release", whole_lives, 500000, 1 },
};
enum { WAYS = sizeof ways / sizeof *ways };

static void measure(struct way *way, int round)
{
    herd_count = way->herd_count;
    way->pairs(way->count / 10); /* caches and predictors */
    uint64_t begin = now_ns();
    way->pairs(way->count);
    way->ns[round] = (double)(now_ns() - begin) / (double)way->count;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 11;
    if (rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: bench_switch [rounds]   1 to %d, default 11\n", ROUNDS_MAX);
        return 2;
    }
    prepare_bare();
    prepare_herd();
    for (int round = 0; round < rounds; round++)
        for (int w = 0; w < WAYS; w++)
            measure(&ways[w], round);
    printf("%-32s %9s %9s %9s   ns per pair of switches\n", "", "median", "least", "most");
    for (int w = 0; w < WAYS; w++) {
        qsort(ways[w].ns, (size_t)rounds, sizeof(double), by_value);
        printf("%-32s %9.1f %9.1f %9.1f\n", ways[w].name, ways[w].ns[rounds / 2], ways[w].ns[0],
               ways[w].ns[rounds - 1]);
    }
    return 0;
}
