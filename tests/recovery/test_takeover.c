/* SPDX-License-Identifier: MIT */
/* From a stuck slice to a loop that goes on: when it is declared, what the fresh thread
 * finds, how the stray returns. */
#include "tests/recovery/fixture.h"
#include "tests/support/process.h"
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- when ---- */

/* The limit of the contract: at most the larger of 20 ms and 5 % after T, counted from the slice's beginning. */
static uint64_t latest(uint64_t timeout_ns)
{
    uint64_t slack = timeout_ns / 20 > test_ms(20) ? timeout_ns / 20 : test_ms(20);
    return timeout_ns + slack;
}

static uint64_t uncounted(struct fixture *f)
{
    skink_recovery_stats stats = fixture_stats(f);
    return stats.starved_ns + stats.suspended_ns;
}

/* From the slice's beginning to the incident; how the slice is stuck is up to s. */
static uint64_t declaration_time(struct fixture *f, struct stuck *s, uint64_t timeout_ns, uint64_t *ret_deferred_ns)
{
    uint64_t before = fixture_stats(f).deadlocks;
    uint64_t uncounted_before = uncounted(f);
    uint64_t spawned_ns = skink_now();
    stuck_spawn(f, s);
    uint64_t seen_ns;
    do {
        test_nap();
        seen_ns = skink_now();
    } while (fixture_stats(f).deadlocks == before);
    /* Never before T. The slice begins somewhere between the spawn and the moment that its task has read the clock; on
     * a busy machine that can be milliseconds. */
    assert_true(seen_ns - spawned_ns >= timeout_ns);
    uint64_t took_ns = seen_ns - atomic_load(&s->started_ns);
    *ret_deferred_ns = uncounted(f) - uncounted_before;
    stuck_end_all(f, s, 1);
    return took_ns;
}

/* Something that keeps a loop turning. */
struct treadmill {
    skink_scheduler *scheduler;
    _Atomic bool off;
    _Atomic bool stopped;
};

static void tread(void *arg)
{
    struct treadmill *treadmill = arg;
    if (atomic_load(&treadmill->off) || skink_post(treadmill->scheduler, tread, treadmill))
        atomic_store(&treadmill->stopped, true);
}

static void treadmill_start(struct treadmill *treadmill, skink_scheduler *scheduler)
{
    *treadmill = (struct treadmill){ .scheduler = scheduler };
    assert_int_equal(skink_post(scheduler, tread, treadmill), 0);
}

static void treadmill_stop(struct treadmill *treadmill)
{
    atomic_store(&treadmill->off, true);
    test_wait_until(atomic_load(&treadmill->stopped), 10000);
}

/* Never before T, in any round; within the limit in the best of them, since the machine may be busy with other things.
 * What a busy machine kept from the thread is deferred by design, and taken off. */
static void declared_in_time_beside(bool busy, uint64_t timeout_ns, bool spin, int rounds)
{
    struct fixture f;
    struct treadmill treadmill;
    fixture_start_timeout(&f, timeout_ns);
    if (busy) treadmill_start(&treadmill, f.scheduler);
    uint64_t best = UINT64_MAX;
    int in_time = 0;
    for (int round = 0; round < rounds; round++) {
        struct stuck s;
        stuck_init(&s);
        s.spin = spin;
        uint64_t deferred;
        uint64_t took = declaration_time(&f, &s, timeout_ns, &deferred);
        test_wait_until(atomic_load(&f.incidents) == (uint64_t)round + 1, 5000);
        assert_true(f.last.slice_ns >= f.last.effective_ns);
        if (f.last.cause == SKINK_CAUSE_STARVED) continue; /* at the ceiling: that busy is the machine */
        assert_true(f.last.effective_ns >= timeout_ns);
        took -= deferred < took ? deferred : took;
        if (took < best) best = took;
        in_time += took <= latest(timeout_ns);
    }
    print_message("T %llu ms: best %llu us, %d of %d in time\n", (unsigned long long)(timeout_ns / SKINK_MS),
                  (unsigned long long)(best / 1000), in_time, rounds);
    if (busy) treadmill_stop(&treadmill);
    assert_int_equal(fixture_stats(&f).deadlocks, rounds);
    assert_int_equal(fixture_stop(&f), 0);
    if (best == UINT64_MAX) test_skip("the machine is too busy");
    if (TEST_TIMES) assert_true(best <= latest(timeout_ns));
}

