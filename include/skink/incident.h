/* SPDX-License-Identifier: MIT */
/*
 * skink/incident.h - the record of one declared deadlock: who was stuck, where, on what, and how it ended.
 *
 * Owns     nothing by itself. A record that a callback is given belongs to skink and is valid during the call; one that
 *          was copied out belongs to the caller.
 * Threads  any.
 * More     docs/incidents.md says how to read one.
 */
#ifndef SKINK_INCIDENT_H
#define SKINK_INCIDENT_H
#include "skink/annot.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct skink_recovery skink_recovery; /* opaque; skink/recovery.h */

/* Why a slice was declared stuck. */
typedef enum skink_cause {
    SKINK_CAUSE_UNKNOWN = 0,        /* none of the others could be shown to hold                                 */
    SKINK_CAUSE_STARVED = 1,        /* it got no processor until the ceiling; the machine is overloaded          */
    SKINK_CAUSE_SELF_WAIT = 2,      /* it blocks its loop for a future: the classic, if a task of that loop is
                                       awaited                                                                   */
    SKINK_CAUSE_LOCK = 3,           /* it waits for a mutex or a read-write lock                                 */
    SKINK_CAUSE_SYSCALL = 4,        /* it is blocked in a system call, which `syscall` names                     */
    SKINK_CAUSE_CPU_LOOP = 5,       /* it computes                                                               */
    SKINK_CAUSE_STOPPED = 6,        /* its thread is stopped or traced (a debugger)                              */
    SKINK_CAUSE_UNINTERRUPTIBLE = 7 /* it sleeps in the kernel uninterruptibly (a disk, a dead file server)      */
} skink_cause;
#define SKINK_CAUSES 8 /* how many there are; a newer library may know more */

/* "unknown", "starved", "self_wait", "lock", "syscall", "cpu_loop", "stopped", "uninterruptible": the value of the key
 * `cause` in log lines, JSON and metrics. "unknown" for a number that is none. Static text. */
SKINK_API const char *skink_cause_name(skink_cause cause) SKINK_ANY_THREAD;

/* What is done about a slice that has used up its time; and what was done. */
typedef enum skink_action {
    SKINK_ACTION_DEFAULT = 0,  /* of a task: the recovery's; of the recovery: TAKEOVER                            */
    SKINK_ACTION_TAKEOVER = 1, /* its thread is abandoned, and a fresh one goes on with the loop                  */
    SKINK_ACTION_REPORT = 2,   /* an incident, and no more: the loop waits for it                                 */
    SKINK_ACTION_ABORT = 3,    /* the incident is told, and the process ends with SIGABRT on the stuck thread     */
    SKINK_ACTION_OFF = 4,      /* nothing: it may take as long as it wants                                        */
    SKINK_ACTION_HOLD = 5      /* done, never asked for: a takeover at the stray limit; no task runs for a while  */
} skink_action;
#define SKINK_ACTIONS 6 /* how many there are */

/* "default", "takeover", "report", "abort", "off", "hold". Static text. */
SKINK_API const char *skink_action_name(skink_action action) SKINK_ANY_THREAD;

/* How the stack of a stuck thread was asked for, and why there is none. */
typedef enum skink_capture {
    SKINK_CAPTURE_NONE = 0,     /* not yet, or never: the report is under way, or was lost                  */
    SKINK_CAPTURE_OK = 1,       /* the thread was asked by a signal, and answered: `stack` is where it was  */
    SKINK_CAPTURE_BLOCKED = 2,  /* it blocks the signal                                                     */
    SKINK_CAPTURE_TIMEOUT = 3,  /* it did not answer within the time that is given                          */
    SKINK_CAPTURE_RETURNED = 4, /* it had come back before it could be asked                                */
    SKINK_CAPTURE_STOPPED = 5,  /* it is stopped, traced, or in uninterruptible sleep: it cannot answer     */
    SKINK_CAPTURE_REFUSED = 6,  /* no signal is reserved, it could not be sent, or somebody has taken it    */
    SKINK_CAPTURE_WALKED = 7    /* it sleeps in the kernel: `stack` was read from outside, without a signal */
} skink_capture;
#define SKINK_CAPTURES 8 /* how many there are */

/* "none", "ok", "blocked", "timeout", "returned", "stopped", "refused", "walked". Static text. */
SKINK_API const char *skink_capture_name(skink_capture capture) SKINK_ANY_THREAD;

#define SKINK_INCIDENT_ID_BYTES 32 /* room for an incident's id, with its terminating NUL */
#define SKINK_INCIDENTS_KEPT 100   /* the newest of a recovery stay in memory */

/* One frame of a stack. */
typedef struct skink_frame {
    const char *function; /* NULL: not known                              */
    const char *file;     /* of the source, or NULL                       */
    unsigned line;        /* 0: not known                                 */
    bool inlined;         /* into the frame that follows                  */
    uint64_t address;     /* program counter; of the caller, if inlined   */
    const char *object;   /* the program or library it is in, or NULL     */
} skink_frame;

/* A thread that others wait for. */
typedef struct skink_incident_owner {
    int tid;
    const char *thread; /* its name, such as "loop"                                                               */
    const char *what;   /* "loop thread of ...", "stray of incident ...", "pool worker", "other thread", ...      */
    const char *kind;   /* what it waits for in its turn, as skink_waits_on.kind; NULL: nothing that is known     */
    uint64_t address;   /* of that; 0: none                                                                       */
    const skink_frame *stack;
    size_t frame_count;
} skink_incident_owner;

