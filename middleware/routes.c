/* SPDX-License-Identifier: MIT */
/* middleware/routes.c - the tree of path segments (routes.h says what wins). */
#include "middleware/routes.h"
#include "loop/memory.h"
#include "middleware/pairs.h"
#include <errno.h>
#include <stdbool.h>
#include <string.h>

struct skink__route_node {
    char *literal;                  /* NULL for the root, a parameter and a rest */
    struct skink__route_node *next; /* skink__route_node.literals */
    struct skink__route_node *literals;
    struct skink__route_node *param; /* any one segment that is not empty */
    struct skink__route_node *rest;  /* everything from here on */
    struct skink__route *routes;     /* that end here, linked by next_here */
};

/* RFC 9110, 9.1: the methods this server knows how to treat, in the order Allow lists them. */
static const struct {
    const char *name;
    llhttp_method_t method;
} known_methods[] = {
    { "GET", HTTP_GET },       { "HEAD", HTTP_HEAD },       { "POST", HTTP_POST },   { "PUT", HTTP_PUT },
    { "DELETE", HTTP_DELETE }, { "OPTIONS", HTTP_OPTIONS }, { "PATCH", HTTP_PATCH },
};

bool skink__method_parse(const char *name, size_t length, llhttp_method_t *ret_method)
{
    for (size_t i = 0; i < sizeof known_methods / sizeof *known_methods; i++) {
        if (strlen(known_methods[i].name) != length || memcmp(known_methods[i].name, name, length) != 0) continue;
        *ret_method = known_methods[i].method;
        return true;
    }
    return false;
}

void skink__allow_text(uint64_t allowed, char text[SKINK__ALLOW_BYTES])
{
    char *at = text;
    if (allowed & UINT64_C(1) << HTTP_GET) allowed |= UINT64_C(1) << HTTP_HEAD;
    for (size_t i = 0; i < sizeof known_methods / sizeof *known_methods; i++) {
        if (!(allowed & UINT64_C(1) << known_methods[i].method)) continue;
        if (at > text) at = stpcpy(at, ", ");
        at = stpcpy(at, known_methods[i].name);
    }
    *at = '\0';
}

void skink__routes_init(struct skink__routes *routes)
{
    memset(routes, 0, sizeof *routes);
    static char none[] = "(none)"; /* fini frees only what is in the list */
    routes->none.name = none;
    routes->none.pattern = none;
}

static void free_route(struct skink__route *route)
{
    for (unsigned i = 0; i < route->param_count; i++)
        skink__free(route->param_names[i]);
    if (route->owns_limit) skink__free(route->limit);
    skink__free(route->pattern);
    skink__free(route->name);
    skink__free(route);
}

/* As deep as the longest pattern, which the program chose. */
static void free_node(struct skink__route_node *node)
{
    while (node) {
        struct skink__route_node *next = node->next;
        free_node(node->literals);
        free_node(node->param);
        free_node(node->rest);
        skink__free(node->literal);
        skink__free(node);
        node = next;
    }
}

void skink__routes_fini(struct skink__routes *routes)
{
    struct skink__route *route = atomic_load_explicit(&routes->first, memory_order_relaxed);
    while (route) {
        struct skink__route *next = atomic_load_explicit(&route->next, memory_order_relaxed);
        free_route(route);
        route = next;
    }
    free_node(routes->root);
    skink__routes_init(routes);
}

/* --- adding --- */

enum segment_kind { SEGMENT_BAD, SEGMENT_LITERAL, SEGMENT_PARAM, SEGMENT_REST };

/* What one segment of a pattern is; for a parameter, *name and *length become its name. */
static enum segment_kind segment_kind(const char **name, size_t *length)
{
    const char *text = *name;
    size_t n = *length;
    if (n == 0 || text[0] != '{') return memchr(text, '{', n) || memchr(text, '}', n) ? SEGMENT_BAD : SEGMENT_LITERAL;
    if (text[n - 1] != '}') return SEGMENT_BAD;
    text++;
    n -= 2;
    bool rest = n > 3 && memcmp(text + n - 3, "...", 3) == 0;
    if (rest) n -= 3;
    if (n == 0) return SEGMENT_BAD;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        if (!fits) return SEGMENT_BAD;
    }
    *name = text;
    *length = n;
    return rest ? SEGMENT_REST : SEGMENT_PARAM;
}

