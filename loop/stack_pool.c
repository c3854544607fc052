/* SPDX-License-Identifier: MIT */
/*
 * loop/stack_pool.c - guarded stacks by the slab: cheap enough to have a million of them.
 *
 * A slab is one anonymous mapping, cut into strides:
 *
 *     | guard page | stack, growing downwards ............... | header || guard page | stack ...
 *
 * The header (the coroutine) shares the stack's top page, so a coroutine that was started and suspended has one page.
 * Slabs grow geometrically and are carved one stack at a time, so a small program has a small slab. Neighbouring slabs
 * have the same attributes, and the kernel merges them: with guard markers, the number of mappings does not grow with
 * the number of stacks.
 *
 * A stack is in one of four places: not carved yet; in use; free, on one of the pool's lists, most recently used first
 * as its pages and cache lines are the warmest; or cold, its pages given back by cool(), known by a bit in
 * its slab alone.
 *
 * The lists are three generations: who takes a stack takes it of the youngest that has one, so what a whole interval
 * between two calls of age() leaves on the second list was not needed in it.
 */
#include "loop/stack_pool.h"
#include "loop/memory.h"
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#if SKINK__ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum {
    SLAB_STACKS_MIN = 16,
    SLAB_STACKS_MAX = 4096,
    BITS_PER_WORD = 64,
    /* Mappings that are left to others when guards by mprotect() have used up the rest: some hundred new threads. */
    RESERVE_MAPPINGS = 512,
};

struct skink__stack_slab {
    struct skink__stack_slab *next; /* skink__stack_pool.slabs, newest first; only the newest is not wholly carved */
    char *base;
    size_t stack_count;
    size_t carved_count;
    size_t cold_count;
    uint64_t cold[]; /* bit i: stack i is cold */
};

/* What lies at the top of a stack. A multiple of 16 bytes, as the stack begins below it. */
struct header {
    struct skink__coroutine co;
    struct skink__stack_slab *slab;
} __attribute__((aligned(16)));

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

void skink__stack_pool_init(struct skink__stack_pool *pool, size_t stack_bytes)
{
    size_t page = page_bytes();
    size_t usable = (stack_bytes + page - 1) / page * page;
    *pool = (struct skink__stack_pool){
        .stack_bytes = usable ? usable : page,
        .stride_bytes = (usable ? usable : page) + page,
        /* LeakSanitizer reads a slab from end to end, guards too, unless they are mappings that it can see. */
        .guard = SKINK__ASAN ? SKINK__STACK_GUARD_MPROTECT : SKINK__STACK_GUARD_MARKER,
    };
}

/* Where a stack is. */

static char *stack_guard_page(const struct skink__stack_pool *pool, const struct skink__stack_slab *slab, size_t index)
{
    return slab->base + index * pool->stride_bytes;
}

static struct header *stack_header(const struct skink__stack_pool *pool, const struct skink__stack_slab *slab,
                                   size_t index)
{
    char *end = stack_guard_page(pool, slab, index) + pool->stride_bytes;
    return (struct header *)(void *)(end - sizeof(struct header));
}

static size_t stack_index(const struct skink__stack_pool *pool, const struct header *header)
{
    return (size_t)((const char *)header - header->slab->base) / pool->stride_bytes;
}

/* The reserve of mappings. */

/*
 * Guards by mprotect() take all the mappings a process may have, and then pthread_create() and malloc() fail too, which
 * is just when a scheduler may need a new thread. So the first such guard is preceded by a region of RESERVE_MAPPINGS
 * mappings (its pages alternate in protection) which is unmapped when a guard, or a slab, cannot be had. It is the
 * process's, like what it is kept of: there may be hundreds of pools.
 */
static skink__mutex reserve_lock = PTHREAD_MUTEX_INITIALIZER;  /* held for some system calls of ours */
static char *reserve SKINK__GUARDED_BY(reserve_lock);          /* NULL: not taken, or given away */
static unsigned reserve_users SKINK__GUARDED_BY(reserve_lock); /* pools with such guards */

static bool reserve_take(void) SKINK__REQUIRES(reserve_lock)
{
    size_t page = page_bytes();
    char *region = mmap(NULL, RESERVE_MAPPINGS * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) return false;
    reserve = region;
    for (size_t i = 1; i < RESERVE_MAPPINGS; i += 2)
        if (mprotect(region + i * page, page, PROT_READ) != 0) return false;
    return true;
}

static void reserve_drop(void) SKINK__REQUIRES(reserve_lock)
{
    /* Cannot fail for want of a mapping: only a hole in the middle of one needs one more. */
    if (reserve) munmap(reserve, RESERVE_MAPPINGS * page_bytes());
    reserve = NULL;
}

