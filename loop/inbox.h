/* SPDX-License-Identifier: MIT */
/*
 * loop/inbox.h - what other threads hand to the loop: many posters, one taker, no lock.
 *
 * One atomic word: NULL (empty, the loop is awake), ASLEEP (empty, the loop is about to poll or polls), CLOSED,
 * or the newest message of a list. A poster that replaces ASLEEP writes to the eventfd; one that finds NULL or a
 * message knows that the loop will look here before it sleeps. That is the whole wake-up protocol: there is
 * no second variable to disagree with.
 */
#ifndef SKINK_LOOP_INBOX_H
#define SKINK_LOOP_INBOX_H
#include "loop/capability.h"
#include "skink/scheduler.h"
#include <stdatomic.h>
#include <stdbool.h>

/* Lives inside what is handed over, and belongs to the inbox from the post until deliver is called. */
struct skink__message {
    struct skink__message *next; /* skink__inbox.head, newest first */
    /* On the loop thread, in the runtime section; the message is the receiver's from here on. `closed`: the
     * scheduler is stopping for good and the message will not be acted on: only let go of what it holds. (A task may be
     * made ready: what is ready is dropped next.) */
    void (*deliver)(skink_scheduler *scheduler, struct skink__message *message, bool closed);
};

struct skink__inbox {
    _Alignas(64) _Atomic(struct skink__message *) head;
    int wakeup_fd; /* an eventfd of our own; open for as long as the scheduler's memory lives */
};

/* -EMFILE, -ENFILE, -ENOMEM */
int skink__inbox_init(struct skink__inbox *inbox);
void skink__inbox_fini(struct skink__inbox *inbox);

/* Hand a message over; from one thread, in order. False: closed, the message is still the caller's.
 * Any thread, strays and signal handlers included; never blocks. */
bool skink__inbox_post(struct skink__inbox *inbox, struct skink__message *message);

/* Make the loop go round once, whatever is in the inbox. Any thread, also signal handlers. */
void skink__inbox_wake(struct skink__inbox *inbox);

/* Loop thread: everything there is, oldest first; the loop counts as awake afterwards. */
struct skink__message *skink__inbox_take(struct skink__inbox *inbox) SKINK__IN_RUNTIME;

/* Loop thread: is there anything? One relaxed load: a message that is missed is seen at the next look. */
bool skink__inbox_is_empty(const struct skink__inbox *inbox) SKINK__IN_RUNTIME;

/* Loop thread, right before poll: true if it may sleep: the inbox is empty, and the next post will wake it. */
bool skink__inbox_sleep(struct skink__inbox *inbox) SKINK__IN_RUNTIME;

/* No more posts; what is there, oldest first, for the caller to deliver with `closed`. */
struct skink__message *skink__inbox_close(struct skink__inbox *inbox);

/* The same, unless there is something (false): then nothing has happened. */
bool skink__inbox_close_if_empty(struct skink__inbox *inbox);

/* Undo a close, before a new start. */
void skink__inbox_open(struct skink__inbox *inbox);
#endif
