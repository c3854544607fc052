/* SPDX-License-Identifier: MIT */
/*
 * examples/core.c - the scheduler alone, without HTTP: tasks, a future, and work on the thread pool.
 *
 * A cook waits for the oven and the shop at the same time, on one thread and without a lock; what really blocks (the
 * shop) is done by the thread pool. Ends by itself.
 */
#include <skink/skink.h>
#include <stdio.h>
#include <unistd.h>

struct kitchen {
    skink_future *cake; /* completed by the oven with its name */
    char name[8];
};

static void bake(void *arg)
{
    struct kitchen *kitchen = arg;
    printf("oven: hot\n");
    if (skink_sleep(200 * SKINK_MS) == 0) printf("oven: done\n");
    (void)!skink_future_complete(kitchen->cake, kitchen->name); /* the first completion cannot be refused */
}

/* Runs on a thread of the pool, where blocking harms nobody. */
static void *buy_milk(void *arg)
{
    static char milk[] = "milk";
    (void)arg;
    usleep(100000);
    return milk;
}

static void cook(void *arg)
{
    struct kitchen *kitchen = arg;
    void *cake, *milk;
    if (skink_post(skink_scheduler_current(), bake, kitchen)) return;
    if (skink_offload(buy_milk, NULL, &milk)) return; /* suspends: the oven gets its turn */
    printf("cook: has %s\n", (char *)milk);
    if (skink_await(kitchen->cake, skink_after(SKINK_S), &cake)) return;
    printf("cook: serves %s and %s\n", (char *)cake, (char *)milk);
}

static int run(skink_scheduler *scheduler, struct kitchen *kitchen)
{
    skink_task *task;
    int error = skink_scheduler_start(scheduler);
    if (!error) error = skink_spawn(scheduler, NULL, &task, cook, kitchen);
    if (error) return error;
    error = skink_task_await(task, SKINK_FOREVER); /* this thread is no loop thread: it blocks here */
    skink_task_unref(task);
    int stop_error = skink_scheduler_stop(scheduler, skink_after(SKINK_S));
    return error ? error : stop_error;
}

int main(void)
{
    skink_scheduler *scheduler = NULL;
    struct kitchen kitchen = { NULL, "cake" };
    int error = skink_future_create(&kitchen.cake);
    if (!error) error = skink_scheduler_create(NULL, &scheduler);
    if (!error) error = run(scheduler, &kitchen);
    if (error) fprintf(stderr, "core: %s\n", skink_strerror(error));
    skink_scheduler_destroy(scheduler);
    skink_future_unref(kitchen.cake);
    return error != 0;
}
