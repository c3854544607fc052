/* SPDX-License-Identifier: MIT */
/*
 * tests/loop/test_stack_pool.c - guarded stacks: what they cost, that they are guarded, and how they run out.
 *
 * What uses up a limit of the process, or is expected to crash, runs in a child.
 */
#include "loop/stack_pool.h"
#include "skink/hooks.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#if TEST_ASAN
#include <sanitizer/lsan_interface.h>
#endif

enum { STACK_BYTES = 64 * 1024, PAGE_BYTES = 4096 };

static struct skink__context outside;

static void suspend_for_ever(void *arg)
{
    struct skink__coroutine *co = arg;
    for (;;)
        skink__switch(&co->context, &outside);
}

static void finish_at_once(void *arg)
{
    struct skink__coroutine *co = arg;
    skink__switch_for_good(&co->context, &outside);
}

static void run(struct skink__coroutine *co, void (*entry)(void *arg))
{
    skink__context_init_thread(&outside);
    skink__coroutine_prepare(co, entry, co);
    skink__switch(&outside, &co->context);
}

static unsigned char *stack_bottom(const struct skink__coroutine *co)
{
    return co->context.stack_bottom;
}

static int mapping_count(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    int lines = 0;
    for (int c; (c = getc(maps)) != EOF;)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

/* A child that is a fresh start for limits and may crash. Its verdict is an exit status: 0 is good. */
static int child_status(int (*body)(void *arg), void *arg)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        for (int s = 1; s < NSIG; s++)
            signal(s, SIG_DFL);
        _exit(body(arg));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

#define assert_child_ok(body, arg)                                                                                     \
    do {                                                                                                               \
        int status_ = child_status(body, arg);                                                                         \
        if (WIFSIGNALED(status_)) fail_msg("child died of signal %d", WTERMSIG(status_));                              \
        assert_int_equal(WEXITSTATUS(status_), 0);                                                                     \
    } while (0)

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

/* One stack. */

static void whole_stack_can_be_written(void **state)
{
    (void)state;
    struct skink__stack_pool pool;
    skink__stack_pool_init(&pool, STACK_BYTES - 100);
    assert_int_equal(pool.stack_bytes, STACK_BYTES);
    struct skink__coroutine *co = skink__stack_acquire(&pool);
    assert_non_null(co);
    assert_int_equal((uintptr_t)co % 16, 0);
    assert_ptr_equal(stack_bottom(co) + co->context.stack_bytes, co);
    assert_in_range(co->context.stack_bytes, STACK_BYTES - 256, STACK_BYTES - 1);
    memset(stack_bottom(co), 0xa5, co->context.stack_bytes);
    run(co, finish_at_once);
    skink__stack_release(&pool, co);
    skink__stack_pool_fini(&pool);
}

static volatile int depth_max = 1 << 30;

/* Calls itself until the stack ends. */
__attribute__((noinline)) static int overflow(int depth)
{
    volatile char frame[512];
    memset((char *)frame, depth, sizeof frame);
    return depth < depth_max ? overflow(depth + 1) + frame[depth % 512] : 0;
}

static void overflow_entry(void *arg)
{
    volatile int sum = overflow(0);
    (void)sum, (void)arg;
}

static const unsigned char *guarded_bottom;

/* On a stack of its own, as there is none left. Good is a fault in the page below the stack, and nowhere else. */
static void on_overflow(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    const unsigned char *address = info->si_addr;
    _exit(address < guarded_bottom && address >= guarded_bottom - PAGE_BYTES ? 0 : 3);
}

/* As if all free stacks had not been needed for long. */
static void trim(struct skink__stack_pool *pool, size_t keep)
{
    for (int age = 0; age < 3;
         age++) { /* from the youngest list to the last, and once more for what was there already */
        while (skink__stack_pool_cool(pool, keep, 10)) {
        }
        skink__stack_pool_age(pool);
    }
    while (skink__stack_pool_cool(pool, keep, 10)) {
    }
}

struct guarded {
    enum skink__stack_guard guard;
    bool trimmed;
};

static int overflow_a_stack(void *arg)
{
    const struct guarded *wanted = arg;
    struct skink__stack_pool pool;
    skink__stack_pool_init(&pool, STACK_BYTES);
    pool.guard = wanted->guard;
    struct skink__coroutine *stacks[3];
    for (int i = 0; i < 3; i++)
        CHECK((stacks[i] = skink__stack_acquire(&pool)) != NULL);
    CHECK(pool.guard == wanted->guard);
    /* So that what the overflow would run into is there: the neighbour below. */
    memset(stack_bottom(stacks[0]), 1, stacks[0]->context.stack_bytes);
    if (wanted->trimmed) {
        skink__stack_release(&pool, stacks[1]);
        trim(&pool, 0);
        CHECK(skink__stack_acquire(&pool) == stacks[1]);
    }
    guarded_bottom = stack_bottom(stacks[1]);
    static char signal_stack[64 * 1024];
    sigaltstack(&(stack_t){ .ss_sp = signal_stack, .ss_size = sizeof signal_stack }, NULL);
    sigaction(SIGSEGV, &(struct sigaction){ .sa_sigaction = on_overflow, .sa_flags = SA_SIGINFO | SA_ONSTACK }, NULL);
    run(stacks[1], overflow_entry);
    return 2;
}

static void assert_overflow_is_caught(struct guarded wanted)
{
    assert_child_ok(overflow_a_stack, &wanted);
}

static void overflow_hits_a_guard_marker(void **state)
{
    (void)state;
    if (!test_has_guard_markers()) test_skip("the kernel has no MADV_GUARD_INSTALL");
    assert_overflow_is_caught((struct guarded){ .guard = SKINK__STACK_GUARD_MARKER });
    assert_overflow_is_caught((struct guarded){ .guard = SKINK__STACK_GUARD_MARKER, .trimmed = true });
}

static void overflow_hits_a_protected_page(void **state)
{
    (void)state;
    assert_overflow_is_caught((struct guarded){ .guard = SKINK__STACK_GUARD_MPROTECT });
    assert_overflow_is_caught((struct guarded){ .guard = SKINK__STACK_GUARD_MPROTECT, .trimmed = true });
}

/* Many stacks. */

static void last_released_stack_is_acquired_first(void **state)
{
    (void)state;
    struct skink__stack_pool pool;
    skink__stack_pool_init(&pool, STACK_BYTES);
    struct skink__coroutine *stacks[40];
    for (int i = 0; i < 40; i++)
        assert_non_null(stacks[i] = skink__stack_acquire(&pool));
    for (int i = 0; i < 40; i++)
        skink__stack_release(&pool, stacks[i]);
    for (int i = 39; i >= 0; i--)
        assert_ptr_equal(skink__stack_acquire(&pool), stacks[i]);
    assert_int_equal(pool.allocated, 40);
    skink__stack_pool_fini(&pool);
}

static void unused_pool_allocates_nothing(void **state)
{
    (void)state;
    struct skink__stack_pool pool;
    skink__stack_pool_init(&pool, STACK_BYTES);
    assert_null(pool.slabs);
    trim(&pool, 0);
    skink__stack_pool_fini(&pool);
}

/* The figure that a suspended task stands or falls with: 4 KiB, and hardly anything beside it. */
static void hundred_thousand_suspended_coroutines_have_a_page_each(void **state)
{
    (void)state;
    enum { STACKS = 100000, BYTES_EACH_MAX = 4300, MAPPINGS_MAX = 50 };
    if (TEST_ASAN || TEST_TSAN) test_skip("sanitizers have stacks of their own size and number");
    if (!test_has_guard_markers()) test_skip("the kernel has no MADV_GUARD_INSTALL");
    struct skink__stack_pool pool;
    skink__stack_pool_init(&pool, STACK_BYTES);
    run(skink__stack_acquire(&pool), suspend_for_ever); /* what is touched once only */
    int mappings = mapping_count();
    long resident = test_resident_kb(0);
    for (int i = 0; i < STACKS; i++) {
        struct skink__coroutine *co = skink__stack_acquire(&pool);
        assert_non_null(co);
        run(co, suspend_for_ever);
    }
    long bytes_each = (test_resident_kb(0) - resident) * 1024 / STACKS;
    int more_mappings = mapping_count() - mappings;
    print_message("%ld bytes resident each, %d more mappings\n", bytes_each, more_mappings);
    assert_in_range(bytes_each, PAGE_BYTES, BYTES_EACH_MAX);
    assert_in_range(more_mappings + 10, 0, MAPPINGS_MAX);
    skink__stack_pool_fini(&pool);
    assert_true(test_resident_kb(0) < resident + 2048);
}

/* Giving memory back. */

enum { HERD = 200, NEEDED = 50 };

enum page_state { PAGE_UNMAPPED, PAGE_MAPPED, PAGE_RESIDENT };

static enum page_state page_state(const void *address)
{
    unsigned char there = 0;
    if (mincore((void *)((uintptr_t)address & ~(uintptr_t)(PAGE_BYTES - 1)), 1, &there) != 0) return PAGE_UNMAPPED;
    return there & 1 ? PAGE_RESIDENT : PAGE_MAPPED;
}

static void fill(struct skink__coroutine *co, int value)
{
    memset(stack_bottom(co), value, co->context.stack_bytes);
}

static bool is_filled(struct skink__coroutine *co, int value)
{
    for (size_t i = 0; i < co->context.stack_bytes; i++)
        if (stack_bottom(co)[i] != value) return false;
    return true;
}

static void what_is_not_needed_for_an_interval_is_given_back(void **state)
{
    (void)state;
    struct skink__stack_pool pool;
    skink__stack_pool_init(&pool, STACK_BYTES);
    struct skink__coroutine *stacks[HERD];
    void *bottoms[HERD]; /* the header is gone with the stack */
    for (int i = 0; i < HERD; i++) {
        assert_non_null(stacks[i] = skink__stack_acquire(&pool));
        bottoms[i] = stack_bottom(stacks[i]);
        fill(stacks[i], 7);
    }
    /* Every other one stays in use, so that no slab is empty. */
    for (int i = 0; i < HERD; i += 2)
        skink__stack_release(&pool, stacks[i]);
    skink__stack_pool_age(&pool);
    assert_false(skink__stack_pool_cool(&pool, 0, HERD)); /* they have only just come back */
    for (int i = HERD - 2; i >= HERD - 2 * NEEDED; i -= 2)
        assert_ptr_equal(skink__stack_acquire(&pool), stacks[i]);
    for (int i = HERD - 2 * NEEDED; i < HERD; i += 2)
        skink__stack_release(&pool, stacks[i]);
    skink__stack_pool_age(&pool);
    assert_int_equal(pool.free_count, HERD / 2);
    assert_true(skink__stack_pool_cool(&pool, 0, 10));
    assert_int_equal(pool.cold_count, 10);
    assert_false(skink__stack_pool_cool(&pool, NEEDED + 5, HERD)); /* that many stay in any case */
    assert_int_equal(pool.free_count, NEEDED + 5);
    assert_false(skink__stack_pool_cool(&pool, 0, HERD));
    for (int i = 0; i < HERD; i++) {
        bool cooled = i % 2 == 0 && i < HERD - 2 * NEEDED;
        assert_int_equal(page_state(bottoms[i]), cooled ? PAGE_MAPPED : PAGE_RESIDENT);
        assert_int_equal(page_state(stacks[i]), cooled ? PAGE_MAPPED : PAGE_RESIDENT);
        if (i % 2 == 1) assert_true(is_filled(stacks[i], 7));
    }
    assert_int_equal(pool.cold_count, HERD / 2 - NEEDED);
    for (int i = HERD - 2; i >= HERD - 2 * NEEDED; i -= 2)
        assert_ptr_equal(skink__stack_acquire(&pool), stacks[i]);
    /* What comes back from the cold is one of those, as good as new. */
    for (int i = HERD / 2 - NEEDED; i > 0; i--) {
        struct skink__coroutine *co = skink__stack_acquire(&pool);
        assert_true(is_filled(co, 0));
        run(co, finish_at_once);
    }
    assert_int_equal(pool.cold_count, 0);
    assert_int_equal(pool.free_count, 0);
    assert_int_equal(pool.allocated, HERD);
    skink__stack_pool_fini(&pool);
}

static void slabs_without_a_stack_in_use_are_unmapped(void **state)
{
    (void)state;
    struct skink__stack_pool pool;
    skink__stack_pool_init(&pool, STACK_BYTES);
    struct skink__coroutine *stacks[HERD];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < HERD; i++) {
            assert_non_null(stacks[i] = skink__stack_acquire(&pool));
            run(stacks[i], finish_at_once);
        }
        for (int i = 0; i < HERD; i++)
            skink__stack_release(&pool, stacks[i]);
        trim(&pool, 1);
        assert_int_equal(pool.free_count, 1); /* the one that came back first */
        assert_int_equal(page_state(stacks[0]), PAGE_RESIDENT);
        assert_int_equal(page_state(stacks[HERD - 1]), PAGE_UNMAPPED);
        trim(&pool, 0);
        assert_null(pool.slabs);
        assert_int_equal(pool.cold_count, 0);
    }
    skink__stack_pool_fini(&pool);
}

