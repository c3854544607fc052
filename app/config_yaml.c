/* SPDX-License-Identifier: MIT */
/*
 * app/config_yaml.c - from bytes to a tree of nodes with places, by libyaml's events (see config_yaml.h).
 *
 * Events rather than libyaml's documents, for two reasons: an alias is seen where it stands and not at its anchor,
 * and what came before a syntax error is not lost, so that its mistakes are told in the same run. For the same
 * reason reading goes on behind a syntax error, at the next line that starts a top-level key.
 */
#include "app/config_yaml.h"
#include "app/allocate.h"
#include "app/character.h"
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define DEPTH_MAX 16     /* a configuration is three deep                                */
#define BAD_BYTES_MAX 10 /* past it the file is no text at all                           */
#define RESTARTS_MAX 50  /* places behind which reading goes on all the same; bounds the time */

struct reader {
    const char *file;
    const char *bytes;
    size_t length;
    unsigned first_line; /* of this piece in the file, from 0 */
    struct problems *problems;
    struct yaml_tree *tree;
    yaml_parser_t parser;
    struct yaml_node *open[DEPTH_MAX]; /* the collections that have not ended, outermost first */
    size_t depth;
    unsigned documents;
    bool too_deep; /* reading stopped at too_deep_mark */
    yaml_mark_t too_deep_mark;
};

static struct origin place(const struct reader *r, const yaml_mark_t *mark)
{
    return (struct origin){ ORIGIN_FILE, r->file, r->first_line + (unsigned)mark->line + 1,
                            (unsigned)mark->column + 1 };
}

static struct yaml_node *node_create(struct yaml_tree *tree, enum yaml_kind kind, unsigned line, unsigned column)
{
    struct yaml_node *node = skink__app_alloc(sizeof *node);
    *node = (struct yaml_node){ .kind = kind, .line = line, .column = column, .allocated = tree->allocated };
    tree->allocated = node;
    return node;
}

static void append(struct yaml_node *parent, struct yaml_node *child)
{
    if (parent->last)
        parent->last->next = child;
    else
        parent->children = child;
    parent->last = child;
}

/* Hang it into the innermost open collection, or as a root. */
static struct yaml_node *add_node(struct reader *r, enum yaml_kind kind, const yaml_mark_t *mark)
{
    struct origin at = place(r, mark);
    struct yaml_node *node = node_create(r->tree, kind, at.line, at.column);
    if (r->depth) {
        append(r->open[r->depth - 1], node);
        return node;
    }
    struct yaml_node **end = &r->tree->roots;
    while (*end)
        end = &(*end)->next;
    *end = node;
    return node;
}

static void refuse_extras(struct reader *r, const yaml_mark_t *mark, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    struct origin at = place(r, mark);
    if (anchor)
        skink__problem_add(r->problems, &at, "anchor &%.40s: anchors are not understood; expected the value alone",
                           (const char *)anchor);
    if (tag)
        skink__problem_add(r->problems, &at, "tag %.60s: tags are not understood; expected the value alone",
                           (const char *)tag);
}

static void add_scalar(struct reader *r, const yaml_event_t *event)
{
    struct yaml_node *node = add_node(r, YAML_SCALAR, &event->start_mark);
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->length = event->data.scalar.length;
    node->text = skink__app_alloc(node->length + 1);
    memcpy(node->text, event->data.scalar.value, node->length);
    refuse_extras(r, &event->start_mark, event->data.scalar.anchor, event->data.scalar.tag);
}

/* False when it is nested too deeply: nothing sensible is, and what walks the tree may be simple then. */
static bool open_collection(struct reader *r, const yaml_event_t *event)
{
    bool map = event->type == YAML_MAPPING_START_EVENT;
    struct yaml_node *node = add_node(r, map ? YAML_MAP : YAML_LIST, &event->start_mark);
    if (map)
        refuse_extras(r, &event->start_mark, event->data.mapping_start.anchor, event->data.mapping_start.tag);
    else
        refuse_extras(r, &event->start_mark, event->data.sequence_start.anchor, event->data.sequence_start.tag);
    if (r->depth == DEPTH_MAX) {
        struct origin at = place(r, &event->start_mark);
        skink__problem_add(r->problems, &at, "nested too deeply; expected at most three levels");
        r->too_deep = true;
        r->too_deep_mark = event->start_mark;
        return false;
    }
    r->open[r->depth++] = node;
    return true;
}

