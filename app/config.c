/* SPDX-License-Identifier: MIT */
/*
 * app/config.c - default, file, environment, --set: from four sources to one set of values (see config.h).
 *
 * Every mistake becomes a problem and reading goes on, so that one run tells all of them.
 */
#include "app/config.h"
#include "app/allocate.h"
#include "app/config_check.h"
#include "app/config_file.h"
#include "app/config_value.h"
#include "app/config_yaml.h"
#include "app/suggest.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define ENVIRONMENT_PREFIX "SKINK_"
#define ROUTES_MAX 1000 /* bounds the search for a path that is there twice */

struct loader {
    struct config *config;
    struct problems *problems;
    const char *file;
    bool again;
    unsigned key_lines[CONFIG_ID_COUNT];          /* where the file sets a key, to find a second one; 0: not yet */
    unsigned section_lines[CONFIG_SECTION_COUNT]; /* the same for sections */
    unsigned list_line;                           /* and for `routes` */
};

static bool keeps_text(const struct config_key *key)
{
    return key->type >= CONFIG_ADDRESS;
}

static void store(struct config_value *value, const struct config_key *key, const char *text, size_t length,
                  uint64_t number, const struct origin *origin)
{
    free(value->text);
    value->text = keeps_text(key) ? skink__app_strndup(text, length) : NULL;
    value->number = number;
    value->origin = *origin;
}

/* Read one value and store it, or say what is wrong with it. `name` is how the message calls it. */
static void set_value(struct loader *l, struct config_value *value, const struct config_key *key, const char *name,
                      const char *text, size_t length, const struct origin *origin)
{
    char complaint[COMPLAINT_BYTES];
    uint64_t number;
    if (skink__value_parse(key, text, length, &number, complaint))
        store(value, key, text, length, number, origin);
    else
        skink__problem_add(l->problems, origin, "%s: %s", name, complaint);
}

static struct config_value *value_of(struct loader *l, const struct config_key *key)
{
    return &l->config->values[key - skink__config_keys];
}

/* --- the defaults --- */

static void load_defaults(struct loader *l)
{
    static const struct origin built_in = { .kind = ORIGIN_DEFAULT };
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++) {
        const struct config_key *key = &skink__config_keys[i];
        set_value(l, &l->config->values[i], key, key->name, key->fallback, strlen(key->fallback), &built_in);
    }
}

/* --- the file --- */

static struct origin node_origin(const struct loader *l, const struct yaml_node *node)
{
    return (struct origin){ ORIGIN_FILE, l->file, node->line, node->column };
}

static bool is_null(const struct yaml_node *node)
{
    return node->kind == YAML_SCALAR && node->plain &&
           (node->length == 0 || strcmp(node->text, "~") == 0 || strcasecmp(node->text, "null") == 0);
}

static const char *kind_name(const struct yaml_node *node)
{
    return node->kind == YAML_MAP ? "a mapping" : node->kind == YAML_LIST ? "a list" : "a single value";
}

/* A key's text; NULL, and a problem, when the key is none. */
static const char *key_text(struct loader *l, const struct yaml_node *node)
{
    struct origin at = node_origin(l, node);
    if (node->kind == YAML_BROKEN) return NULL;
    if (node->kind != YAML_SCALAR) {
        skink__problem_add(l->problems, &at, "%s as a key; expected a name such as loop.deadlock_timeout",
                           kind_name(node));
        return NULL;
    }
    if (node->length == 0 || strlen(node->text) != node->length) {
        skink__problem_add(l->problems, &at, "an empty key; expected a name such as loop.deadlock_timeout");
        return NULL;
    }
    if (node->plain && strcmp(node->text, "<<") == 0) {
        skink__problem_add(l->problems, &at, "merging with << is not understood; expected the keys themselves");
        return NULL;
    }
    return node->text;
}

/* Was this key, section or list there before? Remembers it if not. */
static void check_duplicate(struct loader *l, const struct yaml_node *node, const char *name, unsigned *first_line)
{
    struct origin at = node_origin(l, node);
    if (*first_line)
        skink__problem_add(l->problems, &at, "%s is set twice, first in line %u; expected it once", name, *first_line);
    else
        *first_line = node->line;
}