/* Any order of acquire, release and trim: each stack has one owner, and what owners write stays. */
static void stacks_in_use_keep_their_content_whatever_the_pool_does(void **state)
{
    (void)state;
    enum { STACKS = 300, STEPS = 20000 };
    struct skink__stack_pool pool;
    skink__stack_pool_init(&pool, STACK_BYTES);
    struct skink__coroutine *stacks[STACKS] = { NULL };
    unsigned random = 1;
    for (int step = 0; step < STEPS; step++) {
        random = random * 1103515245u + 12345u;
        int i = (int)(random >> 16) % STACKS;
        if (random >> 8 & 1 && step % 100 == 0) trim(&pool, random >> 10 & 63);
        if (stacks[i]) {
            assert_int_equal(*(int *)(void *)stack_bottom(stacks[i]), i);
            assert_int_equal(stacks[i]->context.stack_bytes, (unsigned char *)stacks[i] - stack_bottom(stacks[i]));
            skink__stack_release(&pool, stacks[i]);
            stacks[i] = NULL;
            continue;
        }
        assert_non_null(stacks[i] = skink__stack_acquire(&pool));
        *(int *)(void *)stack_bottom(stacks[i]) = i;
        run(stacks[i], step % 3 ? finish_at_once : suspend_for_ever);
    }
    skink__stack_pool_fini(&pool);
}