/* A map that a syntax error cut may end with a key. Its value counts as reported. */
static void close_collection(struct reader *r)
{
    struct yaml_node *node = r->open[--r->depth];
    size_t count = 0;
    for (struct yaml_node *child = node->children; child; child = child->next)
        count++;
    if (node->kind == YAML_MAP && count % 2)
        append(node, node_create(r->tree, YAML_BROKEN, node->last->line, node->last->column));
}

/* False ends the reading. */
static bool take_event(struct reader *r, const yaml_event_t *event)
{
    struct origin at = place(r, &event->start_mark);
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (r->documents++ == 0) return true;
        skink__problem_add(r->problems, &at, "a second document; expected one");
        return false;
    case YAML_ALIAS_EVENT:
        skink__problem_add(r->problems, &at, "alias *%.40s: aliases are not understood; expected the value itself",
                           (const char *)event->data.alias.anchor);
        add_node(r, YAML_BROKEN, &event->start_mark);
        return true;
    case YAML_SCALAR_EVENT:
        add_scalar(r, event);
        return true;
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return open_collection(r, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        close_collection(r);
        return true;
    case YAML_STREAM_END_EVENT:
        return false;
    default:
        return true;
    }
}

/* Start of the given line (from 0) of this piece; NULL when there are not as many. */
static const char *line_start(const struct reader *r, size_t line)
{
    const char *at = r->bytes, *end = r->bytes + r->length;
    while (line-- && at) {
        at = memchr(at, '\n', (size_t)(end - at));
        if (at) at++;
    }
    return at && at < end ? at : NULL;
}

/* The byte at a mark. A column counts characters and not bytes, so the bytes that go on a character are left out. */
static char byte_at(const struct reader *r, const yaml_mark_t *mark)
{
    const char *at = line_start(r, mark->line), *end = r->bytes + r->length;
    for (size_t column = 0; at && at < end && *at != '\n'; at++) {
        if (((unsigned char)*at & 0xc0) == 0x80) continue;
        if (column++ == mark->column) return *at;
    }
    return '\0';
}

/*
 * Report the syntax error on which libyaml gave up. What it calls the problem's place is where it noticed; in the
 * middle of a token (an open quote) that can be the end of the file, and then the start of the token says more.
 */
static yaml_mark_t report_syntax(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    bool in_token = p->context && strncmp(p->context, "while scanning", 14) == 0;
    yaml_mark_t mark = in_token ? p->context_mark : p->problem_mark;
    struct origin at = place(r, &mark);
    const char *problem = p->problem ? p->problem : "not YAML";
    const char *hint = "";
    if (byte_at(r, &p->problem_mark) == '\t')
        hint = " (a tab; expected blanks)";
    else if (strcmp(problem, "mapping values are not allowed in this context") == 0)
        hint = " (a colon that is not expected here; is the line above indented rightly, the value in quotes?)";
    else if (in_token && strcmp(p->context, "while scanning a simple key") == 0)
        hint = " (expected a line such as key: value)";
    skink__problem_add(r->problems, &at, "syntax error%s%s: %s%s", p->context ? " " : "", p->context ? p->context : "",
                       problem, hint);
    return mark;
}

/* Read one piece of the file, to its end or to where it cannot be followed any further: a syntax error, or what is
 * nested too deeply. The place is then in *ret_mark. */
static bool read_piece(struct reader *r, yaml_mark_t *ret_mark)
{
    if (!yaml_parser_initialize(&r->parser)) {
        skink__problem_add(r->problems, &(struct origin){ ORIGIN_FILE, r->file, 0, 0 }, "no memory to read it");
        return true;
    }
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)r->bytes, r->length);
    bool good = true, more = true;
    r->too_deep = false;
    while (more) {
        yaml_event_t event;
        good = yaml_parser_parse(&r->parser, &event);
        if (!good) break;
        more = take_event(r, &event);
        yaml_event_delete(&event);
    }
    if (!good) *ret_mark = report_syntax(r);
    if (r->too_deep) *ret_mark = r->too_deep_mark;
    while (r->depth)
        close_collection(r);
    yaml_parser_delete(&r->parser);
    return good && !r->too_deep;
}

