/* SPDX-License-Identifier: MIT */
/* middleware/deadline_list.c - deadlines of fixed lengths on one timer (deadline_list.h says why). */
#include "middleware/deadline_list.h"
#include "loop/hooks.h"
#include "skink/clock.h"
#include <stddef.h>

static void arm(struct skink__deadlines *deadlines, uint64_t at_ns, uint64_t now_ns);

/* The earliest deadline of all; UINT64_MAX without one. */
static uint64_t earliest(const struct skink__deadlines *deadlines)
{
    uint64_t at_ns = UINT64_MAX;
    for (const struct skink__deadline_list *list = deadlines->lists; list; list = list->next)
        if (list->head.next != &list->head && list->head.next->at_ns < at_ns) at_ns = list->head.next->at_ns;
    return at_ns;
}

static void on_timer(uv_timer_t *timer)
{
    struct skink__deadlines *deadlines =
        (struct skink__deadlines *)((char *)timer - offsetof(struct skink__deadlines, timer));
    uint64_t now_ns = skink_now();
    for (struct skink__deadline_list *list = deadlines->lists; list; list = list->next) {
        /* An expired function may take entries off any list, or put them on: look at the head anew each time. What it
         * puts on this list is due later than now, so this ends. */
        while (list->head.next != &list->head && list->head.next->at_ns <= now_ns) {
            struct skink__deadline *entry = list->head.next;
            skink__deadline_clear(entry);
            list->expired(entry, deadlines->arg);
        }
    }
    deadlines->armed_ns = UINT64_MAX;
    uint64_t at_ns = earliest(deadlines);
    if (at_ns != UINT64_MAX) arm(deadlines, at_ns, now_ns);
}

static void arm(struct skink__deadlines *deadlines, uint64_t at_ns, uint64_t now_ns)
{
    if (uv_is_closing((uv_handle_t *)&deadlines->timer)) return;
    deadlines->armed_ns = at_ns;
    /* Rounded up, and the loop's own idea of now may be old: a timer that comes early is armed again. */
    uint64_t wait_ms = at_ns > now_ns ? (at_ns - now_ns + SKINK_MS - 1) / SKINK_MS : 0;
    int err = uv_timer_start(&deadlines->timer, on_timer, wait_ms, 0);
    SKINK_ASSERT(err == 0); /* it only fails without a callback or when closing */
}

int skink__deadlines_init(struct skink__deadlines *deadlines, uv_loop_t *loop, void *arg)
{
    deadlines->armed_ns = UINT64_MAX;
    deadlines->arg = arg;
    return uv_timer_init(loop, &deadlines->timer);
}

void skink__deadline_list_init(struct skink__deadline_list *list, struct skink__deadlines *owner, uint64_t timeout_ns,
                               void (*expired)(struct skink__deadline *entry, void *arg))
{
    *list = (struct skink__deadline_list){
        .timeout_ns = timeout_ns, .owner = owner, .next = owner->lists, .expired = expired
    };
    list->head.next = list->head.previous = &list->head;
    owner->lists = list;
}

void skink__deadline_set(struct skink__deadline_list *list, struct skink__deadline *entry, uint64_t now_ns)
{
    skink__deadline_clear(entry);
    struct skink__deadline *before = list->head.previous;
    entry->at_ns = skink__later(now_ns, atomic_load_explicit(&list->timeout_ns, memory_order_relaxed));
    /* now_ns may have been read a little before that of the entry in front. */
    while (before != &list->head && entry->at_ns < before->at_ns)
        before = before->previous;
    entry->previous = before;
    entry->next = before->next;
    entry->next->previous = entry;
    before->next = entry;
    if (entry->at_ns < list->owner->armed_ns) arm(list->owner, entry->at_ns, now_ns);
}

void skink__deadline_clear(struct skink__deadline *entry)
{
    if (!entry->next) return;
    entry->previous->next = entry->next;
    entry->next->previous = entry->previous;
    entry->next = entry->previous = NULL;
}
