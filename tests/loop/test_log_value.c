/* SPDX-License-Identifier: MIT */
/* tests/loop/test_log_value.c - values in lines of logfmt. */
#include "loop/log_value.h"
#include "tests/support/case.h"
#include <string.h>

static void what_needs_quotes_gets_them(void **state)
{
    (void)state;
    assert_string_equal(SKINK__LOG_WORD("/users/{id}"), "/users/{id}");
    assert_string_equal(SKINK__QUOTED("/users/{id}"), "\"/users/{id}\"");
    assert_string_equal(SKINK__LOG_WORD(""), "\"\"");
    assert_string_equal(SKINK__LOG_WORD("a b"), "\"a b\"");
    assert_string_equal(SKINK__LOG_WORD("a=b"), "\"a=b\"");
    assert_string_equal(SKINK__LOG_WORD("a\"b"), "\"a\\\"b\"");
    assert_string_equal(SKINK__LOG_WORD("a\\b"), "\"a\\\\b\"");
    assert_string_equal(SKINK__LOG_WORD("a\nb\x7f\x01"), "\"a?b??\"");
    assert_string_equal(SKINK__LOG_WORD("\xc3\xa9"), "\"\xc3\xa9\"");
}

/* Goal: whatever the length, it is cut between two characters and ends in a quote of its own. */
static void what_is_too_long_is_cut_and_marked(void **state)
{
    (void)state;
    char value[2 * SKINK__LOG_VALUE_BYTES], text[SKINK__LOG_VALUE_BYTES];
    for (size_t length = SKINK__LOG_VALUE_BYTES / 2 - 8; length < sizeof value; length++) {
        memset(value, '"', length);
        value[length] = '\0';
        size_t used = strlen(skink__log_quote(text, value));
        assert_true(used < sizeof text);
        bool cut = strchr(text, '.') != NULL;
        assert_string_equal(text + used - (cut ? 6 : 3), cut ? "\\\"...\"" : "\\\"\"");
        assert_true(cut ? used > sizeof text - 10 : used == 2 * length + 2);
        memset(value, 'a', length);
        used = strlen(SKINK__LOG_WORD(value));
        assert_true(used == length || used < sizeof text);
    }
}

static const struct test_case cases[] = {
    CASE(what_needs_quotes_gets_them),
    CASE(what_is_too_long_is_cut_and_marked),
};
TEST_MAIN(cases, NULL, NULL)
