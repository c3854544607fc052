/* SPDX-License-Identifier: MIT */
/* tests/consumer/main.c - a program of somebody else's: one task on one scheduler, watched. */
#include <skink/skink.h>

#include <stdio.h>
#include <string.h>

static void double_it(void *arg)
{
    int *number = arg;
    if (skink_yield() == 0) *number *= 2;
}

int main(void)
{
    skink_recovery *recovery;
    skink_scheduler *scheduler;
    skink_task *task;
    int number = 21;
    int err = skink_recovery_create(NULL, &recovery);
    if (err == 0) err = skink_scheduler_create(NULL, &scheduler);
    if (err == 0) err = skink_recovery_watch(recovery, scheduler);
    if (err == 0) err = skink_scheduler_start(scheduler);
    if (err == 0) err = skink_spawn(scheduler, NULL, &task, double_it, &number);
    if (err == 0) err = skink_task_await(task, SKINK_FOREVER);
    if (err != 0) {
        fprintf(stderr, "consumer: %s\n", skink_strerror(err));
        return 1;
    }
    skink_task_unref(task);
    skink_scheduler_destroy(scheduler);
    skink_recovery_destroy(recovery);
    printf("skink %s says %d\n", skink_version(), number);
    return number == 42 && strcmp(skink_version(), SKINK_VERSION_STRING) == 0 ? 0 : 1;
}
