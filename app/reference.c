/* SPDX-License-Identifier: MIT */
/* app/reference.c - the table of keys as Markdown, as a man page and as a commented file (see reference.h). */
#include "app/reference.h"
#include "app/allocate.h"
#include "app/config_value.h"
#include "app/schema.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_WIDTH 100

/* Words filled into lines, each with `lead` in front. */
static void write_wrapped(FILE *stream, const char *lead, const char *text)
{
    size_t column = 0;
    while (*text) {
        size_t length = strcspn(text, " ");
        if (column && column + 1 + length > LINE_WIDTH) {
            fputc('\n', stream);
            column = 0;
        }
        column += (size_t)fprintf(stream, "%s%.*s", column ? " " : lead, (int)length, text);
        text += length;
        text += *text == ' ';
    }
    fputc('\n', stream);
}

/* One paragraph for man: `x` becomes bold, and hyphens are those that can be copied. */
static void write_man(FILE *stream, const char *text)
{
    bool bold = false;
    for (; *text; text++) {
        if (*text == '`') {
            bold = !bold;
            fputs(bold ? "\\fB" : "\\fR", stream);
        } else if (*text == '-') {
            fputs("\\-", stream);
        } else if (*text == '\\') {
            fputs("\\e", stream);
        } else {
            fputc(*text, stream);
        }
    }
    fputc('\n', stream);
}

/* "a duration from 10ms to 24h (units us, ms, s, m, h)": the default stands beside it anyway. */
static void describe(const struct config_key *key, char text[COMPLAINT_BYTES])
{
    skink__value_describe(key, text);
    char *example = strstr(text, ", such as ");
    if (!example || key->type >= CONFIG_ADDRESS) return;
    char *units = strchr(example, '(');
    if (!units) {
        *example = '\0';
        return;
    }
    *example = ' ';
    memmove(example + 1, units, strlen(units) + 1);
}

/* Is a change of it taken at SIGHUP? */
static const char *reload_sentence(const struct config_key *key)
{
    return key->required ? "" : key->reloadable ? " Read again at SIGHUP." : " Takes effect at the next start only.";
}

static bool starts_section(const struct config_section *section, const struct config_key *key)
{
    size_t length = strlen(section->name);
    return strncmp(key->name, section->name, length) == 0 && key->name[length] == '.';
}

/* --- Markdown --- */

static void write_markdown_key(FILE *stream, const struct config_key *key)
{
    char expected[COMPLAINT_BYTES];
    describe(key, expected);
    fprintf(stream, "\n**`%s`**", key->name);
    if (key->fallback) fprintf(stream, *key->fallback ? " (default `%s`)" : " (default: nothing)", key->fallback);
    fputs("  \n", stream);
    write_wrapped(stream, "", key->sentence);
    fprintf(stream, "Takes %s.%s", expected, key->required ? " Required." : "");
    if (key->environment) fprintf(stream, "\nEnvironment: `%s`.", key->environment);
    fprintf(stream, "%s\n", reload_sentence(key));
}

static void write_markdown(FILE *stream)
{
    for (size_t i = 0; i < CONFIG_SECTION_COUNT; i++) {
        const struct config_section *section = &skink__config_sections[i];
        fprintf(stream, "%s### %s\n\n%s\n", i ? "\n" : "", section->name, section->sentence);
        for (size_t j = 0; j < CONFIG_ID_COUNT; j++)
            if (starts_section(section, &skink__config_keys[j])) write_markdown_key(stream, &skink__config_keys[j]);
    }
    fprintf(stream, "\n### %s\n\n", CONFIG_LIST_NAME);
    write_wrapped(stream, "", skink__config_list_sentence);
    for (size_t i = 0; i < CONFIG_ROUTE_ID_COUNT; i++)
        write_markdown_key(stream, &skink__config_route_keys[i]);
}

/* --- man --- */

