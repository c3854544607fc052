/* SPDX-License-Identifier: MIT */
/*
 * recovery/state.h - what a recovery is made of; for recovery/ only.
 *
 * One mutex guards everything that no comment says otherwise of. It is held for moments: never while host code runs
 * (hooks and callbacks are called without it; the allocator's hooks, which must not wait for a task, are the
 * exception), and loop threads do not take it, but for a stray on its way out. The watchdog holds it while it looks.
 *
 * Who owns a loop thread's record (struct skink__subject):
 *
 *     skink__standby      until its thread is made a scheduler's loop thread
 *     skink__watch        while it is that; its slices are timed
 *     the stray itself    from the declaration on; it is on a list meanwhile, and frees itself when it ends
 */
#ifndef SKINK_RECOVERY_STATE_H
#define SKINK_RECOVERY_STATE_H
#include "loop/capability.h"
#include "loop/takeover.h"
#include "recovery/incident_files.h"
#include "recovery/incidents.h"
#include "recovery/report_limit.h"
#include "recovery/slice_clock.h"
#include "recovery/tally.h"
#include "recovery/thread_probe.h"
#include "skink/recovery.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SKINK__NEVER UINT64_MAX

/* The mutex of a recovery: a field that it guards; a function that is called with it, or that takes it and is called
 * without. */
SKINK__CAPABILITY(skink__recovery_mutex);
#define SKINK__UNDER_MUTEX SKINK__GUARDED_BY(skink__recovery_mutex)
#define SKINK__WITH_MUTEX SKINK__REQUIRES(skink__recovery_mutex)
#define SKINK__WITHOUT_MUTEX SKINK__EXCLUDES(skink__recovery_mutex)

/* ---- loop threads ---- */

enum skink__subject_role {
    SKINK__SUBJECT_WATCHED,  /* a standby's, or a scheduler's loop thread                                      */
    SKINK__SUBJECT_HELD,     /* abandoned at the stray limit; not counted as a stray before the hold is over   */
    SKINK__SUBJECT_BLOCKING, /* abandoned in a stretch that is known to block; counted by itself               */
    SKINK__SUBJECT_STRAY,    /* abandoned, living, counted                                                     */
    SKINK__SUBJECT_ENDING    /* abandoned by a stop of its scheduler, which came a moment before our declaration */
};

struct skink__subject {
    struct skink__thread *thread; /* reference */
    struct skink__thread_probe probe;
    struct skink__slice_clock clock;
    uint64_t slice_timeout_ns;   /* of the slice on the clock; 0: the recovery's */
    uint64_t slice_extension_ns; /* and what its task has added to that */
    uint64_t blocking_slice;     /* the slice that was in a stretch at the last look, and since when */
    uint64_t blocking_since_ns;  /* 0: it was not */
    uint64_t glimpsed_slice;     /* the newest one when the last look saw the word move, and so timed none */
    uint64_t glimpsed_ns;        /* when that was; 0: it did not move */
    skink_action slice_action;   /* the same; DEFAULT: the recovery's */
    uint64_t noted_slice;        /* has been noted */
    uint64_t asked_slice;        /* whether it waits for a stray's lock has been asked */
    uint64_t reported_slice;     /* has been declared stuck and only reported; 0: none */
    enum skink__subject_role role SKINK__UNDER_MUTEX;

    /* From the declaration on. */
    struct skink__ended ended;
    skink_recovery *recovery;                      /* reference: a stray may outlive skink_recovery_destroy() */
    struct skink__watch *watch SKINK__UNDER_MUTEX; /* HELD: whose `held` it is */
    uint64_t abandoned_ns;
    uint64_t incident_number SKINK__UNDER_MUTEX;
    char incident_id[SKINK_INCIDENT_ID_BYTES];
    struct skink__subject *next SKINK__UNDER_MUTEX; /* skink_recovery.strays, or .blocking */
    struct skink__subject *previous SKINK__UNDER_MUTEX;
};

/* Takes over the caller's reference on the thread, also when it fails and returns NULL. */
struct skink__subject *skink__subject_create(struct skink__thread *thread);
void skink__subject_free(struct skink__subject *subject); /* NULL is fine */

/* ---- schedulers ---- */

