/* SPDX-License-Identifier: MIT */
/* scheduler.c - a scheduler's life: create, start, take over, destroy. Stopping is in stop.c. */
#include "loop/barrier.h"
#include "loop/hooks.h"
#include "loop/log_value.h"
#include "loop/memory.h"
#include "loop/options.h"
#include "loop/shadow_stack.h"
#include "loop/state.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { TASK_MAX_DEFAULT = 1048576, STACK_BYTES_DEFAULT = 64 * 1024, STACK_BYTES_MIN = 16 * 1024, BATCH_DEFAULT = 256 };

static int options_read(skink_scheduler *scheduler, const skink_scheduler_options *options)
{
    skink_scheduler_options given;
    int err = SKINK__OPTIONS_READ(&given, options);
    if (err) return err;
    if (given.flags || given.detection > SKINK_DETECTION_POTENTIAL) return -EINVAL;
    size_t stack_bytes = given.stack_size_bytes ? given.stack_size_bytes : STACK_BYTES_DEFAULT;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (stack_bytes < STACK_BYTES_MIN || stack_bytes > SIZE_MAX / 2) return -EINVAL;
    skink__stack_pool_init(&scheduler->stacks, (stack_bytes + page - 1) / page * page);
    skink__task_pool_init(&scheduler->tasks, given.task_max ? given.task_max : TASK_MAX_DEFAULT);
    scheduler->batch_max = given.batch_max ? given.batch_max : BATCH_DEFAULT;
    atomic_init(&scheduler->detection, given.detection ? given.detection : SKINK_DETECTION_ACTUAL);
    scheduler->detection_stacks = !given.no_detection_stacks;
    const char *name = given.name ? given.name : "loop";
    size_t length = strnlen(name, sizeof scheduler->name - 1);
    memcpy(scheduler->name, name, length);
    return 0;
}

static int locks_init(skink_scheduler *scheduler)
{
    pthread_condattr_t monotonic;
    int err = pthread_condattr_init(&monotonic);
    if (err) return -err;
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    err = pthread_cond_init(&scheduler->stopped_cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&scheduler->lock, NULL);
    pthread_mutex_init(&scheduler->control, NULL);
    pthread_mutex_init(&scheduler->refused_lock, NULL);
    return -err;
}

int skink_scheduler_create(const skink_scheduler_options *options, skink_scheduler **ret_scheduler)
{
    if (!ret_scheduler) return -EINVAL;
    skink__hooks_freeze();
    if (skink__shadow_stack_forbids_switch()) {
        skink__log(SKINK_LOG_ERROR,
                   "event=shadow_stack advice=\"this process runs with shadow stacks (CET), which a switch of "
                   "stacks breaks: start it without, or build with SKINK_SWITCH=ucontext\"");
        return -ENOTSUP;
    }
    (void)skink__barrier_prepare(); /* for a stop that takes over, whose time it would be */
    skink_scheduler *scheduler = skink__zalloc_aligned(sizeof *scheduler, _Alignof(skink_scheduler));
    if (!scheduler) return -ENOMEM;
    scheduler->inbox.wakeup_fd = -1;
    scheduler->role = "loop";
    SKINK__ASSUME(skink__scheduler_mutex); /* nobody else knows it yet */
    skink__assume_runtime();
    scheduler->stopped = true;
    scheduler->kept_end = &scheduler->kept;
    atomic_init(&scheduler->refs, 1);
    atomic_init(&scheduler->shortest_timeout_ns, UINT64_MAX);
    atomic_init(&scheduler->extend_ceiling_ns, UINT64_MAX);
    atomic_init(&scheduler->stop_deadline_ns, SKINK_FOREVER);
    int err = options_read(scheduler, options);
    if (!err) err = locks_init(scheduler);
    if (!err) err = skink__thread_create(&scheduler->stand_in);
    if (!err) err = skink__inbox_init(&scheduler->inbox);
    if (!err) err = skink__uv_open(scheduler);
    if (err) {
        skink_scheduler_destroy(scheduler);
        return err;
    }
    *ret_scheduler = scheduler;
    return 0;
}

/* ---- references on the memory ---- */

skink_scheduler *skink__scheduler_ref(skink_scheduler *scheduler)
{
    atomic_fetch_add_explicit(&scheduler->refs, 1, memory_order_relaxed);
    return scheduler;
}

