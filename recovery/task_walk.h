/* SPDX-License-Identifier: MIT */
/*
 * recovery/task_walk.h - the stacks of suspended tasks, walked on the loop in as little of its time as can be.
 *
 * The walk needs a rule for each address that it meets (symbols.h), and finding one takes a thousand times as long as
 * using it. So the loop has a table of rules that it only reads. At an address that is not in the table it stops; the
 * helper thread adds the rule, and the next step begins with the same task. There are few different addresses in many
 * stacks.
 *
 * Owned by the helper thread, and by the loop during a step (loop/visit.h).
 */
#ifndef SKINK_RECOVERY_TASK_WALK_H
#define SKINK_RECOVERY_TASK_WALK_H
#include "loop/visit.h"
#include "recovery/stacks.h"
#include "recovery/symbols.h"
#include <stdint.h>

struct skink__task_walk;

int skink__task_walk_create(struct skink__task_walk **ret_walk); /* -ENOMEM */

/* Each visit of several in a row has a reference, and who makes them has one: what was learned serves all of them. The
 * last one frees it. unref: for skink__visit_create(). */
struct skink__task_walk *skink__task_walk_ref(struct skink__task_walk *walk);
void skink__task_walk_unref(void *arg);

/* For skink__visit_create(); arg is the walk. */
enum skink__see skink__task_walk_see(const struct skink__sight *sight, void *arg);

/* Those that have no stack of their own to be walked. */
struct skink__tasks_elsewhere {
    uint64_t running;
    uint64_t strays;
    char running_name[SKINK__GROUP_NAME_BYTES];
};

/* Between steps: put what was seen into `stacks` and `elsewhere`, or forget it. */
void skink__task_walk_collect(struct skink__task_walk *walk, struct skink__stacks *stacks,
                              struct skink__tasks_elsewhere *elsewhere);
void skink__task_walk_forget(struct skink__task_walk *walk);

/* Between steps: add the rule that the last one lacked, if any. -ENOMEM */
int skink__task_walk_learn(struct skink__task_walk *walk, struct skink__symbols *symbols);

#endif
