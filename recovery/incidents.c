/* SPDX-License-Identifier: MIT */
/* recovery/incidents.c - the newest incidents; see incidents.h. */
#include "recovery/incidents.h"
#include "loop/memory.h"
#include "recovery/state.h"
#include <errno.h>
#include <string.h>

const char *skink_cause_name(skink_cause cause)
{
    static const char *const names[SKINK_CAUSES] = {
        [SKINK_CAUSE_UNKNOWN] = "unknown",     [SKINK_CAUSE_STARVED] = "starved",
        [SKINK_CAUSE_SELF_WAIT] = "self_wait", [SKINK_CAUSE_LOCK] = "lock",
        [SKINK_CAUSE_SYSCALL] = "syscall",     [SKINK_CAUSE_CPU_LOOP] = "cpu_loop",
        [SKINK_CAUSE_STOPPED] = "stopped",     [SKINK_CAUSE_UNINTERRUPTIBLE] = "uninterruptible"
    };
    return (unsigned)cause < SKINK_CAUSES ? names[cause] : names[SKINK_CAUSE_UNKNOWN];
}

const char *skink_capture_name(skink_capture capture)
{
    static const char *const names[SKINK_CAPTURES] = {
        [SKINK_CAPTURE_NONE] = "none",         [SKINK_CAPTURE_OK] = "ok",
        [SKINK_CAPTURE_BLOCKED] = "blocked",   [SKINK_CAPTURE_TIMEOUT] = "timeout",
        [SKINK_CAPTURE_RETURNED] = "returned", [SKINK_CAPTURE_STOPPED] = "stopped",
        [SKINK_CAPTURE_REFUSED] = "refused",   [SKINK_CAPTURE_WALKED] = "walked"
    };
    return (unsigned)capture < SKINK_CAPTURES ? names[capture] : names[SKINK_CAPTURE_NONE];
}

/* ---- the places ---- */

static void store_lock(struct skink__incidents *incidents) SKINK__ACQUIRES(skink__incidents_mutex) SKINK__UNCHECKED
{
    pthread_mutex_lock(&incidents->mutex);
}

static void store_unlock(struct skink__incidents *incidents) SKINK__RELEASES(skink__incidents_mutex) SKINK__UNCHECKED
{
    pthread_mutex_unlock(&incidents->mutex);
}

int skink__incidents_init(struct skink__incidents *incidents)
{
    pthread_mutex_init(&incidents->mutex, NULL);
    SKINK__ASSUME(skink__incidents_mutex); /* nobody else knows it yet */
    incidents->added = 0;
    /* Not zeroed: places that were never used take no memory then, and `added` says which those are. */
    incidents->places = skink__alloc(SKINK_INCIDENTS_KEPT * sizeof *incidents->places);
    return incidents->places ? 0 : -ENOMEM;
}

static size_t kept(const struct skink__incidents *incidents) SKINK__REQUIRES(skink__incidents_mutex)
{
    return incidents->added < SKINK_INCIDENTS_KEPT ? (size_t)incidents->added : SKINK_INCIDENTS_KEPT;
}

/* The nth newest of those kept. */
static struct skink__incident *place(const struct skink__incidents *incidents, size_t nth)
    SKINK__REQUIRES(skink__incidents_mutex)
{
    return &incidents->places[(incidents->added - 1 - nth) % SKINK_INCIDENTS_KEPT];
}

static struct skink__incident *find(const struct skink__incidents *incidents, uint64_t number)
    SKINK__REQUIRES(skink__incidents_mutex)
{
    for (size_t nth = 0; nth < kept(incidents); nth++)
        if (place(incidents, nth)->facts.number == number) return place(incidents, nth);
    return NULL;
}

void skink__incidents_fini(struct skink__incidents *incidents)
{
    SKINK__ASSUME(skink__incidents_mutex); /* nobody else knows it any more */
    for (size_t nth = 0; incidents->places && nth < kept(incidents); nth++)
        skink__free(place(incidents, nth)->findings);
    skink__free(incidents->places);
    pthread_mutex_destroy(&incidents->mutex);
}

