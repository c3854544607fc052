/* SPDX-License-Identifier: MIT */
/* tests/support/diagnosis.c - see diagnosis.h. */
#include "tests/support/diagnosis.h"
#include "recovery/symbols.h"
#include <uv.h>

/* Of the process's one table; never given back. */
static struct skink__symbols *kept;

void test_warm_diagnosis(void)
{
    struct skink__frame frame;
    if (kept || skink__symbols_create(&kept)) return;
    skink__symbols_warm(kept);
    (void)skink__symbols_find(kept, (uintptr_t)uv_version, &frame, 1); /* Debian's libuv is stripped */
}
