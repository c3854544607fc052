/* SPDX-License-Identifier: MIT */
/* recovery/slice_clock.c - effective time; see slice_clock.h. */
#include "recovery/slice_clock.h"

/* A slice is first seen up to one period after it began. Of the 5 % of the timeout that a declaration may be late, that
 * takes 4.2 and leaves the rest to a timer's lateness. Each look costs a wake-up, so no more of them than needed. */
#define LOOKS_PER_TIMEOUT 24
#define SHORTEST_PERIOD_NS UINT64_C(1000000)
/* With a long timeout more often than that: the next slice may be the first one that has a short timeout of its own. */
#define LONGEST_PERIOD_NS UINT64_C(100000000)

/* Of one interval at most this many periods count: a watchdog that was itself kept from looking for longer knows
 * nothing of what the loop thread could have done meanwhile. */
#define PERIODS_THAT_COUNT 2

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

/* Counters of the kernel that are read one after the other may step back a little against each other. */
static uint64_t since(uint64_t now, uint64_t then)
{
    return now > then ? now - then : 0;
}

void skink__slice_clock_reset(struct skink__slice_clock *clock)
{
    *clock = (struct skink__slice_clock){ 0 };
}

/* The counters that a report is to tell the growth of. */
static void note_first(struct skink__slice_clock *clock, const struct skink__reading *reading)
{
    if (!clock->has_first_cpu) clock->first_cpu_ns = reading->cpu_ns;
    if (!clock->has_first_run_delay) clock->first_run_delay_ns = reading->run_delay_ns;
    clock->has_first_cpu |= reading->has_cpu;
    clock->has_first_run_delay |= reading->has_run_delay;
}

void skink__slice_clock_start(struct skink__slice_clock *clock, uint64_t slice, const struct skink__reading *reading)
{
    *clock = (struct skink__slice_clock){
        .slice = slice, .first_seen_ns = reading->now_ns, .last = *reading, .running = true
    };
    note_first(clock, reading);
}

static bool is_stopped(char state)
{
    return state == 'T' || state == 't';
}

/* What counts of `span_ns`, for a thread that is not stopped. */
static uint64_t count(const struct skink__reading *last, const struct skink__reading *reading, uint64_t span_ns)
{
    /* Runnable: it may be waiting for a processor at this moment, and that wait is in no counter before it ends. So
     * only what it did get counts. */
    if (reading->state == 'R' && reading->has_cpu && last->has_cpu)
        return at_most(since(reading->cpu_ns, last->cpu_ns), span_ns);
    /* Blocked: all of it counts, but for waits for a processor before it blocked; those are over, hence known. */
    if (reading->has_run_delay && last->has_run_delay)
        return span_ns - at_most(since(reading->run_delay_ns, last->run_delay_ns), span_ns);
    return span_ns;
}

struct skink__interval skink__slice_clock_advance(struct skink__slice_clock *clock, uint64_t period_ns,
                                                  const struct skink__reading *reading, bool in_runtime)
{
    struct skink__interval interval = { 0 };
    uint64_t passed_ns = since(reading->now_ns, clock->last.now_ns);
    uint64_t span_ns = is_stopped(reading->state) ? 0 : at_most(passed_ns, PERIODS_THAT_COUNT * period_ns);

    interval.suspended_ns = passed_ns - span_ns;
    interval.counted_ns = count(&clock->last, reading, span_ns);
    interval.starved_ns = span_ns - interval.counted_ns;

    clock->effective_ns += interval.counted_ns;
    clock->wall_ns += span_ns;
    clock->runtime_ns = in_runtime ? clock->runtime_ns + interval.counted_ns : 0;
    note_first(clock, reading);
    clock->last = *reading;
    return interval;
}

uint64_t skink__slice_clock_remaining(const struct skink__slice_clock *clock, uint64_t timeout_ns)
{
    return since(timeout_ns, clock->effective_ns);
}

bool skink__slice_clock_is_due(const struct skink__slice_clock *clock, uint64_t timeout_ns)
{
    return clock->effective_ns >= timeout_ns;
}

bool skink__slice_clock_is_at_ceiling(const struct skink__slice_clock *clock, uint64_t timeout_ns, uint32_t factor)
{
    return clock->wall_ns / factor >= timeout_ns; /* a product could overflow */
}

uint64_t skink__slice_clock_cpu(const struct skink__slice_clock *clock)
{
    return clock->has_first_cpu && clock->last.has_cpu ? since(clock->last.cpu_ns, clock->first_cpu_ns) : 0;
}

uint64_t skink__slice_clock_run_delay(const struct skink__slice_clock *clock)
{
    if (!clock->has_first_run_delay || !clock->last.has_run_delay) return 0;
    return since(clock->last.run_delay_ns, clock->first_run_delay_ns);
}

uint64_t skink__slice_clock_period(uint64_t timeout_ns)
{
    uint64_t period_ns = timeout_ns / LOOKS_PER_TIMEOUT;
    if (period_ns > LONGEST_PERIOD_NS) return LONGEST_PERIOD_NS;
    return period_ns > SHORTEST_PERIOD_NS ? period_ns : SHORTEST_PERIOD_NS;
}
