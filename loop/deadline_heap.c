/* SPDX-License-Identifier: MIT */
/*
 * deadline_heap.c - which suspended task's deadline passes first.
 *
 * A heap of our own in one array, with one uv timer for its first entry: a uv_timer_t per sleeping task costs three to
 * six times as much at 100,000 of them. Four children a node: half the depth of a binary heap, and the children of
 * a node share a cache line (D. B. Johnson, "Priority queues with update and finding minimum spanning trees", 1975).
 */
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/state.h"
#include <errno.h>

enum { CHILDREN = 4, FIRST_CAPACITY = 64 };

static void put(struct skink__deadline_heap *heap, uint32_t index, struct skink__deadline entry) SKINK__IN_RUNTIME
{
    heap->entries[index] = entry;
    entry.task->heap_index = index;
}

static void sift_up(struct skink__deadline_heap *heap, uint32_t index, struct skink__deadline entry) SKINK__IN_RUNTIME
{
    while (index > 0) {
        uint32_t parent = (index - 1) / CHILDREN;
        if (heap->entries[parent].deadline_ns <= entry.deadline_ns) break;
        put(heap, index, heap->entries[parent]);
        index = parent;
    }
    put(heap, index, entry);
}

static uint32_t earliest_child(const struct skink__deadline_heap *heap, uint32_t index) SKINK__IN_RUNTIME
{
    uint64_t first = (uint64_t)index * CHILDREN + 1;
    if (first >= heap->count) return index;
    uint32_t best = (uint32_t)first;
    for (uint64_t child = first + 1; child < first + CHILDREN && child < heap->count; child++)
        if (heap->entries[child].deadline_ns < heap->entries[best].deadline_ns) best = (uint32_t)child;
    return best;
}

static void sift_down(struct skink__deadline_heap *heap, uint32_t index, struct skink__deadline entry) SKINK__IN_RUNTIME
{
    for (;;) {
        uint32_t child = earliest_child(heap, index);
        if (child == index || heap->entries[child].deadline_ns >= entry.deadline_ns) break;
        put(heap, index, heap->entries[child]);
        index = child;
    }
    put(heap, index, entry);
}

static int grow(struct skink__deadline_heap *heap) SKINK__IN_RUNTIME
{
    uint32_t capacity = heap->capacity ? heap->capacity * 2 : FIRST_CAPACITY;
    struct skink__deadline *entries = skink__realloc(heap->entries, capacity * sizeof *entries);
    if (!entries) return -ENOMEM;
    heap->entries = entries;
    heap->capacity = capacity;
    return 0;
}

int skink__deadline_add(struct skink__deadline_heap *heap, skink_task *task)
{
    SKINK_ASSERT(task->heap_index == SKINK__NOT_IN_HEAP);
    if (heap->count == heap->capacity) {
        int err = grow(heap);
        if (err) return err;
    }
    heap->count++;
    sift_up(heap, heap->count - 1, (struct skink__deadline){ task->deadline_ns, task });
    return 0;
}

void skink__deadline_remove(struct skink__deadline_heap *heap, skink_task *task)
{
    uint32_t index = task->heap_index;
    SKINK_ASSERT(index < heap->count && heap->entries[index].task == task);
    task->heap_index = SKINK__NOT_IN_HEAP;
    struct skink__deadline last = heap->entries[--heap->count];
    if (index == heap->count) return;
    if (index > 0 && heap->entries[(index - 1) / CHILDREN].deadline_ns > last.deadline_ns)
        sift_up(heap, index, last);
    else
        sift_down(heap, index, last);
}

void skink__deadline_heap_fini(struct skink__deadline_heap *heap)
{
    skink__free(heap->entries);
    *heap = (struct skink__deadline_heap){ 0 };
}
