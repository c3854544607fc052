/* SPDX-License-Identifier: MIT */
/* app/config_print.c - the effective configuration, as YAML that can be read again, with the origin of each value. */
#include "app/config.h"
#include "app/config_value.h"
#include <string.h>

#define COMMENT_COLUMN 44

/* Double quotes where YAML would read the text as something else: "[::1]:8080" as a list. */
static void write_text(char *line, size_t size, const char *text)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./:_-";
    if (*text && text[strspn(text, safe)] == '\0') {
        snprintf(line, size, "%s", text);
        return;
    }
    char *end = line, *limit = line + size - 3;
    *end++ = '"';
    for (; *text && end < limit; text++) {
        if (*text == '"' || *text == '\\') *end++ = '\\';
        *end++ = *text;
    }
    *end++ = '"';
    *end = '\0';
}

static void print_value(FILE *stream, const char *lead, const struct config_key *key, const char *name,
                        const struct config_value *value)
{
    char text[512], origin[512];
    if (value->text) {
        write_text(text, sizeof text, value->text);
    } else {
        char number[VALUE_TEXT_BYTES];
        skink__value_format(key->type, value->number, number);
        snprintf(text, sizeof text, "%s", number);
    }
    skink__origin_format(&value->origin, origin, sizeof origin);
    for (char *at = origin; *at; at++)
        if ((unsigned char)*at < 0x20) *at = '?'; /* a newline in a file's name would end the comment */
    int width = COMMENT_COLUMN - (int)(strlen(lead) + strlen(name) + 2);
    fprintf(stream, "%s%s: %-*s # %s\n", lead, name, width > 0 ? width : 0, text, origin);
}

static void print_routes(const struct config *config, FILE *stream)
{
    if (!config->route_count) return;
    fputs(CONFIG_LIST_NAME ":\n", stream);
    for (size_t i = 0; i < config->route_count; i++) {
        const char *lead = "  - ";
        for (size_t j = 0; j < CONFIG_ROUTE_ID_COUNT; j++) {
            const struct config_value *value = &config->routes[i].values[j];
            if (value->origin.kind == ORIGIN_DEFAULT) continue; /* not set */
            print_value(stream, lead, &skink__config_route_keys[j], skink__config_route_keys[j].name, value);
            lead = "    ";
        }
    }
}

void skink__config_print(const struct config *config, FILE *stream)
{
    const char *section = "";
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++) {
        const struct config_key *key = &skink__config_keys[i];
        const char *dot = strchr(key->name, '.');
        size_t length = (size_t)(dot - key->name);
        if (strncmp(section, key->name, length + 1)) fprintf(stream, "%.*s:\n", (int)length, key->name);
        section = key->name;
        print_value(stream, "  ", key, dot + 1, &config->values[i]);
    }
    print_routes(config, stream);
}
