/* SPDX-License-Identifier: MIT */
/* recovery/stacks.c - see stacks.h. */
#include "recovery/stacks.h"
#include "loop/memory.h"
#include "loop/visit.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- merging ---- */

static uint64_t hash_stack(const char *state, const uintptr_t *pcs, size_t pc_count)
{
    uint64_t hash = (uintptr_t)state;
    for (size_t i = 0; i < pc_count; i++) {
        hash = (hash ^ pcs[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return hash;
}

static bool make_buckets(struct skink__stacks *stacks)
{
    if (stacks->group_count < stacks->bucket_count) return true;
    size_t count = stacks->bucket_count ? 4 * stacks->bucket_count : 64;
    struct skink__group **buckets = skink__zalloc(count * sizeof(struct skink__group *));
    if (!buckets) return stacks->bucket_count > 0; /* longer chains do as well */
    for (size_t i = 0; i < stacks->bucket_count; i++) {
        for (struct skink__group *group = stacks->buckets[i], *next; group; group = next) {
            next = group->next;
            group->next = buckets[group->hash & (count - 1)];
            buckets[group->hash & (count - 1)] = group;
        }
    }
    skink__free(stacks->buckets);
    stacks->buckets = buckets;
    stacks->bucket_count = count;
    return true;
}

static struct skink__group *find_group(struct skink__stacks *stacks, const char *state, const uintptr_t *pcs,
                                       size_t pc_count, bool cut)
{
    uint64_t hash = hash_stack(state, pcs, pc_count);
    if (!make_buckets(stacks)) return NULL;
    struct skink__group *group = stacks->buckets[hash & (stacks->bucket_count - 1)];
    for (; group; group = group->next)
        if (group->hash == hash && group->state == state && group->cut == cut && group->pc_count == pc_count &&
            memcmp(group->pcs, pcs, pc_count * sizeof *pcs) == 0)
            return group;
    group = skink__zalloc(sizeof *group + pc_count * sizeof *pcs);
    if (!group) return NULL;
    group->hash = hash;
    group->state = state;
    group->cut = cut;
    group->index = stacks->group_count++;
    group->pc_count = pc_count;
    if (pc_count) memcpy(group->pcs, pcs, pc_count * sizeof *pcs);
    group->next = stacks->buckets[hash & (stacks->bucket_count - 1)];
    stacks->buckets[hash & (stacks->bucket_count - 1)] = group;
    return group;
}

static void note_name(struct skink__group *group, const char *name)
{
    if (!name || !*name) return;
    for (size_t i = 0; i < SKINK__GROUP_NAMES; i++) {
        if (strncmp(group->names[i], name, SKINK__GROUP_NAME_BYTES - 1) == 0) return;
        if (group->names[i][0]) continue;
        size_t length = strnlen(name, SKINK__GROUP_NAME_BYTES - 1);
        memcpy(group->names[i], name, length);
        return;
    }
    group->more_names = true;
}

struct skink__group *skink__stacks_add(struct skink__stacks *stacks, const char *state, const uintptr_t *pcs,
                                       size_t pc_count, bool cut, const char *name, uint64_t count)
{
    stacks->total += count;
    struct skink__group *group = find_group(stacks, state, pcs, pc_count, cut);
    if (!group) {
        stacks->lost += count;
        return NULL;
    }
    group->count += count;
    note_name(group, name);
    return group;
}

static int more_frequent(const void *a, const void *b)
{
    const struct skink__group *left = *(struct skink__group *const *)a, *right = *(struct skink__group *const *)b;
    if (left->count != right->count) return left->count > right->count ? -1 : 1;
    return left->index < right->index ? -1 : 1;
}

struct skink__group **skink__stacks_sorted(const struct skink__stacks *stacks)
{
    if (!stacks->group_count) return NULL;
    struct skink__group **groups = skink__alloc(stacks->group_count * sizeof(struct skink__group *));
    if (!groups) return NULL;
    size_t count = 0;
    for (size_t i = 0; i < stacks->bucket_count; i++)
        for (struct skink__group *group = stacks->buckets[i]; group; group = group->next)
            groups[count++] = group;
    qsort(groups, count, sizeof *groups, more_frequent);
    return groups;
}

void skink__stacks_fini(struct skink__stacks *stacks)
{
    for (size_t i = 0; i < stacks->bucket_count; i++) {
        for (struct skink__group *group = stacks->buckets[i], *next; group; group = next) {
            next = group->next;
            skink__free(group);
        }
    }
    skink__free(stacks->buckets);
    *stacks = (struct skink__stacks){ 0 };
}

/* ---- what of a stack is told ---- */

static bool begins_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Of a unit's path, up to the last slash; 0 without one. */
static size_t folder_length(const char *unit)
{
    const char *slash = unit ? strrchr(unit, '/') : NULL;
    return slash ? (size_t)(slash - unit) + 1 : 0;
}

/* How tasks are switched and woken is nothing that the reader of a dump could change. The functions of the public
 * interface stay: they say what is waited for. loop_unit: one that lies in loop/, or NULL. */
static bool is_own_affair(struct skink__symbols *symbols, const struct skink__frame *frame, const char *loop_unit)
{
    const char *function = frame->function;
    if (begins_with(function, "skink__") || strcmp(function, "first_frame") == 0) return true;
    if (begins_with(function, "skink_")) return false;
    const char *unit = skink__symbols_unit(symbols, frame->pc);
    size_t length = folder_length(loop_unit);
    return length && folder_length(unit) == length && strncmp(unit, loop_unit, length) == 0 &&
           skink__symbols_module(symbols, frame->pc) ==
               skink__symbols_module(symbols, (uintptr_t)skink__visit_create); /* one string each */
}

static size_t find_frames(struct skink__symbols *symbols, const uintptr_t *pcs, size_t pc_count,
                          struct skink__frame *frames, size_t max)
{
    const char *loop_unit = skink__symbols_unit(symbols, (uintptr_t)skink__visit_create);
    size_t count = 0;
    for (size_t i = 0; i < pc_count && count < max; i++)
        count += skink__symbols_find(symbols, pcs[i], frames + count, max - count);
    size_t begin = 0, end = count;
    while (begin < end && is_own_affair(symbols, &frames[begin], loop_unit))
        begin++;
    while (end > begin && is_own_affair(symbols, &frames[end - 1], loop_unit))
        end--;
    if (begin == end) return count; /* nothing but ours: then all of it */
    memmove(frames, frames + begin, (end - begin) * sizeof *frames);
    return end - begin;
}

/* ---- writing ---- */

enum { FRAMES_MAX = 256 };

void skink__stack_write_text(struct skink__text *text, struct skink__symbols *symbols, const uintptr_t *pcs,
                             size_t pc_count, bool cut)
{
    struct skink__frame frames[FRAMES_MAX];
    size_t count = find_frames(symbols, pcs, pc_count, frames, FRAMES_MAX);
    for (size_t i = 0; i < count; i++) {
        skink__text_add(text, "    %s", frames[i].function);
        if (frames[i].file) skink__text_add(text, "  %s:%d", frames[i].file, frames[i].line);
        skink__text_add(text, "%s\n", frames[i].inlined ? "  (inlined)" : "");
    }
    if (cut && count) skink__text_add(text, "    ...\n");
}

void skink__stack_write_json(struct skink__text *text, struct skink__symbols *symbols, const uintptr_t *pcs,
                             size_t pc_count)
{
    struct skink__frame frames[FRAMES_MAX];
    size_t count = find_frames(symbols, pcs, pc_count, frames, FRAMES_MAX);
    skink__text_add(text, "[");
    for (size_t i = 0; i < count; i++) {
        skink__text_add(text, "%s{\"function\":", i ? "," : "");
        skink__text_add_json(text, frames[i].function);
        skink__text_add(text, ",\"file\":");
        skink__text_add_json(text, frames[i].file);
        if (frames[i].line)
            skink__text_add(text, ",\"line\":%d", frames[i].line);
        else
            skink__text_add(text, ",\"line\":null");
        skink__text_add(text, ",\"inlined\":%s,\"address\":\"0x%" PRIxPTR "\"}", frames[i].inlined ? "true" : "false",
                        frames[i].pc);
    }
    skink__text_add(text, "]");
}
