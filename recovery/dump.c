/* SPDX-License-Identifier: MIT */
/* recovery/dump.c - see dump.h. */
#include "recovery/dump.h"
#include "loop/memory.h"
#include "loop/options.h"
#include "loop/takeover.h"
#include "recovery/state.h"
#include "skink/clock.h"
#include <errno.h>
#include <pthread.h>

#define PATIENCE_NS (500 * SKINK_MS)
#define TIMEOUT_NS (10 * SKINK_S)
#define STACKS_MAX 1000

/* Each takes memory and processor time; somebody who asks again and again is not to multiply that. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* ---- whose tasks ---- */

static bool has(const struct skink__dump_schedulers *schedulers, const skink_scheduler *scheduler)
{
    for (size_t i = 0; i < schedulers->count; i++)
        if (schedulers->list[i] == scheduler) return true;
    return false;
}

static void add_once(struct skink__dump_schedulers *schedulers, skink_scheduler *scheduler)
{
    if (scheduler && !has(schedulers, scheduler))
        schedulers->list[schedulers->count++] = skink__scheduler_ref(scheduler);
}

static size_t count_watched(const skink_recovery *recovery) SKINK__WITH_MUTEX
{
    size_t count = 0;
    for (const struct skink__watch *watch = recovery->watches; watch; watch = watch->next)
        count++;
    return count;
}

/* The list has the newest first; loops are made before workers. */
static void add_watched(struct skink__dump_schedulers *schedulers, const skink_recovery *recovery) SKINK__WITH_MUTEX
{
    for (size_t i = count_watched(recovery); i-- > 0;) {
        const struct skink__watch *watch = recovery->watches;
        for (size_t k = 0; k < i; k++)
            watch = watch->next;
        add_once(schedulers, watch->scheduler);
    }
}

/* Those that were named, with room for so many more. False: no memory. */
static bool list_named(struct skink__dump_schedulers *schedulers, const skink_dump_options *options, size_t more)
{
    schedulers->list = skink__zalloc((1 + (size_t)options->scheduler_count + more) * sizeof(skink_scheduler *));
    if (!schedulers->list) return false;
    add_once(schedulers, options->scheduler);
    for (uint32_t i = 0; i < options->scheduler_count; i++)
        add_once(schedulers, options->schedulers[i]);
    return true;
}

static bool list_all(struct skink__dump_schedulers *schedulers, const skink_dump_options *options,
                     skink_recovery *recovery)
{
    skink__recovery_lock(recovery);
    bool listed = list_named(schedulers, options, count_watched(recovery));
    if (listed) add_watched(schedulers, recovery);
    skink__recovery_unlock(recovery);
    return listed;
}

int skink__dump_schedulers_init(struct skink__dump_schedulers *schedulers, const skink_dump_options *options)
{
    skink_recovery *recovery = options->flags & SKINK_DUMP_WATCHED ? options->recovery : NULL;
    *schedulers = (struct skink__dump_schedulers){ 0 };
    bool listed = recovery ? list_all(schedulers, options, recovery) : list_named(schedulers, options, 0);
    if (!listed) return -ENOMEM;
    int err = 0;
    if (schedulers->count == 0) err = -EINVAL;
    if (skink_scheduler_current() && has(schedulers, skink_scheduler_current())) err = -EDEADLK;
    if (err) skink__dump_schedulers_fini(schedulers);
    return err;
}

void skink__dump_schedulers_fini(struct skink__dump_schedulers *schedulers)
{
    for (size_t i = 0; i < schedulers->count; i++)
        skink__scheduler_unref(schedulers->list[i]);
    skink__free(schedulers->list);
    *schedulers = (struct skink__dump_schedulers){ 0 };
}

/* ---- both dumps ---- */

int skink__dump_options_read(const skink_dump_options *given, skink_dump_options *ret_options)
{
    skink_dump_options options;
    int err = SKINK__OPTIONS_READ(&options, given);
    if (err) return err;
    if (options.flags & ~(uint32_t)SKINK_DUMP_WATCHED || (options.scheduler_count && !options.schedulers))
        return -EINVAL;
    if (options.format != SKINK_DUMP_TEXT && options.format != SKINK_DUMP_JSON) return -EINVAL;
    if (options.scheduler && skink_scheduler_current() == options.scheduler) return -EDEADLK;
    if (!options.patience_ns) options.patience_ns = PATIENCE_NS;
    if (!options.timeout_ns) options.timeout_ns = TIMEOUT_NS;
    if (!options.stacks_max) options.stacks_max = STACKS_MAX;
    *ret_options = options;
    return 0;
}

int skink__dump_begin(struct skink__symbols **ret_symbols)
{
    int err = skink__symbols_create(ret_symbols);
    if (!err) pthread_mutex_lock(&one_at_a_time);
    return err;
}

int skink__dump_end(struct skink__symbols *symbols, struct skink__text *text, int err, char **ret_text,
                    size_t *ret_length) SKINK__UNCHECKED
{
    pthread_mutex_unlock(&one_at_a_time);
    skink__symbols_destroy(symbols);
    if (!err && (text->failed || !text->bytes)) err = -ENOMEM;
    if (err) {
        skink__free(text->bytes);
        return err;
    }
    *ret_text = text->bytes;
    if (ret_length) *ret_length = text->length;
    return 0;
}

void skink_dump_free(char *text)
{
    skink__free(text);
}