/* Go to the first line behind the mark that starts a key at the left margin. False when there is none. */
static bool skip_to_next_key(struct reader *r, const yaml_mark_t *mark)
{
    const char *end = r->bytes + r->length;
    unsigned line = (unsigned)mark->line + 1;
    const char *at = line_start(r, line);
    for (; at; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = newline ? newline : end;
        if (((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z')) && memchr(at, ':', (size_t)(line_end - at)))
            break;
        at = newline && newline + 1 < end ? newline + 1 : NULL;
    }
    if (!at) return false;
    r->first_line += line;
    r->length = (size_t)(end - at);
    r->bytes = at;
    r->documents = 0;
    return true;
}

/* The characters that end a line to YAML 1.1, and to libyaml, but not to an editor: what such a one shows as a comment
 * could hold keys that count, and lines would be numbered otherwise. */
static unsigned hidden_line_end(const char *text, size_t length)
{
    if (length == 2 && memcmp(text, "\xc2\x85", 2) == 0) return 0x85;
    if (length == 3 && memcmp(text, "\xe2\x80\xa8", 3) == 0) return 0x2028;
    return length == 3 && memcmp(text, "\xe2\x80\xa9", 3) == 0 ? 0x2029 : 0;
}

/* Becomes a character of the same length that is none of them. */
static void refuse_hidden_line_end(unsigned code, char *last, const struct origin *at, struct problems *problems)
{
    skink__problem_add(problems, at, "character U+%04X, which ends a line for YAML alone; expected a line feed", code);
    *last = '\xa6';
}

/*
 * Bytes that are no text, replaced by question marks so that the rest is read all the same: libyaml itself gives up
 * at the first, and before it has told anything of what stands in front. False when there are too many. Lone carriage
 * returns, which end a line to libyaml and to old text files, become line feeds, so that all count the same lines.
 */
static bool clean_bytes(const char *file, char *bytes, size_t length, struct problems *problems)
{
    struct origin at = { ORIGIN_FILE, file, 1, 1 };
    unsigned bad = 0;
    for (size_t i = 0; i < length;) {
        size_t good = skink__character_length(bytes + i, length - i);
        if (!good) {
            if (++bad > BAD_BYTES_MAX) {
                skink__problem_add(problems, &at, "this is not a text file; expected YAML in UTF-8");
                return false;
            }
            skink__problem_add(problems, &at, "byte 0x%02x; expected text in UTF-8 without control characters",
                               (unsigned char)bytes[i]);
            bytes[i] = '?';
            good = 1;
        }
        unsigned hidden = hidden_line_end(bytes + i, good);
        if (hidden) refuse_hidden_line_end(hidden, bytes + i + good - 1, &at, problems);
        if (bytes[i] == '\r' && (i + 1 == length || bytes[i + 1] != '\n')) bytes[i] = '\n';
        at.column = bytes[i] == '\n' ? 1 : at.column + 1;
        at.line += bytes[i] == '\n';
        i += good;
    }
    return true;
}

void skink__yaml_parse(const char *file, char *bytes, size_t length, struct problems *problems,
                       struct yaml_tree *ret_tree)
{
    *ret_tree = (struct yaml_tree){ 0 };
    if (length >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) { /* what some editors put in front of UTF-8 */
        bytes += 3;
        length -= 3;
    }
    if (!clean_bytes(file, bytes, length, problems)) return;
    struct reader r = { .file = file, .bytes = bytes, .length = length, .problems = problems, .tree = ret_tree };
    yaml_mark_t mark = { 0 };
    for (unsigned restarts = 0; !read_piece(&r, &mark) && restarts < RESTARTS_MAX; restarts++)
        if (!skip_to_next_key(&r, &mark)) break;
}

void skink__yaml_tree_fini(struct yaml_tree *tree)
{
    struct yaml_node *node = tree->allocated;
    while (node) {
        struct yaml_node *next = node->allocated;
        free(node->text);
        free(node);
        node = next;
    }
    *tree = (struct yaml_tree){ 0 };
}
