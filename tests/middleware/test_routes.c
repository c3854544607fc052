/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_routes.c - patterns, what wins, what is allowed; then the same as handlers see it. */
#include "middleware/routes.h"
#include "tests/middleware/fixture.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void nothing(skink_request *request, void *arg)
{
    (void)request, (void)arg;
}

static int add(struct skink__routes *routes, const char *method, const char *pattern)
{
    return skink__routes_add(routes, method, pattern, nothing, NULL, NULL);
}

/* The pattern that a path leads to, "" without one; the path has no percent signs. */
static const char *match(const struct skink__routes *routes, llhttp_method_t method, const char *path,
                         struct skink__route_match *ret_match)
{
    static char segments[256];
    snprintf(segments, sizeof segments, "%s", path + 1);
    for (char *c = segments; *c; c++)
        if (*c == '/') *c = '\0';
    skink__routes_match(routes, method, path, segments, strlen(path) - 1, ret_match);
    return ret_match->route ? ret_match->route->pattern : "";
}

static void bad_patterns_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "",
                                       "hello",
                                       "/{",
                                       "/}",
                                       "/{}",
                                       "/a{b}",
                                       "/{b}a",
                                       "/{a}/{a}",
                                       "/{a...}/b",
                                       "/{...}",
                                       "/{a b}",
                                       "/a b",
                                       "/a?b",
                                       "/a#b",
                                       "/\xc3\xa4",
                                       "/{a/b}",
                                       "/{1}/{2}/{3}/{4}/{5}/{6}/{7}/{8}/{9}" };
    struct skink__routes routes;
    skink__routes_init(&routes);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(add(&routes, "GET", bad[i]), -EINVAL);
    assert_int_equal(add(&routes, "get", "/"), -EINVAL);
    assert_int_equal(add(&routes, "CONNECT", "/"), -EINVAL);
    assert_int_equal(skink__routes_add(&routes, "GET", "/", NULL, NULL, NULL), -EINVAL);
    struct skink__route_match found;
    assert_string_equal(match(&routes, HTTP_GET, "/a", &found), "");
    skink__routes_fini(&routes);
}

static void the_same_route_twice_is_refused(void **state)
{
    (void)state;
    struct skink__routes routes;
    skink__routes_init(&routes);
    assert_int_equal(add(&routes, "GET", "/a/{x}"), 0);
    assert_int_equal(add(&routes, "GET", "/a/{x}"), -EEXIST);
    assert_int_equal(add(&routes, "GET", "/a/{y}"), -EEXIST); /* the same paths */
    assert_int_equal(add(&routes, "POST", "/a/{y}"), 0);
    assert_int_equal(add(&routes, "GET", "/a/{x...}"), 0);
    skink__routes_fini(&routes);
}

static void a_literal_wins_over_a_parameter_over_a_rest(void **state)
{
    (void)state;
    struct skink__routes routes;
    skink__routes_init(&routes);
    static const char *const patterns[] = { "/{all...}", "/u/{id}", "/u/me", "/u/{id}/posts", "/u/me/{rest...}", "/" };
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        assert_int_equal(add(&routes, "GET", patterns[i]), 0);
    static const struct {
        const char *path, *pattern;
    } samples[] = {
        { "/", "/" },
        { "/u/me", "/u/me" },
        { "/u/you", "/u/{id}" },
        { "/u/me/posts", "/u/me/{rest...}" },
        { "/u/you/posts", "/u/{id}/posts" },
        { "/u/you/other", "/{all...}" },
        { "/u/", "/{all...}" }, /* a parameter is never empty */
        { "/u", "/{all...}" },
        { "/u/me/", "/u/me/{rest...}" }, /* a rest may be */
        { "//", "/{all...}" },
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct skink__route_match found;
        assert_string_equal(match(&routes, HTTP_GET, samples[i].path, &found), samples[i].pattern);
    }
    skink__routes_fini(&routes);
}

static void parameters_have_their_values(void **state)
{
    (void)state;
    struct skink__routes routes;
    skink__routes_init(&routes);
    assert_int_equal(add(&routes, "GET", "/{a}/x/{b}/{c...}"), 0);
    assert_int_equal(add(&routes, "GET", "/{a}/{b}/{c}/dead-end"), 0);
    struct skink__route_match found;
    assert_string_equal(match(&routes, HTTP_GET, "/1/x/2/3/4", &found), "/{a}/x/{b}/{c...}");
    assert_int_equal(found.param_count, 3);
    assert_string_equal(found.params[0], "1");
    assert_string_equal(found.params[1], "2");
    assert_string_equal(found.params[2], "3/4");
    skink__routes_fini(&routes);
}

static void a_path_without_the_method_says_what_is_allowed(void **state)
{
    (void)state;
    struct skink__routes routes;
    skink__routes_init(&routes);
    assert_int_equal(add(&routes, "GET", "/a/b"), 0);
    assert_int_equal(add(&routes, "POST", "/a/{x}"), 0);
    assert_int_equal(add(&routes, "DELETE", "/a/{x...}"), 0);
    struct skink__route_match found;
    char allow[SKINK__ALLOW_BYTES];
    assert_string_equal(match(&routes, HTTP_PUT, "/a/b", &found), "");
    skink__allow_text(found.allowed, allow);
    assert_string_equal(allow, "GET, HEAD, POST, DELETE");
    /* The next best path has the method. */
    assert_string_equal(match(&routes, HTTP_POST, "/a/b", &found), "/a/{x}");
    assert_string_equal(match(&routes, HTTP_DELETE, "/a/b", &found), "/a/{x...}");
    assert_string_equal(found.params[0], "b");
    assert_string_equal(match(&routes, HTTP_HEAD, "/a/b", &found), "/a/b");
    assert_string_equal(match(&routes, HTTP_PUT, "/c", &found), "");
    assert_int_equal(found.allowed, 0);
    skink__routes_fini(&routes);
}

