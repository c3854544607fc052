/* SPDX-License-Identifier: MIT */
/* recovery/report_limit.c - see report_limit.h. */
#include "recovery/report_limit.h"
#include "skink/clock.h"

#define MINUTE_NS (60 * SKINK_S)

/* FNV-1a */
static uint64_t mix(uint64_t hash, uint64_t value)
{
    for (int i = 0; i < 8; i++, value >>= 8)
        hash = (hash ^ (value & 0xff)) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t hash_of(const skink_incident *incident)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < incident->frame_count; i++)
        hash = mix(hash, incident->stack[i].address);
    if (incident->frame_count == 0)
        for (const char *c = incident->task; *c; c++)
            hash = mix(hash, (unsigned char)*c);
    return hash;
}

static void begin_minute(struct skink__report_limit *limit, uint64_t now_ns)
{
    if (now_ns < limit->minute_ends_ns) return;
    limit->minute_ends_ns = now_ns + MINUTE_NS;
    limit->reports = limit->lines = 0;
    limit->stack_count = 0;
}

/* How often this stack was reported in this minute; one too many to be known shares the last place. */
static uint32_t *reports_of(struct skink__report_limit *limit, uint64_t hash)
{
    uint32_t i = 0;
    while (i < limit->stack_count && limit->stacks[i].hash != hash)
        i++;
    if (i == SKINK__STACKS_KNOWN) return &limit->stacks[i - 1].reports;
    if (i == limit->stack_count) {
        limit->stacks[i].hash = hash;
        limit->stacks[i].reports = 0;
        limit->stack_count++;
    }
    return &limit->stacks[i].reports;
}

bool skink__report_limit_admits(struct skink__report_limit *limit, const skink_incident *incident, uint64_t now_ns)
{
    if (limit->per_minute == 0) return true;
    begin_minute(limit, now_ns);
    uint32_t share = limit->per_minute / SKINK__SHARE_OF_ONE_STACK;
    uint32_t *same = reports_of(limit, hash_of(incident));
    if (limit->reports >= limit->per_minute || *same >= (share ? share : 1)) {
        limit->suppressed_reports++;
        limit->suppressed_total++;
        return false;
    }
    limit->reports++;
    (*same)++;
    return true;
}

bool skink__report_limit_is_over(const struct skink__report_limit *limit, uint64_t now_ns)
{
    return limit->per_minute == 0 || now_ns >= limit->minute_ends_ns;
}

bool skink__report_limit_admits_line(struct skink__report_limit *limit, uint64_t now_ns)
{
    if (limit->per_minute == 0) return true;
    begin_minute(limit, now_ns);
    if (limit->lines >= limit->per_minute) {
        limit->suppressed_lines++;
        return false;
    }
    limit->lines++;
    return true;
}
