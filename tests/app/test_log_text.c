/* SPDX-License-Identifier: MIT */
/* tests/app/test_log_text.c - lines that nothing in their values can break. */
#include "app/log_text.h"
#include "tests/support/case.h"
#include <jansson.h>
#include <string.h>

static char line[1200];

/* One line with one value; without its time. */
static const char *with(bool json, const char *value, size_t length, size_t most)
{
    struct log_text text;
    skink__text_begin(&text, line, sizeof line, json);
    skink__text_string(&text, "path", value, length, most);
    size_t end = skink__text_end(&text);
    assert_true(end < sizeof line);
    assert_int_equal(line[end - 1], '\n');
    line[end - 1] = '\0';
    assert_int_equal(strlen(line), end - 1); /* no NUL inside */
    return strstr(line, json ? "\"path\"" : "path=");
}

static void logfmt_values_cannot_break_out(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *expected;
    } rows[] = {
        { "/hello", "path=/hello" },
        { "", "path=\"\"" },
        { "/a b", "path=\"/a b\"" },
        { "/a=b", "path=\"/a=b\"" },
        { "/a\"b\\c", "path=\"/a\\\"b\\\\c\"" },
        { "/a\nevent=x\r\t", "path=\"/a\\nevent=x\\r\\t\"" },
        { "/\x1b[31m\x7f", "path=\"/\\x1b[31m\\x7f\"" },
        { "/\xc3\xa9", "path=\"/\xc3\xa9\"" },
        { "/\xff\xc2\x9b", "path=\"/\\xff\\xc2\\x9b\"" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(with(false, rows[i].value, strlen(rows[i].value), 500), rows[i].expected);
}

static void json_can_be_read_back_whatever_the_bytes(void **state)
{
    (void)state;
    char value[256];
    for (int i = 0; i < 255; i++)
        value[i] = (char)(i + 1);
    with(true, value, 255, 4000);
    json_error_t error;
    json_t *object = json_loads(line, 0, &error);
    assert_non_null(object);
    assert_non_null(json_string_value(json_object_get(object, "time")));
    assert_non_null(json_string_value(json_object_get(object, "path")));
    json_decref(object);
    assert_string_equal(with(true, "a\"b\n\x01", 5, 500), "\"path\":\"a\\\"b\\n\\u0001\"}");
}

static void long_values_are_cut_and_marked(void **state)
{
    (void)state;
    char value[3000];
    memset(value, 'x', sizeof value);
    const char *found = with(false, value, sizeof value, 100);
    assert_true(strlen(found) <= 5 + 100);
    assert_string_equal(found + strlen(found) - 3, "...");
    memset(value, '"', sizeof value); /* each becomes two */
    with(true, value, sizeof value, 4000);
    json_error_t error;
    json_t *object = json_loads(line, 0, &error); /* cut, and whole all the same */
    assert_non_null(object);
    json_decref(object);
}

static void numbers_and_durations_are_written_plainly(void **state)
{
    (void)state;
    struct log_text text;
    skink__text_begin(&text, line, sizeof line, false);
    skink__text_number(&text, "a", 0);
    skink__text_number(&text, "b", UINT64_MAX);
    skink__text_seconds(&text, "c", 0);
    skink__text_seconds(&text, "d", UINT64_C(12000345678));
    line[skink__text_end(&text) - 1] = '\0';
    assert_non_null(strstr(line, " a=0 b=18446744073709551615 c=0.000000 d=12.000345"));
}

static void pairs_become_json(void **state)
{
    (void)state;
    struct log_text text;
    skink__text_begin(&text, line, sizeof line, true);
    skink__text_pairs(&text, "event=deadlock task=\"GET /stick\" said=\"a \\\"b\\\"\" n=5 alone");
    line[skink__text_end(&text) - 1] = '\0';
    json_error_t error;
    json_t *object = json_loads(line, 0, &error);
    assert_non_null(object);
    assert_string_equal(json_string_value(json_object_get(object, "event")), "deadlock");
    assert_string_equal(json_string_value(json_object_get(object, "task")), "GET /stick");
    assert_string_equal(json_string_value(json_object_get(object, "said")), "a \"b\"");
    assert_string_equal(json_string_value(json_object_get(object, "n")), "5");
    assert_string_equal(json_string_value(json_object_get(object, "alone")), "");
    json_decref(object);
}

static const struct test_case cases[] = {
    CASE(logfmt_values_cannot_break_out),
    CASE(json_can_be_read_back_whatever_the_bytes),
    CASE(long_values_are_cut_and_marked),
    CASE(numbers_and_durations_are_written_plainly),
    CASE(pairs_become_json),
};
TEST_MAIN(cases, NULL, NULL)
