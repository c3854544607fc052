/* SPDX-License-Identifier: MIT */
/* tests/app/test_config_types.c - values that are words or texts, read and described. */
#include "app/config_value.h"
#include "tests/support/case.h"
#include <stdio.h>
#include <string.h>

static const struct config_key word = { .name = "a.word", .type = CONFIG_WORD, .words = "loop threads serial" };
static const struct config_key text = { .name = "a.text", .type = CONFIG_TEXT, .takes = "a file's path, or nothing" };

static void a_word_is_kept_as_its_position(void **state)
{
    (void)state;
    char complaint[COMPLAINT_BYTES];
    static const char *const words[] = { "loop", "threads", "serial" };
    for (size_t i = 0; i < 3; i++) {
        uint64_t number = 99;
        assert_true(skink__value_parse(&word, words[i], strlen(words[i]), &number, complaint));
        assert_int_equal(number, i);
    }
}

static void what_is_no_word_is_refused_with_the_words_there_are(void **state)
{
    (void)state;
    static const char *const wrong[] = { "", "loo", "loops", "Loop", "loop threads", " ", "thread" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char complaint[COMPLAINT_BYTES], expected[COMPLAINT_BYTES];
        uint64_t number;
        assert_false(skink__value_parse(&word, wrong[i], strlen(wrong[i]), &number, complaint));
        snprintf(expected, sizeof expected, "\"%s\" is none of its words; expected one of loop, threads, serial",
                 wrong[i]);
        assert_string_equal(complaint, expected);
    }
}

static void texts_are_taken_as_they_are(void **state)
{
    (void)state;
    char complaint[COMPLAINT_BYTES], longest[402];
    uint64_t number;
    static const char *const right[] = { "", "/var/log/skink access.log", "\xc3\xa9t\xc3\xa9" };
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        assert_true(skink__value_parse(&text, right[i], strlen(right[i]), &number, complaint));
    memset(longest, 'x', sizeof longest);
    assert_true(skink__value_parse(&text, longest, 400, &number, complaint));
    assert_false(skink__value_parse(&text, longest, 401, &number, complaint));
    assert_non_null(strstr(complaint, "is too long; expected a file's path, or nothing"));
}

static void control_characters_in_texts_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = { "a\nb", "\x1b[31m", "a\tb", "\xc2\x9b", "\xe2\x80\xa8" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char complaint[COMPLAINT_BYTES];
        uint64_t number;
        assert_false(skink__value_parse(&text, wrong[i], strlen(wrong[i]), &number, complaint));
        assert_non_null(strstr(complaint, "has a control character in it; expected a file's path, or nothing"));
    }
}

static const struct test_case cases[] = {
    CASE(a_word_is_kept_as_its_position),
    CASE(what_is_no_word_is_refused_with_the_words_there_are),
    CASE(texts_are_taken_as_they_are),
    CASE(control_characters_in_texts_are_refused),
};
TEST_MAIN(cases, NULL, NULL)
