/* SPDX-License-Identifier: MIT */
/* Memory that may be gone is read without a crash, also where a sandbox forbids the direct way. */
#include "recovery/own_memory.h"
#include "tests/support/case.h"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PAGE = 4096 };

/* Two pages, of which the second cannot be read. */
static char *one_good_page(void)
{
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(pages, MAP_FAILED);
    assert_int_equal(munmap(pages + PAGE, PAGE), 0);
    memset(pages, 7, PAGE);
    return pages;
}

static void check_reading(void)
{
    char *page = one_good_page();
    char copy[64] = { 0 };
    assert_true(skink__own_memory_read((uintptr_t)page, copy, sizeof copy));
    assert_int_equal(copy[63], 7);
    assert_false(skink__own_memory_read((uintptr_t)page + PAGE, copy, sizeof copy));
    assert_false(skink__own_memory_read((uintptr_t)page + PAGE - 8, copy, sizeof copy)); /* half of it */
    assert_false(skink__own_memory_read(0, copy, 1));
    assert_false(skink__own_memory_read(UINTPTR_MAX - 7, copy, 8));

    struct skink__stack_reader reader = { 0 };
    uintptr_t word = 0, seven;
    memset(&seven, 7, sizeof seven);
    assert_true(skink__stack_word(&reader, (uintptr_t)page + PAGE - sizeof word, &word));
    assert_int_equal(word, seven);
    assert_false(skink__stack_word(&reader, (uintptr_t)page + PAGE, &word));
    assert_false(skink__stack_word(&reader, (uintptr_t)page + 1, &word)); /* not a word's address */
    assert_true(skink__stack_word(&reader, (uintptr_t)page, &word));
    munmap(page, PAGE);
}

static void memory_that_is_gone_is_an_answer(void **state)
{
    (void)state;
    check_reading();
}

static void a_sandbox_that_forbids_the_call_does_not_matter(void **state)
{
    (void)state;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof code / sizeof *code, .filter = code };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        test_skip("no system call filters here");
    char here = 1, copy = 0;
    struct iovec local = { .iov_base = &copy, .iov_len = 1 }, remote = { .iov_base = &here, .iov_len = 1 };
    assert_int_equal(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), -1);
    check_reading();
}

static const struct test_case cases[] = {
    CASE(memory_that_is_gone_is_an_answer),
    CASE(a_sandbox_that_forbids_the_call_does_not_matter),
};
TEST_MAIN(cases, NULL, NULL)