static void declared_in_time(uint64_t timeout_ns, bool spin, int rounds)
{
    declared_in_time_beside(false, timeout_ns, spin, rounds);
}

/* Without a judgement of the best one two are enough to see that none is too early. */
#define ROUNDS(n) (TEST_TIMES || (n) < 2 ? (n) : 2)

static void sleeper_is_declared_in_time_at_10_ms(void **state)
{
    (void)state;
    declared_in_time(10 * SKINK_MS, false, ROUNDS(20));
}

static void sleeper_is_declared_in_time_at_50_ms(void **state)
{
    (void)state;
    declared_in_time(50 * SKINK_MS, false, ROUNDS(10));
}

static void sleeper_is_declared_in_time_at_200_ms(void **state)
{
    (void)state;
    declared_in_time(200 * SKINK_MS, false, ROUNDS(5));
}

static void sleeper_is_declared_in_time_at_1_s(void **state)
{
    (void)state;
    declared_in_time(1000 * SKINK_MS, false, ROUNDS(2));
}

static void spinner_is_declared_in_time_at_50_ms(void **state)
{
    (void)state;
    declared_in_time(50 * SKINK_MS, true, ROUNDS(10));
}

static void spinner_is_declared_in_time_at_200_ms(void **state)
{
    (void)state;
    declared_in_time(200 * SKINK_MS, true, ROUNDS(5));
}

/* Goal: while a loop turns it puts the watchdog's look off, but never past the time at which a slice must have been
 * seen. The slice may begin right after it has done so, or right before it would have done so again. */
static void sleeper_of_a_busy_loop_is_declared_in_time(void **state)
{
    (void)state;
    declared_in_time_beside(true, 400 * SKINK_MS, false, ROUNDS(4));
}

static void spinner_of_a_busy_loop_is_declared_in_time(void **state)
{
    (void)state;
    declared_in_time_beside(true, 200 * SKINK_MS, true, ROUNDS(5));
}

/* With a timeout of 2.4 s a look is due every 100 ms, and a loop that turns puts it off every 50. On a busy machine it
 * may not get to that, so the best of some half seconds counts; by looks once per period each would
 * have four at least. */
