/* SPDX-License-Identifier: MIT */
/* app/config_check.c - texts with a grammar of their own (config_check.h). */
#include "app/config_check.h"
#include "skink/http_server.h"
#include <errno.h>
#include <string.h>

enum { SERVER_HEADER_MAX = 128 };

static void check_proxies(const struct config *config, struct problems *problems)
{
    const struct config_key *key = &skink__config_keys[CONFIG_HTTP_TRUSTED_PROXIES];
    const struct config_value *value = &config->values[CONFIG_HTTP_TRUSTED_PROXIES];
    size_t at;
    if (skink_http_check_proxies(value->text, &at) != -EINVAL) return;
    const char *wrong = value->text + at;
    skink__problem_add(problems, &value->origin, "%s: \"%.*s\" is neither an address nor a network; expected %s",
                       key->name, (int)strcspn(wrong, ", \t"), wrong, key->takes);
}

static void check_server_header(const struct config *config, struct problems *problems)
{
    const struct config_key *key = &skink__config_keys[CONFIG_HTTP_SERVER_HEADER];
    const struct config_value *value = &config->values[CONFIG_HTTP_SERVER_HEADER];
    if (!value->text) return;
    size_t length = strlen(value->text);
    bool fits = length <= SERVER_HEADER_MAX;
    for (size_t i = 0; i < length; i++)
        fits = fits && value->text[i] >= ' ' && value->text[i] <= '~';
    if (!fits)
        skink__problem_add(problems, &value->origin, "%s: \"%s\" cannot be a header; expected %s", key->name,
                           value->text, key->takes);
}

void skink__config_check(const struct config *config, struct problems *problems)
{
    check_proxies(config, problems);
    check_server_header(config, problems);
}