void skink__scheduler_unref(skink_scheduler *scheduler)
{
    if (atomic_fetch_sub_explicit(&scheduler->refs, 1, memory_order_acq_rel) != 1) return;
    if (atomic_load(&scheduler->leaked)) return;
    skink__assume_runtime(); /* nobody else knows it any more */
    skink__thread_unref(scheduler->stand_in);
    skink__stack_pool_fini(&scheduler->stacks);
    skink__task_pool_fini(&scheduler->tasks);
    skink__post_pool_fini(&scheduler->posts);
    skink__deadline_heap_fini(&scheduler->deadlines);
    skink__inbox_fini(&scheduler->inbox);
    skink__alarm_fini(&scheduler->alarm);
    pthread_cond_destroy(&scheduler->stopped_cond);
    pthread_mutex_destroy(&scheduler->lock);
    pthread_mutex_destroy(&scheduler->control);
    pthread_mutex_destroy(&scheduler->refused_lock);
    skink__free_aligned(scheduler);
}

/* ---- start ---- */

static void *first_thread(void *arg)
{
    struct skink__thread *thread = arg;
    (void)skink__thread_wait(&thread->installed, SKINK_FOREVER);
    skink_scheduler *scheduler = thread->scheduler;
    const char *role = scheduler->role; /* the scheduler may be gone at the end */
    skink__thread_started(role);
    skink__environment_capture(&scheduler->environment);
    skink__thread_run(thread, scheduler);
    skink__thread_ending(role);
    skink__thread_unref(thread);
    return NULL;
}

/* Make `thread` the scheduler's, which takes a reference on it; and `thread` takes one on the scheduler. */
static void install_thread(skink_scheduler *scheduler, struct skink__thread *thread) SKINK__IN_RUNTIME
{
    skink__count(&scheduler->generation, 1);
    thread->generation = skink__counted(&scheduler->generation);
    thread->scheduler = skink__scheduler_ref(scheduler);
    thread->blocker.scheduler = scheduler;
    skink__scheduler_lock(scheduler);
    struct skink__thread *former = scheduler->thread;
    scheduler->thread = skink__thread_ref(thread);
    skink__scheduler_unlock(scheduler);
    skink__thread_unref(former);
}

/* Oldest first. */
static struct skink__message *take_kept(skink_scheduler *scheduler) SKINK__REQUIRES(skink__scheduler_mutex)
{
    struct skink__message *kept = scheduler->kept;
    scheduler->kept = NULL;
    scheduler->kept_end = &scheduler->kept;
    return kept;
}

/* Before there is a loop thread: nobody closes it meanwhile. */
static void open_inbox(skink_scheduler *scheduler)
{
    skink__scheduler_lock(scheduler);
    skink__inbox_open(&scheduler->inbox);
    struct skink__message *message = take_kept(scheduler);
    while (message) {
        struct skink__message *next = message->next;
        bool posted = skink__inbox_post(&scheduler->inbox, message);
        SKINK_ASSERT(posted);
        message = next;
    }
    skink__scheduler_unlock(scheduler);
}

static int start_locked(skink_scheduler *scheduler) SKINK__REQUIRES(skink__control_mutex)
{
    skink__scheduler_lock(scheduler);
    bool stopped = scheduler->stopped;
    skink__scheduler_unlock(scheduler);
    if (!stopped) return -EALREADY;
    struct skink__thread *thread;
    int err = skink__thread_create(&thread);
    if (err) return err;
    /* It waits until it is installed: others are not to take for running what may not come to run. */
    err = skink__thread_start_detached(first_thread, thread);
    if (err) {
        skink__thread_unref(thread);
        return err;
    }
    skink__assume_runtime(); /* it has no loop thread: that one waits */
    skink__thread_ref(thread);
    skink__scheduler_lock(scheduler);
    scheduler->stopped = false;
    skink__scheduler_unlock(scheduler);
    scheduler->stop_phase = SKINK__STOP_NONE;
    scheduler->stop_cut = false;
    atomic_store(&scheduler->stop_deadline_ns, SKINK_FOREVER);
    atomic_store(&scheduler->given_up, false);
    atomic_store(&scheduler->stopping, false);
    open_inbox(scheduler);
    install_thread(scheduler, thread);
    atomic_store(&scheduler->running, true);
    skink__thread_notify(&thread->installed);
    skink__thread_unref(thread);
    return 0;
}

int skink_scheduler_start(skink_scheduler *scheduler)
{
    if (!scheduler) return -EINVAL;
    if (skink_scheduler_current() == scheduler && !skink__in_task()) return -EPERM; /* it may have the lock */
    skink__control_lock(scheduler);
    int err = start_locked(scheduler);
    skink__control_unlock(scheduler);
    return err;
}

/* ---- takeover ---- */

