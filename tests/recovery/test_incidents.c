/* SPDX-License-Identifier: MIT */
/* The incidents that are kept in memory: what they say, how many there are, and how they read as JSON. */
#include "recovery/incidents.h"
#include "recovery/state.h"
#include "tests/recovery/fixture.h"
#include "tests/recovery/json.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* ---- the store alone ---- */

static void add_one(struct skink__incidents *incidents, uint64_t number)
{
    struct skink__incident incident = { .facts.number = number };
    snprintf(incident.facts.id, sizeof incident.facts.id, "id-%llu", (unsigned long long)number);
    snprintf(incident.task, sizeof incident.task, "task %llu", (unsigned long long)number);
    skink__incidents_add(incidents, &incident);
}

static void newest_hundred_are_kept(void **state)
{
    (void)state;
    struct skink_recovery recovery = { 0 };
    struct skink__incidents *incidents = &recovery.incidents;
    skink_incident *incident;
    assert_int_equal(skink__incidents_init(incidents), 0);
    assert_int_equal(skink_incident_newest(&recovery, 0, &incident), -ENOENT);
    for (uint64_t number = 1; number <= 250; number++)
        add_one(incidents, number);
    for (size_t nth = 0; nth < SKINK_INCIDENTS_KEPT; nth++) {
        assert_int_equal(skink_incident_newest(&recovery, nth, &incident), 0);
        assert_int_equal(incident->number, 250 - nth);
        skink_incident_free(incident);
    }
    assert_int_equal(skink_incident_newest(&recovery, SKINK_INCIDENTS_KEPT, &incident), -ENOENT);
    assert_int_equal(skink_incident_find(&recovery, "id-150", &incident), -ENOENT);
    assert_int_equal(skink_incident_find(&recovery, "id-151", &incident), 0);
    assert_string_equal(incident->task, "task 151");
    skink_incident_free(incident);
    skink__incidents_fini(incidents);
}

static skink_incident *some_findings(void)
{
    static const skink_frame frames[] = { { .function = "inner", .file = "a.c", .line = 7, .inlined = true },
                                          { .function = "outer", .address = 4096, .object = "libx.so" } };
    static const skink_incident_owner chain[] = { { .tid = 5,
                                                    .thread = "pool",
                                                    .what = "other thread",
                                                    .stack = frames,
                                                    .frame_count = 1,
                                                    .kind = "mutex",
                                                    .address = 0x20 } };
    skink_incident found = { .stack = frames, .frame_count = 2, .waits_on = { .chain = chain, .chain_length = 1 } };
    skink_incident *copy = skink__incident_copy(&found);
    assert_non_null(copy);
    return copy;
}

static void a_copy_has_all_that_was_found(void **state)
{
    (void)state;
    struct skink_recovery recovery = { 0 };
    struct skink__incidents *incidents = &recovery.incidents;
    struct skink__incident incident;
    skink_incident *copy;
    assert_int_equal(skink__incidents_init(incidents), 0);
    add_one(incidents, 1);
    assert_true(skink__incidents_read(incidents, 1, &incident));
    assert_false(skink__incidents_read(incidents, 2, &incident));
    assert_true(skink__incidents_read(incidents, 1, &incident));
    incident.findings = some_findings();
    snprintf(incident.kind, sizeof incident.kind, "mutex");
    incident.facts.waits_on.address = 0x10;
    skink__incidents_complete(incidents, &incident);
    assert_int_equal(skink_incident_newest(&recovery, 0, &copy), 0);
    skink__incidents_fini(incidents); /* the copy is on its own */
    assert_int_equal(copy->frame_count, 2);
    assert_string_equal(copy->stack[0].function, "inner");
    assert_string_equal(copy->stack[0].file, "a.c");
    assert_true(copy->stack[0].inlined);
    assert_null(copy->stack[1].file);
    assert_string_equal(copy->stack[1].object, "libx.so");
    assert_string_equal(copy->waits_on.kind, "mutex");
    assert_int_equal(copy->waits_on.chain_length, 1);
    assert_string_equal(copy->waits_on.chain[0].thread, "pool");
    assert_string_equal(copy->waits_on.chain[0].stack[0].function, "inner");
    assert_null(copy->method);
    skink_incident_free(copy);
}

/* Told, then ended; ended, then told; and one that left the store in between. */
static void how_it_ended_is_news_once_it_was_told(void **state)
{
    (void)state;
    struct skink__incidents incidents;
    struct skink__incident incident;
    assert_int_equal(skink__incidents_init(&incidents), 0);
    add_one(&incidents, 1);
    add_one(&incidents, 2);
    skink__incidents_note_end(&incidents, 2, 5);
    assert_null(skink__incidents_next_news(&incidents));
    for (uint64_t number = 1; number <= 2; number++) {
        assert_true(skink__incidents_read(&incidents, number, &incident));
        incident.facts.finished_after_ns = 99; /* not taken from here */
        skink__incidents_complete(&incidents, &incident);
    }
    skink_incident *news = skink__incidents_next_news(&incidents);
    assert_int_equal(news->number, 2);
    assert_int_equal(news->finished_after_ns, 5);
    skink_incident_free(news);
    assert_null(skink__incidents_next_news(&incidents));
    skink__incidents_note_end(&incidents, 1, 6);
    news = skink__incidents_next_news(&incidents);
    assert_int_equal(news->number, 1);
    skink_incident_free(news);
    for (uint64_t number = 3; number < 200; number++)
        add_one(&incidents, number);
    incident.findings = some_findings();
    skink__incidents_complete(&incidents, &incident); /* freed */
    skink__incidents_note_end(&incidents, 1, 6);
    assert_null(skink__incidents_next_news(&incidents));
    skink__incidents_fini(&incidents);
}

