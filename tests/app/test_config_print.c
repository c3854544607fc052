/* SPDX-License-Identifier: MIT */
/* tests/app/test_config_print.c - --print-config, the table itself, and the documents that are made from it. */
#include "app/config.h"
#include "app/config_value.h"
#include "app/reference.h"
#include "config_fixture.h"
#include "tests/support/case.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char *printed(const struct config *config)
{
    char *text = NULL;
    size_t length;
    FILE *stream = open_memstream(&text, &length);
    skink__config_print(config, stream);
    fclose(stream);
    return text;
}

static void origin_of_each_value_is_shown(void **state)
{
    (void)state;
    const char *const environment[] = { "SKINK_STATS_LISTEN=127.0.0.1:9999", NULL };
    const char *const settings[] = { "loop.stack_size=128kb", NULL };
    struct loaded *loaded = load_all("loop.deadlock_timeout: 1500ms\nhttp.listen: \"[::1]:80\"\n"
                                     "routes: [{path: '/a/{id}', deadlock_timeout: 1h}]\n",
                                     environment, settings);
    char *text = printed(&loaded->config);
    static const char *const parts[] = {
        "loop:\n  deadlock_timeout: 1500ms                   # FILE:1:24\n",
        "\n  stack_size: 128kb                          # --set\n",
        "\n  max_tasks: 1048576                         # default\n",
        "\nhttp:\n  listen: \"[::1]:80\"                         # FILE:2:14\n",
        "\nstats:\n  listen: 127.0.0.1:9999                     # environment SKINK_STATS_LISTEN\n",
        "\nroutes:\n"
        "  - path: \"/a/{id}\"                          # FILE:3:17\n"
        "    deadlock_timeout: 1h                     # FILE:3:46\n",
    };
    const char *at = text;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const char *found = strstr(at, parts[i]);
        if (!found) print_error("%s is not in, or not behind what is before it in:\n%s\n", parts[i], text);
        assert_non_null(found);
        at = found + strlen(parts[i]) - 1; /* the next may begin with this line's end */
    }
    assert_string_equal(at, "\n");
    free(text);
    loaded_free(loaded);
}

/* Goal: what --print-config shows can be used as a file, and means the same. */
static void output_can_be_read_again(void **state)
{
    (void)state;
    const char *const settings[] = { "http.listen=unix:/tmp/a \"b\\c", "loop.deadlock_timeout=50s", NULL };
    struct loaded *first = load_all("routes: [{path: '/a/{id}', deadlock_timeout: 1h}, {path: /b}]\n", NULL, settings);
    assert_messages(first, "");
    char *text = printed(&first->config);
    struct loaded *second = load(text);
    assert_messages(second, "");
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++) {
        assert_int_equal(first->config.values[i].number, second->config.values[i].number);
        if (first->config.values[i].text)
            assert_string_equal(first->config.values[i].text, second->config.values[i].text);
    }
    assert_int_equal(second->config.route_count, 2);
    assert_string_equal(second->config.routes[0].values[CONFIG_ROUTE_PATH].text, "/a/{id}");
    assert_int_equal(second->config.routes[0].values[CONFIG_ROUTE_DEADLOCK_TIMEOUT].number, UINT64_C(3600000000000));
    free(text);
    loaded_free(second);
    loaded_free(first);
}

