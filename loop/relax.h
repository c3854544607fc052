/* SPDX-License-Identifier: MIT */
/*
 * loop/relax.h - what a thread does that looks at a word of another's again and again for a microsecond or two.
 *
 * It leaves the core to its neighbour, and the cache line to its writer.
 */
#ifndef SKINK_LOOP_RELAX_H
#define SKINK_LOOP_RELAX_H

static inline void skink__relax(void)
{
#if defined __x86_64__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("isb");
#endif
}
#endif
