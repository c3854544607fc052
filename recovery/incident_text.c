/* SPDX-License-Identifier: MIT */
/* recovery/incident_text.c - see incident_text.h. docs/incidents.md shows both, with what they mean. */
#include "recovery/incident_text.h"
#include "loop/log_value.h"
#include "skink/clock.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* ---- the line ---- */

struct line {
    char *text;
    size_t used;
};

/* A pair that does not fit whole is left out, and so are those behind it. */
__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
    size_t room = SKINK__INCIDENT_LINE_BYTES - line->used;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line->text + line->used, room, format, arguments);
    va_end(arguments);
    if (length > 0 && (size_t)length < room)
        line->used += (size_t)length;
    else
        line->text[line->used] = '\0';
}

/* ` key="value"`: names are the host's. */
static void add_quoted(struct line *line, const char *key, const char *value)
{
    add(line, " %s=%s", key, SKINK__QUOTED(value));
}

static unsigned long long ms(uint64_t ns)
{
    return (unsigned long long)(ns / SKINK_MS);
}

static void add_wait(struct line *line, const skink_waits_on *waits_on)
{
    if (!waits_on->kind) return;
    add(line, " waits_on=%s", waits_on->kind);
    if (waits_on->descriptor >= 0) add(line, " descriptor=%d", waits_on->descriptor);
    if (waits_on->target) add_quoted(line, "target", waits_on->target);
    if (waits_on->address) add(line, " address=0x%" PRIx64, waits_on->address);
    if (waits_on->chain_length) {
        add(line, " owner_tid=%d", waits_on->chain[0].tid);
        add_quoted(line, "owner", waits_on->chain[0].what);
        add(line, " cycle=%d", waits_on->cycle);
    }
}

/* The innermost function of the stack that is not the C library's says most about where it is. */
static const skink_frame *telling_frame(const skink_incident *incident)
{
    for (size_t i = 0; i < incident->frame_count; i++) {
        const skink_frame *frame = &incident->stack[i];
        if (!frame->object || strncmp(frame->object, "libc.so", 7) != 0) return frame;
    }
    return NULL;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is kept in a structure, and written there */
void skink__incident_line(const skink_incident *incident, char text[SKINK__INCIDENT_LINE_BYTES])
{
    struct line line = { text, 0 };
    add(&line, "event=deadlock id=%s scheduler=%s generation=%" PRIu64, incident->id,
        SKINK__LOG_WORD(incident->scheduler), incident->generation);
    add_quoted(&line, "task", incident->task);
    if (incident->poisoned_by) add(&line, " poisoned_by=%llu", (unsigned long long)incident->poisoned_by);
    add(&line, " slice_ms=%llu effective_ms=%llu cause=%s action=%s strays=%u", ms(incident->slice_ns),
        ms(incident->effective_ns), skink_cause_name(incident->cause), skink_action_name(incident->action),
        (unsigned)incident->strays);
    if (incident->route) {
        add(&line, " method=%s", incident->method ? incident->method : "-");
        add_quoted(&line, "route", incident->route);
        add(&line, " request=%" PRIu64, incident->request_id);
    }
    if (incident->syscall) add_quoted(&line, "syscall", incident->syscall);
    add_wait(&line, &incident->waits_on);
    add(&line, " cpu_ms=%llu run_delay_ms=%llu tid=%d state=%c", ms(incident->cpu_ns), ms(incident->run_delay_ns),
        incident->tid, incident->state ? incident->state : '?');
    if (incident->wchan[0]) add(&line, " wchan=%s", incident->wchan);
    add(&line, " capture=%s tasks=%" PRIu64, skink_capture_name(incident->capture), incident->tasks_living);
    const skink_frame *frame = telling_frame(incident);
    if (frame && frame->function) add_quoted(&line, "at", frame->function);
}

/* ---- the block ---- */

static const char cut_line[] = "| ... (cut)\n";

struct block {
    char *text;
    size_t used;
    bool cut;
};

/* There is always room left for the line that says that something was left out. */
__attribute__((format(printf, 2, 3))) static void say(struct block *block, const char *format, ...)
{
    if (block->cut) return;
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length < 0) return;
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ') *c = '?';
    size_t needed = strlen(line) + sizeof "| \n" - 1;
    if (block->used + needed + sizeof cut_line > SKINK__INCIDENT_BLOCK_BYTES) {
        memcpy(block->text + block->used, cut_line, sizeof cut_line);
        block->used += sizeof cut_line - 1;
        block->cut = true;
        return;
    }
    block->used += (size_t)sprintf(block->text + block->used, "| %s\n", line);
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

static void say_frames(struct block *block, const skink_frame *frames, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const skink_frame *frame = &frames[i];
        char place[256] = "";
        if (frame->file && frame->line)
            snprintf(place, sizeof place, " at %s:%u", frame->file, frame->line);
        else if (frame->object)
            snprintf(place, sizeof place, " in %s", frame->object);
        say(block, "  #%zu %.160s%s%s", i, frame->function ? frame->function : "?", place,
            frame->inlined ? " (inlined)" : "");
    }
}

