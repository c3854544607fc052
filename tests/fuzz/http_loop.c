/* SPDX-License-Identifier: MIT */
/* tests/fuzz/http_loop.c - see http_loop.h. */
#include "tests/fuzz/http_loop.h"
#include "loop/state.h"
#include "skink/clock.h"
#include "skink/hooks.h"
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <string.h>

enum { STUCK_MAX = 64, TURNS_MAX = 100000 };

struct stuck {
    sem_t let_go, ended;
    struct skink__ended when_ended;
    struct skink__thread *fresh;
    pthread_t successor;
};

static struct {
    skink_scheduler *scheduler;
    struct stuck stuck[STUCK_MAX]; /* in the order in which they got stuck */
    _Atomic unsigned stuck_count;
    unsigned let_go_count;
    size_t blocks_before;
    bool running;
    _Atomic bool stopping;
} the;

/* ---- the clock: linked in the place of loop/clock.c ---- */

/* Later than any machine's own, so that no timer of libuv's goes off by itself. */
#define CLOCK_START_NS (UINT64_C(1000000000) * SKINK_S)

static _Atomic uint64_t clock_ns = CLOCK_START_NS;

uint64_t skink_now(void)
{
    return atomic_load(&clock_ns);
}

uint64_t skink_after(uint64_t delay_ns)
{
    uint64_t now = skink_now();
    return delay_ns < SKINK_FOREVER - now ? now + delay_ns : SKINK_FOREVER;
}

static void let_timer_look(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (handle->type != UV_TIMER || !uv_is_active(handle) || uv_is_closing(handle)) return;
    uv_timer_t *timer = (uv_timer_t *)handle;
    CHECK(uv_timer_start(timer, timer->timer_cb, 0, 0) == 0);
}

static void let_timers_look(uv_loop_t *loop, void *arg)
{
    atomic_fetch_add(&clock_ns, *(const uint64_t *)arg);
    uv_walk(loop, let_timer_look, NULL);
}

void loop_pass(uint64_t duration_ns)
{
    CHECK(skink_scheduler_uv(the.scheduler, let_timers_look, &duration_ns) == 0);
}

static void read_next_wake(uv_loop_t *loop, void *arg)
{
    (void)loop;
    const struct skink__deadline_heap *heap = &the.scheduler->deadlines;
    *(uint64_t *)arg = heap->count ? heap->entries[0].deadline_ns : UINT64_MAX;
}

uint64_t loop_next_wake(void)
{
    uint64_t at_ns = UINT64_MAX;
    CHECK(skink_scheduler_uv(the.scheduler, read_next_wake, &at_ns) == 0);
    return at_ns;
}

/* ---- memory: the C library's, which AddressSanitizer watches, counted ---- */

static _Atomic size_t blocks;
static _Atomic unsigned failures;
static _Atomic int fails_after; /* so many succeed, then one fails; negative: none */

static bool fails(void)
{
    if (atomic_load(&fails_after) < 0 || atomic_fetch_sub(&fails_after, 1) != 0) return false;
    atomic_fetch_add(&failures, 1);
    return true;
}

static void *allocate(size_t size, void *arg)
{
    (void)arg;
    if (fails()) return NULL;
    atomic_fetch_add(&blocks, 1);
    return malloc(size);
}

static void *reallocate(void *memory, size_t size, void *arg)
{
    (void)arg;
    if (fails()) return NULL;
    if (!memory) atomic_fetch_add(&blocks, 1);
    return realloc(memory, size);
}

static void release(void *memory, void *arg)
{
    (void)arg;
    if (memory) atomic_fetch_sub(&blocks, 1);
    free(memory);
}

void loop_fail(unsigned n)
{
    atomic_store(&fails_after, (int)n - 1);
}

unsigned loop_failures(void)
{
    return atomic_load(&failures);
}

static void panic(const char *condition, const char *file, int line, void *arg)
{
    (void)arg;
    fprintf(stderr, "%s:%d: panic: %s\n", file, line, condition);
    abort();
}

static void install_hooks(void)
{
    static bool installed;
    if (installed) return;
    installed = true;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.allocate = allocate;
    hooks.reallocate = reallocate;
    hooks.release = release;
    hooks.panic = panic;
    atomic_store(&fails_after, -1);
    CHECK(skink_hooks_set(&hooks) == 0);
}

/* ---- stuck tasks ---- */

static void *run_successor(void *arg)
{
    struct skink__thread *fresh = arg;
    skink__thread_run(fresh, fresh->scheduler);
    skink__thread_unref(fresh);
    return NULL;
}

static void note_ended(struct skink__thread *thread, void *arg)
{
    (void)thread;
    sem_post(arg);
}

