/* SPDX-License-Identifier: MIT */
/* test_uv_means.c - what libuv ends the process for is asked for before: descriptors of the first loop, threads of the
 * pool. */
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static void limit(int resource, rlim_t count)
{
    struct rlimit now;
    assert_int_equal(getrlimit(resource, &now), 0);
    assert_int_equal(setrlimit(resource, &(struct rlimit){ count, now.rlim_max }), 0);
}

static void the_first_scheduler_without_descriptors_is_refused(void **state)
{
    (void)state;
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC); /* those below it are open */
    assert_true(lowest >= 0);
    close(lowest);
    skink_scheduler *scheduler = NULL;
    struct rlimit usual;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    int before = test_fd_count(0), err = -EMFILE;
    unsigned refused = 0;
    for (; err && refused < 100; refused++) {
        assert_int_equal(err, -EMFILE);
        limit(RLIMIT_NOFILE, (rlim_t)lowest + refused);
        err = skink_scheduler_create(NULL, &scheduler);
        limit(RLIMIT_NOFILE, usual.rlim_cur);
        if (err) assert_int_equal(test_fd_count(0), before);
    }
    assert_int_equal(err, 0);
    assert_true(refused > 3);
    skink_scheduler_destroy(scheduler);
}

struct offload {
    skink_scheduler *scheduler;
    _Atomic int result, finished;
};

static void *give_back(void *arg)
{
    return arg;
}

static void offload_one(void *arg)
{
    struct offload *o = arg;
    void *value = NULL;
    int err = skink_offload(give_back, o, &value);
    atomic_store(&o->result, !err && value != o ? -EIO : err);
    atomic_fetch_add(&o->finished, 1);
}

static void start_one(void *arg)
{
    struct offload *o = arg;
    skink_future *future = NULL;
    int err = skink_offload_start(o->scheduler, give_back, o, &future);
    if (!err) err = skink_await(future, test_deadline_ns(5000), NULL);
    skink_future_unref(future);
    atomic_store(&o->result, err && future ? -EIO : err);
    atomic_fetch_add(&o->finished, 1);
}

static int in_a_task(struct offload *o, void (*fn)(void *arg))
{
    int before = atomic_load(&o->finished);
    assert_int_equal(skink_post(o->scheduler, fn, o), 0);
    test_wait_until(atomic_load(&o->finished) > before, 5000);
    return atomic_load(&o->result);
}

static int offload_from_here(struct offload *o)
{
    skink_future *future;
    assert_int_equal(skink_offload_start(o->scheduler, give_back, o, &future), 0);
    int err = skink_await(future, test_deadline_ns(5000), NULL);
    skink_future_unref(future);
    return err;
}

static void work_for_a_pool_without_threads_is_refused(void **state)
{
    (void)state;
    enum { POOL = 4 };
    struct offload o = { 0 };
    struct rlimit threads;
    uid_t user = 100000 + (uid_t)getpid(); /* nobody else's; the limit is not for root */
    bool alone = geteuid() == 0;
    if (alone && setresuid(user, user, user) != 0) test_skip("cannot become another user");
    assert_int_equal(unsetenv("UV_THREADPOOL_SIZE"), 0);
    assert_int_equal(skink_scheduler_create(NULL, &o.scheduler), 0);
    assert_int_equal(skink_scheduler_start(o.scheduler), 0);
    assert_int_equal(getrlimit(RLIMIT_NPROC, &threads), 0);
    limit(RLIMIT_NPROC, 1);
    assert_int_equal(offload_from_here(&o), -EAGAIN);
    assert_int_equal(in_a_task(&o, offload_one), -EAGAIN);
    assert_int_equal(in_a_task(&o, start_one), -EAGAIN);
    int living = test_thread_count(0);
    if (alone) {
        limit(RLIMIT_NPROC, (rlim_t)living + POOL - 1);
        assert_int_equal(in_a_task(&o, offload_one), -EAGAIN);
    }
    limit(RLIMIT_NPROC, alone ? (rlim_t)living + POOL : threads.rlim_cur); /* room for the pool, and not for one more */
    assert_int_equal(in_a_task(&o, offload_one), 0);
    assert_int_equal(test_thread_count(0), living + POOL);
    assert_int_equal(offload_from_here(&o), 0);
    assert_int_equal(in_a_task(&o, start_one), 0);
    skink_scheduler_destroy(o.scheduler);
}

static const struct test_case cases[] = {
    CASE(the_first_scheduler_without_descriptors_is_refused),
    CASE(work_for_a_pool_without_threads_is_refused),
};
TEST_MAIN(cases, NULL, NULL)