static void numbers_are_written_in_the_largest_unit_that_fits(void **state)
{
    (void)state;
    static const struct {
        enum config_type type;
        uint64_t number;
        const char *text;
    } rows[] = {
        { CONFIG_DURATION, UINT64_C(1000), "1us" },
        { CONFIG_DURATION, UINT64_C(1500000), "1500us" },
        { CONFIG_DURATION, UINT64_C(90000000000), "90s" },
        { CONFIG_DURATION, UINT64_C(60000000000), "1m" },
        { CONFIG_DURATION, UINT64_C(86400000000000), "24h" },
        { CONFIG_SIZE, 1024, "1kb" },
        { CONFIG_SIZE, 1536 * 1024, "1536kb" },
        { CONFIG_SIZE, UINT64_C(1) << 30, "1gb" },
        { CONFIG_COUNT, 1048576, "1048576" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[VALUE_TEXT_BYTES];
        skink__value_format(rows[i].type, rows[i].number, text);
        assert_string_equal(text, rows[i].text);
    }
}

/* Goal: no row of the table contradicts itself. */
static void every_row_of_the_table_is_sound(void **state)
{
    (void)state;
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++) {
        const struct config_key *key = &skink__config_keys[i];
        char complaint[COMPLAINT_BYTES], variable[128] = "SKINK_";
        uint64_t number;
        assert_true(skink__value_parse(key, key->fallback, strlen(key->fallback), &number, complaint));
        if (key->least) assert_true(skink__value_parse(key, key->least, strlen(key->least), &number, complaint));
        if (key->most) assert_true(skink__value_parse(key, key->most, strlen(key->most), &number, complaint));
        bool number_type = key->type == CONFIG_DURATION || key->type == CONFIG_SIZE || key->type == CONFIG_COUNT;
        assert_true((key->least != NULL) == number_type);
        char *end = variable + strlen(variable);
        for (const char *at = key->name; *at; at++)
            *end++ = *at == '.' ? '_' : (char)toupper(*at);
        assert_string_equal(key->environment, variable);
        char *section = strndup(key->name, strcspn(key->name, "."));
        assert_non_null(skink__config_section_find(section));
        free(section);
        assert_ptr_equal(skink__config_key_find(key->name), key);
        assert_int_equal(key->sentence[strlen(key->sentence) - 1], '.');
    }
    assert_string_equal(skink__config_keys[0].name, "loop.deadlock_timeout");
}

static char *read_document(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", TEST_SOURCE_DIR, name);
    FILE *stream = fopen(path, "r");
    assert_non_null(stream);
    char *text = calloc(1, 1 << 20);
    assert_true(fread(text, 1, (1 << 20) - 1, stream) > 0);
    fclose(stream);
    return text;
}

/* If this fails: ninja -C build/dev update-reference */
static void documents_are_up_to_date_with_the_table(void **state)
{
    (void)state;
    static const char *const names[] = { "docs/configuration.md", "docs/skinkd.8", "app/skinkd.yaml" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        enum reference_format format;
        char *text = read_document(names[i]), *renewed = NULL;
        assert_int_equal(skink__reference_format_of(names[i], &format), 0);
        assert_int_equal(skink__reference_renew(format, text, &renewed), 0);
        assert_string_equal(text, renewed);
        for (size_t j = 0; j < CONFIG_ID_COUNT; j++)
            assert_non_null(strstr(text, skink__config_keys[j].name));
        free(renewed);
        free(text);
    }
}

static void a_document_without_the_marks_is_refused(void **state)
{
    (void)state;
    char *renewed;
    enum reference_format format;
    assert_int_equal(skink__reference_renew(REFERENCE_MARKDOWN, "", &renewed), -EINVAL);
    assert_int_equal(skink__reference_renew(REFERENCE_MARKDOWN, "reference: begin", &renewed), -EINVAL);
    assert_int_equal(skink__reference_renew(REFERENCE_MARKDOWN, "reference: end\nreference: begin\n", &renewed),
                     -EINVAL);
    assert_int_equal(skink__reference_format_of("Makefile", &format), -EINVAL);
    assert_int_equal(
        skink__reference_renew(REFERENCE_MAN, "a\nreference: begin\nwas here\nreference: end\nb\n", &renewed), 0);
    assert_non_null(strstr(renewed, "a\nreference: begin\n.SS loop\n"));
    assert_null(strstr(renewed, "was here"));
    assert_non_null(strstr(renewed, "\nreference: end\nb\n"));
    free(renewed);
}

static void stock_file_sets_every_key_to_its_default(void **state)
{
    (void)state;
    char *text = read_document("app/skinkd.yaml");
    struct loaded *stock = load(text), *defaults = load(NULL);
    assert_messages(stock, "");
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++) {
        assert_int_equal(stock->config.values[i].origin.kind, ORIGIN_FILE);
        assert_int_equal(stock->config.values[i].number, defaults->config.values[i].number);
        if (defaults->config.values[i].text)
            assert_string_equal(stock->config.values[i].text, defaults->config.values[i].text);
    }
    loaded_free(defaults);
    loaded_free(stock);
    free(text);
}

static const struct test_case cases[] = {
    CASE(origin_of_each_value_is_shown),
    CASE(output_can_be_read_again),
    CASE(numbers_are_written_in_the_largest_unit_that_fits),
    CASE(every_row_of_the_table_is_sound),
    CASE(documents_are_up_to_date_with_the_table),
    CASE(a_document_without_the_marks_is_refused),
    CASE(stock_file_sets_every_key_to_its_default),
};
TEST_MAIN(cases, NULL, NULL)
