/* SPDX-License-Identifier: MIT */
/* middleware/quarantine.c - strikes, quarantine, trial (quarantine.h has the picture). */
#include "middleware/quarantine.h"
#include "middleware/deadline_list.h"
#include "skink/clock.h"

static void set_state(struct skink__quarantine *quarantine, enum skink__quarantine_state state)
{
    atomic_store_explicit(&quarantine->state, (uint32_t)state, memory_order_relaxed);
}

/* One writer. */
static void count(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* Would a thread be at stake that there may be no room for? */
static bool is_too_dear(const struct skink__quarantine *quarantine, const struct skink__quarantine_rules *rules,
                        uint32_t stuck)
{
    return stuck > rules->strikes &&
           atomic_load_explicit((_Atomic uint32_t *)&quarantine->stuck, memory_order_relaxed) > 0;
}

bool skink__quarantine_refuses(struct skink__quarantine *quarantine, const struct skink__quarantine_rules *rules,
                               uint32_t stuck, uint64_t now_ns)
{
    if (now_ns >= quarantine->until_ns && !is_too_dear(quarantine, rules, stuck)) return false;
    count(&quarantine->refused);
    return true;
}

enum skink__admission skink__quarantine_admit(struct skink__quarantine *quarantine,
                                              const struct skink__quarantine_rules *rules, uint32_t stuck,
                                              uint64_t now_ns)
{
    if (!skink__quarantine_is_on(quarantine)) return SKINK__ADMITTED;
    if (skink__quarantine_refuses(quarantine, rules, stuck, now_ns)) return SKINK__REFUSED;
    set_state(quarantine, SKINK__ON_TRIAL);
    quarantine->until_ns = skink__later(now_ns, rules->period_ns);
    count(&quarantine->trials);
    return SKINK__ADMITTED_ON_TRIAL;
}

/* Are the newest `strikes` of them all within the window? */
static bool is_out(const struct skink__quarantine *quarantine, const struct skink__quarantine_rules *rules,
                   uint64_t now_ns)
{
    if (quarantine->strike_count < rules->strikes) return false;
    uint32_t oldest = (quarantine->strike_next + SKINK__STRIKES_MAX - rules->strikes) % SKINK__STRIKES_MAX;
    return now_ns - quarantine->strike_ns[oldest] <= rules->window_ns;
}

bool skink__quarantine_strike(struct skink__quarantine *quarantine, const struct skink__quarantine_rules *rules,
                              uint32_t stuck, uint64_t now_ns, bool enough)
{
    if (rules->strikes == 0) return false;
    quarantine->strike_ns[quarantine->strike_next] = now_ns;
    quarantine->strike_next = (quarantine->strike_next + 1) % SKINK__STRIKES_MAX;
    if (quarantine->strike_count < SKINK__STRIKES_MAX) quarantine->strike_count++;

    bool was_free = !skink__quarantine_is_on(quarantine);
    if (was_free && !enough && stuck <= rules->strikes && !is_out(quarantine, rules, now_ns)) return false;
    set_state(quarantine, SKINK__QUARANTINED);
    quarantine->until_ns = skink__later(now_ns, rules->period_ns);
    if (was_free) count(&quarantine->begun);
    return was_free;
}

bool skink__quarantine_passed(struct skink__quarantine *quarantine)
{
    /* One that started before the quarantine got stuck meanwhile: the route is no better than before. */
    if (atomic_load_explicit(&quarantine->state, memory_order_relaxed) != SKINK__ON_TRIAL) return false;
    set_state(quarantine, SKINK__FREE);
    quarantine->strike_count = 0;
    return true;
}

void skink__quarantine_untried(struct skink__quarantine *quarantine)
{
    if (atomic_load_explicit(&quarantine->state, memory_order_relaxed) != SKINK__ON_TRIAL) return;
    set_state(quarantine, SKINK__QUARANTINED);
    quarantine->until_ns = 0;
}

uint32_t skink__quarantine_retry_after(const struct skink__quarantine *quarantine,
                                       const struct skink__quarantine_rules *rules, uint64_t now_ns)
{
    /* Past it when it waits for stuck requests to come back: nobody knows when that is. */
    uint64_t rest_ns = quarantine->until_ns > now_ns ? quarantine->until_ns - now_ns : rules->period_ns;
    uint64_t seconds = rest_ns / SKINK_S + (rest_ns % SKINK_S != 0);
    return seconds == 0 ? 1 : seconds < UINT32_MAX ? (uint32_t)seconds : UINT32_MAX;
}