static void head_prefers_a_route_of_its_own(void **state)
{
    (void)state;
    struct skink__routes routes;
    skink__routes_init(&routes);
    assert_int_equal(add(&routes, "HEAD", "/a"), 0);
    assert_int_equal(add(&routes, "GET", "/a"), 0);
    struct skink__route_match found;
    match(&routes, HTTP_HEAD, "/a", &found);
    assert_int_equal(found.route->method, HTTP_HEAD);
    skink__routes_fini(&routes);
}

/* --- as handlers see it --- */

static void describe(skink_request *request, void *arg)
{
    (void)arg;
    const char *id = skink_request_param(request, "id"), *rest = skink_request_param(request, "rest");
    const char *q = skink_request_query(request, "q"), *empty = skink_request_query(request, "empty");
    char text[512];
    snprintf(text, sizeof text, "%s %s %s id=%s rest=%s q=%s empty=%s query=%s none=%s", skink_request_method(request),
             skink_request_path(request), skink_request_route(request), id ? id : "-", rest ? rest : "-", q ? q : "-",
             empty ? empty : "-", skink_request_query_string(request),
             skink_request_param(request, "none") || skink_request_query(request, "none") ? "?" : "-");
    skink_respond_text(request, 200, text);
}

static void targets_are_decoded_once(void **state)
{
    (void)state;
    static const struct {
        const char *target, *text;
    } samples[] = {
        { "/u/7", "GET /u/7 /u/{id} id=7 rest=- q=- empty=- query= none=-" },
        { "/u/a%20b", "GET /u/a b /u/{id} id=a b rest=- q=- empty=- query= none=-" },
        { "/u/a%2Fb", "GET /u/a/b /u/{id} id=a/b rest=- q=- empty=- query= none=-" },
        { "/%75/%2541", "GET /u/%41 /u/{id} id=%41 rest=- q=- empty=- query= none=-" },
        { "/u/a+b", "GET /u/a+b /u/{id} id=a+b rest=- q=- empty=- query= none=-" },
        { "/f/a/b%2Fc/%C3%A4",
          "GET /f/a/b/c/\xc3\xa4 /f/{rest...} id=- rest=a/b/c/\xc3\xa4 q=- empty=- query= none=-" },
        { "/u/7?q=a%26b+c&q=2&empty", "GET /u/7 /u/{id} id=7 rest=- q=a&b c empty= query=q=a%26b+c&q=2&empty none=-" },
        { "/u/7?&&q==x=&%65mpty=&", "GET /u/7 /u/{id} id=7 rest=- q==x= empty= query=&&q==x=&%65mpty=& none=-" },
        { "/u/7?", "GET /u/7 /u/{id} id=7 rest=- q=- empty=- query= none=-" },
        { "http://h:80/u/7?q=1", "GET /u/7 /u/{id} id=7 rest=- q=1 empty=- query=q=1 none=-" },
        { "HTTPS://h/f/", "GET /f/ /f/{rest...} id=- rest= q=- empty=- query= none=-" },
    };
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_route(&fixture, "GET", "/u/{id}", describe, NULL);
    fixture_route(&fixture, "GET", "/f/{rest...}", describe, NULL);
    fixture_start(&fixture);
    int fd = client_connect(fixture.port);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        char request[256];
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", samples[i].target);
        client_expect(fd, request, 200, samples[i].text);
    }
    close(fd);
    fixture_destroy(&fixture);
}

static void routes_are_fixed_once_it_listens(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    const char *method, *pattern;
    assert_true(skink_http_route_at(fixture.server, 1, &method, &pattern));
    assert_string_equal(method, "POST");
    assert_string_equal(pattern, "/echo");
    assert_false(skink_http_route_at(fixture.server, 3, &method, &pattern));
    assert_int_equal(skink_http_route_set_timeout(fixture.server, "/hello", 9 * SKINK_MS), -EINVAL);
    assert_int_equal(skink_http_route_set_timeout(fixture.server, "/hullo", SKINK_S), -ENOENT);
    fixture_start(&fixture);
    assert_int_equal(skink_http_route(fixture.server, "GET", "/late", NULL, nothing, NULL), -EBUSY);
    assert_int_equal(skink_http_route_set_timeout(fixture.server, "/hello", SKINK_S), 0);
    fixture_destroy(&fixture);
}

static const struct test_case cases[] = {
    CASE(bad_patterns_are_refused),
    CASE(the_same_route_twice_is_refused),
    CASE(a_literal_wins_over_a_parameter_over_a_rest),
    CASE(parameters_have_their_values),
    CASE(a_path_without_the_method_says_what_is_allowed),
    CASE(head_prefers_a_route_of_its_own),
    CASE(targets_are_decoded_once),
    CASE(routes_are_fixed_once_it_listens),
};
TEST_MAIN(cases, NULL, NULL)