/* On the loop thread itself, in host code: what a watchdog would do at this moment. */
static bool take_over(struct stuck *stuck, const struct skink__abandonment *why, bool hold)
{
    struct skink__thread *thread = skink__thread_self();
    uint64_t word = atomic_load(&thread->lease.word);
    if (skink__lease_state(word) != SKINK__RUNNING || skink__thread_create(&stuck->fresh)) return false;
    sem_init(&stuck->let_go, 0, 0);
    sem_init(&stuck->ended, 0, 0);
    stuck->when_ended = (struct skink__ended){ .fn = note_ended, .arg = &stuck->ended };
    CHECK(skink__thread_on_ended(thread, &stuck->when_ended) == NULL);
    CHECK(skink__lease_abandon(&thread->lease, skink__lease_slice(word)));
    atomic_fetch_add(&the.stuck_count, 1);
    struct skink__task_label label;
    skink__takeover_task_label(the.scheduler, &label);
    CHECK(label.method && *label.method && label.route && label.request_id > 0);
    skink__takeover_begin(the.scheduler, stuck->fresh, why, hold);
    CHECK(pthread_create(&stuck->successor, NULL, run_successor, stuck->fresh) == 0);
    return true;
}

__attribute__((noinline)) void loop_stick(struct loop_stick how)
{
    unsigned i = atomic_load(&the.stuck_count);
    struct skink__abandonment why = { .incident_id = "i", .poisoned = how.poisoned, .starved = how.starved };
    bool hold = how.hold && !atomic_load(&the.stopping);
    if (i == STUCK_MAX || !take_over(&the.stuck[i], &why, hold)) return;
    while (sem_wait(&the.stuck[i].let_go) != 0) {
    }
}

void loop_release(void)
{
    skink__scheduler_release_hold(the.scheduler);
}

bool loop_let_go(void)
{
    if (the.let_go_count == atomic_load(&the.stuck_count)) return false;
    struct stuck *stuck = &the.stuck[the.let_go_count++];
    sem_post(&stuck->let_go);
    while (sem_wait(&stuck->ended) != 0) {
    }
    return true;
}

/* ---- waiting until it is idle ---- */

struct look {
    bool (*busy)(void *arg);
    void *arg;
    bool result;
};

static void look(uv_loop_t *loop, void *arg)
{
    struct look *look = arg;
    const skink_scheduler *scheduler = the.scheduler;
    bool has_tasks = !atomic_load(&scheduler->held) && (scheduler->ready.first || scheduler->stackless.first);
    look->result =
        has_tasks || loop->closing_handles || !skink__inbox_is_empty(&scheduler->inbox) || look->busy(look->arg);
}

/* Twice in a row, for what was taken from the inbox behind the look is delivered after it. */
void loop_settle(bool (*busy)(void *arg), void *arg)
{
    struct look idle = { .busy = busy, .arg = arg };
    for (unsigned turns = 0, quiet = 0; quiet < 2 && the.running; turns++) {
        CHECK(turns < TURNS_MAX);
        CHECK(skink_scheduler_uv(the.scheduler, look, &idle) == 0);
        quiet = idle.result ? 0 : quiet + 1;
    }
}

/* ---- life ---- */

skink_scheduler *loop_open(void)
{
    install_hooks();
    atomic_store(&clock_ns, CLOCK_START_NS);
    atomic_store(&failures, 0);
    memset(&the, 0, sizeof the);
    the.blocks_before = atomic_load(&blocks);
    CHECK(skink_scheduler_create(NULL, &the.scheduler) == 0);
    CHECK(skink_scheduler_start(the.scheduler) == 0);
    the.running = true;
    return the.scheduler;
}

/* A stop of a loop that is held takes the time it has to the end, and this clock stands still. */
void loop_stop(void)
{
    atomic_store(&the.stopping, true);
    loop_release();
    int err = the.running ? skink_scheduler_stop(the.scheduler, skink_now()) : 0;
    CHECK(err == 0 || err == -ECANCELED);
    the.running = false;
}

void loop_close(void)
{
    skink_scheduler_destroy(the.scheduler);
    unsigned count = atomic_load(&the.stuck_count);
    CHECK(the.let_go_count == count);
    for (unsigned i = 0; i < count; i++) {
        CHECK(pthread_join(the.stuck[i].successor, NULL) == 0);
        sem_destroy(&the.stuck[i].let_go);
        sem_destroy(&the.stuck[i].ended);
    }
    /* The first loop thread is the scheduler's own, and lets go of it at its very end. */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    for (time_t until = now.tv_sec + 60; atomic_load(&blocks) != the.blocks_before && now.tv_sec < until;) {
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &now);
    }
    CHECK(atomic_load(&blocks) == the.blocks_before);
}