static void read_scalar(struct loader *l, struct config_value *value, const struct config_key *key, const char *name,
                        const struct yaml_node *node)
{
    struct origin at = node_origin(l, node);
    char expected[COMPLAINT_BYTES], quoted[QUOTED_BYTES];
    if (node->kind == YAML_BROKEN) return;
    skink__value_describe(key, expected);
    if (node->kind != YAML_SCALAR)
        skink__problem_add(l->problems, &at, "%s: %s; expected %s", name, kind_name(node), expected);
    else if (is_null(node))
        skink__problem_add(l->problems, &at, "%s: no value; expected %s", name, expected);
    else if (key->type == CONFIG_COUNT && !node->plain)
        skink__problem_add(l->problems, &at, "%s: %s is a text; expected %s, without quotes", name,
                           skink__quote(node->text, node->length, quoted), expected);
    else
        set_value(l, value, key, name, node->text, node->length, &at);
}

/* Beyond what will be shown, looking for what was meant would only cost time. */
static const char *suggest_key(const struct loader *l, const char *name)
{
    return l->problems->count < PROBLEMS_MAX ? skink__suggest_key(name) : NULL;
}

static void report_unknown_of(struct loader *l, const struct origin *at, const char *what, const char *name,
                              const char *suggestion, const char *expected)
{
    char quoted[QUOTED_BYTES];
    skink__quote(name, strlen(name), quoted);
    if (suggestion)
        skink__problem_add(l->problems, at, "unknown %s %s; did you mean %s?", what, quoted, suggestion);
    else
        skink__problem_add(l->problems, at, "unknown %s %s; expected one of %s", what, quoted, expected);
}

static void report_unknown(struct loader *l, const struct origin *at, const char *what, const char *name,
                           const char *suggestion)
{
    report_unknown_of(l, at, what, name, suggestion, "those that skinkd --print-config shows");
}

static void read_key(struct loader *l, const struct yaml_node *key_node, const char *name,
                     const struct yaml_node *value_node)
{
    const struct config_key *key = skink__config_key_find(name);
    struct origin at = node_origin(l, key_node);
    if (!key) {
        report_unknown(l, &at, "key", name, suggest_key(l, name));
        return;
    }
    check_duplicate(l, key_node, name, &l->key_lines[key - skink__config_keys]);
    read_scalar(l, value_of(l, key), key, name, value_node);
}

static void read_section(struct loader *l, const struct config_section *section, const struct yaml_node *key_node,
                         const struct yaml_node *value_node)
{
    check_duplicate(l, key_node, section->name, &l->section_lines[section - skink__config_sections]);
    if (value_node->kind == YAML_BROKEN || is_null(value_node)) return; /* all its keys may be commented out */
    if (value_node->kind != YAML_MAP) {
        struct origin at = node_origin(l, value_node);
        skink__problem_add(l->problems, &at, "%s: %s; expected the keys of this section", section->name,
                           kind_name(value_node));
        return;
    }
    for (const struct yaml_node *node = value_node->children; node; node = node->next->next) {
        const char *text = key_text(l, node);
        if (!text) continue;
        char *name = skink__app_format("%s.%s", section->name, text);
        read_key(l, node, name, node->next);
        free(name);
    }
}

static const struct config_key *find_route_key(const char *name, size_t *ret_id)
{
    for (size_t i = 0; i < CONFIG_ROUTE_ID_COUNT; i++) {
        if (strcmp(skink__config_route_keys[i].name, name)) continue;
        *ret_id = i;
        return &skink__config_route_keys[i];
    }
    return NULL;
}

static const char *suggest_route_key(const char *name)
{
    struct suggestion suggestion = SUGGEST_INIT;
    for (size_t i = 0; i < CONFIG_ROUTE_ID_COUNT; i++)
        skink__suggest_offer(&suggestion, name, skink__config_route_keys[i].name);
    return suggestion.best;
}

/* Those of a route are shown only where they are set. */
static void report_unknown_of_route(struct loader *l, const struct origin *at, const char *name)
{
    char names[256] = "";
    for (size_t i = 0, length = 0; i < CONFIG_ROUTE_ID_COUNT && length < sizeof names; i++)
        length += (size_t)snprintf(names + length, sizeof names - length, "%s%s", i ? ", " : "",
                                   skink__config_route_keys[i].name);
    report_unknown_of(l, at, "key of a route", name, suggest_route_key(name), names);
}

/* The path must be there, and once in the list. */
static void check_route_path(struct loader *l, const struct yaml_node *element, const struct config_route *route,
                             bool path_tried)
{
    const struct config_value *path = &route->values[CONFIG_ROUTE_PATH];
    struct origin at = node_origin(l, element);
    if (!path->text) {
        if (!path_tried)
            skink__problem_add(l->problems, &at, CONFIG_LIST_NAME ": no path; expected one, such as path: /hello");
        return;
    }
    for (const struct config_route *other = l->config->routes; other < route; other++) {
        const struct config_value *first = &other->values[CONFIG_ROUTE_PATH];
        if (!first->text || strcmp(first->text, path->text)) continue;
        skink__problem_add(l->problems, &path->origin,
                           CONFIG_LIST_NAME ": path %s is set twice, first in line %u; expected it once", path->text,
                           first->origin.line);
        return;
    }
}

