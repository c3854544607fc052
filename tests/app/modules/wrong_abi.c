/* SPDX-License-Identifier: MIT */
/* tests/app/modules/wrong_abi.c - built for another version of the interface. */
#include "skink/module.h"

SKINK_API extern const uint32_t skink_module_abi;
const uint32_t skink_module_abi = SKINK_MODULE_ABI + 41;

int skink_module_init(const skink_module *module)
{
    (void)module;
    return 0;
}
