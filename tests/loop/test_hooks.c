/* SPDX-License-Identifier: MIT */
/* test_hooks.c - which hooks are taken and when, whose memory libuv uses; and sentences for errors. */
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/scarce.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static void *allocate(size_t size_bytes, void *arg)
{
    (void)arg;
    return malloc(size_bytes);
}

static void memory_hooks_are_all_or_none(void **state)
{
    (void)state;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.allocate = allocate;
    assert_int_equal(skink_hooks_set(&hooks), -EINVAL);
    hooks.size = 0;
    assert_int_equal(skink_hooks_set(&hooks), -EINVAL);
    struct {
        skink_hooks known;
        void *newer;
    } larger = { .known.size = sizeof larger };
    assert_int_equal(skink_hooks_set(&larger.known), 0); /* a field not in use is no harm */
    larger.newer = &larger;
    assert_int_equal(skink_hooks_set(&larger.known), -E2BIG);
}

static void hooks_are_refused_once_there_was_a_scheduler(void **state)
{
    (void)state;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    assert_int_equal(skink_hooks_set(&hooks), 0);
    skink_scheduler *scheduler;
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
    assert_int_equal(skink_hooks_set(&hooks), -EBUSY);
    skink_scheduler_destroy(scheduler);
    assert_int_equal(skink_hooks_set(&hooks), -EBUSY);
}

static _Atomic int ended, ended_inside;

static void note_end(const char *role, void *arg)
{
    (void)role;
    (void)arg;
    atomic_fetch_add(&ended, 1);
    if (skink_scheduler_current()) atomic_fetch_add(&ended_inside, 1);
}

/* What it belonged to may be gone. */
static void a_thread_that_ends_is_on_no_scheduler(void **state)
{
    (void)state;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.thread_end = note_end;
    assert_int_equal(skink_hooks_set(&hooks), 0);
    skink_scheduler *scheduler;
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
    assert_int_equal(skink_scheduler_start(scheduler), 0);
    skink_scheduler_destroy(scheduler);
    test_wait_until(atomic_load(&ended) == 1, 5000);
    assert_int_equal(atomic_load(&ended_inside), 0);
}

static void libuv_allocates_where_skink_does_if_asked_to(void **state)
{
    (void)state;
    uv_loop_t loop;
    scarce_install();
    assert_int_equal(skink_uv_replace_allocator(), 0);
    assert_int_equal(scarce_blocks(), 0);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_true(scarce_blocks() > 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    scarce_assert_no_blocks();

    skink_hooks hooks = SKINK_HOOKS_INIT; /* its blocks must go back where they came from */
    assert_int_equal(skink_hooks_set(&hooks), -EBUSY);
}

static void each_error_has_a_sentence_of_its_own(void **state)
{
    (void)state;
    static const int errors[] = { 0,           -EINVAL, -EPERM,  -EALREADY, -ECANCELED, -ETIMEDOUT, -EAGAIN,
                                  -EDEADLK,    -E2BIG,  -ENOMEM, -EEXIST,   -ENOENT,    -EBUSY,     -ESRCH,
                                  -EADDRINUSE, -EACCES, -EMFILE, -ENFILE,   -EBADF,     -EBADMSG,   -EMEDIUMTYPE,
                                  -ENOTSUP,    -ERANGE, -EIO,    -EMSGSIZE, -ENOTCONN,  -EPIPE,     -ECONNRESET };
    enum { COUNT = sizeof errors / sizeof *errors };
    for (int i = 0; i < COUNT; i++) {
        assert_true(strlen(skink_strerror(errors[i])) > 3);
        assert_string_not_equal(skink_strerror(errors[i]), "unknown error");
        for (int j = 0; j < i; j++)
            assert_string_not_equal(skink_strerror(errors[i]), skink_strerror(errors[j]));
    }
    assert_string_equal(skink_strerror(-99999), "unknown error");
    assert_string_equal(skink_strerror(1), "unknown error");
}

static void version_of_the_library_is_that_of_the_headers(void **state)
{
    (void)state;
    assert_string_equal(skink_version(), SKINK_VERSION_STRING);
}

static const struct test_case cases[] = {
    CASE(memory_hooks_are_all_or_none),          CASE(hooks_are_refused_once_there_was_a_scheduler),
    CASE(a_thread_that_ends_is_on_no_scheduler), CASE(libuv_allocates_where_skink_does_if_asked_to),
    CASE(each_error_has_a_sentence_of_its_own),  CASE(version_of_the_library_is_that_of_the_headers),
};
TEST_MAIN(cases, NULL, NULL)
