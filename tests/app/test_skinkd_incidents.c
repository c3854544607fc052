/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd_incidents.c - what an operator of skinkd gets when requests get stuck in each way. */
#include "loop/sanitizer.h"
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *get_json(const struct skinkd *server, const char *target, int status)
{
    char *answer = http_get(server->stats_port, target);
    assert_int_equal(http_status(answer), status);
    json_t *json = json_loads(http_body(answer), 0, NULL);
    assert_non_null(json);
    free(answer);
    return json;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static bool names(const json_t *incident, const char *function)
{
    size_t i;
    json_t *frame;
    json_array_foreach (json_object_get(incident, "stack"), i, frame) {
        if (strcmp(text_of(frame, "function"), function) == 0) return true;
    }
    return false;
}

static const struct {
    const char *how, *cause, *function, *kind, *syscall;
} ways[] = {
    { "sleep", "syscall", "stick_sleep", "", "clock_nanosleep" },
    { "mutex", "lock", "stick_mutex", "mutex", "futex" },
    { "deadlock", "lock", "stick_deadlock", "mutex", "futex" },
    { "read", "syscall", "stick_read", "descriptor", "read" },
    { "spin", "cpu_loop", "stick_spin", "", "" },
    { "selfwait", "self_wait", "stick_selfwait", "future", "futex" },
};

/* The newest incident once there are `count`, once it is known how it ended, and, unless that takes long, why. */
static json_t *wait_for_incident(const struct skinkd *server, size_t count)
{
    uint64_t deadline_ns = test_deadline_ns(15000), explained_by_ns = 0;
    for (;;) {
        json_t *list = get_json(server, "/incidents", 200);
        json_t *newest = json_incref(json_array_get(list, 0));
        bool there = json_array_size(list) == count && strncmp(text_of(newest, "outcome"), "finished", 8) == 0;
        json_decref(list);
        if (there && explained_by_ns == 0) explained_by_ns = test_deadline_ns(300);
        if (there && (strcmp(text_of(newest, "cause"), "unknown") != 0 || test_now_ns() > explained_by_ns))
            return newest;
        json_decref(newest);
        if (test_now_ns() > deadline_ns) fail_msg("no incident %zu", count);
        test_nap();
    }
}

static size_t deadlocks_of(const struct skinkd *server)
{
    char *answer = http_get(server->stats_port, "/metrics");
    const char *line = strstr(answer, "\nskink_deadlocks_total");
    assert_non_null(line);
    size_t count = (size_t)strtoull(strpbrk(line, " "), NULL, 10);
    free(answer);
    return count;
}

static json_t *get_one(const struct skinkd *server, const char *id)
{
    char target[96];
    snprintf(target, sizeof target, "/incidents/%s", id);
    return get_json(server, target, 200);
}

/* Its file says in the end what the server says. */
static void check_file(const struct skinkd *server, const char *folder, const char *id)
{
    char path[160];
    snprintf(path, sizeof path, "%s/incident-%s.json", folder, id);
    uint64_t deadline_ns = test_deadline_ns(5000);
    for (bool equal = false; !equal; test_nap()) {
        json_t *json = json_load_file(path, 0, NULL), *alone = get_one(server, id);
        equal = json && json_equal(json, alone);
        json_decref(json);
        json_decref(alone);
        assert_true(equal || test_now_ns() < deadline_ns);
    }
    assert_int_equal(unlink(path), 0);
}

static void each_way_of_sticking_is_explained(void **state)
{
    (void)state;
    char folder[] = "/tmp/skink-test-XXXXXX", setting[96];
    const bool can_name =
        !SKINK__ASAN && !SKINK__TSAN; /* elfutils may not find the module's functions beside their mappings */
    assert_non_null(mkdtemp(folder));
    snprintf(setting, sizeof setting, "recovery.incident_dir=%s", folder);
    struct skinkd *server =
        START("--set", "loop.deadlock_timeout=100ms", "--set", "detection.mode=off", "--set", setting, "--set",
              "quarantine.strikes=0", "--set", "recovery.burst=0", "--set", "recovery.late_window=20s");
    size_t count = 0;
    int requests = 0;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        json_t *incident = NULL;
        /* On a busy machine it may be free again before anybody has looked at it, or not have had the processor for as
         * long as the timeout: then once more, and longer. */
        for (int ms = 600; !incident; ms *= 2) {
            char target[64];
            snprintf(target, sizeof target, "/stick?how=%s&ms=%d", ways[i].how, ms);
            free(http_get(server->http_port, target));
            requests++;
            if (deadlocks_of(server) == count && ms <= 4000) continue;
            incident = wait_for_incident(server, ++count);
            bool was_seen = strcmp(text_of(incident, "cause"), "unknown") != 0 &&
                            strcmp(text_of(incident, "capture"), "returned") != 0;
            if (was_seen || ms > 4000) continue;
            check_file(server, folder, text_of(incident, "id"));
            json_decref(incident);
            incident = NULL;
        }
        if (strcmp(text_of(incident, "cause"), ways[i].cause) != 0 &&
            strcmp(text_of(incident, "cause"), "starved") != 0)
            fail_msg("%s: %s", ways[i].how, json_dumps(incident, JSON_INDENT(1)));
        assert_string_equal(text_of(incident, "task"), "GET /stick");
        assert_string_equal(text_of(incident, "method"), "GET");
        assert_string_equal(text_of(incident, "route"), "/stick");
        assert_int_equal(json_integer_value(json_object_get(incident, "request")), requests);
        assert_int_equal(json_integer_value(json_object_get(incident, "generation")), count);
        assert_string_equal(text_of(json_object_get(incident, "waits_on"), "kind"), ways[i].kind);
        assert_string_equal(text_of(incident, "syscall"), ways[i].syscall);
        if (can_name && json_array_size(json_object_get(incident, "stack")) > 0 && !names(incident, ways[i].function))
            fail_msg("%s: %s", ways[i].how, json_dumps(incident, JSON_INDENT(1)));
        check_file(server, folder, text_of(incident, "id"));
        char one[96];
        snprintf(one, sizeof one, "event=deadlock id=%s ", text_of(incident, "id"));
        assert_true(skinkd_says(server, one, 5000));
        snprintf(one, sizeof one, "| incident %s: GET /stick held the loop thread for ", text_of(incident, "id"));
        assert_true(skinkd_says(server, one, 5000));
        json_decref(incident);
    }
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 0);
    skinkd_free(server);
    assert_int_equal(rmdir(folder), 0);
}