/* ---- JSON ---- */

static json_t *parse(char *text, size_t length)
{
    json_error_t error;
    assert_int_equal(strlen(text), length);
    assert_int_equal(text[length - 1], '\n');
    json_t *json = json_loadb(text, length, 0, &error);
    if (!json) print_error("%s:%d: %s\n%s", __FILE__, error.line, error.text, text);
    assert_non_null(json);
    skink_incident_json_free(text);
    return json;
}

static void json_has_the_documented_keys(void **state)
{
    (void)state;
    skink_incident *findings = some_findings();
    skink_incident incident = { .id = "abc-1",
                                .time_unix_ns = 1709208000123456789, /* 2024-02-29T12:00:00 */
                                .generation = 3,
                                .scheduler = "loop",
                                .task = "GET /\"\xff\n",
                                .method = "GET",
                                .route = "/x",
                                .request_id = 17,
                                .cause = SKINK_CAUSE_LOCK,
                                .slice_ns = 1500000000,
                                .cpu_ns = 250000000,
                                .run_delay_ns = 1000,
                                .wchan = "futex_wait",
                                .syscall = "futex",
                                .state = 'S',
                                .stack = findings->stack,
                                .frame_count = 2,
                                .waits_on = { .kind = "mutex",
                                              .address = 0x7f10,
                                              .descriptor = -1,
                                              .chain = findings->waits_on.chain,
                                              .chain_length = 1,
                                              .cycle = true } };
    char *text;
    size_t length;
    assert_int_equal(skink_incident_json(&incident, &text, &length), 0);
    json_t *json = parse(text, length);
    assert_string_equal(text_of(json, "id"), "abc-1");
    assert_string_equal(text_of(json, "time"), "2024-02-29T12:00:00.123456Z");
    assert_int_equal(number_of(json, "generation"), 3);
    assert_string_equal(text_of(json, "task"), "GET /\"\xEF\xBF\xBD\n");
    assert_string_equal(text_of(json, "route"), "/x");
    assert_int_equal(number_of(json, "request"), 17);
    assert_string_equal(text_of(json, "cause"), "lock");
    assert_true(json_real_value(json_object_get(json, "slice_seconds")) == 1.5);
    assert_true(json_real_value(json_object_get(json, "cpu_seconds")) == 0.25);
    assert_true(json_real_value(json_object_get(json, "run_delay_seconds")) == 0.000001);
    assert_string_equal(text_of(json, "outcome"), "still stuck");
    const json_t *frame = json_array_get(json_object_get(json, "stack"), 0);
    assert_string_equal(text_of(frame, "function"), "inner");
    assert_string_equal(text_of(frame, "file"), "a.c");
    assert_int_equal(number_of(frame, "line"), 7);
    assert_true(json_is_true(json_object_get(frame, "inlined")));
    const json_t *waits_on = json_object_get(json, "waits_on");
    assert_string_equal(text_of(waits_on, "kind"), "mutex");
    assert_string_equal(text_of(waits_on, "address"), "0x7f10");
    assert_null(json_object_get(waits_on, "descriptor"));
    assert_string_equal(text_of(json_object_get(waits_on, "owner"), "thread"), "pool");
    assert_int_equal(json_array_size(json_object_get(waits_on, "chain")), 1);
    assert_true(json_is_true(json_object_get(waits_on, "cycle")));
    json_decref(json);

    incident.waits_on = (skink_waits_on){ .kind = "descriptor", .descriptor = 0, .target = "pipe:[1]" };
    incident.finished_after_ns = 4200000000;
    assert_int_equal(skink_incident_json(&incident, &text, &length), 0);
    json = parse(text, length);
    waits_on = json_object_get(json, "waits_on");
    assert_int_equal(number_of(waits_on, "descriptor"), 0);
    assert_string_equal(text_of(waits_on, "target"), "pipe:[1]");
    assert_true(json_is_null(json_object_get(waits_on, "owner")));
    assert_string_equal(text_of(json, "outcome"), "finished after 4.200 s");
    json_decref(json);
    skink_incident_free(findings);
}