static void write_man_key(FILE *stream, const struct config_key *key)
{
    char expected[COMPLAINT_BYTES];
    describe(key, expected);
    fprintf(stream, ".TP\n.B %s\n", key->name);
    write_man(stream, key->sentence);
    char *fallback = !key->fallback   ? skink__app_format("%s", "")
                     : *key->fallback ? skink__app_format(" Default: `%s`.", key->fallback)
                                      : skink__app_format(" Default: nothing.");
    char *text = skink__app_format("Takes %s.%s%s", expected, key->required ? " Required." : "", fallback);
    write_man(stream, text);
    free(text);
    free(fallback);
    if (key->environment) fprintf(stream, "Environment: \\fB%s\\fR.", key->environment);
    if (key->environment || !key->required) fprintf(stream, "%s\n", reload_sentence(key) + !key->environment);
}

static void write_man_page(FILE *stream)
{
    for (size_t i = 0; i < CONFIG_SECTION_COUNT; i++) {
        const struct config_section *section = &skink__config_sections[i];
        fprintf(stream, ".SS %s\n", section->name);
        write_man(stream, section->sentence);
        for (size_t j = 0; j < CONFIG_ID_COUNT; j++)
            if (starts_section(section, &skink__config_keys[j])) write_man_key(stream, &skink__config_keys[j]);
    }
    fprintf(stream, ".SS %s\n", CONFIG_LIST_NAME);
    write_man(stream, skink__config_list_sentence);
    for (size_t i = 0; i < CONFIG_ROUTE_ID_COUNT; i++)
        write_man_key(stream, &skink__config_route_keys[i]);
}

/* --- YAML --- */

/* Keys with their section in front, so that each line can be moved or commented out by itself. */
static void write_yaml(FILE *stream)
{
    char expected[COMPLAINT_BYTES];
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++) {
        const struct config_key *key = &skink__config_keys[i];
        describe(key, expected);
        if (i) fputc('\n', stream);
        write_wrapped(stream, "# ", key->sentence);
        fprintf(stream, "# Takes %s.\n%s: %s\n", expected, key->name, *key->fallback ? key->fallback : "\"\"");
    }
    fputc('\n', stream);
    write_wrapped(stream, "# ", skink__config_list_sentence);
    fputs("# " CONFIG_LIST_NAME ":\n#   - path: /stick\n#     deadlock_timeout: 500ms\n", stream);
}

static void write_reference(enum reference_format format, FILE *stream)
{
    if (format == REFERENCE_MARKDOWN)
        write_markdown(stream);
    else if (format == REFERENCE_MAN)
        write_man_page(stream);
    else
        write_yaml(stream);
}

int skink__reference_format_of(const char *file, enum reference_format *ret_format)
{
    const char *ending = strrchr(file, '.');
    if (!ending) return -EINVAL;
    if (strcmp(ending, ".md") == 0)
        *ret_format = REFERENCE_MARKDOWN;
    else if (strcmp(ending, ".8") == 0)
        *ret_format = REFERENCE_MAN;
    else if (strcmp(ending, ".yaml") == 0)
        *ret_format = REFERENCE_YAML;
    else
        return -EINVAL;
    return 0;
}

int skink__reference_renew(enum reference_format format, const char *text, char **ret_text)
{
    const char *begin = strstr(text, REFERENCE_BEGIN);
    const char *body = begin ? strchr(begin, '\n') : NULL;
    const char *end = body ? strstr(body, REFERENCE_END) : NULL;
    if (!end) return -EINVAL;
    while (end[-1] != '\n')
        end--;
    char *renewed = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&renewed, &length);
    if (!stream) return -ENOMEM;
    fwrite(text, 1, (size_t)(body + 1 - text), stream);
    write_reference(format, stream);
    fputs(end, stream);
    if (fclose(stream)) {
        free(renewed);
        return -ENOMEM;
    }
    *ret_text = renewed;
    return 0;
}