/* The child for one segment, made if it is not there; NULL without memory. */
static struct skink__route_node *child(struct skink__route_node *node, enum segment_kind kind, const char *text,
                                       size_t length)
{
    struct skink__route_node **slot = kind == SEGMENT_PARAM  ? &node->param
                                      : kind == SEGMENT_REST ? &node->rest
                                                             : &node->literals;
    if (kind == SEGMENT_LITERAL)
        while (*slot && (strlen((*slot)->literal) != length || memcmp((*slot)->literal, text, length) != 0))
            slot = &(*slot)->next;
    /* cppcheck-suppress identicalInnerCondition ; it takes the loop's condition for one of this line */
    if (*slot) return *slot;
    struct skink__route_node *made = skink__zalloc(sizeof *made);
    if (!made) return NULL;
    if (kind == SEGMENT_LITERAL && !(made->literal = skink__strndup(text, length))) {
        skink__free(made);
        return NULL;
    }
    *slot = made;
    return made;
}

static int add_param(struct skink__route *route, const char *name, size_t length)
{
    for (unsigned i = 0; i < route->param_count; i++)
        if (strlen(route->param_names[i]) == length && memcmp(route->param_names[i], name, length) == 0) return -EINVAL;
    if (route->param_count == SKINK__MAX_PARAMS) return -EINVAL;
    route->param_names[route->param_count] = skink__strndup(name, length);
    if (!route->param_names[route->param_count]) return -ENOMEM;
    route->param_count++;
    return 0;
}

/* Walk down the pattern, making nodes on the way; a node that nobody uses after a failure does no harm. */
static int place(struct skink__routes *routes, struct skink__route *route, struct skink__route_node **ret_node)
{
    if (!routes->root && !(routes->root = skink__zalloc(sizeof *routes->root))) return -ENOMEM;
    struct skink__route_node *node = routes->root;
    const char *at = route->pattern;
    while (*at) {
        at++; /* the '/' */
        const char *text = at;
        size_t length = strcspn(at, "/");
        at += length;
        enum segment_kind kind = segment_kind(&text, &length);
        if (kind == SEGMENT_BAD || (kind == SEGMENT_REST && *at)) return -EINVAL;
        int err = kind == SEGMENT_LITERAL ? 0 : add_param(route, text, length);
        if (err) return err;
        node = child(node, kind, text, length);
        if (!node) return -ENOMEM;
    }
    for (const struct skink__route *other = node->routes; other; other = other->next_here)
        if (other->method == route->method) return -EEXIST;
    *ret_node = node;
    return 0;
}

/* All methods of a pattern share one limit. */
static bool give_limit(struct skink__route *route, const struct skink__route_node *node)
{
    if (node->routes) {
        route->limit = node->routes->limit;
        return true;
    }
    route->limit = skink__zalloc(sizeof *route->limit);
    route->owns_limit = route->limit != NULL;
    return route->owns_limit;
}

static bool pattern_is_printable(const char *pattern)
{
    for (; *pattern; pattern++)
        if (*pattern < '!' || *pattern > '~' || *pattern == '?' || *pattern == '#') return false;
    return true;
}

static char *task_name(const char *method, const char *pattern)
{
    char *name = skink__alloc(strlen(method) + strlen(pattern) + 2);
    if (name) stpcpy(stpcpy(stpcpy(name, method), " "), pattern);
    return name;
}

