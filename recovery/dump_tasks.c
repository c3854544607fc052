/* SPDX-License-Identifier: MIT */
/*
 * recovery/dump_tasks.c - every task, merged by equal stack. One scheduler after the other:
 *
 *     step       the loop shows tasks for STEP_BUDGET_NS (loop/visit.h, task_walk.h), and goes on with its work
 *     collect    here: merge what was seen, look up the one rule that was missing
 *     standing   no answer within STEP_WAIT_NS: the loop may be stuck in host code. Then the tasks are looked at from
 *                here, for as long as that slice lasts
 *     elsewhere  the running task and those with strays: their stacks are their threads'
 */
#include "loop/memory.h"
#include "loop/takeover.h"
#include "recovery/dump.h"
#include "recovery/lock_owner.h"
#include "recovery/own_memory.h"
#include "recovery/roster.h"
#include "recovery/stacks.h"
#include "recovery/task_walk.h"
#include "skink/clock.h"
#include "skink/incident.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define STEP_BUDGET_NS (300 * SKINK_US) /* a step, with what belongs to it, stays below a millisecond */
#define STEP_WAIT_NS (20 * SKINK_MS)
enum { STANDING_TASKS = 256, INCIDENT_STACK_MAX = 64 };

/* What was found of one scheduler. */
struct part {
    skink_scheduler *scheduler; /* dump.schedulers has the reference */
    bool idle;                  /* a worker without a task: one of many, and nothing to be told */
    bool complete;
    const char *note; /* why it is not, or how it came about; NULL: nothing to be said */
    uint64_t tasks;
};

struct dump {
    skink_dump_options options;
    struct skink__symbols *symbols;
    struct skink__dump_schedulers schedulers;
    struct part *parts; /* one for each of these */
    struct skink__task_walk *walk;
    struct skink__stack_reader reader;
    struct skink__stacks stacks;
    uint64_t begun_ns;
    uint64_t taken_ns;
    uint64_t waited_ns; /* in vain, for loops that showed nothing */
    uint64_t steps;

    /* The scheduler that is being looked at. */
    struct part *part;
    struct skink__visit *visit;
    struct skink__tasks_elsewhere elsewhere;
    bool standing; /* its last tasks were seen while the loop stood still */
};

/* ---- the tasks at rest ---- */

static bool read_word(void *arg, uintptr_t address, uintptr_t *ret_word)
{
    return skink__stack_word(arg, address, ret_word);
}

static enum skink__visit_result look_standing(struct dump *dump)
{
    dump->reader.page = 0; /* copied during another look */
    enum skink__visit_result result = skink__visit_standing(dump->visit, STANDING_TASKS, read_word, &dump->reader);
    dump->standing = result != SKINK__VISIT_BUSY;
    if (!dump->standing) skink__task_walk_forget(dump->walk);
    return result;
}

static enum skink__visit_result look(struct dump *dump)
{
    if (dump->standing) {
        enum skink__visit_result result = look_standing(dump);
        if (result != SKINK__VISIT_BUSY) return result;
    }
    dump->steps++;
    enum skink__visit_result result = skink__visit_step(dump->visit, STEP_BUDGET_NS, skink_after(STEP_WAIT_NS));
    if (result != SKINK__VISIT_BUSY || skink__visit_is_lost(dump->visit)) return result;
    return look_standing(dump);
}

static const char *why_not(enum skink__visit_result result)
{
    if (result == SKINK__VISIT_STOPPED) return "the scheduler does not run";
    if (result != SKINK__VISIT_BUSY) return "there are more tasks than could be looked at in the time that is given";
    return "the loop does not come round, and its thread is in no task's code either: it is stuck in a runtime "
           "section, or "
           "gets no processor; what is missing is counted by state";
}

/* All loops that show nothing share one patience; each is asked twice at least. */
static uint64_t patience_ns(const struct dump *dump)
{
    uint64_t left_ns = dump->options.patience_ns > dump->waited_ns ? dump->options.patience_ns - dump->waited_ns : 0;
    return left_ns > 2 * STEP_WAIT_NS ? left_ns : 2 * STEP_WAIT_NS;
}

/* Until all have been seen, or nothing more comes. */
static int gather(struct dump *dump)
{
    uint64_t end_ns = dump->begun_ns + dump->options.timeout_ns;
    uint64_t seen_ns = skink_now();
    enum skink__visit_result result = SKINK__VISIT_MORE;
    while (result == SKINK__VISIT_MORE || result == SKINK__VISIT_BUSY) {
        uint64_t now_ns = skink_now();
        if (now_ns >= end_ns || now_ns - seen_ns >= patience_ns(dump)) break;
        result = look(dump);
        if (skink__visit_is_lost(dump->visit)) break;
        if (result == SKINK__VISIT_BUSY) continue;
        skink__task_walk_collect(dump->walk, &dump->stacks, &dump->elsewhere);
        int err = skink__task_walk_learn(dump->walk, dump->symbols);
        if (err) return err;
        seen_ns = skink_now();
    }
    struct part *part = dump->part;
    part->complete = result == SKINK__VISIT_DONE;
    if (result == SKINK__VISIT_BUSY) dump->waited_ns += skink_now() - seen_ns;
    if (!part->complete) part->note = why_not(result);
    if (part->complete && dump->standing)
        part->note = "the loop is stuck in a task at this moment; the others were looked at meanwhile";
    return 0;
}

