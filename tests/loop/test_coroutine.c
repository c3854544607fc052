/* SPDX-License-Identifier: MIT */
/*
 * tests/loop/test_coroutine.c - the switch between stacks, with whichever backend is linked.
 *
 * Each case has one coroutine (or a few) on plain mapped memory; the pool has its own tests.
 */
#include "loop/coroutine.h"
#include "tests/support/case.h"
#include <dlfcn.h>
#include <execinfo.h>
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { STACK_BYTES = 256 * 1024, SWITCHES = 1000 };

/* A coroutine and the place that it is switched to from and goes back to. */
struct strand {
    char *memory;
    struct skink__coroutine *co;
    struct skink__context outside;
    int steps;
    bool finished;
    const char *broken; /* the first EXPECT that did not hold */
};

/* For use inside a coroutine, from where a failing assertion of cmocka could not jump to its runner. */
#define EXPECT(strand, condition) ((strand)->broken = (strand)->broken || (condition) ? (strand)->broken : #condition)

static void strand_open(struct strand *s, void (*entry)(void *arg))
{
    *s = (struct strand){ 0 };
    s->memory = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(s->memory, MAP_FAILED);
    size_t header_bytes = (sizeof *s->co + 15) / 16 * 16;
    s->co = (struct skink__coroutine *)(void *)(s->memory + STACK_BYTES - header_bytes);
    assert_true(skink__coroutine_init(s->co, s->memory));
    skink__context_init_thread(&s->outside);
    skink__coroutine_prepare(s->co, entry, s);
}

static void strand_close(struct strand *s)
{
    skink__coroutine_fini(s->co);
    munmap(s->memory, STACK_BYTES);
}

static void strand_resume(struct strand *s)
{
    skink__switch(&s->outside, &s->co->context);
    if (s->broken) fail_msg("inside the coroutine: %s", s->broken);
}

static void strand_suspend(struct strand *s)
{
    skink__switch(&s->co->context, &s->outside);
}

static _Noreturn void strand_finish(struct strand *s)
{
    s->finished = true;
    skink__switch_for_good(&s->co->context, &s->outside);
}

