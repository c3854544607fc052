/* SPDX-License-Identifier: MIT */
/* What the host is told, in which order, and what happens when it does not listen. */
#include "tests/recovery/fixture.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the log hook of this program ---- */

static struct {
    pthread_mutex_t mutex;
    char last_deadlock[1024];
    char last_return[1024];
    unsigned long deadlocks, returns, lost;
} heard = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void hear(skink_log_level level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    unsigned long lost;
    pthread_mutex_lock(&heard.mutex);
    if (strncmp(line, "event=deadlock ", 15) == 0) {
        heard.deadlocks++;
        snprintf(heard.last_deadlock, sizeof heard.last_deadlock, "%s", line);
    } else if (strncmp(line, "event=stray_returned ", 21) == 0) {
        heard.returns++;
        snprintf(heard.last_return, sizeof heard.last_return, "%s", line);
    } else if (sscanf(line, "event=reports_lost count=%lu", &lost) == 1) {
        heard.lost += lost;
    }
    pthread_mutex_unlock(&heard.mutex);
}

/* Hooks are one set per process, and fixed by the first scheduler. */
__attribute__((constructor)) static void install_hook(void)
{
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.log = hear;
    if (skink_hooks_set(&hooks) != 0) abort();
}

static unsigned long heard_deadlocks(void)
{
    pthread_mutex_lock(&heard.mutex);
    unsigned long count = heard.deadlocks;
    pthread_mutex_unlock(&heard.mutex);
    return count;
}

static unsigned long heard_in_all(void)
{
    pthread_mutex_lock(&heard.mutex);
    unsigned long count = heard.deadlocks + heard.returns + heard.lost;
    pthread_mutex_unlock(&heard.mutex);
    return count;
}

static int setup(void **state)
{
    (void)state;
    pthread_mutex_lock(&heard.mutex);
    heard.deadlocks = heard.returns = heard.lost = 0;
    pthread_mutex_unlock(&heard.mutex);
    return 0;
}

static void run_one(struct fixture *f, const char *name)
{
    struct stuck s;
    skink_task_options options = SKINK_TASK_OPTIONS_INIT;
    options.name = name;
    uint64_t before = fixture_stats(f).deadlocks;
    stuck_init(&s);
    assert_int_equal(skink_spawn(f->scheduler, &options, NULL, stuck_task, &s), 0);
    test_wait_until(fixture_stats(f).deadlocks == before + 1, 5000);
    stuck_end_all(f, &s, 1);
}

static void log_line_names_what_was_stuck_and_what_was_done(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL);
    run_one(&f, "GET /a\"b\\c\nd");
    test_wait_until(heard_in_all() == 2, 5000);
    pthread_mutex_lock(&heard.mutex);
    char line[1024], id[128];
    snprintf(line, sizeof line, "%s", heard.last_deadlock);
    pthread_mutex_unlock(&heard.mutex);
    print_message("%s\n", line);
    snprintf(id, sizeof id, "event=deadlock id=%s scheduler=loop generation=1 ", f.last.id);
    assert_ptr_equal(strstr(line, id), line);
    assert_non_null(strstr(line, " task=\"GET /a\\\"b\\\\c?d\" slice_ms=")); /* one line, whatever the name */
    assert_non_null(strstr(line, " effective_ms=5")); /* the slice itself may take longer on a busy machine */
    assert_non_null(strstr(line, " cause=syscall action=takeover strays=1 syscall=\"futex\" waits_on="));
    snprintf(id, sizeof id, "event=stray_returned id=%s after_ms=", f.last.id);
    assert_ptr_equal(strstr(heard.last_return, id), heard.last_return);
    assert_int_equal(fixture_stop(&f), 0);
}

/* ---- a listener that does not come back for a while ---- */

struct listener {
    sem_t go_on;
    _Atomic uint64_t called;
    _Atomic uint64_t last_number;
    _Atomic bool out_of_order;
};

static void listen_slowly(const skink_incident *incident, void *arg)
{
    struct listener *l = arg;
    if (atomic_fetch_add(&l->called, 1) == 0) sem_wait(&l->go_on);
    if (incident->number <= atomic_load(&l->last_number)) atomic_store(&l->out_of_order, true);
    atomic_store(&l->last_number, incident->number);
}

static void add_incidents(const skink_recovery_count *count, void *arg)
{
    for (unsigned cause = 0; cause < SKINK_CAUSES; cause++)
        for (unsigned action = 0; action < SKINK_ACTIONS; action++)
            *(uint64_t *)arg += count->incidents[cause][action];
}

/* 80 deadlocks are 160 reports, and the ring has room for 128. What is not told is counted all the same. */
static void full_ring_loses_reports_and_says_exactly_how_many(void **state)
{
    (void)state;
    enum { ROUNDS = 80 };
    struct fixture f = { 0 };
    static struct listener l;
    sem_init(&l.go_on, 0, 0);
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = 10 * SKINK_MS;
    options.incident = listen_slowly;
    options.arg = &l;
    assert_int_equal(skink_recovery_create(&options, &f.recovery), 0);
    assert_int_equal(skink_scheduler_create(NULL, &f.scheduler), 0);
    assert_int_equal(skink_recovery_watch(f.recovery, f.scheduler), 0);
    assert_int_equal(skink_scheduler_start(f.scheduler), 0);
    for (int i = 0; i < ROUNDS; i++)
        run_one(&f, "again"); /* recovery goes on while nobody listens */
    assert_int_equal(fixture_stats(&f).deadlocks, ROUNDS);
    test_wait_until(atomic_load(&l.called) == 1, 5000);
    sem_post(&l.go_on);
    test_wait_until(heard_in_all() == 2 * ROUNDS, 5000);
    assert_true(heard.lost > 0);
    uint64_t incidents = 0;
    assert_int_equal(skink_recovery_counts(f.recovery, add_incidents, &incidents), 0);
    assert_int_equal(incidents, ROUNDS);
    assert_false(atomic_load(&l.out_of_order));
    assert_int_equal(fixture_stop(&f), 0);
    assert_int_equal(atomic_load(&l.called), heard_deadlocks());
}

static void reports_on_hand_are_delivered_before_destroy_returns(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL);
    run_one(&f, "last");
    assert_int_equal(fixture_stop(&f), 0);
    assert_int_equal(heard_in_all(), 2);
    assert_int_equal(atomic_load(&f.incidents), 1);
}

static const struct test_case cases[] = {
    CASE(log_line_names_what_was_stuck_and_what_was_done),
    CASE_TIMEOUT(full_ring_loses_reports_and_says_exactly_how_many, 60),
    CASE(reports_on_hand_are_delivered_before_destroy_returns),
};
TEST_MAIN(cases, setup, NULL)
