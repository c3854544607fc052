/* SPDX-License-Identifier: MIT */
#include "tests/recovery/fixture.h"
#include "tests/support/process.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void on_incident(const skink_incident *incident, void *arg)
{
    struct fixture *f = arg;
    f->last = *incident;
    snprintf(f->last_task, sizeof f->last_task, "%s", incident->task);
    atomic_fetch_add(&f->incidents, 1);
}

void fixture_start(struct fixture *f, const skink_recovery_options *given)
{
    *f = (struct fixture){ 0 };
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    if (given) options = *given;
    options.size = sizeof options;
    if (!options.deadlock_timeout_ns) options.deadlock_timeout_ns = 50 * SKINK_MS;
    options.incident = on_incident;
    options.arg = f;
    assert_int_equal(skink_recovery_create(&options, &f->recovery), 0);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    assert_int_equal(skink_recovery_watch(f->recovery, f->scheduler), 0);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
}

void fixture_start_timeout(struct fixture *f, uint64_t deadlock_timeout_ns)
{
    skink_recovery_options options = { .deadlock_timeout_ns = deadlock_timeout_ns };
    fixture_start(f, &options);
}

int fixture_stop(struct fixture *f)
{
    int err = skink_scheduler_stop(f->scheduler, test_deadline_ns(5000));
    skink_scheduler_destroy(f->scheduler);
    skink_recovery_destroy(f->recovery);
    return err;
}

skink_recovery_stats fixture_stats(struct fixture *f)
{
    skink_recovery_stats stats = SKINK_RECOVERY_STATS_INIT;
    assert_int_equal(skink_recovery_stats_read(f->recovery, &stats), 0);
    return stats;
}

/* ---- tasks that get stuck ---- */

static int own_tid(void)
{
    return (int)syscall(SYS_gettid);
}

void stuck_init(struct stuck *s)
{
    *s = (struct stuck){ .spinning = true };
    sem_init(&s->release, 0, 0);
}

void stuck_task(void *arg)
{
    struct stuck *s = arg;
    atomic_store(&s->started_tid, own_tid());
    atomic_store(&s->started_ns, skink_now());
    if (s->spin) {
        while (atomic_load_explicit(&s->spinning, memory_order_relaxed)) {
        }
    } else if (s->naps) {
        while (atomic_load(&s->spinning))
            usleep(200);
    } else {
        while (sem_wait(&s->release) != 0) {
        }
    }
    int err = skink_checkpoint(); /* migrates */
    (void)err;
    atomic_store(&s->ended_tid, own_tid());
    atomic_store(&s->ended, true);
}

void stuck_spawn(struct fixture *f, struct stuck *s)
{
    skink_task_options options = SKINK_TASK_OPTIONS_INIT;
    options.name = "stuck";
    assert_int_equal(skink_spawn(f->scheduler, &options, NULL, stuck_task, s), 0);
}

void stuck_release(struct stuck *s)
{
    atomic_store(&s->spinning, false);
    sem_post(&s->release);
}

void stuck_get_declared(struct fixture *f, struct stuck *s)
{
    uint64_t before = fixture_stats(f).deadlocks;
    stuck_init(s);
    stuck_spawn(f, s);
    test_wait_until(fixture_stats(f).deadlocks == before + 1, 10000);
}

void stuck_get_told(struct fixture *f, struct stuck *s)
{
    uint64_t before = atomic_load(&f->incidents);
    stuck_get_declared(f, s);
    test_wait_until(atomic_load(&f->incidents) == before + 1, 10000);
}

void stuck_end(struct stuck *s)
{
    stuck_release(s);
    test_wait_until(atomic_load(&s->ended), 10000);
}

void stuck_end_all(struct fixture *f, struct stuck *s, int count)
{
    for (int i = 0; i < count; i++)
        stuck_release(&s[i]);
    for (int i = 0; i < count; i++)
        test_wait_until(atomic_load(&s[i].ended), 10000);
    test_wait_until(fixture_stats(f).strays == 0, 10000);
}

void warm_up(void)
{
    skink_scheduler *scheduler;
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
    assert_int_equal(skink_scheduler_start(scheduler), 0);
    skink_scheduler_destroy(scheduler);
    test_wait_until(test_thread_count(0) == (TEST_TSAN ? 2 : 1), 5000);
}

static void raise_flag(void *arg)
{
    atomic_store((_Atomic bool *)arg, true);
}

static bool loop_runs_within(struct fixture *f, uint64_t duration_ns)
{
    /* Not on this stack: the task may run after we gave up. */
    enum { CALLS_MAX = 1024 };
    static _Atomic bool flags[CALLS_MAX];
    static int calls;
    assert_true(calls < CALLS_MAX);
    _Atomic bool *flag = &flags[calls++];
    assert_int_equal(skink_post(f->scheduler, raise_flag, (void *)flag), 0);
    uint64_t deadline = test_now_ns() + duration_ns;
    while (!atomic_load(flag) && test_now_ns() < deadline)
        test_nap();
    return atomic_load(flag);
}

bool loop_is_alive(struct fixture *f, unsigned timeout_ms)
{
    return loop_runs_within(f, test_ms(test_patience(timeout_ms)));
}

bool loop_stands_still(struct fixture *f, unsigned ms)
{
    return !loop_runs_within(f, test_ms(ms));
}

/* ---- threads of this process ---- */

static bool read_line(const char *path, const char *key, char *ret_line, size_t line_bytes)
{
    FILE *file = fopen(path, "re");
    if (!file) return false;
    bool found = false;
    while (!found && fgets(ret_line, (int)line_bytes, file))
        found = strncmp(ret_line, key, strlen(key)) == 0;
    fclose(file);
    return found;
}

int thread_named(const char *name)
{
    DIR *dir = opendir("/proc/self/task");
    int tid = 0;
    for (struct dirent *entry; tid == 0 && (entry = readdir(dir));) {
        char path[300], line[64];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        if (read_line(path, name, line, sizeof line)) tid = atoi(entry->d_name);
    }
    closedir(dir);
    return tid;
}

long thread_voluntary_switches(int tid)
{
    char path[64], line[128];
    long switches = -1;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
    if (read_line(path, "voluntary_ctxt_switches:", line, sizeof line))
        sscanf(line, "voluntary_ctxt_switches: %ld", &switches);
    return switches;
}
