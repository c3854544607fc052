/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_stats_health.c - /metrics and /health beside a loop that is stuck, held, stalled or stopped. */
#include "middleware/health.h"
#include "tests/middleware/stats_fixture.h"
#include <pthread.h>
#include <string.h>
#include <unistd.h>

/* ---- beside a stuck loop ---- */

/* No recovery comes to help here: its timeout is 30 s. */
static void page_and_health_answer_while_the_loop_is_stuck(void **state)
{
    struct stats_fixture *f = *state;
    stats_open(f);
    int fd = stats_stick(f);
    test_wait_until(stats_value_of(f, "skink_current_slice_seconds") > 0, 20000);
    for (int i = 0; i < 20; i++)
        assert_int_equal(stats_ask(f->stats_port, "GET", "/metrics", f->answer), 200);
    assert_int_equal(stats_health_with(f, "ok"), 200); /* the next deadlock, this one, can be recovered */
    assert_true(stats_value_of(f, "skink_requests_in_flight") == 1);
    assert_true(stats_value_of(f, "skink_loop_generation") == 1);
    assert_int_equal(atomic_load(&f->stuck), 1); /* it was stuck all the time */
    sem_post(&f->gate);
    test_wait_until(stats_value_of(f, "skink_requests_in_flight") == 0, 10000);
    assert_true(stats_value_of(f, "skink_deadlocks_total") == 0);
    close(fd);
}

static void page_tells_a_recovery(void **state)
{
    struct stats_fixture *f = *state;
    f->timeout_ns = 50 * SKINK_MS;
    stats_open(f);
    int fd = stats_stick(f);
    test_wait_until(stats_value_of(f, "skink_deadlocks_total") == 1, 10000);
    test_wait_until(stats_value_of(f, "skink_recovery_seconds_count") == 1, 10000);
    assert_int_equal(stats_ask(f->port, "GET", "/hello", f->answer), 200);
    assert_true(stats_value_of(f, "skink_loop_generation") == 2);
    assert_true(stats_value_of(f, "skink_takeovers_total") == 1);
    assert_true(stats_value_of(f, "skink_strays") == 1);
    assert_true(stats_value_of(f, "skink_strays_abandoned_total") == 1);
    assert_true(stats_value_of(f, "skink_strays_returned_total") == 0);
    assert_true(stats_value_of(f, "skink_oldest_stray_age_seconds") > 0);
    assert_int_equal(stats_hear(fd, f->answer), 503);
    close(fd);
    assert_true(stats_value_of(f, "skink_requests_total{code=\"503\",method=\"GET\",route=\"/stick\"}") == 1);
    sem_post(&f->gate);
    test_wait_until(stats_value_of(f, "skink_strays") == 0, 10000);
    test_wait_until(stats_value_of(f, "skink_strays_returned_total") == 1, 10000);
    test_wait_until(stats_value_of(f, "skink_migrations_total") == 1, 10000); /* its task is on its way still */
    test_wait_until(stats_value_of(f, "skink_late_answers_dropped_total") == 1, 10000);
    assert_true(stats_value_of(f, "skink_oldest_stray_age_seconds") == 0);
}

/*
 * | loop       | /health            |
 * | stuck      | 503 stray_limit    | max_strays is 1
 * | stuck again| 503 held           |
 * | both free  | 200                |  */
static void health_flips_at_the_stray_limit_and_back(void **state)
{
    struct stats_fixture *f = *state;
    f->timeout_ns = 50 * SKINK_MS;
    f->max_strays = 1;
    stats_open(f);
    assert_int_equal(stats_health_with(f, "ok"), 200);
    assert_non_null(strstr(f->answer, "{\"status\":\"ok\""));
    assert_non_null(strstr(f->answer, "Content-Type: application/json"));
    int first = stats_stick(f);
    test_wait_until(stats_health_with(f, "stray_limit") == 503, 10000);
    assert_non_null(strstr(f->answer, "{\"status\":\"unhealthy\""));
    assert_true(stats_value_of(f, "skink_healthy") == 0);
    int second = stats_stick(f);
    test_wait_until(stats_health_with(f, "held") == 503, 10000);
    assert_true(stats_value_of(f, "skink_loop_held") == 1);
    sem_post(&f->gate);
    sem_post(&f->gate);
    test_wait_until(stats_health_with(f, "ok") == 200, 10000);
    assert_true(stats_value_of(f, "skink_loop_held") == 0);
    assert_true(stats_value_of(f, "skink_healthy") == 1);
    close(first);
    close(second);
}

