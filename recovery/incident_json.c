/* SPDX-License-Identifier: MIT */
/* recovery/incident_json.c - incidents as JSON, for files and for the stats endpoint. The keys are documented in
 * docs/incidents.md. */
#include "loop/civil_date.h"
#include "loop/memory.h"
#include "skink/incident.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* What is not text: a task's name is the host's, and may be in any encoding. */
#define REPLACEMENT "\xEF\xBF\xBD"

/* jansson refuses what is not UTF-8: then every byte that is not ASCII is replaced. */
static json_t *text_or_null(const char *text)
{
    if (!text) return json_null();
    json_t *string = json_string(text);
    if (string) return string;
    char *clean = skink__alloc(strlen(text) * strlen(REPLACEMENT) + 1);
    if (!clean) return NULL;
    char *end = clean;
    for (; *text; text++) {
        if ((unsigned char)*text < 0x80)
            *end++ = *text;
        else
            end = stpcpy(end, REPLACEMENT);
    }
    *end = '\0';
    string = json_string(clean);
    skink__free(clean);
    return string;
}

static json_t *seconds(uint64_t ns)
{
    return json_real((double)ns / 1e9);
}

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *number_or_null(uint64_t value)
{
    return value ? number(value) : json_null();
}

static json_t *address_or_null(uint64_t address)
{
    char text[24];
    if (!address) return json_null();
    snprintf(text, sizeof text, "0x%" PRIx64, address);
    return json_string(text);
}

/* RFC 3339, UTC. */
static json_t *moment(uint64_t unix_ns)
{
    uint64_t unix_s = unix_ns / 1000000000;
    unsigned rest = (unsigned)(unix_s % SKINK__SECONDS_A_DAY);
    struct skink__civil_date date = skink__civil_date_of(unix_s / SKINK__SECONDS_A_DAY);
    char text[64];
    snprintf(text, sizeof text, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ", date.year, date.month, date.day, rest / 3600,
             rest / 60 % 60, rest % 60, (unsigned)(unix_ns % 1000000000 / 1000));
    return json_string(text);
}

/* Each value may be NULL, when there was no memory for it: then so is the whole. */
static bool set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new_nocheck(object, key, value) == 0;
}

static json_t *frame_json(const skink_frame *frame)
{
    json_t *object = json_object();
    bool ok = object && set(object, "function", text_or_null(frame->function)) &&
              set(object, "file", text_or_null(frame->file)) && set(object, "line", number_or_null(frame->line)) &&
              set(object, "inlined", json_boolean(frame->inlined)) &&
              set(object, "address", address_or_null(frame->address)) &&
              set(object, "object", text_or_null(frame->object));
    if (ok) return object;
    json_decref(object);
    return NULL;
}

static json_t *stack_json(const skink_frame *frames, size_t count)
{
    json_t *array = json_array();
    bool ok = array != NULL;
    for (size_t i = 0; ok && i < count; i++)
        ok = json_array_append_new(array, frame_json(&frames[i])) == 0;
    if (ok) return array;
    json_decref(array);
    return NULL;
}

static json_t *owner_json(const skink_incident_owner *owner)
{
    json_t *object = json_object();
    bool ok = object && set(object, "tid", number((uint64_t)owner->tid)) &&
              set(object, "thread", text_or_null(owner->thread)) && set(object, "what", text_or_null(owner->what)) &&
              set(object, "waits_on", text_or_null(owner->kind)) &&
              set(object, "address", address_or_null(owner->address)) &&
              set(object, "stack", stack_json(owner->stack, owner->frame_count));
    if (ok) return object;
    json_decref(object);
    return NULL;
}

static json_t *chain_json(const skink_waits_on *waits_on)
{
    json_t *array = json_array();
    bool ok = array != NULL;
    for (size_t i = 0; ok && i < waits_on->chain_length; i++)
        ok = json_array_append_new(array, owner_json(&waits_on->chain[i])) == 0;
    if (ok) return array;
    json_decref(array);
    return NULL;
}

static json_t *waits_on_json(const skink_incident *incident)
{
    const skink_waits_on *waits_on = &incident->waits_on;
    if (!waits_on->kind) return json_null();
    json_t *object = json_object();
    bool ok = object && set(object, "kind", text_or_null(waits_on->kind));
    if (ok && waits_on->descriptor >= 0)
        ok = set(object, "descriptor", number((uint64_t)waits_on->descriptor)) &&
             set(object, "target", text_or_null(waits_on->target));
    else
        ok = ok && set(object, "address", address_or_null(waits_on->address));
    ok = ok && set(object, "owner", waits_on->chain_length ? owner_json(waits_on->chain) : json_null()) &&
         set(object, "chain", chain_json(waits_on)) && set(object, "cycle", json_boolean(waits_on->cycle)) &&
         set(object, "cycle_tid", incident->cycle_tid ? number((uint64_t)incident->cycle_tid) : json_null());
    if (ok) return object;
    json_decref(object);
    return NULL;
}