/* What sanitizers must know. */

#if TEST_ASAN
static void hold_memory(void *arg)
{
    void *volatile held = malloc(1000);
    suspend_for_ever(arg);
    free(held);
}

/* Writes over what the stack of the caller's later callees has kept of a pointer. */
__attribute__((noinline)) static void scrub_stack(void)
{
    volatile char dirt[32 * 1024];
    memset((char *)dirt, 0, sizeof dirt);
}

static int suspend_with_memory(void *arg)
{
    (void)arg;
    static struct skink__stack_pool pool;
    skink__stack_pool_init(&pool, STACK_BYTES);
    run(skink__stack_acquire(&pool), hold_memory);
    scrub_stack();
    CHECK(__lsan_do_recoverable_leak_check() == 0);
    /* With the stack gone it is one: the check does find it. */
    skink__stack_pool_fini(&pool);
    CHECK(freopen("/dev/null", "w", stderr));
    return __lsan_do_recoverable_leak_check() == 1 ? 0 : 2;
}

static void memory_known_to_a_suspended_coroutine_only_is_no_leak(void **state)
{
    (void)state;
    assert_child_ok(suspend_with_memory, NULL);
}
#else
static void memory_known_to_a_suspended_coroutine_only_is_no_leak(void **state)
{
    (void)state;
    test_skip("without AddressSanitizer nobody looks for leaks");
}
#endif

