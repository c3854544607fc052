/* SPDX-License-Identifier: MIT */
/* tests/app/modules/no_abi.c - forgot SKINK_MODULE. */
#include "skink/module.h"

int skink_module_init(const skink_module *module)
{
    (void)module;
    return 0;
}