/* ---- the others ---- */

/* One on an abandoned thread: from where that is blocked, or else from where the incident's report found it. */
static void add_abandoned(struct dump *dump, const struct skink__roster_entry *entry)
{
    static struct skink__thread_view view; /* one dump at a time */
    bool stray = entry->role == SKINK__ROLE_STRAY;
    skink__thread_view_read(dump->symbols, entry->tid, &view);
    skink_incident *incident = NULL;
    if (stray) (void)!skink_incident_find(dump->options.recovery, entry->incident_id, &incident);
    uintptr_t pcs[INCIDENT_STACK_MAX];
    size_t count = 0;
    for (; count < view.pc_count && count < INCIDENT_STACK_MAX; count++)
        pcs[count] = view.pcs[count];
    bool cut = !view.whole;
    if (count == 0 && incident) {
        for (size_t i = 0; i < incident->frame_count && count < INCIDENT_STACK_MAX; i++)
            if (!incident->stack[i].inlined) pcs[count++] = (uintptr_t)incident->stack[i].address;
        cut = incident->stack_cut;
    }
    skink__stacks_add(&dump->stacks, stray ? "stray" : "blocking", pcs, count, cut, incident ? incident->task : NULL,
                      1);
    skink_incident_free(incident);
}

static bool is_abandoned(const struct skink__roster_entry *entry)
{
    return entry->role == SKINK__ROLE_STRAY || entry->role == SKINK__ROLE_BLOCKING;
}

static void add_running(struct dump *dump, const struct skink__roster *roster)
{
    static struct skink__thread_view view;
    view.pc_count = 0;
    view.whole = false;
    for (size_t i = 0; i < roster->count; i++)
        if (roster->entries[i].role == SKINK__ROLE_LOOP && roster->entries[i].of == dump->part->scheduler)
            skink__thread_view_read(dump->symbols, roster->entries[i].tid, &view);
    skink__stacks_add(&dump->stacks, "running", view.pcs, view.pc_count, !view.whole, dump->elsewhere.running_name, 1);
}

static int add_elsewhere(struct dump *dump)
{
    struct skink__roster roster;
    int err = skink__roster_init(&roster, dump->options.recovery, dump->part->scheduler);
    if (err) return err;
    uint64_t abandoned = 0;
    for (size_t i = 0; i < roster.count; i++) {
        if (!is_abandoned(&roster.entries[i]) || roster.entries[i].of != dump->part->scheduler) continue;
        add_abandoned(dump, &roster.entries[i]);
        abandoned++;
    }
    /* Seen, and not known to the recovery (there is none, or it has come back in between). */
    if (dump->elsewhere.strays > abandoned)
        skink__stacks_add(&dump->stacks, "stray", NULL, 0, false, NULL, dump->elsewhere.strays - abandoned);
    if (dump->elsewhere.running) add_running(dump, &roster);
    skink__roster_fini(&roster);
    return 0;
}

/* Those that could not be looked at, by the scheduler's counters, which can always be read. */
static void add_unseen(struct dump *dump, uint64_t seen)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    if (dump->part->complete || skink_scheduler_stats_read(dump->part->scheduler, &stats)) return;
    uint64_t added = 0;
    if (seen == 0) {
        if (stats.tasks_suspended)
            skink__stacks_add(&dump->stacks, "suspended", NULL, 0, false, NULL, stats.tasks_suspended);
        if (stats.tasks_ready) skink__stacks_add(&dump->stacks, "ready", NULL, 0, false, NULL, stats.tasks_ready);
        added = stats.tasks_suspended + stats.tasks_ready;
    }
    if (stats.tasks_living > seen + added)
        skink__stacks_add(&dump->stacks, "unknown", NULL, 0, false, NULL, stats.tasks_living - seen - added);
}

/* ---- one scheduler after the other ---- */

static bool is_idle_worker(skink_scheduler *scheduler)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    if (strcmp(skink__scheduler_role(scheduler), "worker") != 0) return false;
    return skink_scheduler_stats_read(scheduler, &stats) == 0 && stats.tasks_living == 0;
}

