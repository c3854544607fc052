/* SPDX-License-Identifier: MIT */
/* recovery/task_walk.c - see task_walk.h. */
#include "recovery/task_walk.h"
#include "loop/memory.h"
#include "recovery/own_memory.h"
#include "recovery/unwind.h"
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

enum { DEPTH_MAX = 48, NAME_BYTES = SKINK__GROUP_NAME_BYTES, RECORD_BYTES = 128 * 1024, RULES_MIN = 256 };

/* One task as it was seen; `pcs` follow, and each record is a multiple of 8 bytes. */
struct record {
    uint16_t pc_count;
    uint8_t state; /* enum skink__sight_state */
    bool cut;
    char name[NAME_BYTES - 4];
    uintptr_t pcs[];
};
_Static_assert(sizeof(struct record) % sizeof(uintptr_t) == 0, "records are aligned");

struct known_rule {
    uintptr_t pc; /* 0: the place is free */
    struct skink__unwind_rule rule;
};

struct skink__task_walk {
    _Atomic unsigned refs;
    struct known_rule *rules; /* open addressing; a power of two, at most half full */
    size_t rule_slots;
    size_t rule_count;
    uintptr_t missing; /* an address without a rule, at which the last step ended; 0: none */
    size_t used;       /* bytes of `records` */
    _Alignas(uintptr_t) char records[RECORD_BYTES];
};

int skink__task_walk_create(struct skink__task_walk **ret_walk)
{
    struct skink__task_walk *walk = skink__alloc(sizeof *walk);
    if (!walk) return -ENOMEM;
    atomic_init(&walk->refs, 1);
    walk->rules = skink__zalloc(RULES_MIN * sizeof *walk->rules);
    walk->rule_slots = RULES_MIN;
    walk->rule_count = walk->used = 0;
    walk->missing = 0;
    if (!walk->rules) {
        skink__free(walk);
        return -ENOMEM;
    }
    *ret_walk = walk;
    return 0;
}

struct skink__task_walk *skink__task_walk_ref(struct skink__task_walk *walk)
{
    atomic_fetch_add_explicit(&walk->refs, 1, memory_order_relaxed);
    return walk;
}

void skink__task_walk_unref(void *arg)
{
    struct skink__task_walk *walk = arg;
    /* Both: what a loop wrote that came late is over before it is freed. */
    if (!walk || atomic_fetch_sub_explicit(&walk->refs, 1, memory_order_acq_rel) != 1) return;
    skink__free(walk->rules);
    skink__free(walk);
}