static void read_route(struct loader *l, const struct yaml_node *element, struct config_route *route)
{
    unsigned lines[CONFIG_ROUTE_ID_COUNT] = { 0 };
    if (element->kind == YAML_BROKEN) return;
    if (element->kind != YAML_MAP) {
        struct origin at = node_origin(l, element);
        skink__problem_add(l->problems, &at,
                           CONFIG_LIST_NAME ": %s; expected a route such as {path: /hello, deadlock_timeout: 1s}",
                           kind_name(element));
        return;
    }
    for (const struct yaml_node *node = element->children; node; node = node->next->next) {
        const char *name = key_text(l, node);
        size_t id = 0;
        const struct config_key *key = name ? find_route_key(name, &id) : NULL;
        struct origin at = node_origin(l, node);
        if (name && !key) report_unknown_of_route(l, &at, name);
        if (!key) continue;
        char *full_name = skink__app_format(CONFIG_LIST_NAME ": %s", name);
        check_duplicate(l, node, full_name, &lines[id]);
        read_scalar(l, &route->values[id], key, full_name, node->next);
        free(full_name);
    }
    check_route_path(l, element, route, lines[CONFIG_ROUTE_PATH] != 0);
}

static void read_routes(struct loader *l, const struct yaml_node *key_node, const struct yaml_node *list)
{
    check_duplicate(l, key_node, CONFIG_LIST_NAME, &l->list_line);
    if (list->kind == YAML_BROKEN || is_null(list)) return;
    if (list->kind != YAML_LIST) {
        struct origin at = node_origin(l, list);
        skink__problem_add(l->problems, &at,
                           CONFIG_LIST_NAME ": %s; expected a list of routes, such as "
                                            "[{path: /hello, deadlock_timeout: 1s}]",
                           kind_name(list));
        return;
    }
    struct config *config = l->config;
    for (const struct yaml_node *element = list->children; element; element = element->next) {
        if (config->route_count == ROUTES_MAX) {
            struct origin at = node_origin(l, element);
            skink__problem_add(l->problems, &at, CONFIG_LIST_NAME ": too many; expected at most %d", ROUTES_MAX);
            return;
        }
        config->routes = skink__app_realloc(config->routes, (config->route_count + 1) * sizeof *config->routes);
        struct config_route *route = &config->routes[config->route_count++];
        *route = (struct config_route){ 0 };
        read_route(l, element, route);
    }
}

static const char *suggest_top(const struct loader *l, const char *name)
{
    struct suggestion suggestion = SUGGEST_INIT;
    for (size_t i = 0; i < CONFIG_SECTION_COUNT; i++)
        skink__suggest_offer(&suggestion, name, skink__config_sections[i].name);
    return suggestion.best ? suggestion.best : suggest_key(l, name);
}

static void read_root(struct loader *l, const struct yaml_node *root)
{
    struct origin at = node_origin(l, root);
    if (root->kind == YAML_BROKEN || is_null(root)) return;
    if (root->kind != YAML_MAP) {
        skink__problem_add(l->problems, &at, "%s; expected keys and values, such as loop.deadlock_timeout: 30s",
                           kind_name(root));
        return;
    }
    for (const struct yaml_node *node = root->children; node; node = node->next->next) {
        const char *name = key_text(l, node);
        if (!name) continue;
        const struct config_section *section = skink__config_section_find(name);
        at = node_origin(l, node);
        if (section)
            read_section(l, section, node, node->next);
        else if (strcmp(name, CONFIG_LIST_NAME) == 0)
            read_routes(l, node, node->next);
        else if (strchr(name, '.'))
            read_key(l, node, name, node->next);
        else
            report_unknown(l, &at, node->next->kind == YAML_MAP ? "section" : "key", name, suggest_top(l, name));
    }
}

static void load_file(struct loader *l)
{
    char *bytes;
    size_t length;
    if (!skink__config_file_read(l->file, l->again, l->problems, &bytes, &length)) return;
    struct yaml_tree tree;
    skink__yaml_parse(l->file, bytes, length, l->problems, &tree);
    for (const struct yaml_node *root = tree.roots; root; root = root->next)
        read_root(l, root);
    skink__yaml_tree_fini(&tree);
    free(bytes);
}

/* --- the environment --- */

