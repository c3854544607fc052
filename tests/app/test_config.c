/* SPDX-License-Identifier: MIT */
/* tests/app/test_config.c - reading the configuration: what holds in the end, and every message word by word. */
#include "app/allocate.h"
#include "app/config.h"
#include "app/config_file.h"
#include "app/config_value.h"
#include "config_fixture.h"
#include "tests/support/case.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

#define EXPECTED_TIMEOUT "expected a duration from 10ms to 24h, such as 30s (units us, ms, s, m, h)"
#define EXPECTED_STACK "expected a size from 16kb to 64mb, such as 64kb (units kb, mb, gb)"
#define EXPECTED_STRAYS "expected a whole number from 1 to 4096, such as 8"
#define EXPECTED_LISTEN "expected an address such as 127.0.0.1:8080, \"[::1]:8080\", :8080 or unix:/run/skinkd.sock"
#define EXPECTED_ROOT "expected keys and values, such as loop.deadlock_timeout: 30s"

static uint64_t number(const struct loaded *loaded, enum config_id id)
{
    return loaded->config.values[id].number;
}

/* --- what holds --- */

static void empty_files_mean_all_defaults(void **state)
{
    (void)state;
    static const char *const texts[] = { NULL,    "",    "\n\n", "# only a comment\n",
                                         "---\n", "~\n", "{}\n", "loop:\nhttp:\n" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct loaded *loaded = load(texts[i]);
        assert_messages(loaded, "");
        assert_int_equal(number(loaded, CONFIG_LOOP_DEADLOCK_TIMEOUT), 30 * S);
        assert_int_equal(number(loaded, CONFIG_LOOP_STACK_SIZE), 65536);
        assert_int_equal(number(loaded, CONFIG_RECOVERY_MAX_STRAYS), 8);
        assert_string_equal(loaded->config.values[CONFIG_HTTP_LISTEN].text, "127.0.0.1:8080");
        assert_string_equal(loaded->config.values[CONFIG_STATS_LISTEN].text, "127.0.0.1:9464");
        assert_int_equal(loaded->config.route_count, 0);
        loaded_free(loaded);
    }
}

static void nested_and_dotted_keys_are_the_same(void **state)
{
    (void)state;
    struct loaded *loaded = load("loop: {deadlock_timeout: 5s}\n"
                                 "http.max_body: 2mb\n"
                                 "http:\n"
                                 "  max_connections: 7\n"
                                 "loop.stack_size: 128kb\n");
    assert_messages(loaded, "");
    assert_int_equal(number(loaded, CONFIG_LOOP_DEADLOCK_TIMEOUT), 5 * S);
    assert_int_equal(number(loaded, CONFIG_LOOP_STACK_SIZE), 131072);
    assert_int_equal(number(loaded, CONFIG_HTTP_MAX_BODY), 2 << 20);
    assert_int_equal(number(loaded, CONFIG_HTTP_MAX_CONNECTIONS), 7);
    loaded_free(loaded);
}

static void stronger_sources_win_and_origins_tell_which(void **state)
{
    (void)state;
    const char *const environment[] = { "HOME=/", "SKINK_LOOP_STACK_SIZE=128kb", "SKINK_HTTP_MAX_BODY=3mb", NULL };
    const char *const settings[] = { "http.max_body=4mb", "http.max_body=5mb", NULL };
    struct loaded *loaded =
        load_all("loop.deadlock_timeout: 2s\nloop.stack_size: 32kb\nhttp.max_body: 2mb\n", environment, settings);
    assert_messages(loaded, "");
    const struct config_value *values = loaded->config.values;
    assert_int_equal(values[CONFIG_LOOP_DEADLOCK_TIMEOUT].number, 2 * S);
    assert_int_equal(values[CONFIG_LOOP_DEADLOCK_TIMEOUT].origin.kind, ORIGIN_FILE);
    assert_int_equal(values[CONFIG_LOOP_DEADLOCK_TIMEOUT].origin.line, 1);
    assert_int_equal(values[CONFIG_LOOP_DEADLOCK_TIMEOUT].origin.column, 24);
    assert_int_equal(values[CONFIG_LOOP_STACK_SIZE].number, 131072);
    assert_string_equal(values[CONFIG_LOOP_STACK_SIZE].origin.name, "SKINK_LOOP_STACK_SIZE");
    assert_int_equal(values[CONFIG_HTTP_MAX_BODY].number, 5 << 20);
    assert_int_equal(values[CONFIG_HTTP_MAX_BODY].origin.kind, ORIGIN_SET);
    assert_int_equal(values[CONFIG_LOOP_MAX_TASKS].origin.kind, ORIGIN_DEFAULT);
    loaded_free(loaded);
}