/* What a child that is expected to die of a signal dies of; 0 when it exits. */
static int child_signal(void (*run)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        for (int s = 1; s < NSIG; s++)
            signal(s, SIG_DFL); /* sanitizers and cmocka have handlers of their own */
        run();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* Starting, suspending, finishing. */

static void count_steps(void *arg)
{
    struct strand *s = arg;
    char *local = (char *)__builtin_frame_address(0);
    EXPECT(s, local > s->memory && local < (char *)s->co);
    while (++s->steps < SWITCHES)
        strand_suspend(s);
    strand_finish(s);
}

static void coroutine_runs_on_its_own_stack_until_it_finishes(void **state)
{
    (void)state;
    struct strand s;
    strand_open(&s, count_steps);
    for (int i = 1; i <= SWITCHES; i++) {
        assert_int_equal(s.steps, i - 1);
        assert_false(s.finished);
        strand_resume(&s);
    }
    assert_int_equal(s.steps, SWITCHES);
    assert_true(s.finished);
    strand_close(&s);
}

static void count_and_finish(void *arg)
{
    struct strand *s = arg;
    volatile char frame[512];
    memset((char *)frame, s->steps, sizeof frame);
    s->steps++;
    strand_finish(s);
}

/* Often enough to overflow anything that grows with each use: TSan keeps 65,536 frames of a fiber. */
static void finished_coroutine_can_be_prepared_again(void **state)
{
    (void)state;
    enum { USES = 200000 };
    struct strand s;
    strand_open(&s, count_and_finish);
    void *fiber = s.co->context.tsan_fiber;
    for (int i = 0; i < USES; i++) {
        s.finished = false;
        strand_resume(&s);
        assert_true(s.finished);
        skink__coroutine_prepare(s.co, count_and_finish, &s);
    }
    assert_int_equal(s.steps, USES);
    assert_ptr_equal(s.co->context.tsan_fiber, fiber);
    strand_close(&s);
}

struct pair {
    struct strand a, b;
    char trace[16];
    size_t length;
};

static struct pair pair;

static void play_a(void *arg)
{
    struct strand *s = arg;
    for (int i = 0; i < 3; i++) {
        pair.trace[pair.length++] = 'a';
        skink__switch(&s->co->context, &pair.b.co->context);
    }
    strand_finish(s);
}

static void play_b(void *arg)
{
    struct strand *s = arg;
    for (;;) {
        pair.trace[pair.length++] = 'b';
        skink__switch(&s->co->context, &pair.a.co->context);
    }
}

static void coroutine_can_switch_to_another_one(void **state)
{
    (void)state;
    strand_open(&pair.a, play_a);
    strand_open(&pair.b, play_b);
    strand_resume(&pair.a);
    assert_string_equal(pair.trace, "ababab");
    strand_close(&pair.a);
    strand_close(&pair.b);
}

static void return_at_once(void *arg)
{
    (void)arg;
}

static void run_entry_that_returns(void)
{
    struct strand s;
    strand_open(&s, return_at_once);
    strand_resume(&s);
}

static void entry_that_returns_traps(void **state)
{
    (void)state;
    int sig = child_signal(run_entry_that_returns);
    assert_true(sig == SIGILL || sig == SIGTRAP);
}

/* What the ABI keeps across a call. */

#if defined(__x86_64__)
enum { SAVED_REGISTERS = 6 };
/* Load the registers that a call keeps from values[], call skink__switch(from, to), and store them behind. */
__asm__(".text\n"
        ".type switch_loaded, @function\n"
        "switch_loaded:\n"
        "    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15; pushq %rdx\n"
        "    movq 0(%rdx), %rbx; movq 8(%rdx), %rbp; movq 16(%rdx), %r12\n"
        "    movq 24(%rdx), %r13; movq 32(%rdx), %r14; movq 40(%rdx), %r15\n"
        "    call skink__switch\n"
        "    movq (%rsp), %rdx\n"
        "    movq %rbx, 48(%rdx); movq %rbp, 56(%rdx); movq %r12, 64(%rdx)\n"
        "    movq %r13, 72(%rdx); movq %r14, 80(%rdx); movq %r15, 88(%rdx)\n"
        "    popq %rdx; popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp\n"
        "    ret\n"
        ".size switch_loaded, . - switch_loaded\n");
#elif defined(__aarch64__)
enum { SAVED_REGISTERS = 19 };
__asm__(".text\n"
        ".type switch_loaded, @function\n"
        "switch_loaded:\n"
        "    sub sp, sp, #176\n"
        "    stp x19, x20, [sp]; stp x21, x22, [sp, #16]; stp x23, x24, [sp, #32]; stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]; stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]; stp d10, d11, [sp, #112]; stp d12, d13, [sp, #128]; stp d14, d15, [sp, #144]\n"
        "    str x2, [sp, #160]\n"
        "    ldp x19, x20, [x2]; ldp x21, x22, [x2, #16]; ldp x23, x24, [x2, #32]; ldp x25, x26, [x2, #48]\n"
        "    ldp x27, x28, [x2, #64]; ldr x29, [x2, #80]\n"
        "    ldp d8, d9, [x2, #88]; ldp d10, d11, [x2, #104]; ldp d12, d13, [x2, #120]; ldp d14, d15, [x2, #136]\n"
        "    bl skink__switch\n"
        "    ldr x2, [sp, #160]\n"
        "    add x2, x2, #152\n"
        "    stp x19, x20, [x2]; stp x21, x22, [x2, #16]; stp x23, x24, [x2, #32]; stp x25, x26, [x2, #48]\n"
        "    stp x27, x28, [x2, #64]; str x29, [x2, #80]\n"
        "    stp d8, d9, [x2, #88]; stp d10, d11, [x2, #104]; stp d12, d13, [x2, #120]; stp d14, d15, [x2, #136]\n"
        "    ldp x19, x20, [sp]; ldp x21, x22, [sp, #16]; ldp x23, x24, [sp, #32]; ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]; ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]; ldp d10, d11, [sp, #112]; ldp d12, d13, [sp, #128]; ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #176\n"
        "    ret\n"
        ".size switch_loaded, . - switch_loaded\n");
#else
enum { SAVED_REGISTERS = 0 };
#endif

#if defined(__x86_64__) || defined(__aarch64__)
void switch_loaded(struct skink__context *from, struct skink__context *to, uint64_t *values);

static bool switch_keeps_registers(struct skink__context *from, struct skink__context *to, uint64_t seed)
{
    uint64_t values[2 * SAVED_REGISTERS];
    for (int i = 0; i < SAVED_REGISTERS; i++)
        values[i] = seed * 0x0123456789abcdefu + (uint64_t)i;
    switch_loaded(from, to, values);
    return memcmp(values, values + SAVED_REGISTERS, sizeof values / 2) == 0;
}

static void keep_registers(void *arg)
{
    struct strand *s = arg;
    EXPECT(s, switch_keeps_registers(&s->co->context, &s->outside, 2));
    strand_finish(s);
}

static void switch_keeps_callee_saved_registers(void **state)
{
    (void)state;
    struct strand s;
    strand_open(&s, keep_registers);
    assert_true(switch_keeps_registers(&s.outside, &s.co->context, 1));
    assert_true(switch_keeps_registers(&s.outside, &s.co->context, 3));
    assert_null(s.broken);
    assert_true(s.finished);
    strand_close(&s);
}
#else
static void switch_keeps_callee_saved_registers(void **state)
{
    (void)state;
    test_skip("no list of saved registers for this processor");
}
#endif

static void round_upward(void *arg)
{
    struct strand *s = arg;
    EXPECT(s, fegetround() == FE_DOWNWARD); /* what it was when the coroutine was prepared */
    fesetround(FE_UPWARD);
    strand_suspend(s);
    EXPECT(s, fegetround() == FE_UPWARD);
    strand_finish(s);
}

static void switch_keeps_the_rounding_mode_of_each_side(void **state)
{
    (void)state;
    struct strand s;
    fesetround(FE_DOWNWARD);
    strand_open(&s, round_upward);
    fesetround(FE_TOWARDZERO);
    strand_resume(&s);
    assert_int_equal(fegetround(), FE_TOWARDZERO);
    fesetround(FE_DOWNWARD);
    strand_resume(&s);
    assert_int_equal(fegetround(), FE_DOWNWARD);
    fesetround(FE_TONEAREST);
    assert_true(s.finished);
    strand_close(&s);
}

/* The floating-point unit's control words beyond the rounding mode. */

#if defined(__x86_64__)
enum { MXCSR_CONTROL = 0xffc0, FLUSH_TO_ZERO = 0x8000, X87_DOUBLE = 0x027f, X87_EXTENDED = 0x037f };

static uint64_t control_words(void)
{
    unsigned mxcsr;
    unsigned short x87;
    __asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(x87));
    return (uint64_t)(mxcsr & MXCSR_CONTROL) << 16 | x87;
}