static void reserve_release(void)
{
    skink__mutex_lock(&reserve_lock);
    reserve_drop();
    skink__mutex_unlock(&reserve_lock);
}

/* This pool needs it no longer. */
static void reserve_leave(struct skink__stack_pool *pool)
{
    if (!pool->uses_reserve) return;
    pool->uses_reserve = false;
    skink__mutex_lock(&reserve_lock);
    if (--reserve_users == 0) reserve_drop();
    skink__mutex_unlock(&reserve_lock);
}

static bool guard_by_mprotect(struct skink__stack_pool *pool, char *guard_page)
{
    skink__mutex_lock(&reserve_lock);
    if (!pool->uses_reserve) reserve_users++;
    pool->uses_reserve = true;
    bool reserved = reserve || reserve_take();
    bool guarded = reserved && mprotect(guard_page, page_bytes(), PROT_NONE) == 0;
    if (!guarded) reserve_drop();
    skink__mutex_unlock(&reserve_lock);
    pool->exhausted = reserved && !guarded; /* a reserve that cannot be taken now may be had the next time */
    return guarded;
}

static bool guard_install(struct skink__stack_pool *pool, char *guard_page)
{
    if (pool->guard == SKINK__STACK_GUARD_MARKER) {
        if (madvise(guard_page, page_bytes(), MADV_GUARD_INSTALL) == 0) return true;
        if (errno != EINVAL) return false;
        /* The kernel is too old, or cannot do it here (some cannot in locked memory). */
        pool->guard = SKINK__STACK_GUARD_MPROTECT;
    }
    return guard_by_mprotect(pool, guard_page);
}

/* Slabs. */

static struct skink__stack_slab *slab_map(struct skink__stack_pool *pool, size_t stack_count)
{
    size_t bytes;
    if (__builtin_mul_overflow(stack_count, pool->stride_bytes, &bytes)) return NULL;
    size_t words = (stack_count + BITS_PER_WORD - 1) / BITS_PER_WORD;
    struct skink__stack_slab *slab = skink__zalloc(sizeof *slab + words * sizeof slab->cold[0]);
    if (!slab) return NULL;
    slab->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slab->base == MAP_FAILED) {
        skink__free(slab);
        return NULL;
    }
    /* A huge page would make 2 MiB resident for the first byte of a stack. A kernel without them says EINVAL. */
    madvise(slab->base, bytes, MADV_NOHUGEPAGE);
    slab->stack_count = stack_count;
#if SKINK__ASAN
    __lsan_register_root_region(slab->base, bytes);
#endif
    return slab;
}

static bool slab_unmap(struct skink__stack_pool *pool, struct skink__stack_slab *slab)
{
    size_t bytes = slab->stack_count * pool->stride_bytes;
#if SKINK__ASAN
    /* Whatever is mapped here next must not inherit what the frames of unfinished coroutines had poisoned. */
    __asan_unpoison_memory_region(slab->base, slab->carved_count * pool->stride_bytes);
#endif
    /* Fails when it would make a hole in a merged mapping and there is no mapping left for the other side. */
    if (munmap(slab->base, bytes) != 0) return false;
#if SKINK__ASAN
    __lsan_unregister_root_region(slab->base, bytes);
#endif
    skink__free(slab);
    return true;
}

/* A new slab twice as large as the last one, or as large as there is memory for. */
static struct skink__stack_slab *pool_grow(struct skink__stack_pool *pool)
{
    size_t stack_count = pool->slabs ? pool->slabs->stack_count * 2 : SLAB_STACKS_MIN;
    if (stack_count > SLAB_STACKS_MAX) stack_count = SLAB_STACKS_MAX;
    for (; stack_count > 0; stack_count /= 2) {
        struct skink__stack_slab *slab = slab_map(pool, stack_count);
        if (!slab) continue;
        slab->next = pool->slabs;
        pool->slabs = slab;
        return slab;
    }
    reserve_release();
    return NULL;
}

/* The three places a stack comes from. */

static struct skink__coroutine *stack_open(struct skink__stack_pool *pool, struct skink__stack_slab *slab, size_t index)
{
    struct header *header = stack_header(pool, slab, index);
    if (!skink__coroutine_init(&header->co, stack_guard_page(pool, slab, index) + page_bytes())) return NULL;
    header->slab = slab;
    return &header->co;
}

