/* SPDX-License-Identifier: MIT */
/*
 * recovery/report_limit.h - so many reports a minute and no more, and of the same stack only a part of them.
 *
 * What is suppressed is counted exactly. Belongs to the helper thread.
 */
#ifndef SKINK_RECOVERY_REPORT_LIMIT_H
#define SKINK_RECOVERY_REPORT_LIMIT_H
#include "skink/incident.h"
#include <stdbool.h>
#include <stdint.h>

enum { SKINK__STACKS_KNOWN = 64, SKINK__SHARE_OF_ONE_STACK = 4 };

struct skink__report_limit {
    uint32_t per_minute; /* 0: as many as there are */
    uint64_t minute_ends_ns;
    uint32_t reports;            /* in this minute */
    uint32_t lines;              /* the same, of lines about something else than an incident */
    uint64_t suppressed_total;   /* reports ever */
    uint64_t suppressed_reports; /* of these, not told of yet */
    uint64_t suppressed_lines;   /* the same */
    uint64_t lost;               /* reports that were not even looked at; the same */
    uint32_t stack_count;
    struct {
        uint64_t hash;
        uint32_t reports;
    } stacks[SKINK__STACKS_KNOWN]; /* of this minute */
};

/* May this incident be told at length? Of one stack a quarter of what is allowed, at least one. Where there is no
 * stack, the task's name is in its place. */
bool skink__report_limit_admits(struct skink__report_limit *limit, const skink_incident *incident, uint64_t now_ns);

/* The minute has passed, or there is no limit: what is missing can be told. */
bool skink__report_limit_is_over(const struct skink__report_limit *limit, uint64_t now_ns);

/* May a line about something else be told? */
bool skink__report_limit_admits_line(struct skink__report_limit *limit, uint64_t now_ns);
#endif
