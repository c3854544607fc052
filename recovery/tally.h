/* SPDX-License-Identifier: MIT */
/*
 * recovery/tally.h - how many incidents and notes there were, by what they were about, cause and action.
 *
 * Rows are made at the first incident of a route (or, of tasks that work on no request, a name), and stay. There is
 * room for so many; what comes after is counted under "(other)". Guarded by the recovery's mutex.
 */
#ifndef SKINK_RECOVERY_TALLY_H
#define SKINK_RECOVERY_TALLY_H
#include "skink/incident.h"
#include <stdint.h>

enum { SKINK__TALLY_ROWS = 256, SKINK__TALLY_OTHER = 0 };

struct skink__tally_row {
    char method[16]; /* "": a task that works on no request; then route is its name */
    char route[128];
    uint64_t incidents[SKINK_CAUSES][SKINK_ACTIONS];
    uint64_t notes;
};

struct skink__tally {
    struct skink__tally_row *rows; /* made by the thousand bytes as they are touched: it is zeroed memory */
    uint32_t count;
};

int skink__tally_init(struct skink__tally *tally); /* -ENOMEM */
void skink__tally_fini(struct skink__tally *tally);

/* The row; made if it is not there. Allocates nothing. */
uint32_t skink__tally_row_of(struct skink__tally *tally, const char *method, const char *route);

static inline void skink__tally_incident(struct skink__tally *tally, uint32_t row, skink_cause cause,
                                         skink_action action)
{
    tally->rows[row].incidents[(unsigned)cause < SKINK_CAUSES ? cause : SKINK_CAUSE_UNKNOWN][action]++;
}
#endif
