/* SPDX-License-Identifier: MIT */
/* recovery/dump.c - see dump.h. */
#include "recovery/dump.h"
#include "loop/memory.h"
#include "loop/options.h"
#include "skink/clock.h"
#include <errno.h>
#include <pthread.h>

#define PATIENCE_NS (500 * SKINK_MS)
#define TIMEOUT_NS (10 * SKINK_S)
#define STACKS_MAX 1000

/* Each takes memory and processor time; somebody who asks again and again is not to multiply that. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

int skink__dump_begin(const skink_dump_options *given, skink_dump_options *ret_options,
                      struct skink__symbols **ret_symbols)
{
    skink_dump_options options;
    int err = SKINK__OPTIONS_READ(&options, given);
    if (err) return err;
    if (options.flags || (options.format != SKINK_DUMP_TEXT && options.format != SKINK_DUMP_JSON)) return -EINVAL;
    if (options.scheduler && skink_scheduler_current() == options.scheduler) return -EDEADLK;
    if (!options.patience_ns) options.patience_ns = PATIENCE_NS;
    if (!options.timeout_ns) options.timeout_ns = TIMEOUT_NS;
    if (!options.stacks_max) options.stacks_max = STACKS_MAX;
    err = skink__symbols_create(ret_symbols);
    if (err) return err;
    *ret_options = options;
    pthread_mutex_lock(&one_at_a_time);
    return 0;
}

int skink__dump_end(struct skink__symbols *symbols, struct skink__text *text, int err, char **ret_text,
                    size_t *ret_length)
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