void skink__incidents_add(struct skink__incidents *incidents, const struct skink__incident *incident)
{
    skink_incident *oldest = NULL;
    store_lock(incidents);
    bool full = incidents->added >= SKINK_INCIDENTS_KEPT;
    incidents->added++;
    if (full) oldest = place(incidents, 0)->findings;
    *place(incidents, 0) = *incident;
    store_unlock(incidents);
    skink__free(oldest);
}

bool skink__incidents_read(struct skink__incidents *incidents, uint64_t number, struct skink__incident *ret_incident)
{
    store_lock(incidents);
    const struct skink__incident *found = find(incidents, number);
    if (found) *ret_incident = *found;
    store_unlock(incidents);
    if (found) ret_incident->findings = NULL;
    return found != NULL;
}

void skink__incidents_complete(struct skink__incidents *incidents, const struct skink__incident *complete)
{
    skink_incident *unwanted = complete->findings;
    store_lock(incidents);
    struct skink__incident *found = find(incidents, complete->facts.number);
    if (found) {
        uint64_t finished_after_ns = found->facts.finished_after_ns;
        unwanted = found->findings;
        *found = *complete;
        found->facts.finished_after_ns = finished_after_ns;
        found->is_complete = true;
        found->has_news = finished_after_ns != 0 && !found->is_quiet;
    }
    store_unlock(incidents);
    skink__free(unwanted);
}

void skink__incidents_note_end(struct skink__incidents *incidents, uint64_t number, uint64_t finished_after_ns)
{
    store_lock(incidents);
    struct skink__incident *found = find(incidents, number);
    if (found) {
        found->facts.finished_after_ns = finished_after_ns;
        found->has_news = found->is_complete && !found->is_quiet;
    }
    store_unlock(incidents);
}

/* ---- out of the store ---- */

void skink__incident_view(const struct skink__incident *incident, skink_incident *ret_view)
{
    const skink_incident *findings = incident->findings;
    *ret_view = incident->facts;
    ret_view->scheduler = incident->scheduler;
    ret_view->task = incident->task;
    ret_view->method = incident->is_request ? incident->method : NULL;
    ret_view->route = incident->is_request ? incident->route : NULL;
    ret_view->wchan = incident->wchan;
    ret_view->syscall = incident->call[0] ? incident->call : NULL;
    ret_view->stack = findings ? findings->stack : NULL;
    ret_view->frame_count = findings ? findings->frame_count : 0;
    ret_view->waits_on.kind = incident->kind[0] ? incident->kind : NULL;
    ret_view->waits_on.target = incident->target[0] ? incident->target : NULL;
    ret_view->waits_on.chain = findings ? findings->waits_on.chain : NULL;
    ret_view->waits_on.chain_length = findings ? findings->waits_on.chain_length : 0;
}

/* Puts one thing behind the other into a block; without a block it only measures. */
struct packer {
    char *block;
    size_t used;
};

static void *pack(struct packer *packer, const void *bytes, size_t length)
{
    void *at = packer->block ? packer->block + packer->used : NULL;
    if (at && length) memcpy(at, bytes, length);
    packer->used += (length + 15) & ~(size_t)15;
    return at;
}

static const char *pack_text(struct packer *packer, const char *text)
{
    return text ? pack(packer, text, strlen(text) + 1) : NULL;
}

static const skink_frame *pack_frames(struct packer *packer, const skink_frame *frames, size_t count)
{
    skink_frame *copies = pack(packer, frames, count * sizeof *frames);
    for (size_t i = 0; i < count; i++) {
        skink_frame copy = frames[i];
        copy.function = pack_text(packer, copy.function);
        copy.file = pack_text(packer, copy.file);
        copy.object = pack_text(packer, copy.object);
        if (copies) copies[i] = copy;
    }
    return copies;
}

static const skink_incident_owner *pack_chain(struct packer *packer, const skink_incident_owner *chain, size_t length)
{
    skink_incident_owner *copies = pack(packer, chain, length * sizeof *chain);
    for (size_t i = 0; i < length; i++) {
        skink_incident_owner copy = chain[i];
        copy.thread = pack_text(packer, copy.thread);
        copy.what = pack_text(packer, copy.what);
        copy.kind = pack_text(packer, copy.kind);
        copy.stack = pack_frames(packer, copy.stack, copy.frame_count);
        if (copies) copies[i] = copy;
    }
    return copies;
}