static int open_visit(struct dump *dump)
{
    int err = 0;
    if (!dump->walk) err = skink__task_walk_create(&dump->walk);
    if (err) return err;
    err = skink__visit_create(dump->part->scheduler, skink__task_walk_see, skink__task_walk_unref,
                              skink__task_walk_ref(dump->walk), &dump->visit);
    if (err) skink__task_walk_unref(dump->walk);
    return err;
}

static void close_visit(struct dump *dump)
{
    if (!dump->visit) return;
    if (skink__visit_is_lost(dump->visit)) { /* its loop may still write there */
        skink__task_walk_unref(dump->walk);
        dump->walk = NULL;
    }
    skink__visit_destroy(dump->visit);
    dump->visit = NULL;
}

static int add_part(struct dump *dump, struct part *part)
{
    part->idle = is_idle_worker(part->scheduler);
    part->complete = part->idle;
    if (part->idle) return 0;
    uint64_t before = dump->stacks.total;
    dump->part = part;
    dump->standing = false;
    dump->elsewhere = (struct skink__tasks_elsewhere){ 0 };
    int err = open_visit(dump);
    if (!err) err = gather(dump);
    close_visit(dump);
    if (!err) err = add_elsewhere(dump);
    if (!err) add_unseen(dump, dump->stacks.total - before);
    part->tasks = dump->stacks.total - before;
    return err;
}

static int add_parts(struct dump *dump)
{
    dump->parts = skink__zalloc(dump->schedulers.count * sizeof *dump->parts);
    if (!dump->parts) return -ENOMEM;
    int err = 0;
    for (size_t i = 0; i < dump->schedulers.count && !err; i++) {
        dump->parts[i].scheduler = dump->schedulers.list[i];
        err = add_part(dump, &dump->parts[i]);
    }
    skink__task_walk_unref(dump->walk);
    return err;
}

/* ---- writing ---- */

static void write_group_text(struct skink__text *text, struct skink__symbols *symbols, const struct skink__group *group)
{
    skink__text_add(text, "\n%" PRIu64 " %s", group->count, group->state);
    for (size_t i = 0; i < SKINK__GROUP_NAMES && group->names[i][0]; i++) {
        skink__text_add(text, "%s", i ? ", " : "  ");
        skink__text_add_line(text, group->names[i]);
    }
    skink__text_add(text, "%s\n", group->more_names ? ", ..." : "");
    skink__stack_write_text(text, symbols, group->pcs, group->pc_count, group->cut);
}

static void write_group_json(struct skink__text *text, struct skink__symbols *symbols, const struct skink__group *group)
{
    skink__text_add(text, "{\"count\":%" PRIu64 ",\"state\":\"%s\",\"names\":[", group->count, group->state);
    for (size_t i = 0; i < SKINK__GROUP_NAMES && group->names[i][0]; i++) {
        skink__text_add(text, "%s", i ? "," : "");
        skink__text_add_json(text, group->names[i]);
    }
    skink__text_add(text, "],\"more_names\":%s,\"cut\":%s,\"frames\":", group->more_names ? "true" : "false",
                    group->cut ? "true" : "false");
    skink__stack_write_json(text, symbols, group->pcs, group->pc_count);
    skink__text_add(text, "}");
}

struct omission {
    uint64_t stacks;
    uint64_t tasks;
};

static struct omission omitted(const struct dump *dump, struct skink__group **groups)
{
    struct omission omission = { .tasks = dump->stacks.lost };
    for (size_t i = dump->options.stacks_max; i < dump->stacks.group_count; i++) {
        omission.stacks++;
        omission.tasks += groups[i]->count;
    }
    return omission;
}

static bool is_complete(const struct dump *dump)
{
    for (size_t i = 0; i < dump->schedulers.count; i++)
        if (!dump->parts[i].complete) return false;
    return true;
}

/* The first one; each has its own as well. */
static const char *first_note(const struct dump *dump)
{
    for (size_t i = 0; i < dump->schedulers.count; i++)
        if (dump->parts[i].note) return dump->parts[i].note;
    return NULL;
}

static uint64_t idle_workers(const struct dump *dump)
{
    uint64_t count = 0;
    for (size_t i = 0; i < dump->schedulers.count; i++)
        count += dump->parts[i].idle;
    return count;
}

/* "note: ..." on a line of its own. */
static void write_note_text(struct skink__text *text, const struct part *part)
{
    if (part->note) skink__text_add(text, "%s: %s\n", part->complete ? "note" : "INCOMPLETE", part->note);
}

/* Of several schedulers, each with its number of tasks. */
static void write_parts_text(struct skink__text *text, const struct dump *dump)
{
    for (size_t i = 0; i < dump->schedulers.count; i++) {
        const struct part *part = &dump->parts[i];
        if (part->idle) continue;
        skink__text_add(text, "  %s: %" PRIu64 " tasks%s", skink__scheduler_name(part->scheduler), part->tasks,
                        part->note ? "; " : "\n");
        write_note_text(text, part);
    }
    uint64_t idle = idle_workers(dump);
    if (idle) skink__text_add(text, "  and %" PRIu64 " workers without a task\n", idle);
}