static struct skink__coroutine *stack_carve(struct skink__stack_pool *pool)
{
    if (pool->exhausted) return NULL;
    struct skink__stack_slab *slab = pool->slabs;
    if (!slab || slab->carved_count == slab->stack_count) slab = pool_grow(pool);
    if (!slab || !guard_install(pool, stack_guard_page(pool, slab, slab->carved_count))) return NULL;
    struct skink__coroutine *co = stack_open(pool, slab, slab->carved_count);
    if (!co) return NULL;
    slab->carved_count++;
    pool->allocated++;
    return co;
}

static struct skink__coroutine *stack_warm(struct skink__stack_pool *pool)
{
    struct skink__stack_slab *slab = pool->slabs;
    while (slab->cold_count == 0)
        slab = slab->next;
    size_t word = 0;
    while (slab->cold[word] == 0)
        word++;
    size_t bit = (size_t)__builtin_ctzll(slab->cold[word]);
    struct skink__coroutine *co = stack_open(pool, slab, word * BITS_PER_WORD + bit);
    if (!co) return NULL;
    slab->cold[word] &= slab->cold[word] - 1;
    slab->cold_count--;
    pool->cold_count--;
    return co;
}

static struct skink__coroutine *stack_take(struct skink__stack_pool *pool, struct skink__coroutine **list)
{
    struct skink__coroutine *co = *list;
    *list = co->next;
    co->next = NULL;
    pool->free_count--;
    return co;
}

struct skink__coroutine *skink__stack_acquire(struct skink__stack_pool *pool)
{
    if (pool->free) return stack_take(pool, &pool->free);
    if (pool->idle) return stack_take(pool, &pool->idle);
    if (pool->surplus) return stack_take(pool, &pool->surplus);
    return pool->cold_count > 0 ? stack_warm(pool) : stack_carve(pool);
}

void skink__stack_release(struct skink__stack_pool *pool, struct skink__coroutine *co)
{
    co->next = pool->free;
    pool->free = co;
    pool->free_count++;
}

/* Giving memory back. */

/* With all of its stacks cold a slab goes as a whole, page tables and mappings included. */
static bool slab_drop(struct skink__stack_pool *pool, struct skink__stack_slab *slab)
{
    struct skink__stack_slab **link = &pool->slabs, *next = slab->next;
    size_t cold_count = slab->cold_count;
    while (*link != slab)
        link = &(*link)->next;
    if (!slab_unmap(pool, slab)) return false;
    *link = next;
    pool->cold_count -= cold_count;
    pool->exhausted = false; /* its mappings are free again */
    return true;
}

/* Its guard, of either kind, survives it. */
static void stack_cool(struct skink__stack_pool *pool, struct skink__coroutine *co)
{
    struct header *header = (struct header *)(void *)co;
    struct skink__stack_slab *slab = header->slab;
    size_t index = stack_index(pool, header);
    skink__coroutine_fini(co);
    slab->cold[index / BITS_PER_WORD] |= UINT64_C(1) << index % BITS_PER_WORD;
    slab->cold_count++;
    pool->cold_count++;
    if (slab->cold_count < slab->carved_count || !slab_drop(pool, slab))
        madvise(stack_guard_page(pool, slab, index), pool->stride_bytes, MADV_DONTNEED);
}

static bool stack_is_cold(const struct skink__stack_slab *slab, size_t index)
{
    return slab->cold[index / BITS_PER_WORD] >> index % BITS_PER_WORD & 1;
}

void skink__stack_pool_age(struct skink__stack_pool *pool)
{
    if (pool->surplus) return; /* first these */
    pool->surplus = pool->idle;
    pool->idle = pool->free;
    pool->free = NULL;
}

bool skink__stack_pool_cool(struct skink__stack_pool *pool, size_t keep, size_t max)
{
    for (; max > 0 && pool->surplus && pool->free_count > keep; max--)
        stack_cool(pool, stack_take(pool, &pool->surplus));
    return pool->surplus && pool->free_count > keep;
}

/* TSan's fibers are the only thing of a coroutine outside its stack; without them the headers are left untouched. */
static void slab_fini_coroutines(const struct skink__stack_pool *pool, const struct skink__stack_slab *slab)
{
    for (size_t i = 0; (SKINK__TSAN || SKINK__VALGRIND) && i < slab->carved_count; i++)
        if (!stack_is_cold(slab, i)) skink__coroutine_fini(&stack_header(pool, slab, i)->co);
}

void skink__stack_pool_fini(struct skink__stack_pool *pool)
{
    reserve_leave(pool); /* first: unmapping a slab may take a mapping */
    for (struct skink__stack_slab *slab = pool->slabs, *next; slab; slab = next) {
        next = slab->next;
        slab_fini_coroutines(pool, slab);
        slab_unmap(pool, slab);
    }
    *pool = (struct skink__stack_pool){ 0 };
}
