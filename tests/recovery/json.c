/* SPDX-License-Identifier: MIT */
#include "tests/recovery/json.h"
#include "tests/support/case.h"
#include <string.h>

json_int_t number_of(const json_t *object, const char *key)
{
    assert_true(json_is_integer(json_object_get(object, key)));
    return json_integer_value(json_object_get(object, key));
}

const char *text_of(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

bool has_function(const json_t *stack, const char *function)
{
    size_t i;
    json_t *frame;
    json_array_foreach (json_object_get(stack, "frames"), i, frame)
        if (strcmp(text_of(frame, "function"), function) == 0) return true;
    return false;
}