struct skink__watch {
    skink_scheduler *scheduler;                        /* reference on its memory */
    struct skink__watch *next SKINK__UNDER_MUTEX;      /* skink_recovery.watches */
    struct skink__subject *subject SKINK__UNDER_MUTEX; /* its loop thread; NULL while it does not run */
    struct skink__subject *held SKINK__UNDER_MUTEX;    /* the stuck thread on whose account it is held, or NULL */
    bool holding SKINK__UNDER_MUTEX;                   /* its fresh thread runs no task */
    bool has_alarm SKINK__UNDER_MUTEX;                 /* its alarm is open, and in `alarms_fd` */
    bool moving SKINK__UNDER_MUTEX;  /* when last looked at, another slice ran than before; its alarm is set */
    bool asleep SKINK__UNDER_MUTEX;  /* when last looked at, it slept in poll (or did not run) */
    bool overdue SKINK__UNDER_MUTEX; /* its slice is due, and no standby is there */
    bool stalled SKINK__UNDER_MUTEX; /* its runtime section has taken longer than the timeout */
    bool bell_hung SKINK__UNDER_MUTEX;
    bool blocking_bell_hung SKINK__UNDER_MUTEX;
    unsigned blocking_looks SKINK__UNDER_MUTEX; /* at intervals of the grace, before the bell is hung again */
};

/* ---- standby threads (standby.c) ---- */

enum skink__standby_order { SKINK__STANDBY_WAIT, SKINK__STANDBY_GO, SKINK__STANDBY_QUIT };

struct skink__standby {
    skink_recovery *recovery;       /* a reference from GO on; before, the recovery outlives it */
    struct skink__thread *thread;   /* reference */
    struct skink__subject *subject; /* of `thread`; NULL once it is the scheduler's */
    skink_scheduler *scheduler;     /* reference; set before GO */
    uint64_t declared_ns;           /* set before GO */
    _Atomic uint32_t order;         /* enum skink__standby_order; a futex; release by who gives it */
    _Atomic bool may_run;           /* after GO: the barrier is over; release by the watchdog, its last access */
    pthread_t pthread;              /* joined by destroy, or detached at GO */
    bool parked SKINK__UNDER_MUTEX; /* it waits for its order: it may be used */
    struct skink__standby *next SKINK__UNDER_MUTEX; /* skink_recovery.standbys */
};

/* Start one more; without the mutex. A negative errno, and nothing is left of it. */
int skink__standby_start(skink_recovery *recovery) SKINK__WITHOUT_MUTEX;
/* One that is parked; NULL without one. */
struct skink__standby *skink__standby_find(const skink_recovery *recovery) SKINK__WITH_MUTEX;
/* It is used: off the list. Its thread frees it. */
void skink__standby_take(skink_recovery *recovery, struct skink__standby *standby) SKINK__WITH_MUTEX;
uint32_t skink__standby_parked(const skink_recovery *recovery) SKINK__WITH_MUTEX;
/* End those on the list and wait for them; without the mutex. */
void skink__standby_quit_all(skink_recovery *recovery) SKINK__WITHOUT_MUTEX;
void skink__standby_give(struct skink__standby *standby, enum skink__standby_order order);
/* After GO: it does not run the loop before. It is not ours any more then. */
void skink__standby_let_run(struct skink__standby *standby);

/* ---- the thread that makes them (standby_maker.c) ---- */

int skink__standby_maker_start(skink_recovery *recovery);
/* If one is missing, have it made, soon. A failure is tried again after a while. */
void skink__standbys_ask(skink_recovery *recovery) SKINK__WITH_MUTEX;
/* No more; without the mutex, and before the standby threads are ended. Waits for it for a second at most. */
void skink__standby_maker_stop(skink_recovery *recovery) SKINK__WITHOUT_MUTEX;

/* A thread with all signals blocked, as all of recovery's are. */
int skink__start_thread(pthread_t *ret_thread, void *(*main)(void *arg), void *arg);

/* ---- strays (strays.c) ---- */

/* The thread may be a stray in a moment: it gets a reference on the recovery and knows whom to tell. */
void skink__stray_prepare(skink_recovery *recovery, struct skink__subject *subject) SKINK__WITH_MUTEX;
/* It is not our stray. False: it owns itself all the same, and will free itself. */
bool skink__stray_undo(skink_recovery *recovery, struct skink__subject *subject) SKINK__WITH_MUTEX;
/* It is; from now on it owns itself. */
void skink__stray_add(skink_recovery *recovery, struct skink__subject *subject) SKINK__WITH_MUTEX;
void skink__stray_hold(struct skink__watch *watch, struct skink__subject *subject) SKINK__WITH_MUTEX;
/* End every hold that the strays now leave room for. */
void skink__holds_settle(skink_recovery *recovery) SKINK__WITH_MUTEX;
/* Whatever the limit says: nobody will be there to end it. */
void skink__hold_end(skink_recovery *recovery, struct skink__watch *watch) SKINK__WITH_MUTEX;