static const char *explain_cause(skink_cause cause)
{
    switch (cause) {
    case SKINK_CAUSE_UNKNOWN:
        break;
    case SKINK_CAUSE_STARVED:
        return "starved: it was given too little processor time; the machine is overloaded";
    case SKINK_CAUSE_SELF_WAIT:
        return "self_wait: it blocks its own loop for a future; await it instead";
    case SKINK_CAUSE_LOCK:
        return "lock: it waits for a lock";
    case SKINK_CAUSE_SYSCALL:
        return "syscall: it is blocked in a system call";
    case SKINK_CAUSE_CPU_LOOP:
        return "cpu_loop: it computes without letting go of the loop";
    case SKINK_CAUSE_STOPPED:
        return "stopped: its thread is stopped, or a debugger has it";
    case SKINK_CAUSE_UNINTERRUPTIBLE:
        return "uninterruptible: the kernel keeps it in a sleep that nothing can end (a disk, a file server)";
    }
    return "unknown";
}

/* One sentence, before all stacks: these are what may be cut. */
static void say_deadlock(struct block *block, const skink_incident *incident)
{
    const skink_waits_on *waits_on = &incident->waits_on;
    if (!waits_on->cycle || !incident->cycle_tid || !waits_on->kind) return;
    char text[448];
    size_t used = (size_t)snprintf(text, sizeof text, "deadlock: thread %d waits for a %s of thread ", incident->tid,
                                   waits_on->kind);
    for (size_t i = 0; i < waits_on->chain_length && used < sizeof text; i++) {
        const skink_incident_owner *owner = &waits_on->chain[i];
        used += (size_t)snprintf(text + used, sizeof text - used, "%d (%s), which waits for a %s of thread ",
                                 owner->tid, owner->what, owner->kind ? owner->kind : "lock");
    }
    if (used < sizeof text)
        snprintf(text + used, sizeof text - used, "%d%s", incident->cycle_tid,
                 waits_on->chain_length ? "" : ", which is itself");
    say(block, "%s", text);
}

static void say_wait(struct block *block, const skink_incident *incident)
{
    const skink_waits_on *waits_on = &incident->waits_on;
    if (incident->syscall) say(block, "system call: %s", incident->syscall);
    if (!waits_on->kind) return;
    if (waits_on->descriptor >= 0)
        say(block, "waits on descriptor %d: %s", waits_on->descriptor,
            waits_on->target ? waits_on->target : "not open");
    else
        say(block, "waits on %s at 0x%" PRIx64, waits_on->kind, waits_on->address);
}

static void say_chain(struct block *block, const skink_waits_on *waits_on, bool has_sentence)
{
    for (size_t i = 0; i < waits_on->chain_length; i++) {
        const skink_incident_owner *owner = &waits_on->chain[i];
        char rest[64] = "";
        if (owner->kind) snprintf(rest, sizeof rest, ", which waits on %s at 0x%" PRIx64, owner->kind, owner->address);
        say(block, "owned by thread %d \"%s\", %s%s", owner->tid, owner->thread, owner->what, rest);
        say_frames(block, owner->stack, owner->frame_count);
    }
    if (waits_on->cycle && !has_sentence)
        say(block, "a cycle: each waits for the next, and the last for one before it");
}

static const char *explain_capture(skink_capture capture)
{
    switch (capture) {
    case SKINK_CAPTURE_OK:
        return "asked by a signal";
    case SKINK_CAPTURE_WALKED:
        return "read from outside";
    case SKINK_CAPTURE_BLOCKED:
        return "not asked: it blocks the signal";
    case SKINK_CAPTURE_TIMEOUT:
        return "it did not answer the signal in time";
    case SKINK_CAPTURE_RETURNED:
        return "it had come back by then";
    case SKINK_CAPTURE_STOPPED:
        return "not asked: it is stopped, or in uninterruptible sleep";
    case SKINK_CAPTURE_REFUSED:
        return "the signal could not be sent";
    case SKINK_CAPTURE_NONE:
        break;
    }
    return "not looked for";
}

size_t skink__incident_block(const skink_incident *incident, char text[SKINK__INCIDENT_BLOCK_BYTES])
{
    struct block block = { .text = text };
    text[0] = '\0';
    say(&block, "incident %s: %s held the loop thread for %.3f s", incident->id, incident->task,
        seconds(incident->slice_ns));
    say(&block, "cause %s", explain_cause(incident->cause));
    say_deadlock(&block, incident);
    say_wait(&block, incident);
    say(&block, "thread %d, generation %" PRIu64 ", state %c%s%s, processor time %.3f s, run delay %.3f s",
        incident->tid, incident->generation, incident->state ? incident->state : '?', incident->wchan[0] ? " in " : "",
        incident->wchan, seconds(incident->cpu_ns), seconds(incident->run_delay_ns));
    say(&block, "in flight: %" PRIu64 " tasks, %" PRIu64 " ready, %" PRIu64 " suspended; %u strays",
        incident->tasks_living, incident->tasks_ready, incident->tasks_suspended, (unsigned)incident->strays);
    say(&block, "stack (%s)%s", explain_capture(incident->capture), incident->frame_count ? ":" : "");
    say_frames(&block, incident->stack, incident->frame_count);
    say_chain(&block, &incident->waits_on, incident->cycle_tid != 0);
    return block.used;
}