static void routes_are_read_with_their_places(void **state)
{
    (void)state;
    struct loaded *loaded = load("routes:\n"
                                 "  - path: /a/{id}\n"
                                 "    deadlock_timeout: 1m\n"
                                 "  - {path: \"/b\"}\n");
    assert_messages(loaded, "");
    assert_int_equal(loaded->config.route_count, 2);
    const struct config_route *routes = loaded->config.routes;
    assert_string_equal(routes[0].values[CONFIG_ROUTE_PATH].text, "/a/{id}");
    assert_int_equal(routes[0].values[CONFIG_ROUTE_PATH].origin.line, 2);
    assert_int_equal(routes[0].values[CONFIG_ROUTE_DEADLOCK_TIMEOUT].number, 60 * S);
    assert_string_equal(routes[1].values[CONFIG_ROUTE_PATH].text, "/b");
    assert_int_equal(routes[1].values[CONFIG_ROUTE_DEADLOCK_TIMEOUT].number, 0);
    loaded_free(loaded);
}

static void byte_order_mark_is_skipped(void **state)
{
    (void)state;
    struct loaded *loaded = load("\xef\xbb\xbfloop.deadlock_timeout: 1s\n");
    assert_messages(loaded, "");
    assert_int_equal(number(loaded, CONFIG_LOOP_DEADLOCK_TIMEOUT), S);
    loaded_free(loaded);
}

/* --- what is wrong --- */

static void all_mistakes_are_told_in_one_run(void **state)
{
    (void)state;
    const char *const environment[] = { "SKINK_LOOP_DEADLOK_TIMEOUT=1s", "SKINK_HTTP_MAX_BODY=", NULL };
    const char *const settings[] = { "http.max_boddy=1mb", "nothing", "loop.max_tasks=0", NULL };
    struct loaded *loaded = load_all("loop:\n"
                                     "  deadlok_timeout: 5s\n"
                                     "  stack_size: 64\n"
                                     "loop.stack_size: 12kb\n"
                                     "http:\n"
                                     "\tmax_body: 3mb\n"
                                     "recovery.max_strays: [1]\n"
                                     "stats.listen: nowhere\n",
                                     environment, settings);
    assert_messages(
        loaded, "FILE:2:3: unknown key \"loop.deadlok_timeout\"; did you mean loop.deadlock_timeout?\n"
                "FILE:3:15: loop.stack_size: \"64\" has no unit; " EXPECTED_STACK "\n"
                "FILE:4:1: loop.stack_size is set twice, first in line 3; expected it once\n"
                "FILE:4:18: loop.stack_size: \"12kb\" is too small; " EXPECTED_STACK "\n"
                "FILE:6:1: syntax error while scanning for the next token: found character that cannot start any "
                "token (a tab; expected blanks)\n"
                "FILE:7:22: recovery.max_strays: a list; " EXPECTED_STRAYS "\n"
                "FILE:8:15: stats.listen: \"nowhere\" has no port; expected an address such as 127.0.0.1:9464, "
                "\"[::1]:8080\", :8080 or unix:/run/skinkd.sock\n"
                "environment SKINK_LOOP_DEADLOK_TIMEOUT: unknown variable; did you mean "
                "SKINK_LOOP_DEADLOCK_TIMEOUT?\n"
                "environment SKINK_HTTP_MAX_BODY: http.max_body: \"\" is no value; expected a size from 1kb to 1gb, "
                "such as 1mb (units kb, mb, gb)\n"
                "--set: unknown key \"http.max_boddy\"; did you mean http.max_body?\n"
                "--set: \"nothing\" is no setting; expected KEY=VALUE, such as loop.deadlock_timeout=30s\n"
                "--set: loop.max_tasks: \"0\" is too small; expected a whole number from 1 to 16777216, such as "
                "1048576\n");
    assert_int_equal(loaded->errors, 12);
    loaded_free(loaded);
}

static void misspelt_names_get_a_suggestion(void **state)
{
    (void)state;
    assert_said("deadlock_timeout: 5s\n",
                "FILE:1:1: unknown key \"deadlock_timeout\"; did you mean loop.deadlock_timeout?\n");
    assert_said("lop: {stack_size: 1mb}\n", "FILE:1:1: unknown section \"lop\"; did you mean loop?\n");
    assert_said("route: []\n", "FILE:1:1: unknown key \"route\"; did you mean routes?\n");
    assert_said("Loop.Stack-Size: 1mb\n", "FILE:1:1: unknown key \"Loop.Stack-Size\"; did you mean loop.stack_size?\n");
    assert_said("loop: {loop.stack_size: 1mb}\n",
                "FILE:1:8: unknown key \"loop.loop.stack_size\"; did you mean loop.stack_size?\n");
    assert_said("colour: red\n",
                "FILE:1:1: unknown key \"colour\"; expected one of those that skinkd --print-config shows\n");
    assert_said("routes: [{path: /a, colour: red}]\n",
                "FILE:1:21: unknown key of a route \"colour\"; expected one of path, deadlock_timeout, action, "
                "request_timeout, max_requests, max_queue, execution\n");
}