static void set_other_control_words(void)
{
    unsigned mxcsr = 0x1f80 | FLUSH_TO_ZERO;
    unsigned short x87 = X87_DOUBLE;
    __asm__ volatile("ldmxcsr %0; fldcw %1" : : "m"(mxcsr), "m"(x87));
}

static bool control_words_are_usual(void)
{
    return (control_words() & 0xffff) == X87_EXTENDED;
}
#elif defined(__aarch64__)
enum { FLUSH_TO_ZERO = 1 << 24, DEFAULT_NAN = 1 << 25 };

static uint64_t control_words(void)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return fpcr;
}

static void set_other_control_words(void)
{
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)(FLUSH_TO_ZERO | DEFAULT_NAN)));
}

static bool control_words_are_usual(void)
{
    return control_words() == 0;
}
#endif

#if defined(__x86_64__) || defined(__aarch64__)
static void change_control_words(void *arg)
{
    struct strand *s = arg;
    set_other_control_words();
    uint64_t mine = control_words();
    strand_suspend(s);
    EXPECT(s, control_words() == mine);
    strand_finish(s);
}

static void switch_keeps_the_control_words_of_each_side(void **state)
{
    (void)state;
    struct strand s;
    uint64_t mine = control_words();
    assert_true(control_words_are_usual());
    strand_open(&s, change_control_words);
    for (int i = 0; i < 2; i++) {
        strand_resume(&s);
        assert_int_equal(control_words(), mine);
    }
    assert_null(s.broken);
    assert_true(s.finished);
    strand_close(&s);
}
#else
static void switch_keeps_the_control_words_of_each_side(void **state)
{
    (void)state;
    test_skip("no list of control words for this processor");
}
#endif

static void look_at_alignment(void *arg)
{
    struct strand *s = arg;
    volatile long double numbers[2] = { 1, 2 };
    _Alignas(16) volatile char aligned[16] = { 0 };
    s->steps = (int)((uintptr_t)__builtin_frame_address(0) % 16 + (uintptr_t)aligned % 16) + (int)(numbers[1] - 2);
    strand_finish(s);
}

static void entry_starts_on_an_aligned_stack(void **state)
{
    (void)state;
    struct strand s;
    strand_open(&s, look_at_alignment);
    strand_resume(&s);
    assert_int_equal(s.steps, 0);
    strand_close(&s);
}

static bool usr1_is_blocked(void)
{
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    return sigismember(&mask, SIGUSR1) == 1;
}

static void unblock_usr1(void *arg)
{
    struct strand *s = arg;
    EXPECT(s, usr1_is_blocked());
    strand_suspend(s);
    EXPECT(s, usr1_is_blocked());
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
    strand_finish(s);
}

