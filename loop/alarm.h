/* SPDX-License-Identifier: MIT */
/*
 * loop/alarm.h - the watchdog's next look at a scheduler, which a loop that turns puts off.
 *
 * A slice must be looked at within one period of its beginning. A watchdog that looks once per period does that
 * whatever the loop does, but while the loop turns it wakes up for nothing, and a wake-up is nearly all that a look
 * costs. So it waits for a timerfd that both sides set, always to one period from that moment:
 *
 *     watchdog       when it has looked
 *     loop thread    between two slices, about twice per period
 *
 * At the moment of a look a slice that runs has been seen, and at the moment of the other no slice runs. So whichever
 * came last before a slice began, the next look comes within a period of its beginning. A loop that is stuck puts
 * nothing off. The loop reads no clock for it: libuv has just done so. A timeout that asks for a shorter period makes
 * the alarm go off before the first task that has it can run; who has put it off at that moment looks for that
 * afterwards. tests/model/alarm.pml is all of this in Promela.
 *
 * The timerfd stays open as long as the scheduler's memory is there, as a loop thread may be about to set it.
 */
#ifndef SKINK_LOOP_ALARM_H
#define SKINK_LOOP_ALARM_H
#include <stdatomic.h>
#include <stdint.h>

/* All zero: there is none. */
struct skink__alarm {
    /* The timerfd, or 0. Set once, by the first who watches; before period_ns, whose release publishes it. */
    _Atomic int fd;
    /* 0: nobody wants it. Watchdog writes. */
    _Atomic uint64_t period_ns;
    /* The shortest timeout that the period is good for. Watchdog writes, before period_ns. */
    _Atomic uint64_t timeout_ns;
    /* Runtime: not to be put off before libuv's time is this. */
    uint64_t next_ms;
};

/* 0, or a negative errno. Only who has claimed the scheduler's doorbell calls it. */
int skink__alarm_open(struct skink__alarm *alarm);
void skink__alarm_fini(struct skink__alarm *alarm);

/* Watchdog: from now on the loop puts it off by so much; 0: no more. */
void skink__alarm_want(struct skink__alarm *alarm, uint64_t period_ns, uint64_t timeout_ns);

/* One period from now. Watchdog. */
void skink__alarm_set(struct skink__alarm *alarm, uint64_t period_ns);

/* Any thread, when a timeout has come into use that is shorter than any before: it goes off at once. */
void skink__alarm_go_off(struct skink__alarm *alarm);

/* Loop thread, between two slices. shortest_timeout_ns is of the scheduler's tasks: with a shorter one than the
 * watchdog knows of, the alarm is to go off. */
void skink__alarm_put_off_now(struct skink__alarm *alarm, uint64_t now_ms, const _Atomic uint64_t *shortest_timeout_ns);
#endif
