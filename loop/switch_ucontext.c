/* SPDX-License-Identifier: MIT */
/*
 * loop/switch_ucontext.c - the stack switch for processors without one in assembly (loop/switch.h).
 *
 * makecontext() builds a stack and setcontext() enters it for the first time; both know all about the platform, and
 * are slow, as they make a system call for the signal mask. From then on _setjmp() and _longjmp() do: they save what a
 * call keeps, leave the signal mask alone, and do not mind that the jump goes to another stack.
 *
 * Those who do mind are kept out. The C library's fortified _longjmp ends the process when a jump goes down the stack,
 * so this file is compiled without. AddressSanitizer takes a _longjmp for an unwinding and forgets what it knows of the
 * stack that is left, so that it finds less; it invents nothing. ThreadSanitizer books a _setjmp to the stack that we
 * are about to enter, and with shadow stacks (CET, GCS) a _longjmp cannot change stacks: swapcontext() takes their
 * place in both.
 */
#undef _FORTIFY_SOURCE
#include "loop/sanitizer.h"
#include "loop/switch.h"
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>
#if !defined(__x86_64__) && !defined(__aarch64__)
#include <fenv.h>
#endif

#if SKINK__TSAN || (defined(__CET__) && (__CET__ & 2) != 0) || defined(__ARM_FEATURE_GCS_DEFAULT)
#define BY_SWAPCONTEXT 1
#else
#define BY_SWAPCONTEXT 0
#endif

/* The control words of the floating-point unit, which a call keeps and _setjmp does not. */

#if BY_SWAPCONTEXT
struct control_words {
    char none; /* swapcontext() takes care of them */
};
#elif defined(__x86_64__)
struct control_words {
    unsigned mxcsr;
    unsigned short x87;
};

static inline void control_words_save(struct control_words *words)
{
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(words->mxcsr), "=m"(words->x87));
}

static inline void control_words_restore(const struct control_words *words)
{
    __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(words->mxcsr), "m"(words->x87));
}
#elif defined(__aarch64__)
struct control_words {
    uint64_t fpcr;
};

static inline void control_words_save(struct control_words *words)
{
    __asm__ volatile("mrs %0, fpcr" : "=r"(words->fpcr));
}

static inline void control_words_restore(const struct control_words *words)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(words->fpcr));
}
#else
struct control_words {
    int rounding;
};

static inline void control_words_save(struct control_words *words)
{
    words->rounding = fegetround();
}

static inline void control_words_restore(const struct control_words *words)
{
    fesetround(words->rounding);
}
#endif

/* What a stack's sp points to: into the frame of the switch that left it, or to what skink__switch_prepare built. */
struct place {
    struct skink__switch_place where; /* for who looks at the stack; jmp_buf hides what it holds */
    ucontext_t *first;                /* not NULL: to be entered with this */
    jmp_buf again;
    struct control_words words;
};

/* At the top of a stack that has not been entered yet. */
struct beginning {
    struct place place;
    ucontext_t context;
    void (*enter)(void *arg);
    void *arg;
};

/* The frame that skink__switch_stack() will return to, told by itself. */
#define WHERE_WE_RETURN_TO()                                                                                           \
    {                                                                                                                  \
        .pc = (uintptr_t)__builtin_return_address(0), .sp = (uintptr_t)__builtin_dwarf_cfa(),                          \
        .fp = *(uintptr_t *)__builtin_frame_address(0)                                                                 \
    }

/* To unwinders: this function has no caller. What makecontext() puts there as one is not a
 * place that was called from. */
#if defined(__x86_64__)
#define END_OF_STACK() __asm__ volatile(".cfi_undefined rip")
#elif defined(__aarch64__)
#define END_OF_STACK() __asm__ volatile(".cfi_undefined x30")
#else
#define END_OF_STACK() ((void)0)
#endif

/* makecontext() hands over ints, of which a pointer takes two. */
SKINK__UNSEEN_BY_TSAN static void begin(unsigned high, unsigned low)
{
    END_OF_STACK();
    struct beginning *beginning = (struct beginning *)((uintptr_t)high << 16 << 16 | low);
    beginning->enter(beginning->arg);
    __builtin_trap(); /* enter has returned, and there is nowhere to go */
}

void *skink__switch_prepare(void *stack_bottom, void *stack_top, void (*enter)(void *arg), void *arg)
{
    uintptr_t address = ((uintptr_t)stack_top - sizeof(struct beginning)) & ~(uintptr_t)63;
    struct beginning *beginning = (struct beginning *)address;
    beginning->place.where.pc = 0;
    beginning->place.first = &beginning->context;
    beginning->enter = enter;
    beginning->arg = arg;
    getcontext(&beginning->context); /* control words and all else that this platform has; it cannot fail here */
    beginning->context.uc_stack.ss_sp = stack_bottom;
    beginning->context.uc_stack.ss_size = address - (uintptr_t)stack_bottom;
    beginning->context.uc_link = NULL;
    makecontext(&beginning->context, (void (*)(void))begin, 2, (unsigned)(address >> 16 >> 16), (unsigned)address);
    return &beginning->place;
}

#if BY_SWAPCONTEXT
SKINK__UNSEEN_BY_TSAN void skink__switch_stack(void **save_sp, void *to_sp)
{
    ucontext_t here;
    struct place place = { .where = WHERE_WE_RETURN_TO(), .first = &here };
    ucontext_t *there = ((struct place *)to_sp)->first;
    *save_sp = &place;
    sigprocmask(SIG_SETMASK, NULL, &there->uc_sigmask);
    swapcontext(&here, there);
}
#else
/* Apart from the switch, so that none of its variables is in doubt after _setjmp. */
static _Noreturn void leave_for(struct place *to)
{
    if (to->first) {
        sigprocmask(SIG_SETMASK, NULL, &to->first->uc_sigmask); /* the mask is the thread's, not the stack's */
        setcontext(to->first);
    } else {
        _longjmp(to->again, 1);
    }
    __builtin_trap();
}

__attribute__((no_sanitize("address"))) void skink__switch_stack(void **save_sp, void *to_sp)
{
    struct place here;
    here.where = (struct skink__switch_place)WHERE_WE_RETURN_TO();
    here.first = NULL;
    control_words_save(&here.words);
    /* cppcheck-suppress autoVariables ; who switches back here finds this frame, for it has not returned */
    *save_sp = &here;
    if (_setjmp(here.again) == 0) leave_for(to_sp);
    control_words_restore(&here.words);
}
#endif

bool skink__switch_where(uintptr_t sp, bool (*word)(void *arg, uintptr_t address, uintptr_t *ret_word), void *arg,
                         struct skink__switch_place *ret_place)
{
    const uintptr_t where = sp + offsetof(struct place, where);
    struct skink__switch_place place;
    if (!word(arg, where + offsetof(struct skink__switch_place, pc), &place.pc) || place.pc == 0 ||
        !word(arg, where + offsetof(struct skink__switch_place, sp), &place.sp) ||
        !word(arg, where + offsetof(struct skink__switch_place, fp), &place.fp))
        return false;
    *ret_place = place;
    return true;
}