static void signal_mask_belongs_to_the_thread(void **state)
{
    (void)state;
    struct strand s;
    assert_false(usr1_is_blocked());
    strand_open(&s, unblock_usr1);
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    strand_resume(&s);
    assert_true(usr1_is_blocked());
    strand_resume(&s);
    assert_false(usr1_is_blocked());
    assert_true(s.finished);
    strand_close(&s);
}

/* From thread to thread. */

enum { THREADS = 8 };
struct relay {
    struct strand s;
    uint64_t sum; /* plain memory: the order comes from the switches and the joins */
    pthread_t seen[THREADS];
};

__attribute__((noinline)) static pthread_t this_thread(void)
{
    __asm__ volatile("");
    return pthread_self();
}

static void note_threads(void *arg)
{
    struct relay *r = arg;
    volatile uint64_t local = 0;
    for (int i = 0; i < THREADS; i++) {
        r->seen[i] = this_thread();
        local += (uint64_t)i;
        r->sum += local;
        strand_suspend(&r->s);
    }
    strand_finish(&r->s);
}

static void *resume_once(void *arg)
{
    struct relay *r = arg;
    skink__context_init_thread(&r->s.outside);
    strand_resume(&r->s);
    return NULL;
}

static void coroutine_goes_on_on_another_thread(void **state)
{
    (void)state;
    struct relay r = { 0 };
    strand_open(&r.s, note_threads);
    skink__coroutine_prepare(r.s.co, note_threads, &r);
    pthread_t threads[THREADS + 1];
    for (int i = 0; i <= THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, resume_once, &r), 0);
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(i == THREADS || pthread_equal(r.seen[i], threads[i]));
    }
    assert_true(r.s.finished);
    assert_int_equal(r.sum, 84); /* 0 + 1 + 3 + 6 + ... */
    strand_close(&r.s);
}

/* The same while both threads live and hand the coroutine to each other. */
struct handover {
    struct strand s;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    int turn;
};

