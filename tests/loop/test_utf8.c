/* SPDX-License-Identifier: MIT */
/* test_utf8.c - which bytes are a character, against Unicode's own definition. */
#include "loop/utf8.h"
#include "tests/support/case.h"
#include <string.h>

/* The one form of a code point; its length. */
static size_t encode(uint32_t code, char bytes[5])
{
    size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    memset(bytes, 0, 5);
    for (size_t i = length; i-- > 1; code >>= 6)
        bytes[i] = (char)(0x80 | (code & 0x3f));
    bytes[0] = (char)(leads[length] | code);
    return length;
}

static void every_code_point_is_a_character_and_surrogates_are_none(void **state)
{
    (void)state;
    for (uint32_t code = 1; code < 0x110000; code++) {
        char bytes[5];
        size_t length = encode(code, bytes);
        assert_int_equal(skink__utf8_length(bytes), code >= 0xd800 && code < 0xe000 ? 0 : length);
        bytes[length - 1] = length > 1 ? '\0' : bytes[0]; /* cut off: nothing behind the NUL is read */
        if (length > 1) assert_int_equal(skink__utf8_length(bytes), 0);
    }
}

static void what_is_no_form_of_a_code_point_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = { "\x80",
                                       "\xbf",
                                       "\xc0\x80",
                                       "\xc1\xbf",
                                       "\xc3(",
                                       "\xe0\x9f\xbf",
                                       "\xe2\x82(",
                                       "\xf0\x8f\xbf\xbf",
                                       "\xf4\x90\x80\x80",
                                       "\xf5\x80\x80\x80",
                                       "\xf0\x9f\x98(",
                                       "\xfe",
                                       "\xff" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(skink__utf8_length(bad[i]), 0);
}

static const struct test_case cases[] = {
    CASE(every_code_point_is_a_character_and_surrogates_are_none),
    CASE(what_is_no_form_of_a_code_point_is_none),
};
TEST_MAIN(cases, NULL, NULL)