static json_t *outcome_json(const skink_incident *incident)
{
    char text[48] = "still stuck";
    if (incident->refused) return json_string("refused");
    if (incident->finished_after_ns)
        snprintf(text, sizeof text, "finished after %.3f s", (double)incident->finished_after_ns / 1e9);
    return json_string(text);
}

/* In the order in which somebody reads it. */
static bool set_all(json_t *object, const skink_incident *incident)
{
    char state[2] = { incident->state ? incident->state : '?', '\0' };
    return set(object, "id", text_or_null(incident->id)) && set(object, "time", moment(incident->time_unix_ns)) &&
           set(object, "scheduler", text_or_null(incident->scheduler)) &&
           set(object, "generation", number(incident->generation)) &&
           set(object, "task", text_or_null(incident->task)) && set(object, "method", text_or_null(incident->method)) &&
           set(object, "route", text_or_null(incident->route)) &&
           set(object, "request", number_or_null(incident->request_id)) &&
           set(object, "cause", json_string(skink_cause_name(incident->cause))) &&
           set(object, "outcome", outcome_json(incident)) &&
           set(object, "finished_after_seconds",
               incident->finished_after_ns ? seconds(incident->finished_after_ns) : json_null()) &&
           set(object, "slice_seconds", seconds(incident->slice_ns)) &&
           set(object, "effective_seconds", seconds(incident->effective_ns)) &&
           set(object, "cpu_seconds", seconds(incident->cpu_ns)) &&
           set(object, "run_delay_seconds", seconds(incident->run_delay_ns)) &&
           set(object, "action", json_string(skink_action_name(incident->action))) &&
           set(object, "poisoned_by", incident->poisoned_by ? number(incident->poisoned_by) : json_null()) &&
           set(object, "held", json_boolean(incident->held)) && set(object, "strays", number(incident->strays)) &&
           set(object, "tasks_living", number(incident->tasks_living)) &&
           set(object, "tasks_ready", number(incident->tasks_ready)) &&
           set(object, "tasks_suspended", number(incident->tasks_suspended)) &&
           set(object, "tid", number((uint64_t)incident->tid)) && set(object, "state", json_string(state)) &&
           set(object, "wchan", text_or_null(incident->wchan)) &&
           set(object, "syscall", text_or_null(incident->syscall)) &&
           set(object, "waits_on", waits_on_json(incident)) &&
           set(object, "capture", json_string(skink_capture_name(incident->capture))) &&
           set(object, "stack_cut", json_boolean(incident->stack_cut)) &&
           set(object, "stack", stack_json(incident->stack, incident->frame_count));
}

/* Text that grows in the library's memory. */
struct text {
    char *bytes;
    size_t length;
    size_t room;
};

static int append(const char *bytes, size_t length, void *arg)
{
    struct text *text = arg;
    if (text->room - text->length < length + 1) {
        size_t room = 2 * (text->length + length + 1);
        char *larger = skink__realloc(text->bytes, room);
        if (!larger) return -1;
        text->bytes = larger;
        text->room = room;
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
    return 0;
}

static int append_incident(const skink_incident *incident, struct text *text)
{
    json_t *object = json_object();
    bool ok = object && set_all(object, incident) &&
              json_dump_callback(object, append, text, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) == 0;
    json_decref(object);
    return ok ? 0 : -ENOMEM;
}

static int finish(struct text *text, int err, char **ret_text, size_t *ret_length)
{
    if (!err && append("\n", 1, text)) err = -ENOMEM;
    if (err) {
        skink__free(text->bytes);
        return err;
    }
    *ret_text = text->bytes;
    if (ret_length) *ret_length = text->length;
    return 0;
}

int skink_incident_json(const skink_incident *incident, char **ret_text, size_t *ret_length)
{
    struct text text = { 0 };
    if (!incident || !ret_text) return -EINVAL;
    return finish(&text, append_incident(incident, &text), ret_text, ret_length);
}

/* One after the other, so that nobody else waits for long; one that comes meanwhile pushes the others on, and then one
 * that was told already comes again. */
int skink_incidents_json(skink_recovery *recovery, char **ret_text, size_t *ret_length)
{
    struct text text = { 0 };
    uint64_t before = UINT64_MAX;
    if (!recovery || !ret_text) return -EINVAL;
    int err = append("[", 1, &text) ? -ENOMEM : 0;
    for (size_t nth = 0; !err;) {
        skink_incident *incident;
        err = skink_incident_newest(recovery, nth, &incident);
        if (err) break;
        nth++;
        if (incident->number < before) {
            if (before != UINT64_MAX && append(",\n", 2, &text)) err = -ENOMEM;
            if (!err) err = append_incident(incident, &text);
            before = incident->number;
        }
        skink_incident_free(incident);
    }
    if (err == -ENOENT) err = append("]", 1, &text) ? -ENOMEM : 0;
    return finish(&text, err, ret_text, ret_length);
}

void skink_incident_json_free(char *text)
{
    skink__free(text);
}