static void duplicates_are_found_across_both_forms(void **state)
{
    (void)state;
    assert_said("http:\n  max_body: 1mb\n  max_body: 2mb\nhttp.max_body: 3mb\n",
                "FILE:3:3: http.max_body is set twice, first in line 2; expected it once\n"
                "FILE:4:1: http.max_body is set twice, first in line 2; expected it once\n");
    assert_said("loop:\nroutes:\nloop:\n  max_tasks: 5\nroutes: []\n",
                "FILE:3:1: loop is set twice, first in line 1; expected it once\n"
                "FILE:5:1: routes is set twice, first in line 2; expected it once\n");
}

static void wrong_kinds_of_values_are_told(void **state)
{
    (void)state;
    assert_said("loop: 5\nhttp: [1]\nstats: ''\n",
                "FILE:1:7: loop: a single value; expected the keys of this section\n"
                "FILE:2:7: http: a list; expected the keys of this section\n"
                "FILE:3:8: stats: a single value; expected the keys of this section\n");
    assert_said("recovery.max_strays: \"9\"\nloop.deadlock_timeout: {a: b}\nloop.stack_size:\n",
                "FILE:1:22: recovery.max_strays: \"9\" is a text; " EXPECTED_STRAYS ", without quotes\n"
                "FILE:2:24: loop.deadlock_timeout: a mapping; " EXPECTED_TIMEOUT "\n"
                "FILE:3:17: loop.stack_size: no value; " EXPECTED_STACK "\n");
    assert_said("- a\n", "FILE:1:1: a list; " EXPECTED_ROOT "\n");
    assert_said("text\n", "FILE:1:1: a single value; " EXPECTED_ROOT "\n");
    assert_said("http.listen: [127.0.0.1:1]\n", "FILE:1:14: http.listen: a list; " EXPECTED_LISTEN "\n");
}

static void routes_are_checked(void **state)
{
    (void)state;
    assert_said("routes: {path: /a}\n",
                "FILE:1:9: routes: a mapping; expected a list of routes, such as [{path: /hello, "
                "deadlock_timeout: 1s}]\n");
    assert_said(
        "routes:\n"
        "  - path: a\n"
        "  - deadlock_timeout: 9ms\n"
        "  - pth: /x\n"
        "  - /x\n"
        "  - path: /x\n"
        "    path: /y\n"
        "  - path: /x\n"
        "  - path: /x\n",
        "FILE:2:11: routes: path: \"a\" does not start with a slash; expected a route's pattern such as /hello\n"
        "FILE:3:5: routes: no path; expected one, such as path: /hello\n"
        "FILE:3:23: routes: deadlock_timeout: \"9ms\" is too small; expected a duration from 10ms to 24h, such as "
        "500ms (units us, ms, s, m, h)\n"
        "FILE:4:5: unknown key of a route \"pth\"; did you mean path?\n"
        "FILE:4:5: routes: no path; expected one, such as path: /hello\n"
        "FILE:5:5: routes: a single value; expected a route such as {path: /hello, deadlock_timeout: 1s}\n"
        "FILE:7:5: routes: path is set twice, first in line 6; expected it once\n"
        "FILE:9:11: routes: path /x is set twice, first in line 8; expected it once\n");
    const char *const environment[] = { "SKINK_ROUTES=/a", NULL };
    const char *const settings[] = { "routes=/a", NULL };
    struct loaded *loaded = load_all(NULL, environment, settings);
    assert_messages(loaded, "environment SKINK_ROUTES: routes is a list; expected it in the file\n"
                            "--set: routes is a list; expected it in the file\n");
    loaded_free(loaded);
}

static void foreign_variables_are_left_alone(void **state)
{
    (void)state;
    const char *const environment[] = { "SKINK_SANITIZE=address",   "SKINK=1", "SKINK_HTTP_SERVICE_HOST=10.0.0.1",
                                        "SKINKY_LOOP_STACK_SIZE=1", "NOTHING", NULL };
    struct loaded *loaded = load_all(NULL, environment, NULL);
    assert_messages(loaded, "environment SKINK_HTTP_SERVICE_HOST: warning: no key of this name, ignored\n");
    assert_int_equal(loaded->errors, 0);
    loaded_free(loaded);
}

static void a_value_is_checked_even_where_another_wins(void **state)
{
    (void)state;
    const char *const settings[] = { "loop.stack_size=64kb", NULL };
    struct loaded *loaded = load_all("loop.stack_size: big\n", NULL, settings);
    assert_messages(loaded, "FILE:1:18: loop.stack_size: \"big\" is not a number; " EXPECTED_STACK "\n");
    loaded_free(loaded);
}

/* --- oddities of YAML --- */