static void write_text(struct dump *dump, struct skink__group **groups, size_t count, struct skink__text *text)
{
    struct omission omission = omitted(dump, groups);
    size_t several = dump->schedulers.count > 1 ? dump->schedulers.count : 0;
    skink__text_add(text, "%" PRIu64 " tasks of ", dump->stacks.total);
    if (several)
        skink__text_add(text, "%zu schedulers", several);
    else
        skink__text_add(text, "%s", skink__scheduler_name(dump->parts[0].scheduler));
    skink__text_add(text, ", %zu different stacks; looked at for %" PRIu64 " ms, in %" PRIu64 " steps of the loop%s\n",
                    dump->stacks.group_count, dump->taken_ns / SKINK_MS, dump->steps, several ? "s" : "");
    if (several)
        write_parts_text(text, dump);
    else
        write_note_text(text, &dump->parts[0]);
    for (size_t i = 0; i < count; i++)
        write_group_text(text, dump->symbols, groups[i]);
    if (omission.tasks)
        skink__text_add(text, "\nand %" PRIu64 " tasks with %" PRIu64 " other stacks\n", omission.tasks,
                        omission.stacks);
}

static void write_parts_json(struct skink__text *text, const struct dump *dump)
{
    const char *comma = "";
    for (size_t i = 0; i < dump->schedulers.count; i++) {
        const struct part *part = &dump->parts[i];
        if (part->idle) continue;
        skink__text_add(text, "%s{\"name\":", comma);
        skink__text_add_json(text, skink__scheduler_name(part->scheduler));
        skink__text_add(text, ",\"tasks\":%" PRIu64 ",\"complete\":%s,\"note\":", part->tasks,
                        part->complete ? "true" : "false");
        skink__text_add_json(text, part->note);
        skink__text_add(text, "}");
        comma = ",";
    }
}

static void write_json(struct dump *dump, struct skink__group **groups, size_t count, struct skink__text *text)
{
    struct omission omission = omitted(dump, groups);
    skink__text_add(text, "{\"tasks\":%" PRIu64 ",\"complete\":%s,\"note\":", dump->stacks.total,
                    is_complete(dump) ? "true" : "false");
    skink__text_add_json(text, first_note(dump));
    skink__text_add(text, ",\"schedulers\":[");
    write_parts_json(text, dump);
    skink__text_add(text, "],\"idle_workers\":%" PRIu64 ",\"seconds\":%.6f,\"steps\":%" PRIu64 ",\"stacks\":[",
                    idle_workers(dump), (double)dump->taken_ns / 1e9, dump->steps);
    for (size_t i = 0; i < count; i++) {
        if (i) skink__text_add(text, ",");
        write_group_json(text, dump->symbols, groups[i]);
    }
    skink__text_add(text, "],\"omitted_stacks\":%" PRIu64 ",\"omitted_tasks\":%" PRIu64 "}\n", omission.stacks,
                    omission.tasks);
}

static int write_all(struct dump *dump, struct skink__text *text)
{
    struct skink__group **groups = skink__stacks_sorted(&dump->stacks);
    if (!groups && dump->stacks.group_count) return -ENOMEM;
    size_t count = dump->stacks.group_count;
    if (count > dump->options.stacks_max) count = dump->options.stacks_max;
    dump->taken_ns = skink_now() - dump->begun_ns;
    if (dump->options.format == SKINK_DUMP_JSON)
        write_json(dump, groups, count, text);
    else
        write_text(dump, groups, count, text);
    skink__free(groups);
    return 0;
}

/* ---- the whole ---- */

static int make_dump(struct dump *dump, char **ret_text, size_t *ret_length)
{
    struct skink__text text = { 0 };
    int err = skink__dump_begin(&dump->symbols);
    if (err) return err;
    dump->begun_ns = skink_now();
    err = add_parts(dump);
    if (!err) err = write_all(dump, &text);
    skink__free(dump->parts);
    skink__stacks_fini(&dump->stacks);
    return skink__dump_end(dump->symbols, &text, err, ret_text, ret_length);
}

int skink_dump_tasks(const skink_dump_options *options, char **ret_text, size_t *ret_length)
{
    if (!options || !ret_text) return -EINVAL;
    struct dump *dump = skink__zalloc(sizeof *dump);
    if (!dump) return -ENOMEM;
    int err = skink__dump_options_read(options, &dump->options);
    if (!err) err = skink__dump_schedulers_init(&dump->schedulers, &dump->options);
    if (!err) {
        err = make_dump(dump, ret_text, ret_length);
        skink__dump_schedulers_fini(&dump->schedulers);
    }
    skink__free(dump);
    return err;
}
