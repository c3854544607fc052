/* SPDX-License-Identifier: MIT */
/*
 * app/config_yaml.h - a YAML text as a small tree in which every node knows its line and column.
 *
 * What YAML offers beyond mappings, lists and scalars (anchors, aliases, tags, several documents) is refused with a
 * message: in a configuration each surprises somebody.
 */
#ifndef SKINK_APP_CONFIG_YAML_H
#define SKINK_APP_CONFIG_YAML_H
#include "app/problems.h"
#include <stdbool.h>
#include <stddef.h>

enum yaml_kind {
    YAML_SCALAR,
    YAML_MAP,
    YAML_LIST,
    YAML_BROKEN /* something is wrong with it that has been reported */
};

struct yaml_node {
    enum yaml_kind kind;
    unsigned line; /* from 1 */
    unsigned column;
    bool plain; /* a scalar without quotes */
    char *text; /* of a scalar; may contain NUL, and has one at its end */
    size_t length;
    struct yaml_node *children; /* of a map: key, value, key, value; always an even number */
    struct yaml_node *last;
    struct yaml_node *next;      /* yaml_node.children                                       */
    struct yaml_node *allocated; /* yaml_tree.allocated                                     */
};

struct yaml_tree {
    struct yaml_node *roots;     /* the document; several when it was read on behind a syntax error */
    struct yaml_node *allocated; /* every node, for freeing */
};

/* Read it. What is wrong goes to `problems`; the tree has all that could be made out nevertheless. */
void skink__yaml_parse(const char *file, char *bytes, size_t length, struct problems *problems,
                       struct yaml_tree *ret_tree);

void skink__yaml_tree_fini(struct yaml_tree *tree);
#endif
