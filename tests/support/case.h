/* SPDX-License-Identifier: MIT */
/*
 * tests/support/case.h - a table of cases, and a main that runs one of them by name, or all.
 *
 *     static void post_wakes_a_sleeping_loop(void **state) { ... }
 *
 *     static const struct test_case cases[] = {
 *         CASE(post_wakes_a_sleeping_loop),
 *         CASE_TIMEOUT(ten_thousand_cycles_leave_nothing_behind, 60),
 *     };
 *     TEST_MAIN(cases, NULL, NULL)
 *
 * CMake reads the table from the source text (cmake/SkinkTest.cmake): one case per line, written literally.
 */
#ifndef SKINK_TESTS_SUPPORT_CASE_H
#define SKINK_TESTS_SUPPORT_CASE_H
/* cmocka.h needs these four before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct test_case {
    const char *name;
    void (*run)(void **state);
};

#define CASE(function)                                                                                                 \
    {                                                                                                                  \
#function, function                                                                                            \
    }
#define CASE_TIMEOUT(function, seconds) CASE(function) /* CTest's time limit for this one */
#define CASE_SERIAL(function, seconds) CASE(function)  /* the same, and CTest runs nothing beside it */
#define CASE_TIMED(function, seconds) CASE(function)   /* that only where times are judged: see TEST_TIMES */
#define CASE_PLAIN(function, seconds) CASE(function)   /* CTest runs it in builds without a sanitizer only */

/* setup and teardown (int (*)(void **state), or NULL) run around each case. */
#define TEST_MAIN(cases, setup, teardown)                                                                              \
    int main(int argc, char **argv)                                                                                    \
    {                                                                                                                  \
        return test_main(argc, argv, cases, sizeof cases / sizeof *cases, setup, teardown);                            \
    }

/* Exit status 0, 1 (a case failed), 2 (no such case), or 77: the one case that was asked for was skipped. */
int test_main(int argc, char **argv, const struct test_case *cases, size_t count, CMFixtureFunction setup,
              CMFixtureFunction teardown);

/* Leave the case as skipped; why is printed. Does not return. From the case's own thread and stack only. */
_Noreturn void test_skip(const char *why);

/* Sanitizers change what can be measured or limited (address space, time, threads). */
#if defined(__SANITIZE_ADDRESS__)
#define TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define TEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_TSAN 1
#endif
#endif
#ifndef TEST_ASAN
#define TEST_ASAN 0
#endif
#ifndef TEST_TSAN
#define TEST_TSAN 0
#endif

/* Does another machine's processor run this, instruction by instruction? (A build with
 * CMAKE_CROSSCOMPILING_EMULATOR.) */
#ifndef TEST_EMULATED
#define TEST_EMULATED 0
#endif

/* Are times that a case measures worth judging? */
#define TEST_TIMES (!TEST_ASAN && !TEST_TSAN && !TEST_EMULATED)
#endif