int skink__routes_add(struct skink__routes *routes, const char *method, const char *pattern, skink_handler handler,
                      void *arg, struct skink__route **ret_route)
{
    llhttp_method_t parsed;
    if (!method || !pattern || !handler || !skink__method_parse(method, strlen(method), &parsed)) return -EINVAL;
    if (pattern[0] != '/' || !pattern_is_printable(pattern)) return -EINVAL;
    struct skink__route *route = skink__zalloc(sizeof *route);
    if (!route) return -ENOMEM;
    route->method = parsed;
    route->handler = handler;
    route->arg = arg;
    route->pattern = skink__strdup(pattern);
    route->name = task_name(method, pattern);
    struct skink__route_node *node;
    int err = route->pattern && route->name ? place(routes, route, &node) : -ENOMEM;
    if (!err && !give_limit(route, node)) err = -ENOMEM;
    if (err) {
        free_route(route);
        return err;
    }
    route->next_here = node->routes;
    node->routes = route;
    /* Release: a reader of the counters who finds the route finds its strings. */
    atomic_store_explicit(routes->last ? &routes->last->next : &routes->first, route, memory_order_release);
    routes->last = route;
    if (ret_route) *ret_route = route;
    return 0;
}

struct skink__route *skink__routes_next(const struct skink__routes *routes, const struct skink__route *after,
                                        const char *pattern)
{
    struct skink__route *route = atomic_load_explicit(
        (_Atomic(struct skink__route *) *)(after ? &after->next : &routes->first), memory_order_acquire);
    while (route && pattern && strcmp(route->pattern, pattern) != 0)
        route = atomic_load_explicit(&route->next, memory_order_acquire);
    return route;
}

/* --- matching --- */

size_t skink__path_decode(const char *from, size_t length, char *path, char *segments)
{
    size_t n = 0;
    path[n++] = '/';
    for (size_t i = 1; i < length; i++) { /* the first is the '/' */
        char c = from[i];
        segments[n - 1] = c;
        if (c == '/') segments[n - 1] = '\0';
        if (c == '%') {
            int decoded = skink__decode_percent(from + i);
            if (decoded < 0) return 0;
            segments[n - 1] = c = (char)decoded;
            i += 2;
        }
        path[n++] = c;
    }
    path[n] = '\0';
    segments[n - 1] = '\0';
    return n;
}

struct walk {
    llhttp_method_t method;
    const char *path; /* without the leading '/': same offsets as segments */
    const char *segments;
    const char *end; /* of segments: its last NUL */
    struct skink__route_match *match;
};

/* The route at this node for the method; GET stands in for a HEAD that is not there. */
static bool take(struct walk *walk, const struct skink__route_node *node)
{
    struct skink__route *stand_in = NULL;
    for (struct skink__route *route = node->routes; route; route = route->next_here) {
        walk->match->allowed |= UINT64_C(1) << route->method;
        if (route->method == walk->method) {
            walk->match->route = route;
            return true;
        }
        if (walk->method == HTTP_HEAD && route->method == HTTP_GET) stand_in = route;
    }
    walk->match->route = stand_in;
    return stand_in != NULL;
}

static bool descend(struct walk *walk, const struct skink__route_node *node, const char *at);

/* `at` is the segment just matched by node: go on behind it, or end here. */
static bool step_over(struct walk *walk, const struct skink__route_node *node, const char *at)
{
    const char *end = at + strlen(at);
    return end == walk->end ? take(walk, node) : descend(walk, node, end + 1);
}

/* Match the segment at `at` with node's children, best first. As deep as the deepest pattern, whatever the path. */
static bool descend(struct walk *walk, const struct skink__route_node *node, const char *at)
{
    struct skink__route_match *match = walk->match;
    for (const struct skink__route_node *literal = node->literals; literal; literal = literal->next)
        if (strcmp(literal->literal, at) == 0) {
            if (step_over(walk, literal, at)) return true;
            break;
        }
    unsigned params = match->param_count;
    if (node->param && *at) {
        match->params[match->param_count++] = at;
        if (step_over(walk, node->param, at)) return true;
        match->param_count = params;
    }
    if (node->rest) {
        match->params[match->param_count++] = walk->path + (at - walk->segments);
        if (take(walk, node->rest)) return true;
        match->param_count = params;
    }
    return false;
}

void skink__routes_match(const struct skink__routes *routes, llhttp_method_t method, const char *path,
                         const char *segments, size_t length, struct skink__route_match *ret_match)
{
    *ret_match = (struct skink__route_match){ .route = NULL };
    struct walk walk = {
        .method = method, .path = path + 1, .segments = segments, .end = segments + length, .match = ret_match
    };
    if (routes->root) descend(&walk, routes->root, segments);
}