static void what_yaml_offers_beyond_values_is_refused(void **state)
{
    (void)state;
    assert_said("loop: &a {deadlock_timeout: 1s}\n"
                "http: *a\n"
                "http.max_body: !!str 5mb\n"
                "? [a, b]\n"
                ": c\n"
                "<<: {a: b}\n"
                "'': x\n"
                "---\n"
                "foo: bar\n",
                "FILE:1:7: anchor &a: anchors are not understood; expected the value alone\n"
                "FILE:2:7: alias *a: aliases are not understood; expected the value itself\n"
                "FILE:3:16: tag tag:yaml.org,2002:str: tags are not understood; expected the value alone\n"
                "FILE:4:3: a list as a key; expected a name such as loop.deadlock_timeout\n"
                "FILE:6:1: merging with << is not understood; expected the keys themselves\n"
                "FILE:7:1: an empty key; expected a name such as loop.deadlock_timeout\n"
                "FILE:8:1: a second document; expected one\n");
}

static void reading_goes_on_behind_each_syntax_error(void **state)
{
    (void)state;
    assert_said(
        "loop: {stack_size: 1kb]\n"
        "http.max_body: 1\n"
        "http: 5: 6\n"
        "loop.max_tasks: \"5\n"
        "recovery.max_strays: 0\n",
        "FILE:1:20: loop.stack_size: \"1kb\" is too small; " EXPECTED_STACK "\n"
        "FILE:1:23: syntax error while parsing a flow mapping: did not find expected ',' or '}'\n"
        "FILE:2:16: http.max_body: \"1\" has no unit; expected a size from 1kb to 1gb, such as 1mb (units kb, mb, "
        "gb)\n"
        "FILE:3:7: http: a single value; expected the keys of this section\n"
        "FILE:3:8: syntax error: mapping values are not allowed in this context (a colon that is not expected "
        "here; is the line above indented rightly, the value in quotes?)\n"
        "FILE:4:17: syntax error while scanning a quoted scalar: found unexpected end of stream\n"
        "FILE:5:22: recovery.max_strays: \"0\" is too small; " EXPECTED_STRAYS "\n");
    assert_said(
        "loop:\n   stack_size: 64kb\n  max_tasks: 1\nhttp.max_body: 0kb\n",
        "FILE:3:3: syntax error while parsing a block mapping: did not find expected key\n"
        "FILE:4:16: http.max_body: \"0kb\" is too small; expected a size from 1kb to 1gb, such as 1mb (units kb, "
        "mb, gb)\n");
    assert_said(
        "loop: [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]\n"
        "  - more of it\n"
        "loop.max_tasks: 0\n"
        "http:\n"
        " a:\n  b:\n   c:\n    d:\n     e:\n      f:\n       g:\n        h:\n         i:\n          j:\n"
        "           k:\n            l:\n             m:\n              n:\n               o:\n"
        "recovery.max_strays: 0\n",
        "FILE:1:7: loop: a list; expected the keys of this section\n"
        "FILE:1:22: nested too deeply; expected at most three levels\n"
        "FILE:3:17: loop.max_tasks: \"0\" is too small; expected a whole number from 1 to 16777216, such as 1048576\n"
        "FILE:5:2: unknown key \"http.a\"; expected one of those that skinkd --print-config shows\n"
        "FILE:20:22: recovery.max_strays: \"0\" is too small; " EXPECTED_STRAYS "\n");
}

static void bytes_that_are_no_text_are_told_with_their_place(void **state)
{
    (void)state;
    static const char bytes[] = "a\0b: c\nhttp.max_body: 1\xff"
                                "mb\nloop.max_tasks: 0\n\xc3\xa4: \x01\n";
    struct loaded *loaded = load_bytes(bytes, sizeof bytes - 1);
    assert_non_null(strstr(loaded->messages, "FILE:1:2: byte 0x00; expected text in UTF-8"));
    assert_non_null(strstr(loaded->messages, "FILE:2:17: byte 0xff; expected text in UTF-8"));
    assert_non_null(strstr(loaded->messages, "FILE:3:17: loop.max_tasks: \"0\" is too small"));
    assert_non_null(strstr(loaded->messages, "FILE:4:4: byte 0x01; expected text in UTF-8"));
    loaded_free(loaded);
    char binary[4096];
    for (size_t i = 0; i < sizeof binary; i++)
        binary[i] = (char)(i * 7);
    loaded = load_bytes(binary, sizeof binary);
    assert_non_null(strstr(loaded->messages, "this is not a text file; expected YAML in UTF-8\n"));
    assert_int_equal(loaded->errors, 11);
    loaded_free(loaded);
}

static void lines_end_where_an_editor_ends_them(void **state)
{
    (void)state;
    assert_said("# a\xe2\x80\xa8loop.max_tasks: 0\n"
                "http.max_body: 5mb # b\xc2\x85loop.max_tasks: 0\n"
                "http: {\n"
                "# c\xe2\x80\xa9loop.max_tasks: 0\n"
                "recovery.max_strays: 0\n",
                "FILE:1:4: character U+2028, which ends a line for YAML alone; expected a line feed\n"
                "FILE:2:23: character U+0085, which ends a line for YAML alone; expected a line feed\n"
                "FILE:4:4: character U+2029, which ends a line for YAML alone; expected a line feed\n"
                "FILE:5:1: unknown key \"http.recovery.max_strays\"; did you mean recovery.max_strays?\n"
                "FILE:6:1: syntax error while parsing a flow mapping: did not find expected ',' or '}'\n");
    /* As old text files end theirs, and as some end theirs today. */
    assert_said("http.max_body: 5mb: 6\rloop: x\xff\r\nrecovery.max_strays: 0\r",
                "FILE:1:19: syntax error: mapping values are not allowed in this context (a colon that is not expected "
                "here; is the line above indented rightly, the value in quotes?)\n"
                "FILE:2:7: loop: a single value; expected the keys of this section\n"
                "FILE:2:8: byte 0xff; expected text in UTF-8 without control characters\n"
                "FILE:3:22: recovery.max_strays: \"0\" is too small; " EXPECTED_STRAYS "\n");
}

