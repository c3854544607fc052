/* SPDX-License-Identifier: MIT */
/* tests/app/modules/no_init.c - forgot skink_module_init. */
#include "skink/module.h"

SKINK_MODULE;