static struct known_rule *rule_slot(struct known_rule *rules, size_t slots, uintptr_t pc)
{
    size_t i = (pc * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (slots - 1);
    while (rules[i].pc && rules[i].pc != pc)
        i = (i + 1) & (slots - 1);
    return &rules[i];
}

/* ---- on the loop, or while it stands still ---- */

/* Into record->pcs; false: a rule is missing. */
static bool walk_stack(struct skink__task_walk *walk, const struct skink__sight *sight, struct record *record)
{
    struct skink__registers at = { .pc = sight->pc, .sp = sight->sp, .fp = sight->fp, .has_fp = true };
    bool end = false;
    while (record->pc_count < DEPTH_MAX) {
        record->pcs[record->pc_count++] = at.pc;
        const struct known_rule *known = rule_slot(walk->rules, walk->rule_slots, at.pc);
        if (!known->pc) {
            walk->missing = at.pc;
            return false;
        }
        if (!skink__unwind_step(&known->rule, &at, sight->word, sight->word_arg, &end)) break;
    }
    record->cut = !end;
    return true;
}

/* A text that may be gone by now. Near the end of a mapping, byte by byte. */
static void copy_with_care(const char *from, char *ret_text, size_t text_bytes)
{
    size_t length = 0;
    if (skink__own_memory_read((uintptr_t)from, ret_text, text_bytes - 1))
        length = strnlen(ret_text, text_bytes - 1);
    else
        while (length < text_bytes - 1 && skink__own_memory_read((uintptr_t)from + length, &ret_text[length], 1) &&
               ret_text[length])
            length++;
    ret_text[length] = '\0';
}

static void copy_name(const struct skink__sight *sight, char *ret_name, size_t name_bytes)
{
    ret_name[0] = '\0';
    if (!sight->name) return;
    if (sight->is_standing) {
        copy_with_care(sight->name, ret_name, name_bytes);
        return;
    }
    size_t length = strnlen(sight->name, name_bytes - 1);
    memcpy(ret_name, sight->name, length);
    ret_name[length] = '\0';
}

enum skink__see skink__task_walk_see(const struct skink__sight *sight, void *arg)
{
    struct skink__task_walk *walk = arg;
    if (walk->used + sizeof(struct record) + DEPTH_MAX * sizeof(uintptr_t) > RECORD_BYTES) return SKINK__NOT_SEEN;
    struct record *record = (struct record *)(void *)(walk->records + walk->used);
    record->pc_count = 0;
    record->state = (uint8_t)sight->state;
    record->cut = false;
    if (sight->pc && !walk_stack(walk, sight, record)) return SKINK__NOT_SEEN;
    if (!sight->pc && sight->state == SKINK__SIGHT_FRESH) record->pcs[record->pc_count++] = (uintptr_t)sight->fn;
    copy_name(sight, record->name, sizeof record->name);
    walk->used += sizeof *record + record->pc_count * sizeof(uintptr_t);
    return SKINK__SEEN;
}

/* ---- between steps ---- */

/* Of a task at rest: the others are looked for elsewhere. */
static const char *state_name(enum skink__sight_state state)
{
    return state == SKINK__SIGHT_FRESH ? "fresh" : state == SKINK__SIGHT_READY ? "ready" : "suspended";
}

void skink__task_walk_collect(struct skink__task_walk *walk, struct skink__stacks *stacks,
                              struct skink__tasks_elsewhere *elsewhere)
{
    for (size_t at = 0; at < walk->used;) {
        const struct record *record = (const struct record *)(const void *)(walk->records + at);
        enum skink__sight_state state = (enum skink__sight_state)record->state;
        if (state == SKINK__SIGHT_RUNNING) {
            elsewhere->running++;
            memcpy(elsewhere->running_name, record->name, sizeof record->name);
        } else if (state == SKINK__SIGHT_STRAY) {
            elsewhere->strays++;
        } else {
            skink__stacks_add(stacks, state_name(state), record->pcs, record->pc_count, record->cut, record->name, 1);
        }
        at += sizeof *record + record->pc_count * sizeof(uintptr_t);
    }
    walk->used = 0;
}

void skink__task_walk_forget(struct skink__task_walk *walk)
{
    walk->used = 0;
    walk->missing = 0;
}

static int make_room(struct skink__task_walk *walk)
{
    if (2 * (walk->rule_count + 1) <= walk->rule_slots) return 0;
    size_t slots = 2 * walk->rule_slots;
    struct known_rule *rules = skink__zalloc(slots * sizeof *rules);
    if (!rules) return -ENOMEM;
    for (size_t i = 0; i < walk->rule_slots; i++)
        if (walk->rules[i].pc) *rule_slot(rules, slots, walk->rules[i].pc) = walk->rules[i];
    skink__free(walk->rules);
    walk->rules = rules;
    walk->rule_slots = slots;
    return 0;
}

int skink__task_walk_learn(struct skink__task_walk *walk, struct skink__symbols *symbols)
{
    uintptr_t pc = walk->missing;
    walk->missing = 0;
    if (!pc) return 0;
    int err = make_room(walk);
    if (err) return err;
    *rule_slot(walk->rules, walk->rule_slots, pc) =
        (struct known_rule){ .pc = pc, .rule = skink__symbols_unwind_rule(symbols, pc) };
    walk->rule_count++;
    return 0;
}
