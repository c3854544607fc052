/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_error_body.c - the JSON form of errors, and its numbers as documented. */
#include "middleware/error_body.h"
#include "tests/support/case.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void the_form_is_what_is_documented(void **state)
{
    (void)state;
    char body[SKINK__ERROR_BODY_BYTES];
    size_t length = skink__error_body(body, 503, 1002, "it is \"stuck\" \\ \n", "5f3a9c2e-17", "abc-1");
    assert_string_equal(
        body, "{\"status\":503,\"error\":true,\"number\":1002,\"message\":\"it is \\\"stuck\\\" \\\\ \\u000a\","
              "\"request\":\"5f3a9c2e-17\",\"incident\":\"abc-1\"}\n");
    assert_int_equal(length, strlen(body));
    skink__error_body(body, 404, 1201, "x", "0", NULL);
    assert_string_equal(body, "{\"status\":404,\"error\":true,\"number\":1201,\"message\":\"x\","
                              "\"request\":\"0\"}\n");
}

static void what_is_not_utf8_is_replaced(void **state)
{
    (void)state;
    static const struct {
        const char *message, *escaped;
    } samples[] = {
        { "\xc3\xa4\xe2\x82\xac\xf0\x9f\xa6\x8e", "\xc3\xa4\xe2\x82\xac\xf0\x9f\xa6\x8e" },
        { "a\xff"
          "b",
          "a\\ufffdb" },
        { "\xc3", "\\ufffd" },                                  /* cut short */
        { "\xc0\xaf", "\\ufffd\\ufffd" },                       /* overlong */
        { "\xe0\x80\xaf", "\\ufffd\\ufffd\\ufffd" },            /* overlong */
        { "\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd" },            /* a surrogate */
        { "\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd" }, /* beyond the last character */
        { "\x01\x1f\x7f", "\\u0001\\u001f\\u007f" },
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        char body[SKINK__ERROR_BODY_BYTES], expected[256];
        skink__error_body(body, 500, 1, samples[i].message, "1", NULL);
        snprintf(expected, sizeof expected, "\"message\":\"%s\",\"request\"", samples[i].escaped);
        if (!strstr(body, expected)) print_error("%s has no %s\n", body, expected);
        assert_non_null(strstr(body, expected));
    }
}

static void a_long_message_is_cut_between_characters(void **state)
{
    (void)state;
    char message[2048] = "x", body[SKINK__ERROR_BODY_BYTES];
    for (size_t i = 1; i + 2 < sizeof message; i += 2)
        memcpy(message + i, "\xc3\xa4", 3);
    size_t length = skink__error_body(body, 500, 1, message, "1", NULL);
    assert_true(length < SKINK__ERROR_BODY_BYTES);
    assert_non_null(strstr(body, "\xc3\xa4\",\"request\""));
    memset(message, 1, sizeof message - 1); /* the worst case: six bytes for each */
    message[sizeof message - 1] = '\0';
    char id[129]; /* and the longest of ids */
    memset(id, 'i', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    length = skink__error_body(body, 500, 1, message, id, "0123456789012345678901234567890");
    assert_true(length < SKINK__ERROR_BODY_BYTES);
    assert_non_null(strstr(body, "\"incident\":\"0123456789012345678901234567890\"}\n"));
}

/* docs/errors.md has exactly the rows of the table, in its order. */
static void the_documented_numbers_are_the_real_ones(void **state)
{
    (void)state;
    static const struct {
        int number, status;
        const char *message;
    } errors[] = {
#define X(number, name, status, message) { number, status, message },
        SKINK__HTTP_ERRORS(X)
#undef X
    };
    FILE *page = fopen(TEST_SOURCE_DIR "/docs/errors.md", "r");
    assert_non_null(page);
    char line[512];
    size_t found = 0;
    while (fgets(line, sizeof line, page)) {
        int number, status, at = 0;
        if (sscanf(line, "| %d | %d | %n", &number, &status, &at) != 2 || at == 0) continue;
        char *end = strrchr(line, '|');
        assert_true(end && end > line + at);
        end[-1] = '\0';
        assert_true(found < sizeof errors / sizeof *errors);
        assert_int_equal(number, errors[found].number);
        assert_int_equal(status, errors[found].status);
        assert_string_equal(line + at, errors[found].message);
        assert_int_equal(skink__http_error_status(number), status);
        assert_string_equal(skink__http_error_message(number), errors[found].message);
        found++;
    }
    fclose(page);
    assert_int_equal(found, sizeof errors / sizeof *errors);
    assert_int_equal(skink__http_error_status(4711), 500);
}

/* Clients have these in their code: a number that was ever released keeps its status and its meaning. Add rows for new
 * ones; never change one. */
static void released_numbers_never_change(void **state)
{
    (void)state;
    static const struct {
        int number, status;
        const char *name;
    } released[] = {
        { 1001, 500, "NO_ANSWER" },
        { 1002, 503, "DEADLOCK" },
        { 1003, 503, "HELD" },
        { 1004, 503, "TASK_LIMIT" },
        { 1005, 503, "NO_MEMORY" },
        { 1006, 503, "STOPPING" },
        { 1007, 503, "CONNECTION_LIMIT" },
        { 1101, 400, "BAD_REQUEST_LINE" },
        { 1102, 400, "BAD_TARGET" },
        { 1103, 400, "BAD_ENCODING" },
        { 1104, 400, "BAD_HEADER" },
        { 1105, 400, "BAD_LINE_END" },
        { 1106, 400, "FOLDED_HEADER" },
        { 1107, 400, "BAD_HOST" },
        { 1108, 400, "BAD_CONTENT_LENGTH" },
        { 1109, 400, "BAD_TRANSFER_ENCODING" },
        { 1110, 400, "LENGTH_CONFLICT" },
        { 1111, 400, "BAD_CHUNK" },
        { 1112, 400, "BAD_TRAILER" },
        { 1113, 417, "BAD_EXPECTATION" },
        { 1114, 408, "REQUEST_TIMEOUT" },
        { 1115, 411, "LENGTH_REQUIRED" },
        { 1116, 413, "BODY_TOO_LARGE" },
        { 1117, 414, "TARGET_TOO_LONG" },
        { 1118, 431, "HEADERS_TOO_LARGE" },
        { 1119, 431, "TOO_MANY_HEADERS" },
        { 1120, 501, "METHOD_NOT_IMPLEMENTED" },
        { 1121, 501, "CODING_NOT_IMPLEMENTED" },
        { 1122, 505, "VERSION_NOT_SUPPORTED" },
        { 1123, 400, "BAD_FORM" },
        { 1201, 404, "NOT_FOUND" },
        { 1202, 405, "METHOD_NOT_ALLOWED" },
    };
    static const struct {
        int number;
        const char *name;
    } names[] = {
#define X(number, name, status, message) { number, #name },
        SKINK__HTTP_ERRORS(X)
#undef X
    };
    for (size_t i = 0; i < sizeof released / sizeof *released; i++) {
        const char *name = "(gone)";
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            if (names[k].number == released[i].number) name = names[k].name;
        assert_string_equal(name, released[i].name);
        assert_int_equal(skink__http_error_status(released[i].number), released[i].status);
        assert_true(skink__http_error_exists(released[i].number));
    }
    assert_false(skink__http_error_exists(1000));
}

static const struct test_case cases[] = {
    CASE(released_numbers_never_change),
    CASE(the_form_is_what_is_documented),
    CASE(what_is_not_utf8_is_replaced),
    CASE(a_long_message_is_cut_between_characters),
    CASE(the_documented_numbers_are_the_real_ones),
};
TEST_MAIN(cases, NULL, NULL)