static void files_that_cannot_be_read_are_told(void **state)
{
    (void)state;
    struct config config;
    static const char *const names[] = { "/tmp", "/nonexistent/skinkd.yaml", "" };
    static const char *const said[] = {
        "/tmp: it is a directory; expected a readable YAML file",
        "/nonexistent/skinkd.yaml: No such file or directory; expected a readable YAML file",
        ": No such file or directory; expected a readable YAML file",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct problems problems = { 0 };
        struct config_sources sources = { .file = names[i] };
        skink__config_load(&config, &sources, &problems);
        assert_int_equal(problems.count, 1);
        assert_string_equal(problems.items[0].text, said[i]);
        skink__problems_fini(&problems);
        skink__config_fini(&config);
    }
}

/* Root may read everything, so it steps down for the attempt. */
static void a_file_without_permission_is_told(void **state)
{
    (void)state;
    char *file = temporary_file("", 0);
    struct config config;
    struct problems problems = { 0 };
    struct config_sources sources = { .file = file };
    bool root = geteuid() == 0;
    chmod(file, 0);
    if (root) assert_int_equal(seteuid(65534), 0);
    skink__config_load(&config, &sources, &problems);
    if (root) assert_int_equal(seteuid(0), 0);
    unlink(file);
    free(file);
    assert_int_equal(problems.count, 1);
    assert_non_null(strstr(problems.items[0].text, "Permission denied"));
    skink__problems_fini(&problems);
    skink__config_fini(&config);
}

/* Goal: whatever the size, the answer comes at once and the messages stay few. */
static void huge_files_are_refused_or_read_in_time(void **state)
{
    (void)state;
    enum { LINES = TEST_TIMES ? 200000 : 40000 };
    size_t length = CONFIG_FILE_MAX_BYTES + 1;
    char *text = malloc(length + 1);
    memset(text, '#', length);
    struct loaded *loaded = load_bytes(text, length);
    assert_messages(loaded, "FILE: it is larger than 1mb; expected a readable YAML file\n");
    loaded_free(loaded);

    loaded = load_bytes(text, length - 1); /* exactly the limit: one long comment */
    assert_messages(loaded, "");
    loaded_free(loaded);

    memset(text, '[', 100000);
    loaded = load_bytes(text, 100000);
    assert_non_null(strstr(loaded->messages, "nested too deeply; expected at most three levels\n"));
    loaded_free(loaded);

    for (size_t i = 0; i + 5 <= LINES * 5; i += 5)
        memcpy(text + i, "a: b\n", 5);
    loaded = load_bytes(text, LINES * 5);
    assert_int_equal(loaded->errors, LINES);
    char more[32];
    snprintf(more, sizeof more, "... and %d more\n", LINES - 1000);
    assert_non_null(strstr(loaded->messages, more));
    loaded_free(loaded);

    for (size_t i = 0; i + 5 <= LINES * 5; i += 5)
        memcpy(text + i, "a: \"\n", 5); /* each line opens a quote: a syntax error, and a fresh start behind it */
    loaded = load_bytes(text, LINES * 5);
    assert_true(loaded->errors > 1);
    loaded_free(loaded);
    free(text);
}

/* --- single values --- */

static void check_value(enum config_id id, const char *text, bool good, uint64_t expected, const char *complaint_part)
{
    char complaint[COMPLAINT_BYTES] = "";
    uint64_t value = 1;
    bool got = skink__value_parse(&skink__config_keys[id], text, strlen(text), &value, complaint);
    if (got != good) print_error("%s: %s\n", text, complaint);
    assert_int_equal(got, good);
    if (good)
        assert_int_equal(value, expected);
    else if (!strstr(complaint, complaint_part))
        fail_msg("%s: said: %s; not: %s", text, complaint, complaint_part);
}

