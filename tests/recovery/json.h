/* SPDX-License-Identifier: MIT */
/* tests/recovery/json.h - what the objects of a dump or an incident in JSON say. */
#ifndef SKINK_TESTS_RECOVERY_JSON_H
#define SKINK_TESTS_RECOVERY_JSON_H
#include <jansson.h>
#include <stdbool.h>

/* A member that must be a whole number. */
json_int_t number_of(const json_t *object, const char *key);

/* A member that is a text, or "". */
const char *text_of(const json_t *object, const char *key);

/* Is a function of that name among the "frames" of this stack? */
bool has_function(const json_t *stack, const char *function);
#endif