struct skink__thread *skink__scheduler_thread(skink_scheduler *scheduler)
{
    skink__scheduler_lock(scheduler);
    struct skink__thread *thread = scheduler->thread ? skink__thread_ref(scheduler->thread) : NULL;
    skink__scheduler_unlock(scheduler);
    return thread;
}

/* Without the lock: the caller has won transition 3 (or p, until it ends that),
 * and who writes it has to win that, too. */
static struct skink__thread *stuck_thread(skink_scheduler *scheduler)
{
    SKINK__ASSUME(skink__scheduler_mutex);
    return scheduler->thread;
}

const char *skink__takeover_task_name(skink_scheduler *scheduler)
{
    return stuck_thread(scheduler)->current->name;
}

void skink__takeover_task_label(skink_scheduler *scheduler, struct skink__task_label *ret_label)
{
    const skink_task *task = stuck_thread(scheduler)->current;
    *ret_label = (struct skink__task_label){ 0 };
    if (task->arg && task->kind->label) task->kind->label(task->arg, ret_label);
}

void skink__takeover_begin(skink_scheduler *scheduler, struct skink__thread *fresh,
                           const struct skink__abandonment *why, bool hold)
{
    struct skink__thread *stray = stuck_thread(scheduler);
    /* It may have come back already: then its task is in the inbox. */
    enum skink__lease_state state = skink__lease_state(atomic_load(&stray->lease.word));
    SKINK_ASSERT(state == SKINK__ABANDONED || state == SKINK__ENDED);
    scheduler->stuck = stray->current;
    scheduler->stuck_blocks = why == NULL;
    if (why) scheduler->abandonment = *why;
    if (hold) atomic_store_explicit(&scheduler->held, true, memory_order_release);
    install_thread(scheduler, fresh);
}

void skink__scheduler_release_hold(skink_scheduler *scheduler)
{
    if (atomic_exchange(&scheduler->held, false)) skink__inbox_wake(&scheduler->inbox);
}

/* Relaxed, both: a request more or less does not matter. */
void skink__scheduler_set_admittance(skink_scheduler *scheduler, int admittance)
{
    atomic_store_explicit(&scheduler->admittance, admittance, memory_order_relaxed);
}

enum skink__admittance skink__scheduler_admittance(const skink_scheduler *scheduler)
{
    return (enum skink__admittance)atomic_load_explicit(&scheduler->admittance, memory_order_relaxed);
}

/* ---- what others may ask ---- */

void skink__scheduler_set_role(skink_scheduler *scheduler, const char *role)
{
    scheduler->role = role;
}

const char *skink__scheduler_role(const skink_scheduler *scheduler)
{
    return scheduler->role;
}

const char *skink__scheduler_name(const skink_scheduler *scheduler)
{
    return scheduler->name;
}

struct skink__doorbell *skink__scheduler_doorbell(skink_scheduler *scheduler)
{
    return &scheduler->doorbell;
}

struct skink__alarm *skink__scheduler_alarm(skink_scheduler *scheduler)
{
    return &scheduler->alarm;
}

struct skink__doorbell *skink__scheduler_blocking_bell(skink_scheduler *scheduler)
{
    return &scheduler->blocking_bell;
}

void skink__scheduler_set_extend_ceiling(skink_scheduler *scheduler, uint64_t extend_ceiling_ns)
{
    atomic_store_explicit(&scheduler->extend_ceiling_ns, extend_ceiling_ns, memory_order_relaxed);
}

int skink__scheduler_backend_fd(const skink_scheduler *scheduler)
{
    return scheduler->backend_fd;
}

bool skink__scheduler_is_destroyed(const skink_scheduler *scheduler)
{
    return atomic_load(&scheduler->destroyed);
}

bool skink__scheduler_is_held(const skink_scheduler *scheduler)
{
    return atomic_load_explicit(&scheduler->held, memory_order_acquire);
}

bool skink__scheduler_is_stopping(const skink_scheduler *scheduler)
{
    return atomic_load_explicit(&scheduler->stopping, memory_order_acquire);
}

bool skink__scheduler_is_given_up(const skink_scheduler *scheduler)
{
    return atomic_load(&scheduler->given_up) && atomic_load(&scheduler->running);
}

uint64_t skink__scheduler_shortest_timeout(const skink_scheduler *scheduler)
{
    return atomic_load_explicit(&scheduler->shortest_timeout_ns, memory_order_relaxed);
}

bool skink__scheduler_post(skink_scheduler *scheduler, struct skink__message *message)
{
    return skink__inbox_post(&scheduler->inbox, message);
}

