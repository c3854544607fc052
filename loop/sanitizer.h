/* SPDX-License-Identifier: MIT */
/*
 * loop/sanitizer.h - which sanitizer this file is being compiled for, whatever the compiler calls it.
 *
 * The macros are always defined, as 0 or 1, so that a misspelt one is a warning (-Wundef) and not a quiet "no".
 */
#ifndef SKINK_LOOP_SANITIZER_H
#define SKINK_LOOP_SANITIZER_H

#ifdef __has_feature
#define SKINK__HAS_FEATURE(feature) __has_feature(feature)
#else
#define SKINK__HAS_FEATURE(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || SKINK__HAS_FEATURE(address_sanitizer)
#define SKINK__ASAN 1
#else
#define SKINK__ASAN 0
#endif

#if defined(__SANITIZE_THREAD__) || SKINK__HAS_FEATURE(thread_sanitizer)
#define SKINK__TSAN 1
#else
#define SKINK__TSAN 0
#endif

/* The build for Valgrind (preset `valgrind`), which has to be told where stacks are. */
#ifdef SKINK_VALGRIND
#define SKINK__VALGRIND 1
#else
#define SKINK__VALGRIND 0
#endif

/* On a function whose entries and exits TSan must not count, as it does not leave where it has entered. clang's
 * no_sanitize("thread") leaves out the memory accesses only. */
#if !SKINK__TSAN
#define SKINK__UNSEEN_BY_TSAN
#elif defined(__clang__)
#define SKINK__UNSEEN_BY_TSAN __attribute__((disable_sanitizer_instrumentation))
#else
#define SKINK__UNSEEN_BY_TSAN __attribute__((no_sanitize("thread")))
#endif
#endif