static void *resume_in_turns(void *arg)
{
    struct handover *h = arg;
    struct skink__context mine;
    skink__context_init_thread(&mine);
    pthread_mutex_lock(&h->lock);
    int me = h->turn++;
    while (h->turn < 2)
        pthread_cond_wait(&h->moved, &h->lock);
    pthread_cond_broadcast(&h->moved);
    for (;;) {
        while (h->turn % 2 != me && !h->s.finished)
            pthread_cond_wait(&h->moved, &h->lock);
        if (h->s.finished) break;
        h->s.outside = mine;
        strand_resume(&h->s);
        mine = h->s.outside;
        h->turn++;
        pthread_cond_broadcast(&h->moved);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

static void two_threads_take_turns_with_a_coroutine(void **state)
{
    (void)state;
    struct handover h = { .turn = 0 };
    pthread_mutex_init(&h.lock, NULL);
    pthread_cond_init(&h.moved, NULL);
    strand_open(&h.s, count_steps);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, resume_in_turns, &h), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(h.s.steps, SWITCHES);
    strand_close(&h.s);
    pthread_cond_destroy(&h.moved);
    pthread_mutex_destroy(&h.lock);
}

/* Unwinding. */

enum { FRAMES_MAX = 128, DEPTH = 60 };
struct unwinding {
    struct strand s;
    int depth;
    void *frames[FRAMES_MAX];
    int count;
};

__attribute__((noinline)) static int dive(struct unwinding *u, int depth)
{
    int result = depth > 0 ? dive(u, depth - 1) : (u->count = backtrace(u->frames, FRAMES_MAX));
    __asm__ volatile("" : "+r"(result)); /* no tail call */
    return result;
}

static void unwind(void *arg)
{
    struct unwinding *u = arg;
    strand_suspend(&u->s); /* also after having been away */
    dive(u, u->depth);
    strand_finish(&u->s);
}

static void unwind_at(struct unwinding *u, int depth)
{
    strand_open(&u->s, unwind);
    skink__coroutine_prepare(u->s.co, unwind, u);
    u->depth = depth;
    strand_resume(&u->s);
    strand_resume(&u->s);
    assert_true(u->s.finished);
    strand_close(&u->s);
}

static void backtrace_inside_a_coroutine_ends_at_its_first_frame(void **state)
{
    (void)state;
    static struct unwinding shallow, deep;
    unwind_at(&shallow, 0);
    unwind_at(&deep, DEPTH);
    /* dive, unwind, coroutine_main and the backend's first frames; sanitizers may add their own at the inner end. */
    assert_in_range(shallow.count, 4, 8);
    assert_int_equal(deep.count, shallow.count + DEPTH);
    for (int i = 1; i <= 3; i++)
        assert_ptr_equal(shallow.frames[shallow.count - i], deep.frames[deep.count - i]);
    assert_ptr_not_equal(deep.frames[deep.count - 1], deep.frames[deep.count - 2]);
    /* Every one is code: what is above the first frame has not been taken for a caller of it. */
    Dl_info info;
    for (int i = 0; i < deep.count; i++)
        assert_int_not_equal(dladdr(deep.frames[i], &info), 0);
}

#if defined(__x86_64__) && !TEST_ASAN && !TEST_TSAN
/*
 * Single-step through a switch there and back, and unwind at each instruction. Whatever the instruction, the frames
 * must end like those of the coroutine or like those of the test: never mixed, never cut short.
 */
enum { TRAP_FLAG = 0x100, TAIL = 2 };
static struct {
    void *inside[FRAMES_MAX], *outside[FRAMES_MAX];
    int inside_count, outside_count;
    int steps_inside, steps_outside, wrong;
    volatile bool stop;
} stepping;

static bool ends_like(void *const *frames, int count, void *const *tail, int tail_count)
{
    if (count < TAIL || tail_count < TAIL) return false;
    return memcmp(frames + count - TAIL, tail + tail_count - TAIL, TAIL * sizeof *frames) == 0;
}

static void on_step(int number, siginfo_t *info, void *interrupted)
{
    (void)number, (void)info;
    if (stepping.stop) {
        ((ucontext_t *)interrupted)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
        return;
    }
    void *frames[FRAMES_MAX];
    int count = backtrace(frames, FRAMES_MAX);
    if (ends_like(frames, count, stepping.inside, stepping.inside_count))
        stepping.steps_inside++;
    else if (ends_like(frames, count, stepping.outside, stepping.outside_count))
        stepping.steps_outside++;
    else
        stepping.wrong++;
}

/* From the return of this signal handler on, each instruction raises SIGTRAP. */
static void on_start_stepping(int number, siginfo_t *info, void *interrupted)
{
    (void)number, (void)info;
    ((ucontext_t *)interrupted)->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void be_stepped_through(void *arg)
{
    struct strand *s = arg;
    stepping.inside_count = backtrace(stepping.inside, FRAMES_MAX);
    for (;;)
        strand_suspend(s);
}

static void every_instruction_of_a_switch_can_be_unwound(void **state)
{
    (void)state;
    static char signal_stack[64 * 1024];
    sigaltstack(&(stack_t){ .ss_sp = signal_stack, .ss_size = sizeof signal_stack }, NULL);
    struct sigaction before[2];
    sigaction(SIGTRAP, &(struct sigaction){ .sa_sigaction = on_step, .sa_flags = SA_SIGINFO | SA_ONSTACK }, &before[0]);
    sigaction(SIGUSR1, &(struct sigaction){ .sa_sigaction = on_start_stepping, .sa_flags = SA_SIGINFO }, &before[1]);
    struct strand s;
    strand_open(&s, be_stepped_through);
    stepping.outside_count = backtrace(stepping.outside, FRAMES_MAX);
    strand_resume(&s);
    raise(SIGUSR1);
    strand_resume(&s);
    stepping.stop = true;
    sigaction(SIGTRAP, &before[0], NULL);
    sigaction(SIGUSR1, &before[1], NULL);
    sigaltstack(&(stack_t){ .ss_flags = SS_DISABLE }, NULL);
    assert_true(stepping.steps_inside > 20);
    assert_true(stepping.steps_outside > 20);
    assert_int_equal(stepping.wrong, 0);
    strand_close(&s);
}
#else
static void every_instruction_of_a_switch_can_be_unwound(void **state)
{
    (void)state;
    test_skip("only for x86-64 without sanitizers");
}
#endif

static const struct test_case cases[] = {
    CASE(coroutine_runs_on_its_own_stack_until_it_finishes),
    CASE(finished_coroutine_can_be_prepared_again),
    CASE(coroutine_can_switch_to_another_one),
    CASE(entry_that_returns_traps),
    CASE(switch_keeps_callee_saved_registers),
    CASE(switch_keeps_the_rounding_mode_of_each_side),
    CASE(switch_keeps_the_control_words_of_each_side),
    CASE(entry_starts_on_an_aligned_stack),
    CASE(signal_mask_belongs_to_the_thread),
    CASE(coroutine_goes_on_on_another_thread),
    CASE(two_threads_take_turns_with_a_coroutine),
    CASE(backtrace_inside_a_coroutine_ends_at_its_first_frame),
    CASE(every_instruction_of_a_switch_can_be_unwound),
};
TEST_MAIN(cases, NULL, NULL)
