/* SPDX-License-Identifier: MIT */
/* jobs.c - see jobs.h. */
#include "tests/chaos/jobs.h"
#include "tests/chaos/era.h"
#include "tests/chaos/faults.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum kind {
    JOB_NOTHING,
    JOB_SLEEP,
    JOB_YIELD,
    JOB_AWAIT,
    JOB_AWAIT_DEADLINE,
    JOB_OFFLOAD,
    JOB_CHILD,
    JOB_DESCRIPTOR,
    JOB_CANCELLED,
    JOB_BLOCKING,
    JOB_SCOPE,
    JOB_STUCK_SPIN,
    JOB_STUCK_SLEEP,
    JOB_STUCK_ON_ITSELF,
    JOB_STUCK_READ,
    JOB_KINDS
};

static bool blocks(int kind)
{
    return kind >= JOB_STUCK_SPIN;
}

void section_enter(struct era *era)
{
    if (atomic_fetch_add(&era->inside, 1) != 0) era_fault(era, "two tasks ran at once");
}

void section_leave(struct era *era)
{
    atomic_fetch_sub(&era->inside, 1);
}

/* A little work that nobody else's may overlap. */
static void work_alone(struct era *era)
{
    volatile unsigned work = 0;
    section_enter(era);
    for (unsigned rounds = chaos_random(200); rounds; rounds--)
        work += rounds;
    (void)work;
    section_leave(era);
}

static void nothing(void *arg)
{
    work_alone(arg);
}

static void *pool_work(void *arg)
{
    struct timespec nap = { .tv_nsec = (long)chaos_random(2000000) };
    nanosleep(&nap, NULL);
    return arg;
}

static void wait_for_child(struct job *job)
{
    if (skink_spawn(job->era->scheduler, NULL, &job->child, nothing, job->era)) return;
    (void)!skink_task_await(job->child, SKINK_FOREVER);
}

/* The token's deadline and its firing may meet. */
static void wait_in_scope(struct job *job)
{
    uint64_t deadline_ns = skink_after(chaos_random(5000) * SKINK_US);
    if (skink_token_derive(skink_token_current(), deadline_ns, &job->token)) return;
    if (skink_scope_begin(job->token) == 0) {
        (void)!skink_await(job->future, SKINK_FOREVER, NULL);
        (void)skink_scope_end();
    }
}

static void talk(struct job *job)
{
    char byte = 'x';
    if (skink_await_fd(job->pipe[0], SKINK_READABLE, skink_after(200 * SKINK_MS), NULL)) return;
    if (read(job->pipe[0], &byte, 1) != 1 || byte != 'y') era_fault(job->era, "a descriptor had another byte");
}

static void complete_own(void *arg)
{
    struct job *job = arg;
    (void)!skink_future_complete(job->future, NULL);
}

/* The classic: block on what only a task of the same loop can do. Not for ever: at the stray limit that task does not
 * run, and after a stop it never will. */
static void wait_for_own_loop(struct job *job)
{
    if (skink_post(job->era->scheduler, complete_own, job) == 0)
        (void)!skink_future_block(job->future, skink_after(20 * job->era->timeout_ns), NULL);
}

static void spin(uint64_t duration_ns)
{
    uint64_t until = skink_now() + duration_ns;
    while (skink_now() < until) {
    }
}

static void block(uint64_t duration_ns)
{
    uint64_t until = skink_now() + duration_ns;
    while (skink_now() < until) {
        struct timespec nap = { .tv_nsec = 1000000 };
        nanosleep(&nap, NULL);
    }
}

static uint64_t stuck_for(const struct job *job)
{
    return job->era->timeout_ns / 2 * (1 + chaos_random(6)); /* some get free in time */
}

static void do_job(struct job *job)
{
    struct era *era = job->era;
    bool may_stick = blocks(job->kind); /* a thread that the stop left behind may come here when the job has gone */
    char byte;
    switch ((enum kind)job->kind) {
    case JOB_NOTHING:
        break;
    case JOB_SLEEP:
        for (uint32_t rounds = 1 + chaos_random(4); rounds; rounds--) {
            if (skink_sleep(chaos_random(8000) * SKINK_US)) return;
            work_alone(era);
        }
        break;
    case JOB_YIELD:
        for (uint32_t rounds = chaos_random(20); rounds; rounds--) {
            if (skink_yield()) return;
            work_alone(era);
        }
        break;
    case JOB_AWAIT:
        (void)!skink_await(job->future, SKINK_FOREVER, NULL);
        break;
    case JOB_AWAIT_DEADLINE:
        (void)!skink_await(job->future, skink_after(chaos_random(5000) * SKINK_US), NULL);
        break;
    case JOB_OFFLOAD:
        (void)!skink_offload(pool_work, job, NULL);
        break;
    case JOB_CHILD:
        wait_for_child(job);
        break;
    case JOB_DESCRIPTOR:
        talk(job);
        break;
    case JOB_CANCELLED:
        (void)!skink_sleep_until(SKINK_FOREVER);
        break;
    case JOB_BLOCKING:
        if (skink_blocking_begin()) return;
        block(chaos_random(4000) * SKINK_US); /* some are handed on, some are not */
        if (skink_blocking_end()) return;
        work_alone(era);
        break;
    case JOB_SCOPE:
        wait_in_scope(job);
        break;
    case JOB_STUCK_SPIN:
        spin(stuck_for(job));
        break;
    case JOB_STUCK_SLEEP:
        block(stuck_for(job));
        break;
    case JOB_STUCK_ON_ITSELF:
        wait_for_own_loop(job);
        break;
    case JOB_STUCK_READ:
        (void)!read(job->pipe[0], &byte, 1);
        break;
    case JOB_KINDS:
        break;
    }
    /* What got stuck may run beside others until its next call; after it, it is alone again. */
    if (may_stick) (void)!skink_checkpoint();
    work_alone(era);
}

