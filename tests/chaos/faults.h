/* SPDX-License-Identifier: MIT */
/*
 * tests/chaos/faults.h - failures of memory, mappings, threads and sockets, at random.
 *
 * The calls are wrapped by the linker (--wrap) in the library's own code, which is linked statically; libuv's are left
 * alone, since libuv ends the process when its memory or its epoll fails.
 */
#ifndef SKINK_TESTS_CHAOS_FAULTS_H
#define SKINK_TESTS_CHAOS_FAULTS_H
#include <stdint.h>

/* Install the allocator's hooks; once, before anything else of skink. */
void faults_install(void);

/* One call in `one_in` fails from now on; 0: none does. */
void faults_set_rate(uint32_t one_in);

/* How many have been made to fail. */
uint64_t faults_count(void);

/* A random number for the calling thread; each thread's sequence follows from the seed and the thread's own number. */
uint32_t chaos_random(uint32_t below);
void chaos_seed(uint64_t seed);
#endif
