/* SPDX-License-Identifier: MIT */
/*
 * app/log_ring.h - lines on their way from any thread to the one that writes them: bounded, without a lock.
 *
 * Who has a line claims a slot, fills it in and publishes it; the writer takes them in the order of the claims. When
 * all slots are in use there is none to be had, and the line is dropped: nobody waits for a slow disk but the writer.
 */
#ifndef SKINK_APP_LOG_RING_H
#define SKINK_APP_LOG_RING_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LOG_LINE_BYTES 1200 /* less than PIPE_BUF, so that a pipe takes a line whole or not at all */

struct log_slot {
    _Atomic uint64_t turn; /* whose turn it is: a writer's position, or a reader's plus one */
    uint64_t position;     /* of who has it */
    uint16_t length;
    uint8_t output; /* index of the log that it is for */
    char text[LOG_LINE_BYTES];
};

/* Make the ring. False without memory. Once, before there are threads. */
bool skink__log_ring_open(void);

/* A slot to fill in; NULL: all are in use. Any thread. */
struct log_slot *skink__log_ring_claim(void);
void skink__log_ring_publish(struct log_slot *slot);

/* The oldest line; NULL: there is none, or it has not been published yet. One thread, which gives it back. */
struct log_slot *skink__log_ring_take(void);
void skink__log_ring_release(struct log_slot *slot);
#endif
