/* SPDX-License-Identifier: MIT */
/*
 * fuzz_routes.c - any bytes as a path, a query string, a form, a cookie and an X-Forwarded-For: no crash, nothing read
 * beyond them, and what comes out keeps its promises.
 *
 * The input is a target (and a pattern of a route), and behind the first newline a header's text. Each part lies in
 * memory of its own size.
 */
#include "middleware/client.h"
#include "middleware/pairs.h"
#include "middleware/request_id.h"
#include "middleware/routes.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) abort();                                                                                     \
    } while (0)

static void handle(skink_request *request, void *arg)
{
    (void)request, (void)arg;
}

static struct skink__routes *routes(void)
{
    static struct skink__routes table;
    static bool made;
    if (made) return &table;
    made = true;
    static const char *const patterns[][2] = { { "GET", "/" },
                                               { "GET", "/users/{id}" },
                                               { "POST", "/users/{id}" },
                                               { "GET", "/users/me" },
                                               { "DELETE", "/users/me/{a}/x/{b}" },
                                               { "GET", "/files/{rest...}" },
                                               { "PUT", "/{any}/{other}/{rest...}" } };
    skink__routes_init(&table);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        CHECK(skink__routes_add(&table, patterns[i][0], patterns[i][1], handle, NULL, NULL) == 0);
    return &table;
}

static char *copy(const uint8_t *bytes, size_t size)
{
    char *text = malloc(size + 1);
    CHECK(text);
    memcpy(text, bytes, size);
    text[size] = '\0';
    return text;
}

/* Every value must lie in the path, and end where a NUL does. */
static void check_match(llhttp_method_t method, const char *path, const char *segments, size_t length)
{
    struct skink__route_match match;
    skink__routes_match(routes(), method, path, segments, length, &match);
    CHECK(!match.route || match.param_count == match.route->param_count);
    for (unsigned i = 0; match.route && i < match.param_count; i++) {
        const char *value = match.params[i];
        bool in_path = value >= path && value <= path + length + 1;
        bool in_segments = value >= segments && value <= segments + length;
        CHECK(in_path || in_segments);
    }
    char allow[SKINK__ALLOW_BYTES];
    skink__allow_text(match.allowed, allow);
    CHECK(strlen(allow) < sizeof allow);
}

/* A pattern that is taken matches itself, unless its own route stands behind another; and is taken once. */
static void fuzz_pattern(const char *pattern)
{
    struct skink__routes table;
    struct skink__route *route;
    skink__routes_init(&table);
    int err = skink__routes_add(&table, "GET", pattern, handle, NULL, &route);
    CHECK(err == 0 || err == -EINVAL);
    if (err == 0) {
        CHECK(strcmp(route->pattern, pattern) == 0 && route->param_count <= SKINK__MAX_PARAMS);
        CHECK(skink__routes_add(&table, "GET", pattern, handle, NULL, NULL) == -EEXIST);
        CHECK(skink__routes_next(&table, NULL, pattern) == route && !skink__routes_next(&table, route, pattern));
        CHECK(!skink__routes_next(&table, NULL, "no pattern"));
        for (unsigned i = 0; i < route->param_count; i++)
            CHECK(*route->param_names[i]);
    }
    CHECK(skink__routes_add(&table, pattern, "/", handle, NULL, NULL) <= 0); /* as a method */
    skink__routes_fini(&table);
}

static void fuzz_path(const char *target)
{
    size_t raw_length = strcspn(target, "?");
    char *path = malloc(raw_length + 2), *segments = malloc(raw_length + 2);
    CHECK(path && segments);
    if (target[0] == '/') {
        size_t length = skink__path_decode(target, raw_length, path, segments);
        CHECK(length <= raw_length);
        if (length > 0) {
            CHECK(path[0] == '/' && strlen(path) == length); /* no NUL came through */
            check_match(HTTP_GET, path, segments, length - 1);
            check_match(HTTP_DELETE, path, segments, length - 1);
            check_match(HTTP_HEAD, path, segments, length - 1);
            check_match(HTTP_PUT, path, segments, length - 1);
        }
    }
    free(path);
    free(segments);
}

static void check_pairs(const struct skink__pairs *pairs, size_t input_length)
{
    const char *name, *value;
    size_t total = 0;
    for (size_t i = 0; skink__pairs_at(pairs, i, &name, &value); i++) {
        total += strlen(name) + strlen(value);
        const char *found = skink__pairs_find(pairs, name);
        CHECK(found && found <= value); /* the first of that name */
    }
    CHECK(total <= input_length);
}

static void fuzz_pairs(const uint8_t *bytes, size_t size, const char *text)
{
    struct skink__pairs form = { 0 }, cookies = { 0 };
    int err = skink__pairs_add_form(&form, (const char *)bytes, size);
    CHECK(err == 0 || form.length == 0);
    CHECK(err == 0 || memchr(bytes, '%', size) || memchr(bytes, 0, size)); /* nothing else is refused */
    check_pairs(&form, size);
    CHECK(skink__pairs_add_cookies(&cookies, text) == 0);
    check_pairs(&cookies, strlen(text));
    skink__pairs_fini(&form);
    skink__pairs_fini(&cookies);
}

static void fuzz_client(const char *text)
{
    struct skink__proxies proxies;
    struct skink__ip ip;
    char shown[SKINK__CLIENT_BYTES];
    CHECK(skink__proxies_parse(&proxies, "10.0.0.0/8, fd00::/8", NULL) == 0);
    CHECK(skink__ip_parse(&ip, "10.0.0.1", 8));
    (void)skink__client_behind(&proxies, text, &ip);
    skink__ip_format(&ip, shown);
    CHECK(strlen(shown) < sizeof shown && skink__ip_parse(&ip, shown, strlen(shown)));
    skink__proxies_fini(&proxies);
    size_t at = 0;
    if (skink__proxies_parse(&proxies, text, &at) == 0)
        skink__proxies_fini(&proxies);
    else
        CHECK(at < strlen(text));
    char made[SKINK__REQUEST_ID_MADE_BYTES], prefix[SKINK__REQUEST_ID_PREFIX_BYTES];
    skink__request_id_prefix(prefix);
    (void)skink__request_id_make(made, prefix, strlen(text));
    CHECK(skink__request_id_is_valid(made));
    if (skink__request_id_is_valid(text)) CHECK(!strpbrk(text, " \"\\\t\r\n") && strlen(text) <= SKINK__REQUEST_ID_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *newline = memchr(data, '\n', size);
    size_t first = newline ? (size_t)(newline - data) : size;
    const uint8_t *rest = newline ? newline + 1 : data + size;
    size_t rest_size = (size_t)(data + size - rest);
    char *target = copy(data, first), *text = copy(rest, rest_size);
    uint8_t *exact = malloc(rest_size ? rest_size : 1); /* without a NUL behind it */
    CHECK(exact);
    memcpy(exact, rest, rest_size);
    fuzz_path(target);
    fuzz_pattern(target);
    fuzz_pairs(exact, rest_size, text);
    fuzz_client(text);
    free(exact);
    free(target);
    free(text);
    return 0;
}
