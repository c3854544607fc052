/* SPDX-License-Identifier: MIT */
/* app/suggest.c - the edit distance behind "did you mean" (see suggest.h). */
#include "app/suggest.h"
#include "app/schema.h"
#include <ctype.h>
#include <string.h>
#include <strings.h>

#define WORD_MAX_LENGTH 63

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static int folded(char c)
{
    return tolower((unsigned char)c);
}

/*
 * Single-character edits (insert, delete, replace, swap of neighbours) that turn one into the other, ignoring case.
 * Words longer than 63 characters are cut there: nothing that long is a key. Three rows of the usual table are enough:
 * a swap of neighbours looks back two.
 */
static unsigned edit_distance(const char *one, const char *other)
{
    unsigned rows[3][WORD_MAX_LENGTH + 1];
    size_t height = strnlen(one, WORD_MAX_LENGTH);
    size_t width = strnlen(other, WORD_MAX_LENGTH);
    for (size_t j = 0; j <= width; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= height; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= width; j++) {
            unsigned replaced = above[j - 1] + (folded(one[i - 1]) != folded(other[j - 1]));
            row[j] = least(replaced, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && folded(one[i - 1]) == folded(other[j - 2]) &&
                folded(one[i - 2]) == folded(other[j - 1]))
                row[j] = least(row[j], two_above[j - 2] + 1);
        }
    }
    return rows[height % 3][width];
}

/* A quarter of the word may be wrong, and at least one letter: more is another word. */
void skink__suggest_offer(struct suggestion *suggestion, const char *word, const char *candidate)
{
    unsigned distance = edit_distance(word, candidate);
    unsigned allowed = (unsigned)strnlen(word, WORD_MAX_LENGTH) / 4;
    if (distance > (allowed ? allowed : 1)) return;
    if (suggestion->best && suggestion->distance <= distance) return;
    *suggestion = (struct suggestion){ candidate, distance };
}

const char *skink__suggest_key(const char *name)
{
    struct suggestion suggestion = SUGGEST_INIT;
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++)
        skink__suggest_offer(&suggestion, name, skink__config_keys[i].name);
    skink__suggest_offer(&suggestion, name, CONFIG_LIST_NAME);
    if (suggestion.best) return suggestion.best;
    const char *last_part = strrchr(name, '.') ? strrchr(name, '.') + 1 : name;
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++)
        if (strcasecmp(strchr(skink__config_keys[i].name, '.') + 1, last_part) == 0) return skink__config_keys[i].name;
    return NULL;
}