void skink__scheduler_post_or_keep(skink_scheduler *scheduler, struct skink__message *message)
{
    if (skink__inbox_post(&scheduler->inbox, message)) return;
    /* Under the lock, as a start opens the inbox: it either takes what is kept here or is seen to have opened it. */
    skink__scheduler_lock(scheduler);
    if (!skink__inbox_post(&scheduler->inbox, message)) {
        message->next = NULL;
        *scheduler->kept_end = message;
        scheduler->kept_end = &message->next;
    }
    skink__scheduler_unlock(scheduler);
}

int skink_scheduler_stats_read(skink_scheduler *scheduler, skink_scheduler_stats *stats)
{
    if (!scheduler || !stats) return -EINVAL;
    /* What is counted least often first, so that a difference is not negative; a moment in between may pass. */
    uint64_t resumed = skink__counted(&scheduler->slices_resumed);
    uint64_t slices = skink__slices(scheduler);
    uint64_t queued = skink__tasks_queued(scheduler);
    skink_scheduler_stats values = {
        .generation = skink__counted(&scheduler->generation),
        .tasks_started = slices > resumed ? slices - resumed : 0,
        .tasks_finished = skink__tasks_finished(scheduler),
        .slices = slices,
        .tasks_ready = queued > slices ? queued - slices : 0,
        .tasks_suspended = skink__counted(&scheduler->tasks_suspended),
        .migrations = skink__counted(&scheduler->migrations),
        .stacks_allocated = skink__counted(&scheduler->stacks_allocated),
        .running = atomic_load(&scheduler->running),
        .held = atomic_load(&scheduler->held),
        .tasks_blocking = skink__counted(&scheduler->tasks_blocking),
        .blocking_begun = skink__counted(&scheduler->blocking_stretches),
        .waits_refused = atomic_load_explicit(&scheduler->waits_refused, memory_order_relaxed),
        .waits_potential = atomic_load_explicit(&scheduler->waits_refused_potential, memory_order_relaxed),
    };
    uint64_t spawned = skink__tasks_spawned(scheduler) - skink__counted(&scheduler->tasks_lost);
    values.tasks_living = spawned > values.tasks_finished ? spawned - values.tasks_finished : 0;
    return skink__stats_write(stats, &values, sizeof values);
}

/* ---- destroy ---- */

struct skink__thread *skink__scheduler_stand_in(skink_scheduler *scheduler)
{
    struct skink__thread *outer = skink__thread_self();
    scheduler->stand_in->scheduler = scheduler;
    skink__thread_set_self(scheduler->stand_in);
    return outer;
}

static void drop_kept(skink_scheduler *scheduler) SKINK__IN_RUNTIME
{
    skink__scheduler_lock(scheduler);
    struct skink__message *message = take_kept(scheduler);
    skink__scheduler_unlock(scheduler);
    while (message) {
        struct skink__message *next = message->next;
        message->deliver(scheduler, message, true);
        message = next;
    }
}

static void dismantle(skink_scheduler *scheduler)
{
    enum { CLOSE_TIMEOUT_S = 2 };
    struct skink__thread *outer = skink__scheduler_stand_in(scheduler);
    skink__stop_drop_all(scheduler);
    drop_kept(scheduler);
    bool closed = skink__uv_close(scheduler, skink_after(CLOSE_TIMEOUT_S * SKINK_S));
    skink__thread_set_self(outer);
    if (closed) return;
    skink__log(SKINK_LOG_WARNING, "event=leak scheduler=%s reason=\"work on the thread pool did not end\"",
               SKINK__LOG_WORD(scheduler->name));
    atomic_store(&scheduler->leaked, true);
}

void skink_scheduler_destroy(skink_scheduler *scheduler)
{
    if (!scheduler) return;
    bool inside = skink_scheduler_current() == scheduler;
    skink__runtime_leave(skink__runtime_enter()); /* a stray's task goes back to its loop first */
    int err = inside ? -EDEADLK : atomic_load(&scheduler->running) ? skink__stop(scheduler, skink_now()) : 0;
    if (err == -ETIMEDOUT || err == -EDEADLK)
        atomic_store(&scheduler->leaked, true);
    else if (scheduler->inbox.wakeup_fd >= 0)
        dismantle(scheduler);
    skink__task_stock_drop(scheduler);
    skink__post_box_drop(scheduler);
    atomic_store(&scheduler->destroyed, true);
    atomic_thread_fence(memory_order_seq_cst);
    skink__doorbell_ring(&scheduler->doorbell);
    skink__scheduler_unref(scheduler);
}
