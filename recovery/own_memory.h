/* SPDX-License-Identifier: MIT */
/*
 * recovery/own_memory.h - reading memory of this process that may be gone, or may be changing, at this moment.
 *
 * The kernel copies it: an address that is not mapped is an answer and not a crash, and no sanitizer minds whose it is.
 * Any thread. What is read while somebody writes it may be anything; who asks must be able to tell.
 */
#ifndef SKINK_RECOVERY_OWN_MEMORY_H
#define SKINK_RECOVERY_OWN_MEMORY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All of it, or false. */
bool skink__own_memory_read(uintptr_t address, void *to, size_t bytes);

/* Words of a stack, from a copy of the page that they are on. */
struct skink__stack_reader {
    uintptr_t page; /* 0: none yet */
    unsigned char bytes[4096];
};

/* False when it cannot be read, or the address is not a word's. */
bool skink__stack_word(struct skink__stack_reader *reader, uintptr_t address, uintptr_t *ret_word);
#endif