static void durations_need_a_whole_number_and_a_unit(void **state)
{
    (void)state;
    const enum config_id id = CONFIG_LOOP_DEADLOCK_TIMEOUT;
    check_value(id, "10ms", true, 10 * MS, NULL);
    check_value(id, "10000us", true, 10 * MS, NULL);
    check_value(id, "1s", true, S, NULL);
    check_value(id, "2m", true, 120 * S, NULL);
    check_value(id, "24h", true, 86400 * S, NULL);
    check_value(id, "9999us", false, 0, "is too small; " EXPECTED_TIMEOUT);
    check_value(id, "25h", false, 0, "is too large; " EXPECTED_TIMEOUT);
    check_value(id, "30", false, 0, "\"30\" has no unit; " EXPECTED_TIMEOUT);
    check_value(id, "0", false, 0, "has no unit");
    check_value(id, "1.5s", false, 0, "is not a whole number (use a smaller unit)");
    check_value(id, "-1s", false, 0, "is negative");
    check_value(id, "+1s", false, 0, "is not a number");
    check_value(id, "s", false, 0, "is not a number");
    check_value(id, "", false, 0, "is no value");
    check_value(id, "30 s", false, 0, "has a blank before its unit");
    check_value(id, "30S", false, 0, "has its unit in capitals");
    check_value(id, "30sec", false, 0, "has an unknown unit \"sec\"");
    check_value(id, "1m30s", false, 0, "has an unknown unit \"m30s\"");
    check_value(id, "030s", false, 0, "starts with a zero");
    check_value(id, "18446744073709551616s", false, 0, "is too large");
    check_value(id, "18446744073709551615h", false, 0, "is too large");
    check_value(id, "5124096h", false, 0, "is too large"); /* one hour more than 64 bits of nanoseconds */
}

static void sizes_and_counts_are_checked(void **state)
{
    (void)state;
    check_value(CONFIG_HTTP_MAX_BODY, "1kb", true, 1024, NULL);
    check_value(CONFIG_HTTP_MAX_BODY, "3mb", true, 3 << 20, NULL);
    check_value(CONFIG_HTTP_MAX_BODY, "1gb", true, 1 << 30, NULL);
    check_value(CONFIG_HTTP_MAX_BODY, "1025mb", false, 0, "is too large");
    check_value(CONFIG_HTTP_MAX_BODY, "64KB", false, 0, "has its unit in capitals");
    check_value(CONFIG_HTTP_MAX_BODY, "65536", false, 0, "has no unit");
    check_value(CONFIG_HTTP_MAX_BODY, "18446744073709551615gb", false, 0, "is too large");
    check_value(CONFIG_RECOVERY_MAX_STRAYS, "4096", true, 4096, NULL);
    check_value(CONFIG_RECOVERY_MAX_STRAYS, "4097", false, 0, "is too large; " EXPECTED_STRAYS);
    check_value(CONFIG_RECOVERY_MAX_STRAYS, "0", false, 0, "is too small");
    check_value(CONFIG_RECOVERY_MAX_STRAYS, "8.5", false, 0, "\"8.5\" is not a whole number; " EXPECTED_STRAYS);
    check_value(CONFIG_RECOVERY_MAX_STRAYS, "8s", false, 0, "is not a whole number");
    check_value(CONFIG_RECOVERY_MAX_STRAYS, "0x8", false, 0, "is not a whole number");
    check_value(CONFIG_RECOVERY_MAX_STRAYS, "07", false, 0, "starts with a zero");
    check_value(CONFIG_RECOVERY_MAX_STRAYS, "18446744073709551621", false, 0, "is too large"); /* 5, in 64 bits */
    check_value(CONFIG_RECOVERY_MAX_STRAYS, "18446744073709551617", false, 0, "is too large");
    check_value(CONFIG_RECOVERY_MAX_STRAYS, "1", true, 1, NULL);
}

