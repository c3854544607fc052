/* SPDX-License-Identifier: MIT */
/* tests/support/scarce.c - an allocator that counts, and fails on demand. */
#include "tests/support/scarce.h"
#include "skink/hooks.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <stdatomic.h>
#include <stdlib.h>

enum { PLENTY = -1 };

static _Atomic long left = PLENTY; /* how many may succeed before one fails */
static _Atomic bool all_fail;
static _Atomic long failures;
static _Atomic long blocks;

static bool may_allocate(void)
{
    long now = atomic_load(&left);
    while (now != PLENTY) {
        /* From 0 to PLENTY: it is this one, and no other. */
        if (!atomic_compare_exchange_weak(&left, &now, now - 1)) continue;
        if (now == 0) atomic_fetch_add(&failures, 1);
        return now != 0;
    }
    if (!atomic_load(&all_fail)) return true;
    atomic_fetch_add(&failures, 1);
    return false;
}

static void *allocate(size_t size_bytes, void *arg)
{
    (void)arg;
    void *memory = may_allocate() ? malloc(size_bytes) : NULL;
    if (memory) atomic_fetch_add(&blocks, 1);
    return memory;
}

static void *reallocate(void *memory, size_t size_bytes, void *arg)
{
    if (!memory) return allocate(size_bytes, arg);
    return may_allocate() ? realloc(memory, size_bytes) : NULL;
}

static void release(void *memory, void *arg)
{
    (void)arg;
    if (memory) atomic_fetch_sub(&blocks, 1);
    free(memory);
}

void scarce_install(void)
{
    static bool installed; /* by an earlier case of the same process */
    if (installed) return;
    installed = true;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.allocate = allocate;
    hooks.reallocate = reallocate;
    hooks.release = release;
    assert_int_equal(skink_hooks_set(&hooks), 0);
}

void scarce_fail(long n)
{
    atomic_store(&failures, 0);
    atomic_store(&left, n);
}

void scarce_fail_all(void)
{
    atomic_store(&failures, 0);
    atomic_store(&all_fail, true);
}

long scarce_failures(void)
{
    return atomic_load(&failures);
}

long scarce_end(void)
{
    atomic_store(&left, PLENTY);
    atomic_store(&all_fail, false);
    return scarce_failures();
}

long scarce_blocks(void)
{
    return atomic_load(&blocks);
}

void scarce_assert_no_blocks(void)
{
    test_wait_until(atomic_load(&blocks) == 0, 5000);
}