static void list_is_newest_first(void **state)
{
    (void)state;
    struct skink_recovery recovery = { 0 };
    char *text;
    size_t length;
    assert_int_equal(skink__incidents_init(&recovery.incidents), 0);
    assert_int_equal(skink_incidents_json(&recovery, &text, &length), 0);
    json_t *json = parse(text, length);
    assert_true(json_is_array(json));
    assert_int_equal(json_array_size(json), 0);
    json_decref(json);
    for (uint64_t number = 1; number <= 120; number++)
        add_one(&recovery.incidents, number);
    assert_int_equal(skink_incidents_json(&recovery, &text, &length), 0);
    json = parse(text, length);
    assert_int_equal(json_array_size(json), SKINK_INCIDENTS_KEPT);
    assert_string_equal(text_of(json_array_get(json, 0), "id"), "id-120");
    assert_string_equal(text_of(json_array_get(json, SKINK_INCIDENTS_KEPT - 1), "id"), "id-21");
    json_decref(json);
    skink__incidents_fini(&recovery.incidents);
}

/* ---- of a real deadlock ---- */

static void record_says_what_was_stuck_and_how_it_ended(void **state)
{
    (void)state;
    struct fixture f;
    struct stuck s;
    skink_incident *incident;
    fixture_start(&f, NULL);
    stuck_init(&s);
    s.spin = true;
    stuck_spawn(&f, &s);
    test_wait_until(atomic_load(&f.incidents) == 1, 5000);
    assert_int_equal(skink_incident_newest(f.recovery, 0, &incident), 0);
    assert_string_equal(incident->id, f.last.id);
    assert_string_equal(incident->task, "stuck");
    assert_string_equal(incident->scheduler, "loop");
    assert_null(incident->route);
    assert_int_equal(incident->generation, 1);
    assert_int_equal(incident->tid, atomic_load(&s.started_tid));
    assert_int_equal(incident->tasks_living, 1);
    assert_in_range(incident->slice_ns, 50 * SKINK_MS, test_ms(test_patience(5000)));
    if (incident->cause != SKINK_CAUSE_STARVED) /* else it got less, on a machine as busy as that */
        assert_in_range(incident->cpu_ns, 40 * SKINK_MS, incident->slice_ns); /* it spun */
    assert_int_equal(incident->finished_after_ns, 0);
    stuck_release(&s);
    test_wait_until(fixture_stats(&f).strays_returned == 1, 5000);
    skink_incident *ended;
    assert_int_equal(skink_incident_find(f.recovery, incident->id, &ended), 0);
    assert_in_range(ended->finished_after_ns, incident->slice_ns, test_ms(test_patience(20000)));
    skink_incident_free(ended);
    skink_incident_free(incident);
    assert_int_equal(fixture_stop(&f), 0);
}

struct crowd {
    skink_scheduler *scheduler;
    struct stuck stuck;
    skink_future *never;
};

static void bystander(void *arg)
{
    struct crowd *crowd = arg;
    (void)!skink_await(crowd->never, test_deadline_ns(20000), NULL);
}

/* One waits, one gets stuck, and three have not had their turn. */
static void crowd_begins(void *arg)
{
    struct crowd *crowd = arg;
    assert_int_equal(skink_spawn(crowd->scheduler, NULL, NULL, bystander, crowd), 0);
    assert_int_equal(skink_yield(), 0);
    assert_int_equal(skink_spawn(crowd->scheduler, NULL, NULL, stuck_task, &crowd->stuck), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(skink_spawn(crowd->scheduler, NULL, NULL, bystander, crowd), 0);
}

/* And not what the fresh thread has made of it a moment later. */
static void counts_are_those_of_the_declaration(void **state)
{
    (void)state;
    struct fixture f;
    struct crowd crowd;
    skink_incident *incident;
    fixture_start(&f, NULL);
    crowd.scheduler = f.scheduler;
    stuck_init(&crowd.stuck);
    assert_int_equal(skink_future_create(&crowd.never), 0);
    assert_int_equal(skink_spawn(f.scheduler, NULL, NULL, crowd_begins, &crowd), 0);
    test_wait_until(atomic_load(&f.incidents) == 1, 5000);
    assert_int_equal(skink_incident_newest(f.recovery, 0, &incident), 0);
    assert_int_equal(incident->tasks_living, 5);
    assert_int_equal(incident->tasks_ready, 3);
    assert_int_equal(incident->tasks_suspended, 1);
    skink_incident_free(incident);
    stuck_release(&crowd.stuck);
    assert_int_equal(skink_future_complete(crowd.never, NULL), 0);
    test_wait_until(fixture_stats(&f).strays_returned == 1, 5000);
    assert_int_equal(fixture_stop(&f), 0);
    skink_future_unref(crowd.never);
}

static const struct test_case cases[] = {
    CASE(newest_hundred_are_kept),
    CASE(a_copy_has_all_that_was_found),
    CASE(how_it_ended_is_news_once_it_was_told),
    CASE(json_has_the_documented_keys),
    CASE(list_is_newest_first),
    CASE(record_says_what_was_stuck_and_how_it_ended),
    CASE(counts_are_those_of_the_declaration),
};
TEST_MAIN(cases, NULL, NULL)
