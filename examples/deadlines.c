/* SPDX-License-Identifier: MIT */
/*
 * examples/deadlines.c - a time limit that is handed down: whatever look_up() waits for, it has 200 milliseconds.
 *
 *     ./deadlines     looks up a quick thing and a slow one, and says what came of it; asks a shaky one again until it
 *                     answers; and takes whichever of two is there first
 */
#include <errno.h>
#include <skink/skink.h>
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

/* Fails twice. Each attempt may look at the token, or wait for something that does. */
static int ask_shaky(uint32_t attempt, void *arg)
{
    *(uint32_t *)arg = attempt;
    return attempt < 3 ? -EIO : skink_sleep(SKINK_MS);
}

static void ask_again(void)
{
    skink_retry_options options = SKINK_RETRY_OPTIONS_INIT;
    options.attempts_max = 5;
    options.pause_ns = 10 * SKINK_MS;
    options.deadline_ns = skink_after(SKINK_S);
    uint32_t attempts = 0;
    int error = skink_retry(&options, ask_shaky, &attempts);
    printf("shaky: %s after %u attempts\n", error ? skink_strerror(error) : "answers", (unsigned)attempts);
}

static void *compute(void *arg)
{
    return arg; /* on the thread pool */
}

/* Of two that may answer, the one that is there first. */
static int ask_both(void)
{
    static char cached[] = "the pool";
    skink_future *futures[2] = { NULL, NULL };
    size_t first;
    void *value = NULL;
    int error = skink_future_create(&futures[0]); /* nobody ever completes it */
    if (!error) error = skink_offload_start(skink_scheduler_current(), compute, cached, &futures[1]);
    if (!error) error = skink_await_any(futures, 2, skink_after(SKINK_S), &first);
    if (!error) error = skink_await(futures[first], SKINK_FOREVER, &value);
    if (!error) printf("first: %s\n", (char *)value);
    skink_future_unref(futures[0]);
    skink_future_unref(futures[1]);
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
    ask_again();
    int error = ask_both();
    if (error) printf("both: %s\n", skink_strerror(error));
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