static void run_job(void *arg)
{
    struct job *job = arg;
    if (atomic_fetch_add(&job->started, 1) != 0) era_fault(job->era, "a task started twice");
    do_job(job);
    if (atomic_fetch_add(&job->ended, 1) != 0) era_fault(job->era, "a task ended twice");
}

/* ---- the poster ---- */

static struct job *make_job(struct poster *poster)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job) abort();
    job->era = poster->era;
    job->pipe[0] = job->pipe[1] = -1;
    job->kind = (int)chaos_random(chaos_random(40) ? JOB_STUCK_SPIN : JOB_KINDS);
    bool needs_future = job->kind == JOB_AWAIT || job->kind == JOB_AWAIT_DEADLINE || job->kind == JOB_SCOPE ||
                        job->kind == JOB_STUCK_ON_ITSELF;
    if (needs_future && skink_future_create(&job->future)) job->kind = JOB_NOTHING;
    bool needs_pipe = job->kind == JOB_DESCRIPTOR || job->kind == JOB_STUCK_READ;
    if (needs_pipe && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, job->pipe)) job->kind = JOB_NOTHING;
    return job;
}

/* The poster's part in it, from its own thread: completing, writing, cancelling. */
static void attend(struct job *job)
{
    switch (job->kind) {
    case JOB_AWAIT:
    case JOB_AWAIT_DEADLINE:
        if (skink_future_complete(job->future, job)) era_fault(job->era, "a first completion was refused");
        break;
    case JOB_DESCRIPTOR:
    case JOB_STUCK_READ:
        (void)!write(job->pipe[1], "y", 1);
        break;
    case JOB_CANCELLED:
        (void)!skink_task_cancel(job->task);
        job->cancelled = true;
        break;
    default:
        if (chaos_random(50) == 0) {
            (void)!skink_task_cancel(job->task);
            job->cancelled = true;
        }
    }
}

static void nap_us(uint32_t us)
{
    struct timespec nap = { .tv_nsec = (long)us * 1000 };
    nanosleep(&nap, NULL);
}

void *poster_main(void *arg)
{
    enum { PENDING = 32 };
    struct poster *poster = arg;
    struct job *pending[PENDING] = { 0 };
    for (unsigned at = 0; !atomic_load(&poster->era->over); at = (at + 1) % PENDING) {
        if (pending[at]) attend(pending[at]);
        pending[at] = NULL;
        struct job *job = make_job(poster);
        job->next = poster->jobs;
        poster->jobs = job;
        if (skink_spawn(poster->era->scheduler, NULL, &job->task, run_job, job) == 0)
            pending[at] = job;
        else
            poster->refused++;
        if (chaos_random(8)) nap_us(chaos_random(600)); /* in bursts, but not a flood that nothing else gets through */
    }
    for (unsigned i = 0; i < PENDING; i++)
        if (pending[i]) attend(pending[i]);
    return NULL;
}

/* Jobs that were begun and given up. A thread that the stop has left behind may be reading one still, and nobody says
 * when it is done. */
static struct job *kept; /* by job.next */

int poster_reckon(struct poster *poster, uint64_t *strays_left, uint64_t *finished, uint64_t *given_up)
{
    int faults = 0;
    while (poster->jobs) {
        struct job *job = poster->jobs;
        poster->jobs = job->next;
        /* The scheduler has stopped: everything has come to its end by now, one way or the other. */
        int end = job->task ? skink_task_await(job->task, skink_after(5 * SKINK_S)) : -ENOENT;
        int started = atomic_load(&job->started), ended = atomic_load(&job->ended);
        bool sound = (end == 0 && started == 1 && ended == 1) || (end == -ECANCELED && ended == 0) ||
                     (end == -ENOENT && started == 0);
        if (end == -ECANCELED && started == 1 && ended == 1 && *strays_left > 0) {
            --*strays_left;
            sound = true;
        }
        if (!sound) {
            fprintf(stderr, "chaos: job of kind %d: await says %d, started %d times, ended %d times\n", job->kind, end,
                    started, ended);
            faults++;
        }
        *finished += end == 0;
        *given_up += end == -ECANCELED;
        skink_task_unref(job->task);
        skink_task_unref(job->child);
        skink_token_unref(job->token);
        skink_future_unref(job->future);
        if (job->pipe[0] >= 0) close(job->pipe[0]);
        if (job->pipe[1] >= 0) close(job->pipe[1]);
        if (started == ended) {
            free(job);
        } else {
            job->next = kept;
            kept = job;
        }
    }
    return faults;
}
