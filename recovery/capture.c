/* SPDX-License-Identifier: MIT */
/*
 * recovery/capture.c - the signal, its handler, and the places for answers; see capture.h.
 *
 * An answer's place goes through these phases, in one word together with the number of the question:
 *
 *     FREE -> ASKED       who asks, before the signal is sent
 *     ASKED -> WRITING    the handler, if this is still its question
 *     WRITING -> DONE     the handler
 *     ASKED -> FREE       who asks has waited for long enough: the handler will find that nobody wants to know
 *     DONE -> FREE        who asks has read it
 *
 * A thread that is stopped in the middle of the handler keeps its place until it goes on; `left` says
 * that nobody waits.
 */
#include "recovery/capture.h"
#include "loop/capability.h"
#include "loop/sanitizer.h"
#include "loop/takeover.h"
#include "skink/clock.h"
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

/* What a handler may take once it has begun; normally some 20 us. */
#define HANDLER_PATIENCE_NS (100 * SKINK_MS)

enum { PLACES = 8 };

enum phase { FREE = 0, ASKED = 1, WRITING = 2, DONE = 3 };

struct skink__capture_slot {
    _Atomic uint32_t word; /* number << 2 | phase; a futex */
    _Atomic bool left;     /* nobody waits for it any more: free once it is DONE */
    struct skink__captured captured;
};

static struct skink__capture_slot slots[PLACES];
static _Atomic uint32_t last_number;
static _Atomic int the_signal;
static skink__mutex reserving = PTHREAD_MUTEX_INITIALIZER;

static uint32_t word_of(uint32_t number, enum phase phase)
{
    return number << 2 | (uint32_t)phase;
}

/* ---- in the handler ----
 *
 * The interrupted code may hold any lock and may be a sanitizer's runtime: so nothing here is instrumented, and the
 * only function called that is not ours is the unwinder. It finds its tables without a lock (_dl_find_object). */

#if SKINK__ASAN
#define UNSEEN SKINK__UNSEEN_BY_TSAN __attribute__((no_sanitize("address", "undefined")))
#else
#define UNSEEN SKINK__UNSEEN_BY_TSAN
#endif

struct walk {
    struct skink__captured *captured;
    bool outside; /* past the handler's own frames */
};

UNSEEN static _Unwind_Reason_Code take_frame(struct _Unwind_Context *context, void *arg)
{
    struct walk *walk = arg;
    struct skink__captured *captured = walk->captured;
    int exact = 0; /* the first frame behind a signal handler, and no other, is not in the middle of a call */
    uintptr_t pc = _Unwind_GetIPInfo(context, &exact);
    if (exact || pc == captured->pc) walk->outside = true;
    if (!walk->outside) return _URC_NO_REASON;
    if (captured->count == SKINK__CAPTURE_DEPTH) {
        captured->cut = true;
        return _URC_NORMAL_STOP;
    }
    if (pc == 0) return _URC_NORMAL_STOP;
    captured->pcs[captured->count++] = exact || pc == captured->pc ? pc : pc - 1;
    return _URC_NO_REASON;
}

/* By hand: memset and memcpy are a sanitizer's. */
UNSEEN static void take_registers(struct skink__captured *captured, const ucontext_t *context)
{
#if defined(__x86_64__)
    static const int arguments[6] = { REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9 };
    const greg_t *registers = context->uc_mcontext.gregs;
    captured->pc = (uintptr_t)registers[REG_RIP];
    captured->sp = (uintptr_t)registers[REG_RSP];
    captured->call_number = (uint64_t)registers[REG_RAX];
    for (int i = 0; i < 6; i++)
        captured->call_arguments[i] = (uint64_t)registers[arguments[i]];
    const volatile unsigned char *code = (const unsigned char *)captured->pc;
    captured->in_call = code[0] == 0x0f && code[1] == 0x05; /* syscall: about to be made, or made again */
#elif defined(__aarch64__)
    captured->pc = (uintptr_t)context->uc_mcontext.pc;
    captured->sp = (uintptr_t)context->uc_mcontext.sp;
    captured->call_number = context->uc_mcontext.regs[8];
    for (int i = 0; i < 6; i++)
        captured->call_arguments[i] = context->uc_mcontext.regs[i];
    captured->in_call = *(const volatile uint32_t *)captured->pc == 0xd4000001; /* svc #0 */
#else
    (void)context;
    captured->pc = captured->sp = 0;
    captured->in_call = false;
#endif
}

UNSEEN static void fill_in(struct skink__captured *captured, const ucontext_t *context)
{
    captured->count = 0;
    captured->cut = false;
    take_registers(captured, context);
    struct walk walk = { captured, false };
    _Unwind_Backtrace(take_frame, &walk);
    if (captured->count > 0 || captured->pc == 0) return;
    captured->pcs[0] = captured->pc; /* it did not get past the handler */
    captured->count = 1;
}

