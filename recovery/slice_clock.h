/* SPDX-License-Identifier: MIT */
/*
 * recovery/slice_clock.h - how much of a slice's time counts towards its timeout.
 *
 * Pure functions over samples: no thread, no clock and no /proc in here, so every rule can be tested by itself.
 * docs/recovery.md, "Effective time", says why each of them is there.
 */
#ifndef SKINK_RECOVERY_SLICE_CLOCK_H
#define SKINK_RECOVERY_SLICE_CLOCK_H
#include <stdbool.h>
#include <stdint.h>

#define SKINK__STATE_UNKNOWN '?'

/* What the watchdog knows of a loop thread at one moment. */
struct skink__reading {
    uint64_t now_ns;
    uint64_t cpu_ns;       /* processor time of the thread so far; valid with has_cpu                         */
    uint64_t run_delay_ns; /* time it has waited for a processor, waits that are over only; with has_run_delay */
    char state;            /* as in /proc: R running or waiting to run, S and D blocked, T and t stopped       */
    bool has_cpu;
    bool has_run_delay;
};

/* What became of the time between two samples. */
struct skink__interval {
    uint64_t counted_ns;
    uint64_t starved_ns;   /* not counted: the thread did not get the processor              */
    uint64_t suspended_ns; /* not counted: thread or process was stopped, or the watchdog late */
};

/* One slice as the samples saw it. */
struct skink__slice_clock {
    uint64_t slice;         /* n of the lease; meaningless while !running */
    uint64_t first_seen_ns; /* never before the slice began               */
    uint64_t effective_ns;  /* what counts                                */
    uint64_t wall_ns;       /* the same without regard to starvation: the ceiling is measured against this */
    uint64_t runtime_ns;    /* what counted since it was last seen in host code */
    struct skink__reading last;
    bool running; /* some slice is being timed */

    /* For reports: the counters at the first sighting, and at the first one that read the run delay as well. */
    uint64_t first_cpu_ns;
    uint64_t first_run_delay_ns;
    bool has_first_cpu;
    bool has_first_run_delay;
};

/* Forget the slice; the next sighting is a first one. */
void skink__slice_clock_reset(struct skink__slice_clock *clock);

/* First sighting of slice n. Only now_ns and cpu_ns of the reading need be there. */
void skink__slice_clock_start(struct skink__slice_clock *clock, uint64_t slice, const struct skink__reading *reading);

/* A later sighting of the same slice, in the runtime section or in host code. period_ns: the watchdog's. */
struct skink__interval skink__slice_clock_advance(struct skink__slice_clock *clock, uint64_t period_ns,
                                                  const struct skink__reading *reading, bool in_runtime);

/* How long until a slice with this timeout is due, if nothing disturbs it; 0: now. */
uint64_t skink__slice_clock_remaining(const struct skink__slice_clock *clock, uint64_t timeout_ns);

/* The slice has had its timeout, or as much wall time as starvation is granted. */
bool skink__slice_clock_is_due(const struct skink__slice_clock *clock, uint64_t timeout_ns);
bool skink__slice_clock_is_at_ceiling(const struct skink__slice_clock *clock, uint64_t timeout_ns, uint32_t factor);

/* What the thread has used in the slice, and what it waited for a processor since the second sighting; 0 if unknown. */
uint64_t skink__slice_clock_cpu(const struct skink__slice_clock *clock);
uint64_t skink__slice_clock_run_delay(const struct skink__slice_clock *clock);

/* How often to look at slices with this timeout. */
uint64_t skink__slice_clock_period(uint64_t timeout_ns);
#endif