/* The size of the whole; into a block, if there is one. */
/* NOLINTNEXTLINE(readability-non-const-parameter): it is kept in a structure, and written there */
static size_t pack_incident(char *block, const skink_incident *incident)
{
    struct packer packer = { .block = block };
    skink_incident copy = *incident;
    skink_incident *first = pack(&packer, &copy, sizeof copy);
    copy.scheduler = pack_text(&packer, copy.scheduler);
    copy.task = pack_text(&packer, copy.task);
    copy.method = pack_text(&packer, copy.method);
    copy.route = pack_text(&packer, copy.route);
    copy.wchan = pack_text(&packer, copy.wchan);
    copy.syscall = pack_text(&packer, copy.syscall);
    copy.stack = pack_frames(&packer, copy.stack, copy.frame_count);
    copy.waits_on.kind = pack_text(&packer, copy.waits_on.kind);
    copy.waits_on.target = pack_text(&packer, copy.waits_on.target);
    copy.waits_on.chain = pack_chain(&packer, copy.waits_on.chain, copy.waits_on.chain_length);
    if (first) *first = copy;
    return packer.used;
}

skink_incident *skink__incident_copy(const skink_incident *incident)
{
    char *block = skink__alloc(pack_incident(NULL, incident));
    if (block) pack_incident(block, incident);
    return (skink_incident *)(void *)block;
}

void skink_incident_free(skink_incident *incident)
{
    skink__free(incident);
}

/* Which one is wanted: by its id, its number, or its age. */
struct query {
    const char *id;
    uint64_t number;
    size_t nth;
};

static struct skink__incident *look_up(const struct skink__incidents *incidents, const struct query *query)
    SKINK__REQUIRES(skink__incidents_mutex)
{
    if (query->number) return find(incidents, query->number);
    if (!query->id) return query->nth < kept(incidents) ? place(incidents, query->nth) : NULL;
    for (size_t nth = 0; nth < kept(incidents); nth++)
        if (strcmp(place(incidents, nth)->facts.id, query->id) == 0) return place(incidents, nth);
    return NULL;
}

/* Copy it into the block if that has room enough. Returns how much it needs; 0: it is not there. */
static size_t copy_into(struct skink__incidents *incidents, const struct query *query, char *block, size_t room)
{
    size_t needed = 0;
    store_lock(incidents);
    const struct skink__incident *found = look_up(incidents, query);
    if (found) {
        skink_incident view;
        skink__incident_view(found, &view);
        needed = pack_incident(NULL, &view);
        if (needed <= room) pack_incident(block, &view);
    }
    store_unlock(incidents);
    return needed;
}

/* Memory is asked for without the mutex, which the watchdog takes as well; what was measured may have grown then. */
static int copy_out(struct skink__incidents *incidents, const struct query *query, skink_incident **ret_incident)
{
    char *block = NULL;
    size_t room = 0;
    for (size_t needed; (needed = copy_into(incidents, query, block, room)) != 0; room = needed) {
        if (needed <= room) {
            *ret_incident = (skink_incident *)(void *)block;
            return 0;
        }
        skink__free(block);
        block = skink__alloc(needed);
        if (!block) return -ENOMEM;
    }
    skink__free(block);
    return -ENOENT;
}

skink_incident *skink__incidents_next_news(struct skink__incidents *incidents)
{
    struct query query = { 0 };
    store_lock(incidents);
    for (size_t nth = kept(incidents); nth > 0 && !query.number; nth--) {
        struct skink__incident *incident = place(incidents, nth - 1);
        if (incident->has_news) query.number = incident->facts.number;
        incident->has_news = false;
    }
    store_unlock(incidents);
    skink_incident *news = NULL;
    return query.number && copy_out(incidents, &query, &news) == 0 ? news : NULL;
}

int skink_incident_find(skink_recovery *recovery, const char *id, skink_incident **ret_incident)
{
    if (!recovery || !id || !ret_incident) return -EINVAL;
    return copy_out(&recovery->incidents, &(struct query){ .id = id }, ret_incident);
}

int skink_incident_newest(skink_recovery *recovery, size_t nth, skink_incident **ret_incident)
{
    if (!recovery || !ret_incident) return -EINVAL;
    return copy_out(&recovery->incidents, &(struct query){ .nth = nth }, ret_incident);
}