UNSEEN static void on_signal(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    int saved = errno;
    uintptr_t question = (uintptr_t)info->si_value.sival_ptr;
    size_t place = question & 0xff;
    uint32_t number = (uint32_t)(question >> 8);
    if (info->si_code == SI_QUEUE && place < PLACES) {
        struct skink__capture_slot *slot = &slots[place];
        uint32_t asked = word_of(number, ASKED);
        /* Acquire and release: the place is ours in between. */
        if (atomic_compare_exchange_strong_explicit(&slot->word, &asked, word_of(number, WRITING), memory_order_acquire,
                                                    memory_order_relaxed)) {
            fill_in(&slot->captured, context);
            atomic_store_explicit(&slot->word, word_of(number, DONE), memory_order_release);
            syscall(SYS_futex, &slot->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        }
    }
    errno = saved;
}

/* ---- reserving ---- */

static bool is_free(int signal_number)
{
    struct sigaction action;
    return sigaction(signal_number, NULL, &action) == 0 && action.sa_handler == SIG_DFL;
}

static int choose(int wanted)
{
    if (wanted) return is_free(wanted) ? wanted : -EBUSY;
    for (int candidate = SIGRTMAX; candidate >= SIGRTMIN; candidate--)
        if (is_free(candidate)) return candidate;
    return -EBUSY;
}

/* What the unwinder does once only, and what the dynamic linker does at a function's first call, is done here. */
static void warm_up(void)
{
    struct skink__captured captured = { 0 };
    struct walk walk = { &captured, true };
    _Unwind_Backtrace(take_frame, &walk);
    syscall(SYS_futex, &slots[0].word, FUTEX_WAKE_PRIVATE, 0, NULL, NULL, 0);
}

static int reserve_locked(int wanted) SKINK__REQUIRES(reserving)
{
    int chosen = choose(wanted);
    if (chosen < 0) return chosen;
    warm_up();
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK };
    sigfillset(&action.sa_mask); /* no other handler in the middle of ours */
    if (sigaction(chosen, &action, NULL)) return -errno;
    skink__threads_keep_unblocked(chosen);
    atomic_store(&the_signal, chosen);
    return chosen;
}

int skink__capture_reserve(int wanted)
{
    skink__mutex_lock(&reserving);
    int reserved = atomic_load(&the_signal);
    if (!reserved) reserved = reserve_locked(wanted);
    skink__mutex_unlock(&reserving);
    return reserved;
}

int skink__capture_signal(void)
{
    return atomic_load(&the_signal);
}

/* ---- asking ---- */

static bool is_still_ours(int signal_number)
{
    struct sigaction action;
    return sigaction(signal_number, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) &&
           action.sa_sigaction == on_signal;
}

static bool take_place(struct skink__capture_slot *slot, uint32_t number)
{
    uint32_t word = atomic_load_explicit(&slot->word, memory_order_acquire);
    enum phase phase = (enum phase)(word & 3);
    bool left = atomic_load_explicit(&slot->left, memory_order_relaxed);
    if (phase != FREE && !(phase == DONE && left)) return false;
    if (!atomic_compare_exchange_strong(&slot->word, &word, word_of(number, ASKED))) return false;
    atomic_store_explicit(&slot->left, false, memory_order_relaxed);
    return true;
}

int skink__capture_ask(pid_t tid, struct skink__capture_ticket *ret_ticket)
{
    int signal_number = skink__capture_signal();
    if (!signal_number || !is_still_ours(signal_number)) return -EPERM; /* it may be deadly to send it */
    uint32_t number = (atomic_fetch_add(&last_number, 1) + 1) & (UINT32_MAX >> 2);
    size_t place = 0;
    while (place < PLACES && !take_place(&slots[place], number))
        place++;
    if (place == PLACES) return -EBUSY;
    siginfo_t info = { .si_signo = signal_number, .si_code = SI_QUEUE };
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_ptr = (void *)((uintptr_t)number << 8 | place); /* NOLINT(performance-no-int-to-ptr) */
    *ret_ticket = (struct skink__capture_ticket){ &slots[place], number };
    if (syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, signal_number, &info) == 0) return 0;
    int err = -errno;
    atomic_store(&slots[place].word, word_of(number, FREE));
    return err;
}

/* Until the word is no longer that; false: the deadline passed first. */
static bool wait_while(_Atomic uint32_t *word, uint32_t is, uint64_t deadline_ns)
{
    struct timespec deadline = { .tv_sec = (time_t)(deadline_ns / SKINK_S), .tv_nsec = (long)(deadline_ns % SKINK_S) };
    while (atomic_load_explicit(word, memory_order_acquire) == is) {
        long result = syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, is, &deadline, NULL, FUTEX_BITSET_MATCH_ANY);
        if (result < 0 && errno == ETIMEDOUT) return atomic_load_explicit(word, memory_order_acquire) != is;
    }
    return true;
}

bool skink__capture_wait(struct skink__capture_ticket *ticket, uint64_t deadline_ns,
                         struct skink__captured *ret_captured)
{
    struct skink__capture_slot *slot = ticket->slot;
    uint32_t asked = word_of(ticket->number, ASKED);
    if (!wait_while(&slot->word, asked, deadline_ns) &&
        atomic_compare_exchange_strong(&slot->word, &asked, word_of(ticket->number, FREE)))
        return false;
    /* The handler has begun: from ASKED the word goes nowhere but to WRITING and DONE. */
    if (!wait_while(&slot->word, word_of(ticket->number, WRITING), skink_after(HANDLER_PATIENCE_NS))) {
        atomic_store(&slot->left, true); /* if it is done at this moment: the place is free again all the same */
        return false;
    }
    *ret_captured = slot->captured;
    atomic_store_explicit(&slot->word, word_of(ticket->number, FREE), memory_order_release);
    return true;
}