#if TEST_TSAN
static void threadsanitizer_runs_out_of_fibers_gracefully(void **state)
{
    (void)state;
    struct skink__stack_pool pool;
    skink__stack_pool_init(&pool, STACK_BYTES);
    while (skink__stack_acquire(&pool))
        continue;
    assert_in_range(pool.allocated, 7000, 8000);
    skink__stack_pool_fini(&pool);
    skink__stack_pool_init(&pool, STACK_BYTES); /* and they can be had again */
    for (int i = 0; i < 100; i++)
        assert_non_null(skink__stack_acquire(&pool));
    skink__stack_pool_fini(&pool);
}
#else
static void threadsanitizer_runs_out_of_fibers_gracefully(void **state)
{
    (void)state;
    test_skip("not a build with ThreadSanitizer");
}
#endif

/* Running out. */

static int run_out_of_address_space(void *arg)
{
    (void)arg;
    struct skink__stack_pool pool;
    skink__stack_pool_init(&pool, STACK_BYTES);
    CHECK(skink__stack_acquire(&pool));
    struct rlimit before, narrow;
    getrlimit(RLIMIT_AS, &before);
    narrow = before;
    narrow.rlim_cur = 400 << 20;
    CHECK(setrlimit(RLIMIT_AS, &narrow) == 0);
    size_t count = 1;
    struct skink__coroutine *last = NULL;
    for (struct skink__coroutine *co; (co = skink__stack_acquire(&pool)) != NULL; count++)
        run(last = co, suspend_for_ever);
    /* Slabs became smaller and smaller, so that hardly anything was left over. */
    CHECK(count > 4500 && count < 6200);
    CHECK(!pool.exhausted);
    CHECK(skink__stack_acquire(&pool) == NULL);
    skink__stack_release(&pool, last);
    CHECK(skink__stack_acquire(&pool) == last);
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    CHECK(skink__stack_acquire(&pool));
    skink__stack_pool_fini(&pool);
    return 0;
}