/* What the stuck thread waits for. */
typedef struct skink_waits_on {
    const char *kind;   /* "mutex", "rwlock", "thread" (pthread_join), "condition", "semaphore", "barrier", "once",
                         * "futex" (another kind), "future" (of skink's), "descriptor"; NULL: nothing that has a name */
    uint64_t address;   /* of the lock, futex or future; 0: it has none                                              */
    int descriptor;     /* -1: none                                                                                  */
    const char *target; /* what the descriptor is: "pipe:[81]", "/var/lib/x", "socket:[77] 127.0.0.1:5432"; or NULL  */
    const skink_incident_owner *chain; /* the lock's owner, then the owner of what that one waits for, and so on     */
    size_t chain_length;
    bool cycle; /* the last of the chain waits for something that one before it, or the stuck thread, owns           */
} skink_waits_on;

/* One declared deadlock. Fields are only ever added, at the end. */
typedef struct skink_incident {
    char id[SKINK_INCIDENT_ID_BYTES]; /* unique for this process, and in all likelihood among restarts   */
    uint64_t number;                  /* 1, 2, 3, ... in this process                                    */
    uint64_t time_unix_ns;            /* wall clock at the declaration                                   */
    uint64_t generation;              /* of the loop thread that was abandoned                           */
    const char *scheduler;            /* the scheduler's name                                            */
    const char *task;                 /* the task's name; a request's is such as "GET /stick"            */
    uint64_t slice_ns;                /* for how long the slice had run, wall time                       */
    uint64_t effective_ns;            /* what of that counted (docs/recovery.md, "Effective time")       */
    skink_cause cause;
    bool held;       /* declared at the stray limit: nothing else runs until a stray returns */
    uint32_t strays; /* living strays after it                                              */

    const char *method;         /* of the request; NULL: the task is no request                      */
    const char *route;          /* its route's pattern; "" without one; NULL: the task is no request */
    uint64_t request_id;        /* its number, as in the log and in its answer; 0: none              */
    int tid;                    /* the stuck thread, as the kernel and a debugger call it            */
    uint64_t cpu_ns;            /* its processor time in the slice                                   */
    uint64_t run_delay_ns;      /* for how long it waited for a processor in the slice, as far as known */
    uint64_t tasks_living;      /* in flight at the declaration: spawned and not ended               */
    uint64_t tasks_ready;       /* of these, in the ready queue                                      */
    uint64_t tasks_suspended;   /* of these, waiting                                                 */
    uint64_t finished_after_ns; /* the slice's length when its thread came back; 0: still stuck     */

    /* From here on filled in by the report, a moment after the declaration. */
    skink_capture capture;
    const skink_frame *stack; /* innermost first; what could be read from outside when capture is not OK         */
    size_t frame_count;
    bool stack_cut;      /* it was deeper than what is kept                                                      */
    char state;          /* the thread's, as in /proc: R running, S and D blocked, T and t stopped; '?' unknown  */
    const char *wchan;   /* the kernel function it is blocked in; "" when it is not, or that is not to be had    */
    const char *syscall; /* the system call it is in, such as "read"; NULL: in none, or not known                */
    skink_waits_on waits_on;

    skink_action action; /* what was done: TAKEOVER, HOLD, REPORT or ABORT */

    /* Nothing was stuck: a blocking wait was refused at once (skink/detection.h). The awaited task is
     * waits_on.chain[0]. */
    bool refused;
    /* The number of an earlier incident, whose thread holds the lock that this one waits for: declared at once, without
     * its timeout. 0: not that. */
    uint64_t poisoned_by;
    /* With waits_on.cycle: the thread that owns what the last of the chain waits for, or the stuck thread itself where
     * there is no chain. 0: no cycle, or one of tasks and not of threads. */
    int cycle_tid;
} skink_incident;

/*
 * Copy the one with that id out of memory. On 0 the caller owns the copy, with all that it points to, and frees it with
 * skink_incident_free(). It does not change any more: ask again to see how it ended.
 *   -ENOENT  there is none, or no longer
 *   -EINVAL, -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_incident_find(skink_recovery *recovery, const char *id,
                                                  skink_incident **ret_incident) SKINK_ANY_THREAD;

/* The same for the nth newest; 0 is the newest. */
SKINK_NODISCARD SKINK_API int skink_incident_newest(skink_recovery *recovery, size_t nth,
                                                    skink_incident **ret_incident) SKINK_ANY_THREAD;

/* Free a copy. NULL is fine. */
SKINK_API void skink_incident_free(skink_incident *incident) SKINK_ANY_THREAD;

/*
 * One as a JSON object, as it is in its file. The text ends with a newline and a NUL; ret_length (may be NULL) does not
 * count the NUL. On 0 the caller owns it and frees it with skink_incident_json_free().
 *   -EINVAL, -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_incident_json(const skink_incident *incident, char **ret_text,
                                                  size_t *ret_length) SKINK_ANY_THREAD;

/* The same for all that are kept: an array of such objects, newest first. */
SKINK_NODISCARD SKINK_API int skink_incidents_json(skink_recovery *recovery, char **ret_text,
                                                   size_t *ret_length) SKINK_ANY_THREAD;

/* Free either text. NULL is fine. */
SKINK_API void skink_incident_json_free(char *text) SKINK_ANY_THREAD;

#ifdef __cplusplus
}
#endif
#endif
