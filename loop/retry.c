/* SPDX-License-Identifier: MIT */
/* retry.c - a loop of awaits (skink/retry.h). It uses nothing that a host could not. */
#include "skink/retry.h"
#include "loop/options.h"
#include "skink/task.h"
#include "skink/token.h"
#include <errno.h>

enum { ATTEMPTS_DEFAULT = 3, JITTER_DEFAULT = 50 };

static int options_read(skink_retry_options *copy, const skink_retry_options *given)
{
    int err = SKINK__OPTIONS_READ(copy, given);
    if (err) return err;
    if (copy->flags || copy->jitter_percent > 100) return -EINVAL;
    if (!copy->attempts_max) copy->attempts_max = ATTEMPTS_DEFAULT;
    if (!copy->pause_ns) copy->pause_ns = 100 * SKINK_MS;
    if (!copy->pause_max_ns) copy->pause_max_ns = 10 * SKINK_S;
    if (!copy->jitter_percent) copy->jitter_percent = JITTER_DEFAULT;
    if (copy->no_jitter) copy->jitter_percent = 0;
    if (!copy->deadline_ns) copy->deadline_ns = SKINK_FOREVER;
    return 0;
}

static bool is_retryable(const skink_retry_options *options, int error, uint32_t attempt, void *arg)
{
    if (options->retryable) return options->retryable(error, attempt, arg);
    return error != -EINVAL && error != -EPERM && error != -ENOSYS;
}

/* Chance enough to spread those who failed together: the moment, and who asks (splitmix64). */
static uint64_t any_number(const void *who)
{
    uint64_t x = skink_now() + (uint64_t)(uintptr_t)who;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t pause_before(const skink_retry_options *options, uint32_t attempt)
{
    uint64_t pause_ns = options->pause_ns < options->pause_max_ns ? options->pause_ns : options->pause_max_ns;
    for (uint32_t i = 2; i < attempt && pause_ns < options->pause_max_ns; i++)
        pause_ns = pause_ns > options->pause_max_ns / 2 ? options->pause_max_ns : 2 * pause_ns;
    uint64_t most_ns = pause_ns / 100 * options->jitter_percent;
    return most_ns ? pause_ns - any_number(options) % most_ns : pause_ns;
}

static int attempts(const skink_retry_options *options, int (*fn)(uint32_t attempt, void *arg), void *arg)
{
    int err = skink_checkpoint();
    for (uint32_t attempt = 1; !err; attempt++) {
        err = fn(attempt, arg);
        if (!err || attempt == options->attempts_max || !is_retryable(options, err, attempt, arg)) return err;
        err = skink_sleep(pause_before(options, attempt + 1)); /* says whether the task is to end */
    }
    return err;
}

int skink_retry(const skink_retry_options *options, int (*fn)(uint32_t attempt, void *arg), void *arg)
{
    skink_retry_options given;
    int err = options_read(&given, options);
    if (err) return err;
    if (!fn) return -EINVAL;
    if (given.deadline_ns == SKINK_FOREVER) return attempts(&given, fn, arg);
    skink_token *token;
    err = skink_token_derive(NULL, given.deadline_ns, &token); /* the scopes around this one hold as well */
    if (err) return err;
    err = skink_scope_begin(token);
    skink_token_unref(token);
    if (err) return err;
    err = attempts(&given, fn, arg);
    (void)skink_scope_end();
    return err;
}