static void addresses_are_checked(void **state)
{
    (void)state;
    const enum config_id id = CONFIG_HTTP_LISTEN;
    static const char *const good[] = { "127.0.0.1:8080", "0.0.0.0:0",   ":80",   "[::1]:8080",
                                        "[::]:65535",     "unix:/run/x", "unix:x" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        check_value(id, good[i], true, 0, NULL);
    char local[5 + sizeof((struct sockaddr_un *)NULL)->sun_path + 1] = "unix:";
    memset(local + 5, 'x', sizeof local - 5 - 2); /* and its NUL fills the socket's name */
    check_value(id, local, true, 0, NULL);
    strcat(local, "x");
    check_value(id, local, false, 0, "is too long for a unix socket");
    check_value(id, "127.0.0.1", false, 0, "has no port; " EXPECTED_LISTEN);
    check_value(id, "127.0.0.1:", false, 0, "has no port from 0 to 65535");
    check_value(id, "127.0.0.1:65536", false, 0, "has no port from 0 to 65535");
    check_value(id, "127.0.0.1:8o80", false, 0, "has no port from 0 to 65535");
    check_value(id, "localhost:8080", false, 0, "is not a numeric address");
    check_value(id, "256.0.0.1:80", false, 0, "is not a numeric address");
    check_value(id, "::1:8080", false, 0, "needs brackets around its IPv6 address");
    check_value(id, "[::1:8080", false, 0, "has no closing bracket");
    check_value(id, "[::x]:8080", false, 0, "is not an IPv6 address");
    check_value(id, "unix:", false, 0, "names no socket file");
    check_value(id, "unix:/a\nb", false, 0, "has a control character in it");
    check_value(id, "unix:/a\xe9", false, 0, "\"unix:/a?\" is not UTF-8; expected");
    check_value(id, "unix:/a\xe2\x80\xa8", false, 0, "has a control character in it");
    check_value(id, "", false, 0, "is no value");
    char path[300] = "unix:/";
    memset(path + 6, 'x', 110);
    check_value(id, path, false, 0, "is too long for a unix socket");
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    check_value(id, path, false, 0, "is not an address");
}

static void messages_quote_no_control_characters(void **state)
{
    (void)state;
    char quoted[QUOTED_BYTES];
    assert_string_equal(skink__quote("a\nb\x1b[", 5, quoted), "\"a?b?[\"");
    char text[500];
    memset(text, 'x', sizeof text);
    skink__quote(text, sizeof text, quoted);
    assert_int_equal(strlen(quoted), QUOTED_BYTES - 1);
    assert_string_equal(quoted + QUOTED_BYTES - 5, "...\"");
}

static void a_server_header_is_text_of_128_bytes_at_most(void **state)
{
    (void)state;
    static const struct {
        int length;
        char last;
        bool good;
    } headers[] = { { 128, '~', true }, { 129, 'x', false }, { 1, '\x7f', false }, { 2, ' ', true } };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        char setting[200] = "http.server_header=";
        char *value = setting + strlen(setting);
        memset(value, 'x', (size_t)headers[i].length);
        value[headers[i].length - 1] = headers[i].last;
        const char *const settings[] = { setting, NULL };
        struct loaded *loaded = load_all(NULL, NULL, settings);
        assert_int_equal(loaded->errors, headers[i].good ? 0 : 1);
        loaded_free(loaded);
    }
}

static void limits_are_enough_for_every_loop(void **state)
{
    (void)state;
    assert_said(
        "loop.count: 2\nrecovery.burst: 6\nconcurrency.max_requests: 2\nroutes: [{path: /a, max_requests: 2}]\n", "");
    assert_said(
        "loop.count: 2\nrecovery.burst: 6\nconcurrency.max_requests: 0\nroutes: [{path: /a, max_requests: 0}]\n", "");
    assert_said(
        "loop.count: 2\nconcurrency.max_requests: 1\nroutes: [{path: /a, max_requests: 1}]\n",
        "FILE:2:27: concurrency.max_requests: 1 is less than loop.count, which is 2; expected 0 or at least one "
        "for each loop\n"
        "FILE:3:35: routes: max_requests: 1 is less than loop.count, which is 2; expected 0 or at least one for "
        "each loop\n");
}

/* --- values that do not fit each other: they hold, and it is said --- */

static void what_breaks_the_promise_of_quarantine_is_said(void **state)
{
    (void)state;
    assert_said(
        "quarantine.strikes: 7\nquarantine.window: 10m\nrecovery.burst: 20\n",
        "FILE:1:21: warning: quarantine.strikes: requests of one route that never come back leave up to 8 threads "
        "(quarantine.strikes is 7, loop.count is 1) and so reach recovery.max_strays, which is 8, before its "
        "quarantine can help; raise recovery.max_strays, or lower quarantine.strikes\n");
    assert_said(
        "recovery.max_strays: 4\n",
        "FILE:1:22: warning: quarantine.strikes: requests of one route that never come back leave up to 4 threads "
        "(quarantine.strikes is 3, loop.count is 1) and so reach recovery.max_strays, which is 4, before its "
        "quarantine can help; raise recovery.max_strays, or lower quarantine.strikes\n");
    assert_said(
        "loop.count: 5\n",
        "FILE:1:13: warning: quarantine.strikes: requests of one route that never come back leave up to 8 threads "
        "(quarantine.strikes is 3, loop.count is 5) and so reach recovery.max_strays, which is 8, before its "
        "quarantine can help; raise recovery.max_strays, or lower quarantine.strikes\n"
        "FILE:1:13: warning: recovery.burst: one route that keeps getting stuck can reach it in spite of its "
        "quarantine: quarantine.strikes is 3, loop.count is 5, and with a trial each quarantine.period of 30 s there "
        "are up to 9 in recovery.burst_window of 60 s, more than the 5 of recovery.burst\n");
    assert_said(
        "quarantine.strikes: 0\n",
        "FILE:1:21: warning: quarantine.strikes: 0 is no quarantine: requests of one route that never come back "
        "reach recovery.max_strays, which is 8, and then nobody is served\n");
    assert_said(
        "quarantine.period: 5s\n",
        "FILE:1:20: warning: recovery.burst: one route that keeps getting stuck can reach it in spite of its "
        "quarantine: quarantine.strikes is 3, loop.count is 1, and with a trial each quarantine.period of 5 s there "
        "are up to 15 in recovery.burst_window of 60 s, more than the 5 of recovery.burst\n");
    assert_said("loop.deadlock_timeout: 90s\n",
                "FILE:1:24: warning: quarantine.window: on one loop 3 strikes (quarantine.strikes) take 180 s, as each "
                "takes a loop.deadlock_timeout of 90 s until it is declared, so they never fit into 120 s; raise "
                "quarantine.window\n");
}

