/* SPDX-License-Identifier: MIT */
/*
 * post.c - functions that were posted and have not begun: small nodes in the ready queue.
 *
 * Most posts run to their end without ever waiting for anything, one after the other, on the same stack. So a post is
 * not a task object from the start, of which each costs cache lines of its own: two nodes share one line, and the task
 * object, which a function needs as soon as it runs, comes when its turn has come. Posts that run one after the other
 * share that, too (dispatch.c, run_posts()).
 *
 * A post counts as a task of its own from the moment it is accepted.
 */
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/state.h"
#include <errno.h>

struct skink__post_chunk {
    struct skink__post_chunk *next; /* skink__post_pool.chunks */
    struct skink__post posts[];
};

enum { CHUNK_BYTES = 4096 };

/* Marks, and never called: a node is never in the inbox. */
void skink__post_mark(skink_scheduler *scheduler, struct skink__message *message, bool closed)
{
    (void)scheduler;
    (void)message;
    (void)closed;
    SKINK_ASSERT(false);
}

void skink__post_mark_cancelled(skink_scheduler *scheduler, struct skink__message *message, bool closed)
{
    skink__post_mark(scheduler, message, !closed);
}

void skink__post_pool_fini(struct skink__post_pool *pool)
{
    while (pool->chunks) {
        struct skink__post_chunk *next = pool->chunks->next;
        skink__free_aligned(pool->chunks);
        pool->chunks = next;
    }
    pool->free = NULL;
}

static bool make_chunk(struct skink__post_pool *pool) SKINK__IN_RUNTIME
{
    struct skink__post_chunk *chunk = skink__zalloc_aligned(CHUNK_BYTES, sizeof(struct skink__post));
    if (!chunk) return false;
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    size_t count = (CHUNK_BYTES - offsetof(struct skink__post_chunk, posts)) / sizeof(struct skink__post);
    while (count-- > 0) /* so that neighbours are used one after the other */
        skink__post_release(pool, &chunk->posts[count]);
    return true;
}

/* Off the pool, into the queue; there is one in the pool. */
static void push(skink_scheduler *scheduler, void (*fn)(void *arg), void *arg) SKINK__IN_RUNTIME
{
    struct skink__post *post = scheduler->posts.free;
    scheduler->posts.free = (struct skink__post *)post->message.next;
    post->message.deliver = skink__post_mark;
    post->fn = fn;
    post->arg = arg;
    skink__queue_push(&scheduler->ready, &post->message);
    skink__count(&scheduler->posts_queued, 1);
}

uint64_t skink__post_room(const skink_scheduler *scheduler)
{
    uint64_t living = skink__tasks_spawned(scheduler) - skink__tasks_finished(scheduler);
    uint64_t max = scheduler->tasks.task_max;
    return living < max ? max - living : 0;
}

int skink__post_push(skink_scheduler *scheduler, void (*fn)(void *arg), void *arg)
{
    if (skink__post_room(scheduler) == 0) return -EAGAIN;
    if (!scheduler->posts.free && !make_chunk(&scheduler->posts)) return -ENOMEM;
    push(scheduler, fn, arg);
    return 0;
}

uint64_t skink__post_push_all(skink_scheduler *scheduler, const struct skink__post_slot *slots, uint64_t count,
                              int *ret_err)
{
    uint64_t room = skink__post_room(scheduler), pushed = 0;
    *ret_err = count > room ? -EAGAIN : 0;
    if (count > room) count = room;
    for (; pushed < count; pushed++) {
        if (!scheduler->posts.free && !make_chunk(&scheduler->posts)) {
            *ret_err = -ENOMEM;
            break;
        }
        push(scheduler, slots[pushed].fn, slots[pushed].arg);
    }
    return pushed;
}

skink_task *skink__post_to_task(skink_scheduler *scheduler, struct skink__post *post)
{
    int err; /* the limit on tasks, or memory: either may be had later */
    struct skink__task_spec spec = { .name = "post", .fn = post->fn, .arg = post->arg };
    skink_task *task = skink__task_reserve(scheduler, true, &spec, &err);
    if (!task) return NULL;
    skink__task_set_ending(task, SKINK__ENDING_POST);
    if (post->message.deliver == skink__post_mark_cancelled) skink__task_cancel_here(task, -ECANCELED);
    skink__post_release(&scheduler->posts, post);
    return task;
}

void skink__post_drop(skink_scheduler *scheduler, struct skink__post *post)
{
    skink__count(&scheduler->tasks_finished, 1);
    skink__post_release(&scheduler->posts, post);
}

int skink_post(skink_scheduler *scheduler, void (*fn)(void *arg), void *arg)
{
    if (!scheduler || !fn) return -EINVAL;
    struct skink__thread *thread = skink__thread_enter();
    bool here = skink__thread_is_of(thread, scheduler);
    int err;
    if (skink__task_pool_is_small(&scheduler->tasks))
        err = skink__post_as_task(scheduler, here, fn, arg);
    else if (atomic_load_explicit(&scheduler->stopping, memory_order_relaxed))
        err = -ECANCELED;
    else
        err = here ? (skink__assume_runtime(), skink__post_push(scheduler, fn, arg))
                   : skink__post_from_elsewhere(scheduler, fn, arg);
    if (thread) skink__thread_leave(thread);
    return err;
}
