/* SPDX-License-Identifier: MIT */
/*
 * bare_queue.h - the least that a run queue can be: function pointers in a list, called one after the other.
 *
 * This is the yardstick of dispatch.c and self_post.c. Nodes are linked through themselves and come from a list of free
 * ones, as the scheduler's tasks do; there is no lock, no stack, no lease, no I/O and no counter.
 */
#ifndef SKINK_BENCH_BARE_QUEUE_H
#define SKINK_BENCH_BARE_QUEUE_H
#include "bench.h"

struct bare_node {
    struct bare_node *next;
    void (*fn)(void *arg);
    void *arg;
};

struct bare_queue {
    struct bare_node *first;
    struct bare_node **last; /* where the next node is linked */
    struct bare_node *free;
    struct bare_node *nodes;
};

static inline void bare_queue_init(struct bare_queue *queue, size_t capacity)
{
    *queue = (struct bare_queue){ .nodes = calloc(capacity, sizeof(struct bare_node)) };
    if (!queue->nodes) bench_die("bare queue", ENOMEM);
    queue->last = &queue->first;
    for (size_t i = capacity; i-- > 0;) {
        queue->nodes[i].next = queue->free;
        queue->free = &queue->nodes[i];
    }
}

static inline void bare_queue_fini(struct bare_queue *queue)
{
    free(queue->nodes);
}

static inline void bare_post(struct bare_queue *queue, void (*fn)(void *arg), void *arg)
{
    struct bare_node *node = queue->free;
    if (!node) bench_die("bare queue is full", ENOBUFS);
    queue->free = node->next;
    *node = (struct bare_node){ .fn = fn, .arg = arg };
    *queue->last = node;
    queue->last = &node->next;
}

/* Until it is empty. A node is free again once its function has returned, as a task is. */
static inline void bare_run(struct bare_queue *queue)
{
    struct bare_node *node;
    while ((node = queue->first)) {
        queue->first = node->next;
        if (!queue->first) queue->last = &queue->first;
        node->fn(node->arg);
        node->next = queue->free;
        queue->free = node;
    }
}
#endif