/* The same for a thread that blocks as was announced. */
void skink__blocking_add(skink_recovery *recovery, struct skink__subject *subject) SKINK__WITH_MUTEX;

/* ---- stretches that are known to block (hand_on.c) ---- */

/* Before a look: has the bell been rung, or is it to be hung again? */
void skink__blocking_listen(skink_recovery *recovery, struct skink__watch *watch) SKINK__WITH_MUTEX;
void skink__blocking_bell_take_down(skink_recovery *recovery, struct skink__watch *watch) SKINK__WITH_MUTEX;
/* Part of a look: is the slice in a stretch, and if so, is it time to hand the loop on? True: it needs no other timing.
 * *ret_next_ns: when to look again. */
bool skink__blocking_look(skink_recovery *recovery, struct skink__watch *watch, uint64_t slice, bool blocks,
                          uint64_t *ret_next_ns) SKINK__WITH_MUTEX;

/* ---- reports (report.c) ---- */

enum skink__report_kind {
    SKINK__REPORT_DEADLOCK,
    SKINK__REPORT_REFUSED,
    SKINK__REPORT_STRAY_RETURNED,
    SKINK__REPORT_STUCK_OVER,
    SKINK__REPORT_NOTE,
    SKINK__REPORT_HOLD_ENDED,
    SKINK__REPORT_STALLED,
    SKINK__REPORT_STALL_OVER,
    SKINK__REPORT_NO_STANDBY,
    SKINK__REPORT_STANDBY_BACK
};

/* With room for the strings: what they were copied from may be gone when it is delivered. */
struct skink__report {
    enum skink__report_kind kind;
    uint64_t incident_number; /* DEADLOCK: the incident itself is in the store */
    char incident_id[SKINK_INCIDENT_ID_BYTES];
    uint32_t tally_row; /* DEADLOCK */
    skink_action action;
    char task[128]; /* NOTE */
    char scheduler[16];
    uint64_t time_ns; /* for how long; what, depends on the kind */
    int error;
    struct skink__refused_stacks *stacks; /* REFUSED: owned */
};

#define SKINK__REPORTS_MAX 128

struct skink__reports {
    struct skink__report ring[SKINK__REPORTS_MAX] SKINK__UNDER_MUTEX;
    uint32_t first SKINK__UNDER_MUTEX;
    uint32_t count SKINK__UNDER_MUTEX;
    uint64_t lost SKINK__UNDER_MUTEX; /* not yet told of */
    pthread_cond_t changed;
    pthread_t thread;
    bool running SKINK__UNDER_MUTEX;
    bool quit SKINK__UNDER_MUTEX;
    struct skink__investigation *investigation; /* the helper thread's */
    struct skink__report_limit limit;           /* the helper thread's */
};

/* The place for the next report, zeroed; NULL when the ring is full, which is counted. */
struct skink__report *skink__report_next(skink_recovery *recovery, enum skink__report_kind kind) SKINK__WITH_MUTEX;
/* It is filled in. */
void skink__report_submit(skink_recovery *recovery) SKINK__WITH_MUTEX;
int skink__reports_start(skink_recovery *recovery);
/* Deliver what there is, and end the helper thread; without the mutex. */
void skink__reports_stop(skink_recovery *recovery) SKINK__WITHOUT_MUTEX;

/* ---- investigate.c, on the helper thread ---- */

struct skink__investigation;

/* Memory and tables that it needs; NULL without memory. */
struct skink__investigation *skink__investigation_create(skink_recovery *recovery);
void skink__investigation_destroy(struct skink__investigation *investigation); /* NULL is fine */

/* Find stack, cause and what it waits for; the findings are the caller's. */
void skink__investigate(struct skink__investigation *investigation, struct skink__incident *incident);
/* Nobody was stuck: both stacks are there, and only want names. */
struct skink__refused_stacks;
void skink__investigate_refused(struct skink__investigation *investigation, struct skink__incident *incident,
                                const struct skink__refused_stacks *stacks);