/* The variable that was probably meant, by the table's own spelling of each. */
static const char *suggest_variable(const char *name)
{
    struct suggestion suggestion = SUGGEST_INIT;
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++) /* the prefix is right already and earns no further mistakes */
        skink__suggest_offer(&suggestion, name + strlen(ENVIRONMENT_PREFIX),
                             skink__config_keys[i].environment + strlen(ENVIRONMENT_PREFIX));
    return suggestion.best;
}

static bool names_section(const char *name)
{
    for (size_t i = 0; i < CONFIG_SECTION_COUNT; i++) {
        size_t length = strlen(skink__config_sections[i].name);
        const char *rest = name + strlen(ENVIRONMENT_PREFIX);
        if (strncasecmp(rest, skink__config_sections[i].name, length) == 0 && rest[length] == '_') return true;
    }
    return false;
}

/*
 * A variable of ours that is no key. Near to one it is a typing mistake, and an error. Only its start is ours: a
 * warning, since others make such names too (Kubernetes sets SKINK_HTTP_PORT for a service called skink-http). Else
 * it is somebody else's.
 */
static void report_variable(struct loader *l, const char *name)
{
    struct origin at = { ORIGIN_ENVIRONMENT, name, 0, 0 };
    const char *suggestion = suggest_variable(name);
    if (strcmp(name, ENVIRONMENT_PREFIX "ROUTES") == 0)
        skink__problem_add(l->problems, &at, CONFIG_LIST_NAME " is a list; expected it in the file");
    else if (suggestion)
        skink__problem_add(l->problems, &at, "unknown variable; did you mean " ENVIRONMENT_PREFIX "%s?", suggestion);
    else if (names_section(name))
        skink__problem_warn(l->problems, &at, "no key of this name, ignored");
}

static const struct config_key *find_variable(const char *name)
{
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++)
        if (strcmp(skink__config_keys[i].environment, name) == 0) return &skink__config_keys[i];
    return NULL;
}

static void load_environment(struct loader *l, const char *const *environment)
{
    for (; environment && *environment; environment++) {
        const char *equals = strchr(*environment, '=');
        if (!equals || strncmp(*environment, ENVIRONMENT_PREFIX, strlen(ENVIRONMENT_PREFIX))) continue;
        char name[256];
        size_t length = (size_t)(equals - *environment);
        if (length >= sizeof name) continue; /* no key is as long, nor near to one */
        memcpy(name, *environment, length);
        name[length] = '\0';
        const struct config_key *key = find_variable(name);
        if (!key) {
            report_variable(l, name);
            continue;
        }
        struct origin at = { ORIGIN_ENVIRONMENT, key->environment, 0, 0 };
        set_value(l, value_of(l, key), key, key->name, equals + 1, strlen(equals + 1), &at);
    }
}

/* --- --set --- */

static void load_setting(struct loader *l, const char *setting)
{
    static const struct origin at = { .kind = ORIGIN_SET };
    char quoted[QUOTED_BYTES];
    const char *equals = strchr(setting, '=');
    if (!equals || equals == setting) {
        skink__problem_add(l->problems, &at, "%s is no setting; expected KEY=VALUE, such as loop.deadlock_timeout=30s",
                           skink__quote(setting, strlen(setting), quoted));
        return;
    }
    char *name = skink__app_strndup(setting, (size_t)(equals - setting));
    const struct config_key *key = skink__config_key_find(name);
    if (key)
        set_value(l, value_of(l, key), key, name, equals + 1, strlen(equals + 1), &at);
    else if (strcmp(name, CONFIG_LIST_NAME) == 0)
        skink__problem_add(l->problems, &at, CONFIG_LIST_NAME " is a list; expected it in the file");
    else
        report_unknown(l, &at, "key", name, suggest_key(l, name));
    free(name);
}

void skink__config_load(struct config *config, const struct config_sources *sources, struct problems *problems)
{
    struct loader l = { .config = config, .problems = problems, .file = sources->file, .again = sources->again };
    *config = (struct config){ 0 };
    load_defaults(&l);
    if (sources->file) load_file(&l);
    load_environment(&l, sources->environment);
    for (size_t i = 0; i < sources->setting_count; i++)
        load_setting(&l, sources->settings[i]);
    skink__config_check(config, problems);
}

static void free_routes(struct config_route *routes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < CONFIG_ROUTE_ID_COUNT; j++)
            free(routes[i].values[j].text);
    free(routes);
}

void skink__config_fini(struct config *config)
{
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++)
        free(config->values[i].text);
    free_routes(config->routes, config->route_count);
    free_routes(config->first_routes, config->first_route_count);
    *config = (struct config){ 0 };
}
