/* SPDX-License-Identifier: MIT */
/* tests/app/modules/positive_init.c - says with a number that is no errno that it cannot begin. */
#include "skink/module.h"

SKINK_MODULE;

int skink_module_init(const skink_module *module)
{
    (void)module;
    return 5;
}