static void wait_at_gate(struct uv_loop_s *loop, void *arg)
{
    (void)loop;
    struct stats_fixture *f = arg;
    while (sem_wait(&f->gate)) {
    }
}

static void *stall(void *arg)
{
    struct stats_fixture *f = arg;
    return skink_scheduler_uv(f->scheduler, wait_at_gate, f) ? f : NULL;
}

/* What stalls in the runtime section cannot be recovered; it can be told, and told to be over. */
static void health_flips_while_a_runtime_section_is_stuck(void **state)
{
    struct stats_fixture *f = *state;
    f->timeout_ns = 50 * SKINK_MS;
    stats_open(f);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stall, f), 0);
    test_wait_until(stats_health_with(f, "stalled") == 503, 10000);
    assert_true(stats_value_of(f, "skink_runtime_stalls_total") == 1);
    sem_post(&f->gate);
    test_wait_until(stats_health_with(f, "ok") == 200, 10000);
    void *failed;
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
}

static void *stop_patiently(void *scheduler)
{
    (void)!skink_scheduler_stop(scheduler, skink_after(30 * SKINK_S));
    return NULL;
}

static void health_follows_start_and_stop(void **state)
{
    struct stats_fixture *f = *state;
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    stats_open_alone(f);
    assert_int_equal(stats_health_with(f, "stopped"), 503);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    assert_int_equal(stats_health_with(f, "ok"), 200);

    skink_future *done;
    assert_int_equal(skink_future_create(&done), 0);
    assert_int_equal(skink_post(f->scheduler, stats_await, skink_future_ref(done)), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_patiently, f->scheduler), 0);
    test_wait_until(stats_health_with(f, "stopping") == 503, 10000); /* it waits for the task */
    assert_int_equal(skink_future_complete(done, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    skink_future_unref(done);
    assert_int_equal(stats_health_with(f, "stopped"), 503);
    assert_true(stats_value_of(f, "skink_loop_running") == 0);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    assert_int_equal(stats_health_with(f, "ok"), 200);
}

static void worst_reason_is_told_first(void **state)
{
    (void)state;
    static const struct {
        struct skink__health_facts facts;
        const char *reason;
    } rows[] = {
        { { 0 }, "ok" },
        { { .recovery = SKINK_HEALTH_STRAY_LIMIT }, "stray_limit" },
        { { .recovery = SKINK_HEALTH_NO_STANDBY }, "no_standby" },
        { { .recovery = SKINK_HEALTH_NO_STANDBY, .stopping = true }, "stopping" },
        { { .recovery = SKINK_HEALTH_STRAY_LIMIT, .held = true, .stopping = true }, "held" },
        { { .recovery = SKINK_HEALTH_STALLED, .held = true }, "stalled" },
        { { .queue_full = true }, "queue_full" },
        { { .queue_full = true, .draining = true }, "draining" },
        { { .memory = true, .draining = true }, "memory" },
        { { .memory = true, .watchdog_late = true }, "watchdog_late" },
        { { .recovery = SKINK_HEALTH_STALLED, .held = true, .stopped = true }, "stopped" },
        { { .recovery = (skink_health)77 }, "unknown" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct skink__health_verdict verdict = skink__health_judge(&rows[i].facts, SKINK__PROBE_READY);
        assert_string_equal(verdict.reason, rows[i].reason);
        assert_int_equal(verdict.healthy, i == 0);
        assert_null(strpbrk(verdict.message, "\"\\\n")); /* it stands in JSON as it is */
    }
}

static const struct test_case cases[] = {
    CASE_TIMEOUT(page_and_health_answer_while_the_loop_is_stuck, 40),
    CASE_TIMEOUT(page_tells_a_recovery, 40),
    CASE_TIMEOUT(health_flips_at_the_stray_limit_and_back, 40),
    CASE_TIMEOUT(health_flips_while_a_runtime_section_is_stuck, 40),
    CASE_TIMEOUT(health_follows_start_and_stop, 40),
    CASE(worst_reason_is_told_first),
};
TEST_MAIN(cases, stats_setup, stats_teardown)