/* ---- incident_report.c, on the helper thread ---- */

/* Find out the rest of an incident, complete it in the store, and tell the host. False: it is not there any more. */
bool skink__incident_report(skink_recovery *recovery, uint64_t number, struct skink__refused_stacks *stacks,
                            skink_cause *ret_cause) SKINK__WITHOUT_MUTEX;

/* Write the files anew of those that have ended since. */
void skink__incident_report_ends(skink_recovery *recovery) SKINK__WITHOUT_MUTEX;

/* Who holds the lock that this thread waits for, who holds what that one waits for, and so on; returns how many. */
size_t skink__investigate_owners(skink_recovery *recovery, pid_t tid, pid_t *owners, size_t max);

/* ---- poison.c ---- */

enum { SKINK__POISON_OWNERS_MAX = 8 };

/* One question at a time, and its answer. */
struct skink__poison {
    bool asked SKINK__UNDER_MUTEX; /* and not answered */
    pid_t tid SKINK__UNDER_MUTEX;
    uint64_t slice SKINK__UNDER_MUTEX;
    /* Of the incident whose stray holds the lock; 0: none, or not known yet. */
    uint64_t owner_number SKINK__UNDER_MUTEX;
};

/* The watchdog: is this slice blocked on a stray's lock? */
void skink__poison_ask(skink_recovery *recovery, struct skink__subject *subject) SKINK__WITH_MUTEX;
bool skink__poison_is_known(const skink_recovery *recovery, const struct skink__subject *subject) SKINK__WITH_MUTEX;
/* The helper thread, which leaves the mutex meanwhile. */
void skink__poison_answer(skink_recovery *recovery) SKINK__WITH_MUTEX;

/* ---- limits (limits.c) ---- */

/* Constant from `on_limit` to `arg`. */
struct skink__limits {
    skink_on_limit on_limit;
    uint32_t burst; /* 0: no limit */
    uint64_t burst_window_ns;
    void (*reached)(skink_limit limit, bool in_force, void *arg);
    void *arg;

    uint64_t *declared_ns SKINK__UNDER_MUTEX; /* a ring of burst + 1 */
    uint32_t declared SKINK__UNDER_MUTEX;     /* how many of it are filled */
    uint32_t next SKINK__UNDER_MUTEX;
    uint32_t accepted_strays SKINK__UNDER_MUTEX; /* a human knows of so many */
    bool in_force[SKINK_LIMITS] SKINK__UNDER_MUTEX;
    /* The host has not been told yet; not in the ring of reports, as these must not be lost. */
    bool news[SKINK_LIMITS] SKINK__UNDER_MUTEX;
    uint64_t reached_count[SKINK_LIMITS] SKINK__UNDER_MUTEX;
    pid_t newest_tid SKINK__UNDER_MUTEX; /* of the thread that was declared stuck last */
    pid_t abort_tid SKINK__UNDER_MUTEX;  /* not 0: the process is to end, with this thread on top */
    uint64_t abort_due_ns SKINK__UNDER_MUTEX;
};

int skink__limits_init(struct skink__limits *limits, const skink_recovery_options *options); /* -EINVAL, -ENOMEM */
void skink__limits_fini(struct skink__limits *limits);
/* A slice was declared stuck on this thread. */
void skink__limits_note(skink_recovery *recovery, uint64_t now_ns, pid_t tid) SKINK__WITH_MUTEX;
/* Strays have come or gone, or time has passed. */
void skink__limits_settle(skink_recovery *recovery) SKINK__WITH_MUTEX;
/* When to settle them even if nothing else happens; SKINK__NEVER. */
uint64_t skink__limits_next_look(const skink_recovery *recovery) SKINK__WITH_MUTEX;
/* An enum skink__admittance, for a scheduler that is watched from now on. */
int skink__limits_admittance(const skink_recovery *recovery) SKINK__WITH_MUTEX;
skink_health skink__limits_health(const skink_recovery *recovery) SKINK__WITH_MUTEX;
/* The helper thread: there is something to tell; tell it, leaving the mutex meanwhile. */
bool skink__limits_have_news(const skink_recovery *recovery) SKINK__WITH_MUTEX;
void skink__limits_tell(skink_recovery *recovery) SKINK__WITH_MUTEX;
/* End the process when the helper thread has told everything, or a few seconds have passed. */
void skink__abort_soon(skink_recovery *recovery, pid_t tid) SKINK__WITH_MUTEX;