static void what_gets_stuck_side_by_side_is_said(void **state)
{
    (void)state;
    assert_said("concurrency.execution: threads\n",
                "FILE:1:24: warning: concurrency.execution: up to 64 requests of one route can get stuck side by side "
                "on workers, and reach recovery.max_strays, which is 8, and recovery.burst, which is 5, in spite of "
                "its quarantine; give it a smaller max_requests, or raise what is reached\n");
    assert_said("routes: [{path: /a, execution: threads}, {path: /b}]\nrecovery.burst: 0\n",
                "FILE:1:32: warning: routes: execution: up to 64 requests of one route can get stuck side by side on "
                "workers, and reach recovery.max_strays, which is 8, in spite of its quarantine; give it a smaller "
                "max_requests, or raise what is reached\n");
    assert_said("routes: [{path: /a, execution: threads, max_requests: 6}]\nrecovery.burst: 10\n",
                "FILE:1:32: warning: routes: execution: up to 6 requests of one route can get stuck side by side on "
                "workers, and reach recovery.max_strays, which is 8, in spite of its quarantine; give it a smaller "
                "max_requests, or raise what is reached\n");
    assert_said("routes: [{path: /a, execution: threads, max_requests: 5}]\nrecovery.burst: 8\n",
                "FILE:1:32: warning: routes: execution: up to 5 requests of one route can get stuck side by side on "
                "workers, and reach recovery.burst, which is 8, in spite of its quarantine; give it a smaller "
                "max_requests, or raise what is reached\n");
    assert_said("routes: [{path: /a, execution: threads, max_requests: 5}]\nrecovery.burst: 9\n", "");
    assert_said("concurrency: {execution: threads, max_requests: 5}\nrecovery.burst: 9\n", "");
    assert_said("concurrency: {execution: threads, threads: 5}\nrecovery.burst: 9\n", "");
    assert_said("concurrency.execution: serial\nroutes: [{path: /a, execution: serial}]\n", "");
    assert_said("concurrency.threads: 100\nroutes: [{path: /a, execution: loop}]\n", "");
}

static void what_keeps_it_is_not(void **state)
{
    (void)state;
    assert_said("quarantine.strikes: 6\nrecovery.burst: 0\nquarantine.window: 5m\n", "");
    assert_said("quarantine: {strikes: 1, window: 1s, period: 15s}\n", "");
    assert_said("loop.count: 4\nrecovery.burst: 8\n", "");
    assert_said("loop.deadlock_timeout: 20s\nquarantine.window: 42s\n", ""); /* the third just so */
    assert_said(
        "quarantine: {strikes: 0, period: 5s}\n", /* no quarantine, so none is broken */
        "FILE:1:23: warning: quarantine.strikes: 0 is no quarantine: requests of one route that never come back "
        "reach recovery.max_strays, which is 8, and then nobody is served\n");
    assert_said("quarantine.strikes: 0\nloop.count: x\n", /* a mistake first: what it will be is not known */
                "FILE:2:13: loop.count: \"x\" is not a number; expected a whole number from 1 to 256, such as 1\n");
}

static const struct test_case cases[] = {
    CASE(empty_files_mean_all_defaults),
    CASE(nested_and_dotted_keys_are_the_same),
    CASE(stronger_sources_win_and_origins_tell_which),
    CASE(routes_are_read_with_their_places),
    CASE(byte_order_mark_is_skipped),
    CASE(all_mistakes_are_told_in_one_run),
    CASE(misspelt_names_get_a_suggestion),
    CASE(duplicates_are_found_across_both_forms),
    CASE(wrong_kinds_of_values_are_told),
    CASE(routes_are_checked),
    CASE(foreign_variables_are_left_alone),
    CASE(a_value_is_checked_even_where_another_wins),
    CASE(what_yaml_offers_beyond_values_is_refused),
    CASE(reading_goes_on_behind_each_syntax_error),
    CASE(bytes_that_are_no_text_are_told_with_their_place),
    CASE(lines_end_where_an_editor_ends_them),
    CASE(files_that_cannot_be_read_are_told),
    CASE(a_file_without_permission_is_told),
    CASE(huge_files_are_refused_or_read_in_time),
    CASE(durations_need_a_whole_number_and_a_unit),
    CASE(sizes_and_counts_are_checked),
    CASE(addresses_are_checked),
    CASE(messages_quote_no_control_characters),
    CASE(a_server_header_is_text_of_128_bytes_at_most),
    CASE(limits_are_enough_for_every_loop),
    CASE(what_breaks_the_promise_of_quarantine_is_said),
    CASE(what_gets_stuck_side_by_side_is_said),
    CASE(what_keeps_it_is_not),
};
TEST_MAIN(cases, NULL, NULL)