static void acquire_returns_null_without_memory_and_recovers(void **state)
{
    (void)state;
    if (TEST_ASAN || TEST_TSAN) test_skip("sanitizers need all the address space there is");
    assert_child_ok(run_out_of_address_space, NULL);
}

static size_t address_space_bytes(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%zu", &pages) != 1) pages = 0;
    if (file) fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* There is room for a slab, and none for the reserve of mappings that goes before the first guard. */
static int be_refused_the_reserve(void *arg)
{
    (void)arg;
    struct skink__stack_pool pool;
    skink__stack_pool_init(&pool, STACK_BYTES);
    pool.guard = SKINK__STACK_GUARD_MPROTECT;
    struct rlimit before, narrow;
    getrlimit(RLIMIT_AS, &before);
    narrow = before;
    narrow.rlim_cur = address_space_bytes() + (3 << 19);
    CHECK(setrlimit(RLIMIT_AS, &narrow) == 0);
    CHECK(skink__stack_acquire(&pool) == NULL);
    CHECK(pool.slabs != NULL);
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    CHECK(skink__stack_acquire(&pool));
    skink__stack_pool_fini(&pool);
    return 0;
}

static void a_reserve_that_is_refused_once_is_taken_later(void **state)
{
    (void)state;
    if (TEST_ASAN || TEST_TSAN) test_skip("sanitizers need all the address space there is");
    assert_child_ok(be_refused_the_reserve, NULL);
}

/* The host's memory hooks, with a number of allocations left. */
static int allocations_left;

static void *allocate_some(size_t size_bytes, void *arg)
{
    (void)arg;
    return allocations_left-- > 0 ? malloc(size_bytes) : NULL;
}

static void *reallocate_none(void *memory, size_t size_bytes, void *arg)
{
    (void)memory, (void)size_bytes, (void)arg;
    return NULL;
}

static void release_any(void *memory, void *arg)
{
    (void)arg;
    free(memory);
}

static int run_out_of_heap(void *arg)
{
    (void)arg;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.allocate = allocate_some;
    hooks.reallocate = reallocate_none;
    hooks.release = release_any;
    CHECK(skink_hooks_set(&hooks) == 0);
    struct skink__stack_pool pool;
    skink__stack_pool_init(&pool, STACK_BYTES);
    int mappings = mapping_count();
    CHECK(skink__stack_acquire(&pool) == NULL);
    CHECK(mapping_count() == mappings);
    allocations_left = 1;
    int count = 0;
    while (skink__stack_acquire(&pool))
        count++;
    CHECK(count == 16); /* the first slab */
    allocations_left = 1;
    CHECK(skink__stack_acquire(&pool));
    skink__stack_pool_fini(&pool);
    return 0;
}

static void acquire_returns_null_without_heap_and_recovers(void **state)
{
    (void)state;
    assert_child_ok(run_out_of_heap, NULL);
}

static void *do_nothing(void *arg)
{
    return arg;
}

static void *wait_for_release(void *arg)
{
    pthread_mutex_lock(arg);
    pthread_mutex_unlock(arg);
    return NULL;
}

/* Threads that exist at the same time, and memory for something large. */
static int need_mappings(void)
{
    enum { NEW_THREADS = 64 };
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t threads[NEW_THREADS];
    pthread_mutex_lock(&lock);
    for (int i = 0; i < NEW_THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, wait_for_release, &lock) == 0);
    void *large = malloc(1 << 20);
    CHECK(large);
    free(large);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < NEW_THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    return 0;
}