/* ---- the whole ---- */

struct skink_recovery {
    pthread_mutex_t mutex;
    pthread_cond_t standby_changed;   /* one has parked */
    pthread_cond_t standby_wanted;    /* the maker waits for that, or for the end */
    pthread_cond_t maker_ended;       /* of the monotonic clock */
    uint32_t refs SKINK__UNDER_MUTEX; /* the owner's, each stray's (or held thread's), each standby's that was used */
    bool quit SKINK__UNDER_MUTEX;
    uint32_t threads_wanted; /* constant: standby threads */
    uint32_t max_strays;     /* constant */
    uint32_t ceiling_factor; /* constant */
    uint64_t timeout_ns SKINK__UNDER_MUTEX;
    uint64_t period_ns SKINK__UNDER_MUTEX;           /* of the last tick */
    uint64_t shortest_timeout_ns SKINK__UNDER_MUTEX; /* which it was chosen for */
    uint64_t past_period_ns SKINK__UNDER_MUTEX;      /* the one before, if that was longer; else the same */
    char id_prefix[20]; /* constant: when this process first made a recovery, and a random number, in hexadecimal */
    bool has_barrier;   /* constant: loop/barrier.h works here */
    void (*incident)(const skink_incident *incident, void *arg); /* constant */
    void *arg;

    struct skink__watch *watches SKINK__UNDER_MUTEX;
    struct skink__standby *standbys SKINK__UNDER_MUTEX; /* those not used yet */
    uint32_t standby_count SKINK__UNDER_MUTEX;          /* on that list, parked or about to */
    uint64_t standby_retry_ns SKINK__UNDER_MUTEX;       /* not before; after a failure */
    uint64_t standby_begun_ns SKINK__UNDER_MUTEX;       /* the maker has begun to make one then; 0: it makes none */
    bool standby_failing SKINK__UNDER_MUTEX;            /* the last could not be made, or takes too long */
    pthread_t maker;
    bool maker_running; /* it was started */
    bool maker_over SKINK__UNDER_MUTEX;
    struct skink__subject *strays SKINK__UNDER_MUTEX; /* oldest last */
    uint32_t stray_count SKINK__UNDER_MUTEX;
    struct skink__subject *blocking SKINK__UNDER_MUTEX; /* threads off the loop as was announced */
    uint32_t blocking_count SKINK__UNDER_MUTEX;
    uint32_t max_blocking;      /* constant */
    uint64_t blocking_grace_ns; /* constant */
    uint64_t extend_ceiling_ns; /* constant */

    /* The eventfd that ends the watchdog's sleep: kicks by API calls and strays, rings by loop threads. Each that was
     * promised is read before it is closed. */
    int wakeup_fd SKINK__UNDER_MUTEX;
    int alarms_fd SKINK__UNDER_MUTEX; /* an epoll of the watched schedulers' alarms, by edges */
    uint64_t wakeups_due SKINK__UNDER_MUTEX;
    uint64_t wakeups_read SKINK__UNDER_MUTEX;
    bool parked SKINK__UNDER_MUTEX;

    pthread_cond_t ticked;             /* the watchdog has looked, and somebody wants to know */
    uint32_t pings SKINK__UNDER_MUTEX; /* who do */
    pthread_t watchdog;
    bool watchdog_running;
    struct skink__reports reports;
    struct skink__limits limits;
    struct skink__poison poison;
    struct skink__tally tally SKINK__UNDER_MUTEX;
    skink_action action;                           /* constant, never DEFAULT */
    bool log_notes;                                /* constant */
    struct skink__incidents incidents;             /* guarded by its own mutex */
    uint32_t declared_row SKINK__UNDER_MUTEX;      /* of the tally: what it is about */
    struct skink__incident declared;               /* the watchdog's, while it makes one */
    struct skink__incident_files files;            /* the helper thread's */
    bool may_signal;                               /* constant */
    skink_recovery_stats stats SKINK__UNDER_MUTEX; /* the plain counters of it */
    /* Written by standbys on their way into a takeover, without the mutex; relaxed. */
    _Atomic uint64_t recovery_count[SKINK_RECOVERY_BUCKETS];
    _Atomic uint64_t recovery_sum_ns;
};

