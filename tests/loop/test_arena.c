/* SPDX-License-Identifier: MIT */
/* test_arena.c - blocks do not overlap, keep their content, are used again, and come from any thread. */
#include "loop/arena.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 500, STEPS = TEST_TSAN ? 5000 : TEST_ASAN ? 15000 : 30000 };

struct block {
    unsigned char *bytes;
    size_t size;
    unsigned char mark;
};

static void fill(struct block *block, size_t size, unsigned char mark)
{
    block->bytes = skink__arena_alloc(size);
    assert_non_null(block->bytes);
    assert_int_equal((uintptr_t)block->bytes % 16, 0);
    memset(block->bytes, mark, size);
    block->size = size;
    block->mark = mark;
}

static void check(const struct block *block)
{
    for (size_t i = 0; i < block->size; i++)
        assert_int_equal(block->bytes[i], block->mark);
}

static size_t random_size(unsigned *seed)
{
    unsigned kind = (unsigned)rand_r(seed) % 10;
    size_t limit = kind < 6 ? 300 : kind < 9 ? 5000 : 200000;
    return (size_t)rand_r(seed) % limit;
}

static void *churn(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    struct block blocks[BLOCKS] = { 0 };
    for (int step = 0; step < STEPS; step++) {
        struct block *block = &blocks[rand_r(&seed) % BLOCKS];
        if (!block->bytes) {
            fill(block, random_size(&seed), (unsigned char)step);
        } else if (rand_r(&seed) % 3) {
            check(block);
            skink__arena_free(block->bytes);
            block->bytes = NULL;
        } else {
            size_t size = random_size(&seed);
            size_t kept = size < block->size ? size : block->size;
            block->bytes = skink__arena_realloc(block->bytes, size);
            assert_non_null(block->bytes);
            block->size = kept;
            check(block);
            memset(block->bytes, block->mark, size);
            block->size = size;
        }
    }
    for (int i = 0; i < BLOCKS; i++)
        skink__arena_free(blocks[i].bytes);
    return NULL;
}

static void blocks_keep_their_content_from_several_threads(void **state)
{
    (void)state;
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

static void a_freed_block_is_used_again(void **state)
{
    (void)state;
    for (size_t size = 0; size < 60000; size += 37) {
        void *first = skink__arena_alloc(size);
        skink__arena_free(first);
        void *second = skink__arena_alloc(size);
        assert_ptr_equal(first, second);
        skink__arena_free(second);
    }
}

static void large_blocks_go_back_to_the_kernel(void **state)
{
    (void)state;
    long before = test_resident_kb(0);
    for (int i = 0; i < 5; i++) {
        void *memory = skink__arena_alloc(8 << 20);
        memset(memory, 1, 8 << 20);
        skink__arena_free(memory);
    }
    assert_true(test_resident_kb(0) - before < 4 << 10);
}

static void impossible_sizes_give_null(void **state)
{
    (void)state;
    assert_null(skink__arena_alloc(SIZE_MAX));
    assert_null(skink__arena_alloc((size_t)1 << 60));
    void *memory = skink__arena_alloc(10);
    assert_null(skink__arena_realloc(memory, (size_t)1 << 60));
    skink__arena_free(memory);
    skink__arena_free(NULL);
}

static const struct test_case cases[] = {
    CASE(blocks_keep_their_content_from_several_threads),
    CASE(a_freed_block_is_used_again),
    CASE(large_blocks_go_back_to_the_kernel),
    CASE(impossible_sizes_give_null),
};
TEST_MAIN(cases, NULL, NULL)
