/* SPDX-License-Identifier: MIT */
/* test_deadline_heap.c - whatever is added and removed, the first entry is the earliest,
 * and each task knows its place. */
#include "loop/state.h"
#include "tests/support/case.h"
#include <stdlib.h>

enum { TASKS = 2000 };

static void check(const struct skink__deadline_heap *heap)
{
    for (uint32_t i = 0; i < heap->count; i++) {
        assert_int_equal(heap->entries[i].task->heap_index, i);
        assert_int_equal(heap->entries[i].task->deadline_ns, heap->entries[i].deadline_ns);
        assert_true(heap->entries[i].deadline_ns >= heap->entries[0].deadline_ns);
    }
}

static skink_task *make_tasks(void)
{
    skink_task *tasks = calloc(TASKS, sizeof *tasks);
    assert_non_null(tasks);
    for (int i = 0; i < TASKS; i++)
        tasks[i].heap_index = SKINK__NOT_IN_HEAP;
    return tasks;
}

static void deadlines_come_out_in_order(void **state)
{
    (void)state;
    struct skink__deadline_heap heap = { 0 };
    skink_task *tasks = make_tasks();
    srand(7);
    for (int i = 0; i < TASKS; i++) {
        tasks[i].deadline_ns = (uint64_t)(rand() % 500);
        assert_int_equal(skink__deadline_add(&heap, &tasks[i]), 0);
    }
    check(&heap);
    for (uint64_t last = 0; heap.count;) {
        skink_task *first = heap.entries[0].task;
        assert_true(first->deadline_ns >= last);
        last = first->deadline_ns;
        skink__deadline_remove(&heap, first);
        assert_int_equal(first->heap_index, SKINK__NOT_IN_HEAP);
    }
    skink__deadline_heap_fini(&heap);
    free(tasks);
}

static void any_entry_can_be_removed(void **state)
{
    (void)state;
    struct skink__deadline_heap heap = { 0 };
    skink_task *tasks = make_tasks();
    srand(11);
    for (int step = 0; step < 20000; step++) {
        skink_task *task = &tasks[rand() % TASKS];
        if (task->heap_index == SKINK__NOT_IN_HEAP) {
            task->deadline_ns = (uint64_t)rand();
            assert_int_equal(skink__deadline_add(&heap, task), 0);
        } else {
            skink__deadline_remove(&heap, task);
        }
        if (step % 500 == 0) check(&heap);
    }
    check(&heap);
    skink__deadline_heap_fini(&heap);
    free(tasks);
}

static const struct test_case cases[] = {
    CASE(deadlines_come_out_in_order),
    CASE(any_entry_can_be_removed),
};
TEST_MAIN(cases, NULL, NULL)
