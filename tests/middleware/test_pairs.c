/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_pairs.c - names and values of forms, query strings and cookies. */
#include "middleware/pairs.h"
#include "tests/support/case.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* "name=value;" of each, with what is decoded as it is. */
static void list(const struct skink__pairs *pairs, char text[256])
{
    const char *name, *value;
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; skink__pairs_at(pairs, i, &name, &value); i++)
        n += (size_t)snprintf(text + n, 256 - n, "%s=%s;", name, value);
}

static void forms_are_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *form, *expected;
    } samples[] = {
        { "", "" },
        { "&&&", "" },
        { "a", "a=;" },
        { "a=", "a=;" },
        { "=b", "=b;" },
        { "a=b&c=d", "a=b;c=d;" },
        { "a=b=c", "a=b=c;" },
        { "a+b=c+d", "a b=c d;" },
        { "%61=%62%26&%3d=%25", "a=b&;==%;" },
        { "a=1&a=2", "a=1;a=2;" },
        { "a=%C3%a4", "a=\xc3\xa4;" },
        { "a&b&c", "a=;b=;c=;" },
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct skink__pairs pairs = { 0 };
        char text[256];
        assert_int_equal(skink__pairs_add_form(&pairs, samples[i].form, strlen(samples[i].form)), 0);
        list(&pairs, text);
        assert_string_equal(text, samples[i].expected);
        skink__pairs_fini(&pairs);
    }
}

static void bad_encoding_and_nul_are_refused_and_add_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *form;
        size_t length;
    } samples[] = { { "a=%", 3 },    { "a=%4", 4 },    { "a=%4", 3 },    { "a=%zz", 5 },
                    { "a=%4z", 5 },  { "a=%00", 5 },   { "%00=a", 5 },   { "a\0b=c", 5 },
                    { "a=b\0c", 5 }, { "a=b&%=c", 7 }, { "a=%\0\0", 5 }, { "a=%2&b=1", 8 } };
    struct skink__pairs pairs = { 0 };
    assert_int_equal(skink__pairs_add_form(&pairs, "x=y", 3), 0);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        assert_int_equal(skink__pairs_add_form(&pairs, samples[i].form, samples[i].length), -EINVAL);
    char text[256];
    list(&pairs, text);
    assert_string_equal(text, "x=y;");
    assert_string_equal(skink__pairs_find(&pairs, "x"), "y");
    assert_null(skink__pairs_find(&pairs, "a"));
    skink__pairs_fini(&pairs);
}

static void cookies_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *header, *expected;
    } samples[] = {
        { "", "" },
        { "a=b", "a=b;" },
        { "a=b; c=d", "a=b;c=d;" },
        { "a=b;c=d;", "a=b;c=d;" },
        { " a = b ; c = \"d e\" ", "a=b;c=d e;" },
        { "a=\"", "a=\";" },
        { "a=\"\"", "a=;" },
        { "nothing; a=b", "a=b;" },
        { "=b; a=b", "a=b;" },
        { "a=%41", "a=%41;" },
        { "a=b=c", "a=b=c;" },
        { ";;;", "" },
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct skink__pairs pairs = { 0 };
        char text[256];
        assert_int_equal(skink__pairs_add_cookies(&pairs, samples[i].header), 0);
        list(&pairs, text);
        assert_string_equal(text, samples[i].expected);
        skink__pairs_fini(&pairs);
    }
    struct skink__pairs pairs = { 0 };
    assert_null(skink__pairs_find(&pairs, "a"));
    assert_int_equal(skink__pairs_add_cookies(&pairs, "a=1; b=2"), 0);
    assert_int_equal(skink__pairs_add_cookies(&pairs, "a=3; c=4"), 0); /* of a second header */
    assert_string_equal(skink__pairs_find(&pairs, "a"), "1");
    assert_string_equal(skink__pairs_find(&pairs, "c"), "4");
    skink__pairs_fini(&pairs);
}

static const struct test_case cases[] = {
    CASE(forms_are_decoded),
    CASE(bad_encoding_and_nul_are_refused_and_add_nothing),
    CASE(cookies_are_read),
};
TEST_MAIN(cases, NULL, NULL)