static int run_out_of_mappings(void *arg)
{
    (void)arg;
    enum { POOLS = 2, COUNT_MAX = 40000 };
    static struct skink__coroutine *stacks[COUNT_MAX];
    struct skink__stack_pool pools[POOLS];
    size_t counts[POOLS] = { 0 };
    struct skink__coroutine *last = NULL;
    for (int p = 0; p < POOLS; p++) {
        skink__stack_pool_init(&pools[p], STACK_BYTES);
        pools[p].guard = SKINK__STACK_GUARD_MPROTECT;
        /* The second pool starts before the first one has everything. */
        CHECK(skink__stack_acquire(&pools[p]));
    }
    for (int p = 0; p < POOLS; p++) {
        for (struct skink__coroutine *co; (co = skink__stack_acquire(&pools[p])) != NULL; counts[p]++) {
            CHECK(counts[0] < COUNT_MAX);
            if (p == 0) stacks[counts[0]] = last = co;
        }
        CHECK(need_mappings() == 0);
    }
    CHECK(pools[0].exhausted); /* the other one may have been refused the reserve, and would ask again */
    CHECK(counts[0] > 30000);
    /* Every single one has its guard, the last one too: the page below cannot be read, not even by the kernel. */
    int sink[2];
    CHECK(pipe(sink) == 0);
    for (size_t i = 0; i < counts[0]; i++)
        CHECK(write(sink[1], stack_bottom(stacks[i]) - 1, 1) == -1);
    CHECK(write(sink[1], stack_bottom(last), 1) == 1);
    /* The pool still works with what it has. */
    run(last, finish_at_once);
    skink__stack_release(&pools[0], last);
    CHECK(skink__stack_acquire(&pools[0]) == last);
    CHECK(skink__stack_acquire(&pools[0]) == NULL);
    /* With mappings given back it grows again. */
    for (size_t i = 0; i < counts[0]; i++)
        skink__stack_release(&pools[0], stacks[i]);
    trim(&pools[0], 0);
    CHECK(!pools[0].exhausted);
    int mappings = mapping_count();
    /* libc keeps stacks and heaps of threads that have been there meanwhile, sanitizers more of them; there is one
     * reserve for all pools, and so none of another pool to draw on. */
    enum { KEPT_BY_OTHERS = 256 };
    for (size_t i = KEPT_BY_OTHERS; i < counts[0]; i++)
        CHECK(skink__stack_acquire(&pools[0]));
    CHECK(mapping_count() > mappings + 50000);
    mappings = mapping_count();
    for (int p = 0; p < POOLS; p++)
        skink__stack_pool_fini(&pools[p]);
    CHECK(mapping_count() < mappings - 60000);
    return 0;
}

static long mapping_limit(void)
{
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    long limit = -1;
    if (!file) return -1;
    if (fscanf(file, "%ld", &limit) != 1) limit = -1;
    fclose(file);
    return limit;
}

static void exhausted_mappings_leave_room_for_threads(void **state)
{
    (void)state;
    if (TEST_TSAN) test_skip("ThreadSanitizer has fewer fibers than the process has mappings");
    if (mapping_limit() != 65530) test_skip("vm.max_map_count is not its default, 65530");
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, do_nothing, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_child_ok(run_out_of_mappings, NULL);
}

static const struct test_case cases[] = {
    CASE(whole_stack_can_be_written),
    CASE(overflow_hits_a_guard_marker),
    CASE(overflow_hits_a_protected_page),
    CASE(last_released_stack_is_acquired_first),
    CASE(unused_pool_allocates_nothing),
    CASE_TIMEOUT(hundred_thousand_suspended_coroutines_have_a_page_each, 60),
    CASE(what_is_not_needed_for_an_interval_is_given_back),
    CASE(slabs_without_a_stack_in_use_are_unmapped),
    CASE(stacks_in_use_keep_their_content_whatever_the_pool_does),
    CASE(acquire_returns_null_without_memory_and_recovers),
    CASE(acquire_returns_null_without_heap_and_recovers),
    CASE(a_reserve_that_is_refused_once_is_taken_later),
    CASE_TIMEOUT(threadsanitizer_runs_out_of_fibers_gracefully, 30),
    CASE(memory_known_to_a_suspended_coroutine_only_is_no_leak),
    CASE_TIMEOUT(exhausted_mappings_leave_room_for_threads, 60),
};
TEST_MAIN(cases, NULL, NULL)
