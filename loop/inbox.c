/* SPDX-License-Identifier: MIT */
/*
 * inbox.c - a list that many push to and one takes whole.
 *
 * Pushing by compare-exchange and taking everything by exchange is R. K. Treiber's stack (IBM, 1986) without its pop,
 * and so without its ABA problem. Reversing what was taken gives the order of posting, for each poster.
 */
#include "loop/inbox.h"
#include "loop/hooks.h"
#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Two addresses that no message can have. */
static struct skink__message asleep, closed;
#define ASLEEP (&asleep)
#define CLOSED (&closed)

int skink__inbox_init(struct skink__inbox *inbox)
{
    atomic_init(&inbox->head, NULL);
    inbox->wakeup_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return inbox->wakeup_fd < 0 ? -errno : 0;
}

void skink__inbox_fini(struct skink__inbox *inbox)
{
    if (inbox->wakeup_fd >= 0) close(inbox->wakeup_fd);
    inbox->wakeup_fd = -1;
}

void skink__inbox_wake(struct skink__inbox *inbox)
{
    uint64_t one = 1;
    ssize_t written = write(inbox->wakeup_fd, &one, sizeof one);
    (void)written; /* EAGAIN: the counter is full, so the loop is woken already */
}

bool skink__inbox_post(struct skink__inbox *inbox, struct skink__message *message)
{
    /* Acquire, here and when the exchange fails: who is refused comes after all that the loop did before it closed. */
    struct skink__message *head = atomic_load_explicit(&inbox->head, memory_order_acquire);
    do {
        if (head == CLOSED) return false;
        message->next = head == ASLEEP ? NULL : head;
        /* Release: the taker's acquire sees the message whole. */
    } while (!atomic_compare_exchange_weak_explicit(&inbox->head, &head, message, memory_order_release,
                                                    memory_order_acquire));
    /* Only who replaced ASLEEP owes a wake-up. Should the loop wake by itself before this write, it finds the message,
     * and a readable eventfd costs it one turn. */
    if (head == ASLEEP) skink__inbox_wake(inbox);
    return true;
}

static struct skink__message *oldest_first(struct skink__message *newest)
{
    struct skink__message *list = NULL;
    while (newest) {
        struct skink__message *next = newest->next;
        newest->next = list;
        list = newest;
        newest = next;
    }
    return list;
}

struct skink__message *skink__inbox_take(struct skink__inbox *inbox)
{
    struct skink__message *head = atomic_load_explicit(&inbox->head, memory_order_relaxed);
    if (!head) return NULL;
    /* Acquire: pairs with the release of every post in the list (they form one release sequence). */
    head = atomic_exchange_explicit(&inbox->head, NULL, memory_order_acquire);
    SKINK_ASSERT(head != CLOSED);
    return head == ASLEEP ? NULL : oldest_first(head);
}

bool skink__inbox_is_empty(const struct skink__inbox *inbox)
{
    struct skink__message *head = atomic_load_explicit(&inbox->head, memory_order_relaxed);
    return !head || head == ASLEEP || head == CLOSED;
}

bool skink__inbox_sleep(struct skink__inbox *inbox)
{
    struct skink__message *expected = NULL;
    return atomic_compare_exchange_strong_explicit(&inbox->head, &expected, ASLEEP, memory_order_relaxed,
                                                   memory_order_relaxed) ||
           expected == ASLEEP;
}

struct skink__message *skink__inbox_close(struct skink__inbox *inbox)
{
    /* Acquire for the messages; release for who is refused from now on. */
    struct skink__message *head = atomic_exchange_explicit(&inbox->head, CLOSED, memory_order_acq_rel);
    return head == ASLEEP || head == CLOSED ? NULL : oldest_first(head);
}

bool skink__inbox_close_if_empty(struct skink__inbox *inbox)
{
    struct skink__message *head = atomic_load_explicit(&inbox->head, memory_order_relaxed);
    do {
        if (head && head != ASLEEP) return head == CLOSED;
        /* Release for who is refused from now on. */
    } while (!atomic_compare_exchange_weak_explicit(&inbox->head, &head, CLOSED, memory_order_release,
                                                    memory_order_relaxed));
    return true;
}

void skink__inbox_open(struct skink__inbox *inbox)
{
    struct skink__message *expected = CLOSED;
    atomic_compare_exchange_strong(&inbox->head, &expected, NULL);
}
