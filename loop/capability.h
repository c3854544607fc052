/* SPDX-License-Identifier: MIT */
/*
 * loop/capability.h - what a thread must hold to touch something, in words that clang checks (-Wthread-safety).
 *
 * A capability is a mutex, or a right that is passed on without one: to be in a runtime section. A field says what
 * guards it, a function what its caller must hold, or what it takes or gives back; the compiler follows each path
 * through each function. With gcc all of this is empty, and with either it costs nothing when the program runs.
 *
 *     struct skink__deadline_heap heap SKINK__GUARDED_BY(skink__runtime_section);
 *     void skink__deadlines_arm(skink_scheduler *scheduler) SKINK__REQUIRES(skink__runtime_section);
 *
 * A field of a C structure cannot name the mutex beside it. So for such a mutex there is an object with nothing in it
 * (struct skink__capability) that stands for every mutex of its kind; it is declared and never defined. What that
 * proves is that some mutex of the kind is held, not which. The same goes for the runtime section: of some scheduler.
 *
 * The analysis sees one function at a time and believes the declarations. It does not see through function pointers,
 * nor through the address of a guarded field. What is known by other means is said by SKINK__ASSERTS
 * (skink__assume_runtime()), with the reason beside it: at run time nothing is checked there. CONTRIBUTING.md says how
 * to annotate.
 */
#ifndef SKINK_LOOP_CAPABILITY_H
#define SKINK_LOOP_CAPABILITY_H
#include <pthread.h>

#if defined(__clang__)
#define SKINK__CAPABILITY_ATTRIBUTE(x) __attribute__((x))
#else
#define SKINK__CAPABILITY_ATTRIBUTE(x)
#endif

/* On a type: its objects can be held. */
#define SKINK__IS_CAPABILITY(kind) SKINK__CAPABILITY_ATTRIBUTE(capability(kind))

/* On a variable or field: to read or write it. What a pointer points to is not meant. */
#define SKINK__GUARDED_BY(held) SKINK__CAPABILITY_ATTRIBUTE(guarded_by(held))

/* On a function: its caller holds it, before and after; or does not (it will be taken inside). */
#define SKINK__REQUIRES(...) SKINK__CAPABILITY_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define SKINK__EXCLUDES(...) SKINK__CAPABILITY_ATTRIBUTE(locks_excluded(__VA_ARGS__))

/* On a function: its caller does not hold it before, and does afterwards (TRY: if it returned
 * `result`); and the reverse. */
#define SKINK__ACQUIRES(...) SKINK__CAPABILITY_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define SKINK__TRY_ACQUIRES(result, ...) SKINK__CAPABILITY_ATTRIBUTE(try_acquire_capability(result, __VA_ARGS__))
#define SKINK__RELEASES(...) SKINK__CAPABILITY_ATTRIBUTE(release_capability(__VA_ARGS__))

/* On a function: where it returns, it is held. */
#define SKINK__ASSERTS(held) SKINK__CAPABILITY_ATTRIBUTE(assert_capability(held))

/* The same as RELEASES, but it may be that it is not held. */
#define SKINK__DROPS(held) SKINK__ASSERTS(held) SKINK__RELEASES(held)

/* On a function: its body is not looked at. For those that take and give back what clang cannot follow. */
#define SKINK__UNCHECKED SKINK__CAPABILITY_ATTRIBUTE(no_thread_safety_analysis)

struct SKINK__IS_CAPABILITY("capability") skink__capability {
    char nothing;
};

/* What stands for all mutexes of a kind. Weak, as a build without optimisation takes its address below. */
#define SKINK__CAPABILITY(name) extern const struct skink__capability name __attribute__((weak))

/* A statement that does nothing: it is as if that were held, from here to the end of the function. The reason belongs
 * beside it: mostly that nobody else knows the object yet, or any more. */
#if defined(__clang__)
static inline void skink__assume(const struct skink__capability *held) SKINK__ASSERTS(*held)
{
    (void)held;
}
#define SKINK__ASSUME(held) skink__assume(&(held))
#else
#define SKINK__ASSUME(held) ((void)0)
#endif

/* ---- a mutex that can be named where it guards something: a variable of a file ---- */

typedef SKINK__IS_CAPABILITY("mutex") pthread_mutex_t skink__mutex;

static inline void skink__mutex_lock(skink__mutex *mutex) SKINK__ACQUIRES(*mutex) SKINK__UNCHECKED
{
    pthread_mutex_lock(mutex);
}

static inline void skink__mutex_unlock(skink__mutex *mutex) SKINK__RELEASES(*mutex) SKINK__UNCHECKED
{
    pthread_mutex_unlock(mutex);
}

/* ---- the runtime section (loop/runtime.h) ---- */

/* The calling thread may touch what belongs to a scheduler: it is its loop thread between enter and leave, in a libuv
 * callback or in the loop itself; or the scheduler is its alone for another reason. */
SKINK__CAPABILITY(skink__runtime_section);

/* The calling thread has called enter and owes a leave. */
SKINK__CAPABILITY(skink__entered);

/* The calling thread looks at what the task of a slice works on,
 * which cannot end meanwhile (loop/lease.h, transition p). */
SKINK__CAPABILITY(skink__lease_peeked);

/* A field of the runtime's; a function in the runtime section; one that is entered in it and comes back out of it. */
#define SKINK__OF_RUNTIME SKINK__GUARDED_BY(skink__runtime_section)
#define SKINK__IN_RUNTIME SKINK__REQUIRES(skink__runtime_section)
#define SKINK__LEAVES_RUNTIME SKINK__RELEASES(skink__runtime_section) SKINK__DROPS(skink__entered)

/* The caller knows that it is in the runtime section, for a reason that the compiler cannot see.
 * Says so, and does nothing. */
static inline void skink__assume_runtime(void) SKINK__ASSERTS(skink__runtime_section)
{
}

/* It has been handed to another thread, in a way that the compiler cannot see. Does nothing, either. */
static inline void skink__pass_on_runtime(void) SKINK__RELEASES(skink__runtime_section) SKINK__UNCHECKED
{
}
#endif
