/* SPDX-License-Identifier: MIT */
/* app/config_check.h - what a value's row in the schema cannot say about it, and only the library knows. */
#ifndef SKINK_APP_CONFIG_CHECK_H
#define SKINK_APP_CONFIG_CHECK_H
#include "app/config.h"

/* After every value has been read; mistakes go to `problems`. */
void skink__config_check(const struct config *config, struct problems *problems);

/* A part of it: can so many loops share its limits? */
void skink__config_check_limits(const struct config *config, uint64_t loop_count, struct problems *problems);
#endif
