/* SPDX-License-Identifier: MIT */
/* recovery/tally.c - rows of counters (tally.h), and how others read them. */
#include "recovery/tally.h"
#include "loop/memory.h"
#include "recovery/state.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

int skink__tally_init(struct skink__tally *tally)
{
    tally->rows = skink__zalloc(SKINK__TALLY_ROWS * sizeof *tally->rows);
    if (!tally->rows) return -ENOMEM;
    strcpy(tally->rows[SKINK__TALLY_OTHER].route, "(other)");
    tally->count = 1;
    return 0;
}

void skink__tally_fini(struct skink__tally *tally)
{
    skink__free(tally->rows);
}

uint32_t skink__tally_row_of(struct skink__tally *tally, const char *method, const char *route)
{
    for (uint32_t i = 1; i < tally->count; i++)
        if (strcmp(tally->rows[i].route, route) == 0 && strcmp(tally->rows[i].method, method) == 0) return i;
    if (tally->count == SKINK__TALLY_ROWS) return SKINK__TALLY_OTHER;
    struct skink__tally_row *row = &tally->rows[tally->count];
    snprintf(row->method, sizeof row->method, "%s", method);
    snprintf(row->route, sizeof row->route, "%s", route);
    return tally->count++;
}

const char *skink_action_name(skink_action action)
{
    static const char *const names[SKINK_ACTIONS] = {
        [SKINK_ACTION_DEFAULT] = "default", [SKINK_ACTION_TAKEOVER] = "takeover", [SKINK_ACTION_REPORT] = "report",
        [SKINK_ACTION_ABORT] = "abort",     [SKINK_ACTION_OFF] = "off",           [SKINK_ACTION_HOLD] = "hold"
    };
    return (unsigned)action < SKINK_ACTIONS ? names[action] : "unknown";
}

/* Rows only ever come, so each is copied by itself, and the caller's function is called without the mutex. */
int skink_recovery_counts(skink_recovery *recovery, void (*each)(const skink_recovery_count *count, void *arg),
                          void *arg)
{
    if (!recovery || !each) return -EINVAL;
    for (uint32_t i = 0;; i++) {
        struct skink__tally_row row;
        skink__recovery_lock(recovery);
        bool there = i < recovery->tally.count;
        if (there) row = recovery->tally.rows[i];
        skink__recovery_unlock(recovery);
        if (!there) return 0;
        skink_recovery_count count = { .method = row.method, .route = row.route, .notes = row.notes };
        for (unsigned cause = 0; cause < SKINK_CAUSES; cause++)
            for (unsigned action = 0; action < SKINK_ACTIONS; action++)
                count.incidents[cause][action] = row.incidents[cause][action];
        each(&count, arg);
    }
}
