/* SPDX-License-Identifier: MIT */
/* tests/app/modules/hanging_init.c - waits for ever before it begins, as for a database that does not answer. */
#include "skink/module.h"
#include <stdio.h>
#include <unistd.h>

SKINK_MODULE;

int skink_module_init(const skink_module *module)
{
    (void)module;
    fputs("hanging_init: begun\n", stderr);
    for (;;)
        pause();
}
