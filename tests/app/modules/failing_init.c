/* SPDX-License-Identifier: MIT */
/* tests/app/modules/failing_init.c - cannot begin. */
#include "skink/module.h"
#include <errno.h>

SKINK_MODULE;

int skink_module_init(const skink_module *module)
{
    return module->abi == SKINK_MODULE_ABI ? -ENOSPC : 0;
}
