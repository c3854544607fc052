/* SPDX-License-Identifier: MIT */
/* app/log_ring.c - a ring of slots with turns: many claim, one takes (see log_ring.h). */
#include "app/log_ring.h"
#include <stdlib.h>

enum { SLOTS = 1024 }; /* a power of two */

static struct log_slot *slots;
static _Atomic uint64_t claimed; /* positions given out */
static uint64_t taken;           /* the taker's */

bool skink__log_ring_open(void)
{
    if (slots) return true;
    slots = calloc(SLOTS, sizeof *slots);
    for (uint64_t i = 0; slots && i < SLOTS; i++)
        atomic_init(&slots[i].turn, i);
    return slots != NULL;
}

struct log_slot *skink__log_ring_claim(void)
{
    uint64_t position = atomic_load_explicit(&claimed, memory_order_relaxed);
    for (;;) {
        struct log_slot *slot = &slots[position % SLOTS];
        /* Acquire: what the taker did with the slot before is over. */
        int64_t ahead = (int64_t)(atomic_load_explicit(&slot->turn, memory_order_acquire) - position);
        if (ahead < 0) return NULL;
        if (ahead > 0) {
            position = atomic_load_explicit(&claimed, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(&claimed, &position, position + 1, memory_order_relaxed,
                                                         memory_order_relaxed)) {
            slot->position = position;
            return slot;
        }
    }
}

void skink__log_ring_publish(struct log_slot *slot)
{
    atomic_store_explicit(&slot->turn, slot->position + 1, memory_order_release);
}

struct log_slot *skink__log_ring_take(void)
{
    struct log_slot *slot = &slots[taken % SLOTS];
    return atomic_load_explicit(&slot->turn, memory_order_acquire) == taken + 1 ? slot : NULL;
}

void skink__log_ring_release(struct log_slot *slot)
{
    taken++;
    atomic_store_explicit(&slot->turn, slot->position + SLOTS, memory_order_release);
}