static void loop_that_turns_is_hardly_looked_at(void **state)
{
    (void)state;
    struct fixture f;
    struct treadmill treadmill;
    fixture_start_timeout(&f, 2400 * SKINK_MS);
    treadmill_start(&treadmill, f.scheduler);
    uint64_t fewest = UINT64_MAX;
    for (int i = 0; i < 20 && fewest > 1; i++) {
        uint64_t before = fixture_stats(&f).ticks, until_ns = skink_now() + 500 * SKINK_MS;
        while (skink_now() < until_ns)
            test_nap();
        uint64_t ticks = fixture_stats(&f).ticks - before;
        if (ticks < fewest) fewest = ticks;
    }
    assert_true(fewest <= 1);
    treadmill_stop(&treadmill);
    assert_int_equal(fixture_stop(&f), 0);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* Goal: such a loop does not keep the watchdog from a shorter timeout than any before, for which it must look more
 * often: at 10 ms each millisecond, instead of each 100. */
static void first_short_timeout_in_a_busy_loop_is_noticed(void **state)
{
    (void)state;
    struct fixture f;
    struct treadmill treadmill;
    skink_task_options short_one = { .size = sizeof short_one, .deadlock_timeout_ns = 10 * SKINK_MS };
    fixture_start_timeout(&f, 30 * SKINK_S);
    treadmill_start(&treadmill, f.scheduler);
    /* Until it is hardly looked at, if the machine lets it come to that. */
    uint64_t before = UINT64_MAX;
    for (int i = 0; i < 20 && fixture_stats(&f).ticks != before; i++) {
        before = fixture_stats(&f).ticks;
        for (uint64_t until_ns = skink_now() + 250 * SKINK_MS; skink_now() < until_ns;)
            test_nap();
    }
    before = fixture_stats(&f).ticks;
    assert_int_equal(skink_spawn(f.scheduler, &short_one, NULL, nothing, NULL), 0);
    test_wait_until(fixture_stats(&f).ticks >= before + 100, 5000);
    treadmill_stop(&treadmill);
    assert_int_equal(fixture_stop(&f), 0);
}

/* Looks every 10 ms from now on, after looks every 100: how much of the stuck slice's time does not count for that? */
static uint64_t lost_by_a_shorter_timeout_ns(void)
{
    struct fixture f;
    struct stuck s;
    skink_task_options short_one = { .size = sizeof short_one, .deadlock_timeout_ns = 240 * SKINK_MS };
    fixture_start_timeout(&f, 30 * SKINK_S);
    stuck_init(&s);
    stuck_spawn(&f, &s);
    test_wait_until(fixture_stats(&f).current_slice_ns > 150 * SKINK_MS, 5000); /* it has been seen */
    skink_recovery_stats before = fixture_stats(&f);
    assert_int_equal(skink_spawn(f.scheduler, &short_one, NULL, nothing, NULL), 0);
    test_wait_until(fixture_stats(&f).ticks >= before.ticks + 5, 5000);
    uint64_t lost_ns = fixture_stats(&f).suspended_ns - before.suspended_ns;
    stuck_end(&s);
    assert_int_equal(fixture_stop(&f), 0);
    return lost_ns;
}

/* Goal: time that has passed between two looks is not taken for that of a stopped process, because the next looks are
 * to be closer together. On a busy machine the watchdog may really be late, so the best of some rounds counts. */
static void shorter_timeout_takes_no_time_from_a_slice_that_runs(void **state)
{
    (void)state;
    uint64_t least_ns = UINT64_MAX;
    for (int i = 0; i < 5 && least_ns > 40 * SKINK_MS; i++) {
        uint64_t lost_ns = lost_by_a_shorter_timeout_ns();
        if (lost_ns < least_ns) least_ns = lost_ns;
    }
    assert_true(least_ns <= 40 * SKINK_MS);
}

/* A slice that ends after 30 ms of a T of 50 ms, a thousand of them one after the other would be 30 s: 40 will do. */
static void work_for_30_ms(void *arg)
{
    uint64_t until = skink_now() + 30 * SKINK_MS;
    while (skink_now() < until) {
    }
    atomic_fetch_add((_Atomic int *)arg, 1);
}

static void slices_shorter_than_the_timeout_are_left_alone(void **state)
{
    (void)state;
    struct fixture f;
    static _Atomic int done;
    fixture_start(&f, NULL);
    for (int i = 0; i < 40; i++)
        assert_int_equal(skink_post(f.scheduler, work_for_30_ms, (void *)&done), 0);
    test_wait_until(atomic_load(&done) == 40, 15000);
    assert_int_equal(fixture_stats(&f).deadlocks, 0);
    assert_int_equal(fixture_stop(&f), 0);
}

static void work_with_checkpoints(void *arg)
{
    uint64_t until = skink_now() + 300 * SKINK_MS;
    while (skink_now() < until) {
        uint64_t step = skink_now() + 5 * SKINK_MS;
        while (skink_now() < step) {
        }
        if (skink_checkpoint() != 0) return;
    }
    atomic_store((_Atomic bool *)arg, true);
}

/* Each call after half of the timeout makes a new slice of the rest. */
static void long_task_that_makes_calls_is_never_declared(void **state)
{
    (void)state;
    struct fixture f;
    static _Atomic bool done;
    fixture_start(&f, NULL);
    assert_int_equal(skink_post(f.scheduler, work_with_checkpoints, (void *)&done), 0);
    test_wait_until(atomic_load(&done), 10000);
    assert_int_equal(fixture_stats(&f).deadlocks, 0);
    assert_int_equal(fixture_stop(&f), 0);
}

static void task_s_own_timeout_counts_instead_of_the_watchdog_s(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start_timeout(&f, 30 * SKINK_S);
    struct stuck s;
    stuck_init(&s);
    skink_task_options own = SKINK_TASK_OPTIONS_INIT;
    own.deadlock_timeout_ns = 20 * SKINK_MS;
    own.name = "own";
    assert_int_equal(skink_spawn(f.scheduler, &own, NULL, stuck_task, &s), 0);
    test_wait_until(atomic_load(&f.incidents) == 1, 2000);
    assert_string_equal(f.last_task, "own");
    stuck_end(&s);
    assert_int_equal(fixture_stop(&f), 0);
}

static void timeout_can_be_changed_while_a_slice_is_stuck(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start_timeout(&f, 30 * SKINK_S);
    struct stuck s;
    stuck_init(&s);
    stuck_spawn(&f, &s);
    test_wait_until(atomic_load(&s.started_ns) != 0, 5000);
    assert_int_equal(skink_recovery_set_timeout(f.recovery, 20 * SKINK_MS), 0);
    test_wait_until(fixture_stats(&f).deadlocks == 1, 5000);
    stuck_end(&s);
    assert_int_equal(fixture_stop(&f), 0);
}

/* ---- what goes on ---- */

static void stuck_task_migrates_and_ends_on_the_fresh_thread(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    fixture_start(&f, NULL);
    stuck_get_declared(&f, &s);
    assert_true(loop_is_alive(&f, 5000));
    assert_int_equal(fixture_stats(&f).strays, 1);
    stuck_end(&s);
    assert_int_not_equal(atomic_load(&s.started_tid), atomic_load(&s.ended_tid));
    test_wait_until(fixture_stats(&f).strays == 0, 5000);
    skink_recovery_stats stats = fixture_stats(&f);
    assert_int_equal(stats.takeovers, 1);
    assert_int_equal(stats.strays_total, 1);
    assert_int_equal(stats.strays_returned, 1);
    assert_int_equal(fixture_stop(&f), 0);
}

static void incident_tells_what_was_stuck(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    fixture_start(&f, NULL);
    stuck_get_told(&f, &s);
    assert_string_equal(f.last_task, "stuck");
    assert_int_equal(f.last.generation, 1);
    assert_int_equal(f.last.cause, SKINK_CAUSE_SYSCALL); /* a semaphore has no owner, and is no lock */
    assert_false(f.last.held);
    assert_int_equal(f.last.strays, 1);
    assert_non_null(strchr(f.last.id, '-'));
    assert_true(f.last.number >= 1);
    assert_true(f.last.slice_ns >= f.last.effective_ns);
    assert_true(f.last.time_unix_ns / SKINK_S + 60 > (uint64_t)time(NULL));
    stuck_end(&s);
    assert_int_equal(fixture_stop(&f), 0);
}

static void recovery_time_is_in_the_histogram(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    fixture_start(&f, NULL);
    stuck_get_declared(&f, &s);
    assert_true(loop_is_alive(&f, 5000));
    skink_recovery_stats stats = fixture_stats(&f);
    uint64_t count = 0;
    for (int i = 0; i < SKINK_RECOVERY_BUCKETS; i++)
        count += stats.recovery_count[i];
    assert_int_equal(count, 1);
    assert_true(stats.recovery_sum_ns > 0);
    print_message("recovery took %llu us\n", (unsigned long long)(stats.recovery_sum_ns / 1000));
    stuck_end(&s);
    assert_int_equal(fixture_stop(&f), 0);
}

struct self_wait {
    skink_future *future;
    skink_scheduler *scheduler;
    _Atomic int behind, result;
    void *value;
};

static void answer(void *arg)
{
    struct self_wait *w = arg;
    static char mine[] = "mine";
    assert_int_equal(skink_future_complete(w->future, mine), 0);
}

static void note_behind(void *arg)
{
    atomic_fetch_add(&((struct self_wait *)arg)->behind, 1);
}

static void wait_for_own_loop(void *arg)
{
    struct self_wait *w = arg;
    int err = skink_post(w->scheduler, answer, w);
    if (!err) err = skink_future_block(w->future, SKINK_FOREVER, &w->value);
    atomic_store(&w->result, err == 0 ? 1 : err);
}

/* The classic: a task that blocks on a result of its own loop, and one that is queued behind it. */
static void task_blocked_on_its_own_loop_gets_its_answer(void **state)
{
    (void)state;
    struct fixture f;
    struct self_wait w = { 0 };
    fixture_start(&f, NULL);
    w.scheduler = f.scheduler;
    assert_int_equal(skink_future_create(&w.future), 0);
    assert_int_equal(skink_post(f.scheduler, wait_for_own_loop, &w), 0);
    assert_int_equal(skink_post(f.scheduler, note_behind, &w), 0);
    test_wait_until(atomic_load(&w.result) == 1, 5000);
    test_wait_until(atomic_load(&w.behind) == 1, 5000);
    assert_string_equal((const char *)w.value, "mine");
    assert_int_equal(fixture_stats(&f).deadlocks, 1);
    skink_future_unref(w.future);
    assert_int_equal(fixture_stop(&f), 0);
}

/* ---- nothing is lost ---- */

enum { QUEUED = 10000, STUCK = 100 };

struct crowd {
    struct fixture f;
    struct stuck stuck[STUCK];
    int next; /* loop only: the number expected next */
    _Atomic int ran;
    _Atomic int out_of_order;
    _Atomic int inside, most_inside;
};

struct member {
    struct crowd *crowd;
    int number;
};

static void member_task(void *arg)
{
    struct member *m = arg;
    struct crowd *c = m->crowd;
    int inside = atomic_fetch_add(&c->inside, 1) + 1;
    if (inside > atomic_load(&c->most_inside)) atomic_store(&c->most_inside, inside);
    if (c->next != m->number) atomic_fetch_add(&c->out_of_order, 1);
    c->next = m->number + 1;
    atomic_fetch_sub(&c->inside, 1);
    atomic_fetch_add(&c->ran, 1);
}

/* 10,000 queued and 100 deadlocks among them: every other one runs exactly once, in order, never two at a time. */
static void takeovers_lose_and_double_nothing(void **state)
{
    (void)state;
    static struct crowd c;
    static struct member members[QUEUED];
    skink_recovery_options options = { .deadlock_timeout_ns = 10 * SKINK_MS, .max_strays = 200, .standby_threads = 2 };
    fixture_start(&c.f, &options);
    for (int i = 0; i < QUEUED; i++) {
        members[i] = (struct member){ &c, i };
        assert_int_equal(skink_post(c.f.scheduler, member_task, &members[i]), 0);
        if (i % (QUEUED / STUCK)) continue;
        struct stuck *s = &c.stuck[i / (QUEUED / STUCK)];
        stuck_init(s);
        stuck_spawn(&c.f, s);
    }
    test_wait_until(atomic_load(&c.ran) == QUEUED, 30000);
    assert_int_equal(atomic_load(&c.out_of_order), 0);
    assert_int_equal(atomic_load(&c.most_inside), 1);
    assert_int_equal(fixture_stats(&c.f).deadlocks, STUCK);
    stuck_end_all(&c.f, c.stuck, STUCK);
    assert_int_equal(atomic_load(&c.ran), QUEUED);
    assert_int_equal(fixture_stop(&c.f), 0);
}

static void two_schedulers_are_recovered_by_one_watchdog(void **state)
{
    (void)state;
    struct fixture f;
    skink_scheduler *second;
    fixture_start(&f, NULL);
    assert_int_equal(skink_scheduler_create(NULL, &second), 0);
    assert_int_equal(skink_scheduler_start(second), 0);
    assert_int_equal(skink_recovery_watch(f.recovery, second), 0);
    struct stuck s[2];
    for (int i = 0; i < 2; i++)
        stuck_init(&s[i]);
    assert_int_equal(skink_post(f.scheduler, stuck_task, &s[0]), 0);
    assert_int_equal(skink_post(second, stuck_task, &s[1]), 0);
    test_wait_until(fixture_stats(&f).takeovers == 2, 5000); /* with one standby thread: it is replaced at once */
    for (int i = 0; i < 2; i++)
        stuck_end(&s[i]);
    assert_int_equal(skink_scheduler_stop(second, test_deadline_ns(5000)), 0);
    skink_scheduler_destroy(second);
    assert_int_equal(fixture_stop(&f), 0);
}

static void scheduler_that_is_restarted_is_still_watched(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    fixture_start(&f, NULL);
    assert_int_equal(skink_scheduler_stop(f.scheduler, test_deadline_ns(5000)), 0);
    assert_int_equal(skink_scheduler_start(f.scheduler), 0);
    stuck_get_declared(&f, &s);
    stuck_end(&s);
    assert_int_equal(fixture_stats(&f).deadlocks, 1);
    assert_int_equal(fixture_stop(&f), 0);
}

/* Goal: a thread that a stop has given up, and that is still stuck, is not taken for the loop thread of the next run.
 * | first slice, with a long timeout | second slice, after a new start |
 * | stuck; the stop gives it up      |                                 |
 * | still stuck                      | stuck, declared                 | */
static void scheduler_that_is_restarted_beside_a_stray_is_watched(void **state)
{
    (void)state;
    struct fixture f;
    static struct stuck s[2]; /* the stray's, for longer than this function */
    warm_up();
    int threads = test_thread_count(0);
    skink_task_options patient = SKINK_TASK_OPTIONS_INIT;
    patient.deadlock_timeout_ns = 3600 * SKINK_S;
    fixture_start(&f, NULL);
    stuck_init(&s[0]);
    stuck_init(&s[1]);
    assert_int_equal(skink_spawn(f.scheduler, &patient, NULL, stuck_task, &s[0]), 0);
    test_wait_until(fixture_stats(&f).current_slice_ns > 0, 5000);
    assert_int_equal(skink_scheduler_stop(f.scheduler, skink_now()), -ECANCELED);
    assert_int_equal(skink_scheduler_start(f.scheduler), 0);
    stuck_spawn(&f, &s[1]);
    test_wait_until(fixture_stats(&f).deadlocks == 1, 5000);
    stuck_end(&s[1]);
    assert_int_equal(fixture_stop(&f), -ECANCELED); /* the first one is still out */
    stuck_release(&s[0]);
    test_wait_until(test_thread_count(0) == threads, 5000);
}

static const struct test_case cases[] = {
    CASE_TIMED(sleeper_is_declared_in_time_at_10_ms, 20),
    CASE_TIMED(sleeper_is_declared_in_time_at_50_ms, 20),
    CASE_TIMED(sleeper_is_declared_in_time_at_200_ms, 20),
    CASE_TIMED(sleeper_is_declared_in_time_at_1_s, 20),
    CASE_TIMED(spinner_is_declared_in_time_at_50_ms, 20),
    CASE_TIMED(spinner_is_declared_in_time_at_200_ms, 20),
    CASE_TIMED(sleeper_of_a_busy_loop_is_declared_in_time, 30),
    CASE_TIMED(spinner_of_a_busy_loop_is_declared_in_time, 30),
    CASE(loop_that_turns_is_hardly_looked_at),
    CASE(first_short_timeout_in_a_busy_loop_is_noticed),
    CASE_TIMEOUT(slices_shorter_than_the_timeout_are_left_alone, 30),
    CASE(long_task_that_makes_calls_is_never_declared),
    CASE(task_s_own_timeout_counts_instead_of_the_watchdog_s),
    CASE(timeout_can_be_changed_while_a_slice_is_stuck),
    CASE(shorter_timeout_takes_no_time_from_a_slice_that_runs),
    CASE(stuck_task_migrates_and_ends_on_the_fresh_thread),
    CASE(incident_tells_what_was_stuck),
    CASE(recovery_time_is_in_the_histogram),
    CASE(task_blocked_on_its_own_loop_gets_its_answer),
    CASE_TIMEOUT(takeovers_lose_and_double_nothing, 60),
    CASE(two_schedulers_are_recovered_by_one_watchdog),
    CASE(scheduler_that_is_restarted_is_still_watched),
    CASE(scheduler_that_is_restarted_beside_a_stray_is_watched),
};
TEST_MAIN(cases, NULL, NULL)