static inline void skink__recovery_lock(skink_recovery *recovery)
    SKINK__ACQUIRES(skink__recovery_mutex) SKINK__UNCHECKED
{
    pthread_mutex_lock(&recovery->mutex);
}

static inline void skink__recovery_unlock(skink_recovery *recovery)
    SKINK__RELEASES(skink__recovery_mutex) SKINK__UNCHECKED
{
    pthread_mutex_unlock(&recovery->mutex);
}

/* ---- declare.c ---- */

/* The slice that the watch's clock times is due. Nothing happens when it has moved on,
 * or nobody is there to take over. */
void skink__declare(skink_recovery *recovery, struct skink__watch *watch, skink_cause cause) SKINK__WITH_MUTEX;

/* The same, but it stays where it is: an incident, and perhaps the end of the process. Once for each slice. */
void skink__declare_only(skink_recovery *recovery, struct skink__watch *watch, skink_cause cause,
                         skink_action action) SKINK__WITH_MUTEX;
/* It is over after all, if there was one. */
void skink__declared_only_over(skink_recovery *recovery, struct skink__subject *subject) SKINK__WITH_MUTEX;

/* The slice has used half of its time. Once for each. */
void skink__note(skink_recovery *recovery, struct skink__watch *watch) SKINK__WITH_MUTEX;

/* The winner of transition 3 wakes a standby as the scheduler's next loop thread; its record goes to the watch. why
 * NULL and declared_ns 0: nothing was declared. */
void skink__hand_over(skink_recovery *recovery, struct skink__watch *watch, struct skink__standby *standby,
                      const struct skink__abandonment *why, uint64_t declared_ns, bool hold) SKINK__WITH_MUTEX
    SKINK__RELEASES(skink__runtime_section);

/* ---- park.c ---- */

/* Leave the mutex and sleep until a time, or a wake-up. */
void skink__sleep_until(skink_recovery *recovery, uint64_t time_ns) SKINK__WITH_MUTEX;
/* Every loop slept when it was last looked at, and nothing else is to be done. */
bool skink__may_park(const skink_recovery *recovery) SKINK__WITH_MUTEX;
/* Sleep until a loop rings, or somebody kicks. False: a loop was awake, and no time has passed. */
bool skink__park(skink_recovery *recovery) SKINK__WITH_MUTEX;
void skink__take_down_bell(skink_recovery *recovery, struct skink__watch *watch) SKINK__WITH_MUTEX;
/* A scheduler's alarm ends the watchdog's sleep from now on, if there is one to be had; or no more. */
void skink__alarm_listen(skink_recovery *recovery, struct skink__watch *watch) SKINK__WITH_MUTEX;
void skink__alarm_leave(skink_recovery *recovery, struct skink__watch *watch) SKINK__WITH_MUTEX;
/* Make the watchdog look now. */
void skink__watchdog_kick(skink_recovery *recovery) SKINK__WITH_MUTEX;
/* Wait until every promised wake-up has been read; the watchdog has ended. */
void skink__watchdog_drain(skink_recovery *recovery) SKINK__WITH_MUTEX;

/* ---- watchdog.c ---- */

int skink__watchdog_start(skink_recovery *recovery);
/* Let go of a scheduler and free the watch; it is off the list. */
void skink__watch_drop(skink_recovery *recovery, struct skink__watch *watch) SKINK__WITH_MUTEX;

/* One reference less; true: it was the last, and the caller frees it once the mutex is unlocked. */
bool skink__recovery_unref(skink_recovery *recovery) SKINK__WITH_MUTEX;
void skink__recovery_free(skink_recovery *recovery) SKINK__WITHOUT_MUTEX;

/* 1, 2, 3, ... of this process. */
uint64_t skink__incident_next_number(void);

/* Its text, without the C library's formatting: a loop stands still meanwhile. */
void skink__incident_id(const skink_recovery *recovery, uint64_t number, char ret_id[SKINK_INCIDENT_ID_BYTES]);

/* A moment so much later. A host that wants something never to happen asks for it after SKINK_FOREVER. */
static inline uint64_t skink__later(uint64_t time_ns, uint64_t delay_ns)
{
    return delay_ns < SKINK__NEVER - time_ns ? time_ns + delay_ns : SKINK__NEVER;
}

/* The timeout of a slice whose task sets none, or its own. */
static inline uint64_t skink__timeout_or(uint64_t own_ns, uint64_t default_ns)
{
    return own_ns != 0 ? own_ns : default_ns;
}
#endif
