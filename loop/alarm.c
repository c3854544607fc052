/* SPDX-License-Identifier: MIT */
/* loop/alarm.c - see alarm.h. */
#include "loop/alarm.h"
#include "loop/descriptor.h"
#include "skink/clock.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* Does anybody want it by now? */
#define ASK_AGAIN_MS 10

int skink__alarm_open(struct skink__alarm *alarm)
{
    if (atomic_load_explicit(&alarm->fd, memory_order_relaxed)) return 0;
    int fd = skink__descriptor_not_zero(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (fd < 0) return fd;
    atomic_store_explicit(&alarm->fd, fd, memory_order_relaxed);
    return 0;
}

void skink__alarm_fini(struct skink__alarm *alarm)
{
    int fd = atomic_load_explicit(&alarm->fd, memory_order_relaxed);
    if (fd) close(fd);
}

void skink__alarm_want(struct skink__alarm *alarm, uint64_t period_ns, uint64_t timeout_ns)
{
    atomic_store_explicit(&alarm->timeout_ns, timeout_ns, memory_order_relaxed);
    atomic_store_explicit(&alarm->period_ns, period_ns, memory_order_release);
}

static void set(struct skink__alarm *alarm, uint64_t delay_ns)
{
    struct itimerspec time = { .it_value = { .tv_sec = (time_t)(delay_ns / SKINK_S),
                                             .tv_nsec = (long)(delay_ns % SKINK_S) } };
    timerfd_settime(atomic_load_explicit(&alarm->fd, memory_order_relaxed), 0, &time, NULL);
}

void skink__alarm_set(struct skink__alarm *alarm, uint64_t period_ns)
{
    set(alarm, period_ns);
}

void skink__alarm_go_off(struct skink__alarm *alarm)
{
    if (atomic_load_explicit(&alarm->fd, memory_order_relaxed)) set(alarm, 1);
}

static bool is_for_longer(const struct skink__alarm *alarm, const _Atomic uint64_t *shortest_timeout_ns)
{
    return atomic_load_explicit(shortest_timeout_ns, memory_order_relaxed) <
           atomic_load_explicit(&alarm->timeout_ns, memory_order_relaxed);
}

void skink__alarm_put_off_now(struct skink__alarm *alarm, uint64_t now_ms, const _Atomic uint64_t *shortest_timeout_ns)
{
    /* Acquire: fd and timeout are there. */
    uint64_t period_ns = atomic_load_explicit(&alarm->period_ns, memory_order_acquire);
    alarm->next_ms = now_ms + (period_ns ? period_ns / SKINK_MS / 2 : ASK_AGAIN_MS);
    if (!period_ns || is_for_longer(alarm, shortest_timeout_ns)) return;
    uint64_t set_ns;
    do {
        skink__alarm_set(alarm, set_ns = period_ns);
        /* The watchdog stores a period, and only later sets the alarm by it. If we were kept from our processor until
         * then, we have just undone that; and its store, before a lock of the kernel's that we had
         * after it, is there. */
        period_ns = atomic_load_explicit(&alarm->period_ns, memory_order_relaxed);
    } while (period_ns && period_ns != set_ns);
    /* The same with a timeout that has come into use, and the alarm that it has made go off. */
    if (is_for_longer(alarm, shortest_timeout_ns)) skink__alarm_go_off(alarm);
}
