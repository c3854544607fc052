/* SPDX-License-Identifier: MIT */
/* tests/loop/test_shadow_stack.c - a process with shadow stacks is told so, and not ended by its first switch. */
#include "loop/shadow_stack.h"
#include "skink/hooks.h"
#include "skink/scheduler.h"
#include "tests/support/case.h"
#include <errno.h>
#include <string.h>

#if (defined(__x86_64__) || defined(__aarch64__)) && !TEST_TSAN && !TEST_ASAN
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

static unsigned long pretended; /* what the kernel is made to say */

#if defined(__x86_64__)
enum { QUESTION = SYS_arch_prctl, WHAT = 0x5005 /* ARCH_SHSTK_STATUS */ };
#else
enum { QUESTION = SYS_prctl, WHAT = 74 /* PR_GET_SHADOW_STACK_STATUS */ };
#endif

/* In the kernel's place: QUESTION(WHAT, &features). */
static void answer(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
#if defined(__x86_64__)
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    *(unsigned long *)registers[REG_RSI] = pretended;
    registers[REG_RAX] = 0;
#else
    unsigned long long *registers = ((ucontext_t *)context)->uc_mcontext.regs;
    *(unsigned long *)registers[1] = pretended;
    registers[0] = 0;
#endif
}

static void pretend(unsigned long features)
{
    struct sock_filter trap[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, QUESTION, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WHAT, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof trap / sizeof *trap, trap };
    struct sigaction action = { .sa_sigaction = answer, .sa_flags = SA_SIGINFO };
    pretended = features;
    sigaction(SIGSYS, &action, NULL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) test_skip("no seccomp here");
}

static char said[512];

static void note(skink_log_level level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    strncpy(said, line, sizeof said - 1);
}

static void a_process_with_shadow_stacks_is_refused_with_the_reason(void **state)
{
    (void)state;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.log = note;
    assert_int_equal(skink_hooks_set(&hooks), 0);
    pretend(1);
    skink_scheduler *scheduler = NULL;
    if (!skink__shadow_stack_forbids_switch())
        test_skip("this build switches with swapcontext(), which knows shadow stacks");
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), -ENOTSUP);
    assert_null(scheduler);
    assert_non_null(strstr(said, "event=shadow_stack"));
}

static void other_features_are_no_obstacle(void **state)
{
    (void)state;
    pretend(2); /* write access to the shadow stack of those who have one */
    skink_scheduler *scheduler = NULL;
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
    skink_scheduler_destroy(scheduler);
}
#else
static void a_process_with_shadow_stacks_is_refused_with_the_reason(void **state)
{
    (void)state;
    test_skip("the kernel's answer can be forged on x86-64 and aarch64 without sanitizers only");
}

static void other_features_are_no_obstacle(void **state)
{
    a_process_with_shadow_stacks_is_refused_with_the_reason(state);
}
#endif

static const struct test_case cases[] = {
    CASE(a_process_with_shadow_stacks_is_refused_with_the_reason),
    CASE(other_features_are_no_obstacle),
};
TEST_MAIN(cases, NULL, NULL)
