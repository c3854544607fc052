/* SPDX-License-Identifier: MIT */
/*
 * examples/deadlines.c - a time limit that is handed down: whatever look_up() waits for, it has 200 milliseconds.
 *
 *     ./deadlines          looks up a quick thing and a slow one, and says what came of it
 */
#include "skink/skink.h"
#include <stdio.h>
#include <string.h>

/* Knows nothing of time limits. The slow ones would take a minute. */
static int look_up(const char *key, const char **ret_value)
{
    int error = skink_sleep(strcmp(key, "slow") == 0 ? 60 * SKINK_S : 10 * SKINK_MS);
    if (error == 0) *ret_value = "found";
    return error;
}

static int look_up_quickly(const char *key, const char **ret_value)
{
    skink_token *token;
    int error = skink_token_derive(skink_token_current(), skink_after(200 * SKINK_MS), &token);
    if (error) return error;
    error = skink_scope_begin(token);
    skink_token_unref(token); /* the scope has its own reference */
    if (error) return error;
    error = look_up(key, ret_value); /* every wait in there ends after 200 ms at the latest */
    (void)skink_scope_end();
    return error;
}

static void look_up_all(void *arg)
{
    static const char *const keys[] = { "quick", "slow" };
    (void)arg;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = NULL;
        int error = look_up_quickly(keys[i], &value);
        printf("%s: %s\n", keys[i], error ? skink_strerror(error) : value);
    }
}

int main(void)
{
    skink_scheduler *scheduler = NULL;
    skink_task *task = NULL;
    int error = skink_scheduler_create(NULL, &scheduler);
    if (!error) error = skink_scheduler_start(scheduler);
    if (!error) error = skink_spawn(scheduler, NULL, &task, look_up_all, NULL);
    if (!error) error = skink_task_await(task, SKINK_FOREVER);
    if (error) fprintf(stderr, "deadlines: %s\n", skink_strerror(error));
    skink_task_unref(task);
    skink_scheduler_destroy(scheduler);
    return error != 0;
}