/* The only one there is, once it has been looked into. */
static json_t *wait_for_cause(const struct skinkd *server)
{
    uint64_t deadline_ns = test_now_ns() + test_ms(15000);
    for (;;) {
        json_t *list = get_json(server, "/incidents", 200);
        json_t *incident = json_incref(json_array_get(list, 0));
        json_decref(list);
        if (incident && strcmp(text_of(incident, "capture"), "none") != 0) return incident;
        json_decref(incident);
        assert_true(test_now_ns() < deadline_ns);
        test_nap();
    }
}

/* Goal: a loop thread and a worker of the pool, each with the lock that the other wants.
 * | loop thread             | pool worker             | incident                                    |
 * |                         | lock theirs             |                                             |
 * | lock ours, want theirs  | want ours               | waits for theirs, of the worker             |
 * |                         |                         | who waits for ours, of the first: a cycle   | */
static void a_deadlock_with_a_pool_worker_is_told_with_both_owners(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "loop.deadlock_timeout=200ms", "--set", "recovery.late_window=50ms", "--set",
                                  "shutdown.grace=1s");
    char *answer = http_get(server->http_port, "/stick?how=deadlock");
    assert_int_equal(http_status(answer), 503);
    free(answer);
    json_t *incident = wait_for_cause(server);
    const json_t *waits_on = json_object_get(incident, "waits_on");
    const json_t *chain = json_object_get(waits_on, "chain"), *worker = json_array_get(chain, 0);
    if (!json_is_true(json_object_get(waits_on, "cycle")) || json_array_size(chain) != 1)
        fail_msg("%s", json_dumps(incident, JSON_INDENT(1)));
    assert_string_equal(text_of(incident, "cause"), "lock");
    assert_string_equal(text_of(waits_on, "kind"), "mutex");
    json_int_t stuck_tid = json_integer_value(json_object_get(incident, "tid"));
    json_int_t worker_tid = json_integer_value(json_object_get(json_object_get(waits_on, "owner"), "tid"));
    assert_int_equal(json_integer_value(json_object_get(waits_on, "cycle_tid")), stuck_tid);
    assert_int_equal(json_integer_value(json_object_get(worker, "tid")), worker_tid);
    assert_int_not_equal(worker_tid, stuck_tid);
    assert_string_equal(text_of(worker, "what"), "pool worker");
    assert_string_equal(text_of(worker, "waits_on"), "mutex");
    assert_string_not_equal(text_of(worker, "address"), text_of(waits_on, "address"));
    /* The block says it in words, and so does the page of threads. */
    char line[160];
    snprintf(line, sizeof line,
             "| deadlock: thread %d waits for a mutex of thread %d (pool worker), which waits for a mutex of thread %d",
             (int)stuck_tid, (int)worker_tid, (int)stuck_tid);
    assert_true(skinkd_says(server, line, 5000));
    char *page = http_get(server->stats_port, "/threads");
    assert_non_null(strstr(page, "\nDEADLOCK: "));
    free(page);
    json_decref(incident);
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 3); /* neither ever ends */
    skinkd_free(server);
}

static void incident_that_is_not_there_is_404(void **state)
{
    (void)state;
    struct skinkd *server = START_PLAIN();
    json_t *list = get_json(server, "/incidents", 200);
    assert_true(json_is_array(list));
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    json_t *error = get_json(server, "/incidents/abc-1", 404);
    assert_true(json_is_true(json_object_get(error, "error")));
    assert_non_null(strstr(text_of(error, "message"), "no incident abc-1"));
    json_decref(error);
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 0);
    skinkd_free(server);
}

/* The folder cannot be written to: said once, and requests are answered as ever. */
static void folder_that_cannot_be_written_is_said_once(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "loop.deadlock_timeout=100ms", "--set", "recovery.incident_dir=/proc",
                                  "--set", "recovery.late_window=20s");
    for (int i = 0; i < 2; i++) {
        char *answer = http_get(server->http_port, "/stick?ms=600");
        assert_int_equal(http_status(answer), 200);
        free(answer);
    }
    json_decref(wait_for_incident(server, 2));
    assert_true(skinkd_says(server, "event=incident_file_failed ", 5000));
    assert_int_equal(skinkd_end(server, SIGTERM, 20000), 0);
    assert_null(strstr(strstr(server->err, "event=incident_file_failed ") + 1, "event=incident_file_failed "));
    skinkd_free(server);
}

static const struct test_case cases[] = {
    CASE_TIMEOUT(each_way_of_sticking_is_explained, 60),
    CASE_TIMEOUT(a_deadlock_with_a_pool_worker_is_told_with_both_owners, 60),
    CASE(incident_that_is_not_there_is_404),
    CASE(folder_that_cannot_be_written_is_said_once),
};
TEST_MAIN(cases, NULL, NULL)
